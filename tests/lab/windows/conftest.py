"""What the tests on Windows machines share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.windows.desktop import WindowsDesktop
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.needs import lacking


@pytest.fixture(scope="session")
def lab() -> WindowsLab:
    """The Windows lab, as `lab`: whatever uses it runs in strict runs alone."""
    if reason := WindowsLab.missing():
        lacking(reason)
    return WindowsLab()


@pytest.fixture
def windows(lab: WindowsLab, tmp_path: Path) -> Iterator[WindowsMachine]:
    """A healthy machine without environments."""
    with WindowsMachine(lab, tmp_path / "machine") as machine:
        yield machine


@pytest.fixture
def desktop() -> Iterator[WindowsDesktop]:
    if reason := WindowsDesktop.missing():
        lacking(reason)
    with WindowsDesktop() as desktop:
        yield desktop


@pytest.fixture
def windows_with_screen(
    lab: WindowsLab, desktop: WindowsDesktop, tmp_path: Path
) -> Iterator[WindowsMachine]:
    """A healthy machine whose screen is `desktop`."""
    with WindowsMachine(lab, tmp_path / "machine", desktop) as machine:
        yield machine
