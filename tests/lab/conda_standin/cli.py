"""The command line: `run` is what the lab's <root>/bin/conda calls."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .config import Config, load_config
from .errors import CondaError
from .prefix import VERSION, Prefix

if TYPE_CHECKING:  # py-rattler is heavy: `conda --version` and usage errors do without it
    from .packages import Transaction

__all__ = ["main", "run"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("conda", allow_abbrev=False)
    version = f"conda {VERSION} (tfgpu lab stand-in)"
    parser.add_argument("-V", "--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-p", "--prefix", type=Path)
    common.add_argument("--json", action="store_true")
    common.add_argument("-q", "--quiet", action="store_true")
    common.add_argument("-v", "--verbose", action="count", default=0)

    change = argparse.ArgumentParser(add_help=False, parents=[common])
    change.add_argument("-y", "--yes", action="store_true")
    change.add_argument("-d", "--dry-run", action="store_true")
    change.add_argument("--offline", action="store_true")
    change.add_argument("--override-frozen", action="store_true")
    change.add_argument("-c", "--channel", action="append", default=[])
    change.add_argument("--override-channels", action="store_true")

    create = commands.add_parser("create", parents=[change], allow_abbrev=False)
    create.add_argument("packages", nargs="*", metavar="package_spec")
    install = commands.add_parser("install", parents=[change], allow_abbrev=False)
    install.add_argument("packages", nargs="*", metavar="package_spec")
    install.add_argument("--force-reinstall", action="store_true")
    install.add_argument("--freeze-installed", "--no-update-deps", action="store_true")
    install.add_argument("--revision")
    remove = commands.add_parser(
        "remove", aliases=["uninstall"], parents=[change], allow_abbrev=False
    )
    remove.add_argument("packages", nargs="*", metavar="package_name")

    listing = commands.add_parser("list", parents=[common], allow_abbrev=False)
    listing.add_argument("--explicit", action="store_true")
    listing.add_argument("--md5", action="store_const", const="md5", dest="hash_name")
    listing.add_argument("--sha256", action="store_const", const="sha256", dest="hash_name")
    info = commands.add_parser("info", parents=[common], allow_abbrev=False)
    info.add_argument("-e", "--envs", action="store_true")
    return parser


def run(argv: Sequence[str]) -> NoReturn:
    """Runs one command and ends the process without an interpreter's goodbye.

    py-rattler's threads may still be at work then, and one of them taking the GIL of an interpreter
    that is being finalised aborts the process (seen in one command of a hundred with 0.28).
    """
    try:
        code = main(argv)
    except SystemExit as done:  # argparse, after --version or a usage error
        code = done.code if isinstance(done.code, int) else 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(argv: Sequence[str]) -> int:
    """Runs one command; argv[0] is the path of the conda that was called."""
    root = Path(os.path.realpath(argv[0])).parent.parent
    arguments = _parser().parse_args(argv[1:])
    try:
        _run(arguments, load_config(root), argv)
    except CondaError as error:
        if arguments.json:
            from .report import print_json

            print_json(error.report())
        else:
            print(f"\n{error.name}: {error.message}\n", file=sys.stderr)
        return error.code
    return 0


def _run(arguments: argparse.Namespace, config: Config, argv: Sequence[str]) -> None:
    prefix = Prefix(arguments.prefix or Path(os.environ.get("CONDA_PREFIX", config.root)))
    if arguments.command == "info":
        _info(arguments, config, argv)
    elif arguments.command == "list":
        prefix.require()
        _list(arguments, config, prefix)
    else:
        _change(arguments, config, prefix, argv)


def _info(arguments: argparse.Namespace, config: Config, argv: Sequence[str]) -> None:
    from .report import info, print_json

    facts = info(config, argv)
    if arguments.envs:
        facts = {key: facts[key] for key in ("envs", "envs_details")}
    if arguments.json:
        print_json(facts)
    else:
        for key, value in facts.items():
            print(f"{key:>16} : {value}")


def _list(arguments: argparse.Namespace, config: Config, prefix: Prefix) -> None:
    from .report import listing, print_explicit, print_json

    if arguments.explicit:
        print_explicit(prefix, arguments.hash_name)
        return
    found = listing(prefix, config)
    if arguments.json:
        print_json(found)
        return
    print(f"# packages in environment at {prefix.path}:\n#")
    print(f"# {'Name':<21}  {'Version':<15}  {'Build':<15}  Channel")
    for package in found:
        row = (package[key] for key in ("name", "version", "build_string", "channel"))
        print("{:<23}  {:<15}  {:<15}  {}".format(*row))


def _change(
    arguments: argparse.Namespace, config: Config, prefix: Prefix, argv: Sequence[str]
) -> None:
    from .packages import execute
    from .report import actions, print_json, summary

    _prepare(arguments, prefix)
    explicit = any("://" in spec for spec in arguments.packages)
    transaction = _plan(arguments, config, prefix, explicit)
    if not transaction.link and not transaction.unlink and arguments.command != "create":
        message = "All requested packages already installed."
        if arguments.json:
            print_json({"message": message, "success": True})
        else:
            print(f"\n# {message}\n")
        return
    report = {"actions": actions(transaction, config), "prefix": str(prefix.path), "success": True}
    if not arguments.json:
        print(summary(transaction, config))
        if arguments.dry_run:
            raise CondaError("DryRunExit", "Dry run. Exiting.", code=0)
        if not arguments.yes:
            _ask()
    elif arguments.dry_run:
        print_json(report | {"dry_run": True})
        return
    execute(transaction, config, argv)
    if arguments.command == "create":
        prefix.register()
    if arguments.json and not explicit:  # of an explicit install conda prints nothing at all
        print_json(report)
    elif not arguments.json:
        print("Preparing transaction: done\nVerifying transaction: done")
        print("Executing transaction: done")


def _prepare(arguments: argparse.Namespace, prefix: Prefix) -> None:
    """Raises CondaError where the command cannot even be planned."""
    if arguments.command == "create":
        if prefix.exists():
            raise CondaError("CondaValueError", f"prefix already exists: {prefix.path}")
        return
    prefix.require()
    if not arguments.override_frozen:
        prefix.require_not_frozen()
    prefix.require_writable()
    if getattr(arguments, "revision", None) is not None:
        raise CondaError("CondaError", "The lab's stand-in for conda knows no --revision.")
    if not arguments.packages:
        message = "too few arguments, must supply command line package specs or --file"
        raise CondaError("CondaValueError", message)


def _plan(
    arguments: argparse.Namespace, config: Config, prefix: Prefix, explicit: bool
) -> Transaction:
    from .packages import Transaction, plan_explicit, plan_install, plan_remove

    if arguments.command in ("remove", "uninstall"):
        return plan_remove(prefix, arguments.packages)
    if explicit:
        return plan_explicit(prefix, arguments.packages, config)
    if not arguments.packages:
        return Transaction(prefix, (), (), (), "update", ())
    names = [*arguments.channel, *(() if arguments.override_channels else config.channels)]
    if not names:
        raise CondaError("NoChannelsConfiguredError", "No channels are configured.")
    again = getattr(arguments, "force_reinstall", False)
    return plan_install(prefix, arguments.packages, config.urls(names), again=again)


def _ask() -> None:
    """Asks whether to proceed. As in conda an empty answer, and the end of input, is yes."""
    while True:
        print("Proceed ([y]/n)? ", end="", flush=True)
        answer = sys.stdin.readline().strip().lower()
        if answer in ("", "y", "yes"):
            print(flush=True)
            return
        if answer in ("n", "no"):
            raise CondaError("CondaSystemExit", "Exiting.", code=0)
        print(f"Invalid choice: {answer}")
