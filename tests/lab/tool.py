"""The tool on a simulated machine: its command line, with the file system that machine facts are
read from replaced. Run as `python -m tests.lab.tool ROOT ARGUMENTS…`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tfgpu_tray.app import App
from tfgpu_tray.cli import main


def run(root: Path, arguments: list[str]) -> int:
    def start(config: Path | None, data_dir: Path | None) -> App:
        app = App.start(config, data_dir)
        place = app.command.index("tfgpu_tray")
        command = (sys.executable, "-m", "tests.lab.tool", str(root), *app.command[place + 1 :])
        return replace(app, root=root, command=command)

    return main(arguments, start)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
