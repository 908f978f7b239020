"""Machines to start at login on: a home folder, a systemctl, a Windows registry."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.fakes import FakeRunner, completed, write
from tfgpu_tray.autostart.autostart import Autostart, State
from tfgpu_tray.observe.child import Runner

AWKWARD = 'it\'s 100% "odd" `x` $HOME ${A} \\ & (é) #1; =%f~'


@dataclass
class FakeRegistry:
    values: dict[tuple[str, str], str | bytes] = field(default_factory=dict)

    def read(self, key: str, name: str) -> str | bytes | None:
        return self.values.get((key, name))

    def write(self, key: str, name: str, value: str) -> None:
        self.values[key, name] = value

    def delete(self, key: str, name: str) -> None:
        self.values.pop((key, name), None)


class FailingRegistry(FakeRegistry):
    def write(self, key: str, name: str, value: str) -> None:
        raise PermissionError(13, "Access is denied")

    def read(self, key: str, name: str) -> str | bytes | None:
        raise PermissionError(13, "Access is denied")


def installed(folder: Path) -> str:
    """An interpreter that notes what it was started with, in `started` beside it."""
    script = f"#!{sys.executable} -I\nimport json, sys\n"
    script += "open(sys.argv[0] + '.started', 'w').write(json.dumps(sys.argv))\n"
    python = write(folder / "bin" / "python", script)
    python.chmod(0o755)
    return str(python)


def systemctl(tmp_path: Path) -> str:
    """A PATH that has a systemctl, for the look whether there is one."""
    program = write(tmp_path / "tools" / "systemctl", "#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return str(program.parent)


def entry_of(app: Autostart) -> Path:
    return app.home / ".config" / "autostart" / "tfgpu-tray.desktop"


def unit_of(app: Autostart) -> Path:
    return app.home / ".config" / "systemd" / "user" / "tfgpu-tray.service"


def link_of(app: Autostart) -> Path:
    return unit_of(app).parent / "default.target.wants" / unit_of(app).name


def with_runner(app: Autostart, runner: Runner) -> Autostart:
    return replace(app, runner=runner)


@dataclass
class Systemctl(FakeRunner):
    """Does what `systemctl --user enable` does to files."""

    app: Autostart | None = None

    def __call__(self, command: Sequence[str | Path], **options: Any) -> Any:
        if "enable" in command and self.app:
            link_of(self.app).parent.mkdir(exist_ok=True)
            link_of(self.app).symlink_to(unit_of(self.app))
        return super().__call__(command, **options)


def headless(app: Autostart) -> Autostart:
    """*app* with a systemctl that works."""
    return with_runner(app, Systemctl({"systemctl": completed()}, app=app))


def told(state: State) -> str:
    """What it says beside the entry, a clause a line."""
    return "\n".join(state.notes)
