"""A Linux desktop and a Windows that nothing starts on yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.autostart.machine import FakeRegistry, installed, systemctl
from tests.fakes import FakeRunner, write
from tfgpu_tray.autostart.autostart import Autostart


@pytest.fixture
def linux(tmp_path: Path) -> Autostart:
    return Autostart(
        {"PATH": systemctl(tmp_path), "DISPLAY": ":0", "USER": "ann"},
        tmp_path / "home",
        executable=installed(tmp_path / "app"),
        registry=None,
        runner=FakeRunner({}),
        root=write(tmp_path / "root/var/lib/systemd/linger/ann").parents[4],
    )


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def windows(tmp_path: Path, registry: FakeRegistry) -> Autostart:
    write(tmp_path / "env" / "pythonw.exe")
    python = write(tmp_path / "env" / "python.exe")
    return Autostart({}, tmp_path, executable=str(python), registry=registry)
