"""The fixtures that lab tests share, and when tests that need the lab run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab.desktop import Desktop
from tests.lab.lab import Lab
from tests.lab.watching import Toys
from tests.needs import STRICT, lacking


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what uses the lab, and leaves it out of quick runs: building it takes minutes.

    The longest go first: at the end, one worker would wait for another that has just begun one.
    """
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker("lab")
        if not STRICT and item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason="lab tests run with TFGPU_TEST_STRICT=1"))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A picture of the desktop that a failed test leaves behind."""
    report = yield
    desktop = getattr(item, "funcargs", {}).get("desktop")
    if report.when == "call" and report.failed and isinstance(desktop, Desktop):
        try:
            report.sections.append(("screen", str(desktop.screenshot("at-the-end"))))
        except OSError as error:  # the X server went, too
            report.sections.append(("screen", f"no picture: {error}"))
    return report


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab; a machine that cannot have one fails a strict run."""
    if reason := Lab.missing():
        lacking(reason)
    return Lab()


@pytest.fixture(scope="session")
def toys(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Toys:
    return Toys.build(lab, tmp_path_factory.mktemp("toys"))


@pytest.fixture
def desktop_home() -> Path | None:
    """The user's home folder on the desktop; None: one of its own."""
    return None


@pytest.fixture
def desktop(desktop_home: Path | None) -> Iterator[Desktop]:
    if reason := Desktop.missing():
        lacking(reason)
    with Desktop(home=desktop_home) as desktop:
        yield desktop
