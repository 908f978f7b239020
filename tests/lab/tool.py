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
        return replace(App.start(config, data_dir), root=root)

    return main(arguments, start)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
