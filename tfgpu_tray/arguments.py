"""The command line's commands and options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from tfgpu_tray import __version__
from tfgpu_tray.model import Depth

USAGE = 64


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse would exit with 2, which here means broken."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def parser() -> argparse.ArgumentParser:
    """Its answers carry the name of one command in `command`."""
    # SUPPRESS: a default here would undo what stood before the subcommand; `main` gives them.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument("--config", type=Path, metavar="FILE", help="another config.toml")
    common.add_argument("--data-dir", type=Path, metavar="DIR", help="where state is kept")
    parents: list[Any] = [common]
    top = _Parser(
        prog="tfgpu-tray",
        description="Watches and repairs TensorFlow's GPU support. Without a command: run.",
        parents=parents,
    )
    top.add_argument("--version", action="version", version=f"tfgpu-tray {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    top.set_defaults(command="run", headless=False)

    check = commands.add_parser("check", parents=parents, help="say what works and what does not")
    check.add_argument("--env", type=Path, action="append", default=[], metavar="PREFIX")
    check.add_argument(
        "--depth",
        choices=[depth.word for depth in Depth],
        default=Depth.TENSORFLOW.word,
        help="how closely to look (default: %(default)s)",
    )
    check.add_argument("--plan", action="store_true", help="also say what a repair would do")
    check.add_argument(
        "--wsl", action="store_true", help="on Windows: also look inside WSL, which starts it"
    )

    for name, text in (
        ("repair", "mend what is broken in an environment"),
        ("install", "set an environment up, from nothing if need be"),
    ):
        command = commands.add_parser(name, parents=parents, help=text)
        what: Any = command
        if name == "install":
            what = command.add_mutually_exclusive_group(required=True)
            what.add_argument("--wsl", action="store_true", help="Linux inside Windows")
        what.add_argument("--env", type=Path, required=name == "repair", metavar="PREFIX")
        command.add_argument("--dry-run", action="store_true", help="only say what would be done")
        command.add_argument("--yes", action="store_true", help="do not ask")
        _add_wait(command)

    undo = commands.add_parser("undo", parents=parents, help="take the last repair back")
    undo.add_argument("--env", type=Path, metavar="PREFIX", help="of this environment")
    undo.add_argument("--yes", action="store_true", help="do not ask")
    undo.add_argument("--force", action="store_true", help="even over files changed since")
    _add_wait(undo)

    run = commands.add_parser("run", parents=parents, help="stay and watch")
    run.add_argument("--headless", action="store_true", help="without a tray icon")

    commands.add_parser("status", parents=parents, help="what the watcher last saw")

    autostart = commands.add_parser("autostart", parents=parents, help="start at login")
    autostart.add_argument("wish", choices=["enable", "disable", "status"])
    autostart.add_argument("--headless", action="store_true", help="on a server: a systemd unit")
    return top


def _add_wait(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        nargs="?",
        type=float,
        const=60.0,
        metavar="MINUTES",
        help="while a program uses the environment, wait for its end, an hour unless told",
    )
