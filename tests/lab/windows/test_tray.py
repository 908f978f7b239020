"""The icon in a taskbar: what it shows, what its menu does, and what it tells."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.lab.desktop import Colour
from tests.lab.toy_tensorflow import toy_wheel
from tests.lab.windows.desktop import WindowsDesktop
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.watching import SECONDS, Watching
from tests.until import until

STOPS = 2.0
REPAIR = "Repair now: "
EDITOR = ("--name", "config.toml")


def text(desktop: WindowsDesktop, beginning: str) -> str:
    """The menu's entry that begins so; opens the menu."""
    shown = [entry.text or "" for entry in desktop.open_menu()]
    [found] = [text for text in shown if text.startswith(beginning)]
    return found


@pytest.fixture
def windows(windows_with_screen: WindowsMachine) -> WindowsMachine:
    return windows_with_screen


@pytest.fixture
def prefix(windows: WindowsMachine) -> Path:
    prefix = windows.conda_environment("tf", kind="toy")
    shelf = windows.home / "shelf"
    toy_wheel(shelf, "1.26.4", gpu=False, name="numpy")  # a repair holds it below 2
    windows.extra["PIP_FIND_LINKS"] += f" {windows.to_windows(shelf)}"
    return prefix


def test_pip_breaks_it_and_the_menu_repairs_it(
    windows: WindowsMachine, prefix: Path, desktop: WindowsDesktop
) -> None:
    with Watching(windows) as watcher:
        watcher.wait_for_event("tray", "the icon is in the panel")
        watcher.wait_for_event("found", "ok")
        desktop.wait_for_icon(Colour.GREEN, SECONDS)
        desktop.screenshot("1-green")

        windows.pip(prefix, "install", "-q", "-U", "tensorflow==2.12.0")
        watcher.wait_for_event("transition", "→ broken")
        desktop.wait_for_icon(Colour.RED, SECONDS)
        desktop.wait_for_balloon()
        desktop.screenshot("2-balloon")

        repair = text(desktop, REPAIR)
        desktop.screenshot("3-menu")
        desktop.click_menu(repair)
        desktop.wait_for_icon(Colour.BLUE, SECONDS)  # it is at work
        watcher.wait_for_event("transition", "→ ok", seconds=180)
        desktop.wait_for_icon(Colour.GREEN, SECONDS)
        desktop.screenshot("4-repaired")
    assert windows.check(prefix).json["verdict"] == "ok"


def test_the_icon_comes_with_the_panel_and_goes_with_the_program(
    windows: WindowsMachine, desktop: WindowsDesktop
) -> None:
    with Watching(windows) as watcher:
        watcher.wait_for_event("tray", "the icon is in the panel")
        desktop.wait_for_icon()
        start = time.monotonic()
        windows.run("taskkill", "/im", "python.exe")
        assert watcher.wait_for_end() == 0
        assert time.monotonic() - start < STOPS
        desktop.wait_for_no_icon(5)


def test_a_repair_goes_on_when_the_tray_ends(
    windows: WindowsMachine, prefix: Path, desktop: WindowsDesktop
) -> None:
    with Watching(windows) as watcher:
        watcher.wait_for_event("found", "ok")
        windows.pip(prefix, "install", "-q", "-U", "tensorflow==2.12.0")
        desktop.wait_for_icon(Colour.RED, SECONDS)
        desktop.click_menu(text(desktop, REPAIR))
        desktop.wait_for_icon(Colour.BLUE, SECONDS)
        windows.run("taskkill", "/im", "python.exe")
        assert watcher.wait_for_end() == 0
    ended = next((watcher.data / "logs").glob("repair-tf-*.json"))
    until(lambda: ended.read_bytes().rstrip().endswith(b"}"), 120, "the repair's end")
    assert json.loads(ended.read_bytes())["state"] == "done"


def test_an_editor_stays_open_when_the_program_ends(
    windows: WindowsMachine, desktop: WindowsDesktop
) -> None:
    with Watching(windows) as watcher:
        desktop.wait_for_icon()
        desktop.click_menu("Open configuration")
        watcher.wait("an editor", lambda: desktop.screen.windows(*EDITOR))
        desktop.screenshot("editor")
        desktop.click_menu("Quit")
        assert watcher.wait_for_end(STOPS + 1) == 0
        assert desktop.screen.windows(*EDITOR)
