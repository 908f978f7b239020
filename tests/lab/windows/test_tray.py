"""The icon in a taskbar: what it shows, what its menu does, and what it tells.

Wine shows pystray's icon in an X11 panel, and its menus and balloons as windows of their own.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.lab.desktop.parts import Part, start_display
from tests.lab.desktop.picture import Box, Colour, tray_icons
from tests.lab.desktop.screen import SIZE, Screen
from tests.lab.toy_tensorflow import toy_wheel
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.watching import Watching
from tests.needs import tool

T = TypeVar("T")
SECONDS = 60.0
STOPS = 2.0
BAR = Box(SIZE[0] - 200, SIZE[1] - 28, *SIZE)
TRAYER = (
    *("trayer", "--edge", "bottom", "--align", "right", "--SetDockType", "true"),
    *("--widthtype", "pixel", "--width", str(BAR.right - BAR.left)),
    *("--heighttype", "pixel", "--height", str(BAR.bottom - BAR.top)),
)
LINE = 17  # pixels of a line of a menu, as Wine draws it
REPAIR = 37  # pixels from the menu's top to the middle of its second line, below a separator


class Taskbar:
    """An X server with a panel, and what a person sees and clicks there."""

    def __init__(self, folder: Path) -> None:
        for name in ("Xvfb", "openbox", "trayer", "xdotool"):
            tool(name)
        self._folder = folder
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
        size = f"{SIZE[0]}x{SIZE[1]}x24"
        server, self.display = start_display(environ, folder, size)
        environ["DISPLAY"] = self.display
        self.screen = Screen(self.display, environ)
        self._parts = [server, Part(["openbox"], environ, folder)]
        wait("a window manager", self._is_managed)  # it would move a panel that was there before
        self.start_panel()

    def _is_managed(self) -> bool:
        ask = ["xprop", "-display", self.display, "-root", "_NET_SUPPORTING_WM_CHECK"]
        return b"window id" in subprocess.run(ask, capture_output=True).stdout

    def start_panel(self) -> None:
        environ = {"PATH": "/usr/bin:/bin", "DISPLAY": self.display}
        self._parts.append(Part(TRAYER, environ, self._folder))
        wait("a panel", lambda: BAR in self.screen.windows("--name", "^panel$").values())

    def stop(self) -> None:
        for part in reversed(self._parts):
            part.stop()

    def colour(self) -> Colour | None:
        """That of the icon; None: there is none."""
        icons = tray_icons(self.screen.pixels(), BAR)
        return icons[0].colour if icons else None

    def wait_for(self, colour: Colour | None, seconds: float = SECONDS) -> None:
        wait(f"the icon is {colour}", lambda: self.colour() is colour, seconds)

    def open_menu(self) -> Box:
        """Right-clicks the icon; whatever else pops up is not as high."""
        [icon] = tray_icons(self.screen.pixels(), BAR)
        before = self._popped_up()
        self.screen.click(icon.box, 3)

        def menu() -> Box | None:
            new = [box for box in self._popped_up() if box not in before]
            return next((box for box in new if height(box) > 8 * LINE), None)

        return wait("a menu", menu)

    def balloon(self) -> Box:
        return wait("a balloon", lambda: next(iter(self._popped_up()), None))

    def click(self, menu: Box, below: int) -> None:
        middle = menu.top + below
        self.screen.click(Box(menu.left, middle, menu.left + 200, middle), 1)

    def picture(self, name: str) -> None:
        self.screen.pixels().save(self._folder / f"{name}.png")

    def _popped_up(self) -> list[Box]:
        """Windows that are neither the screen nor in the panel nor beside it."""
        found = self.screen.windows("--name", ".*").values()
        return [b for b in found if b.right <= SIZE[0] and b.top < BAR.top and height(b) < SIZE[1]]


def height(box: Box) -> int:
    return box.bottom - box.top


def wait(what: str, condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return value


@pytest.fixture
def taskbar(tmp_path: Path) -> Iterator[Taskbar]:
    taskbar = Taskbar(tmp_path)
    yield taskbar
    taskbar.picture("at-the-end")
    taskbar.stop()


@pytest.fixture
def windows(lab: WindowsLab, tmp_path: Path, taskbar: Taskbar) -> Iterator[WindowsMachine]:
    machine = WindowsMachine(lab, tmp_path / "machine")
    machine.wine.session["DISPLAY"] = taskbar.display
    with machine:
        yield machine


@pytest.fixture
def prefix(windows: WindowsMachine) -> Path:
    prefix = windows.conda_environment("tf", kind="toy")
    shelf = windows.home / "shelf"
    toy_wheel(shelf, "1.26.4", gpu=False, name="numpy")  # a repair holds it below 2
    windows.extra["PIP_FIND_LINKS"] += f" {windows.to_windows(shelf)}"
    return prefix


def test_pip_breaks_it_and_the_menu_repairs_it(
    windows: WindowsMachine, prefix: Path, taskbar: Taskbar
) -> None:
    with Watching(windows) as watcher:
        watcher.wait_for_event("tray", "the icon is in the panel")
        watcher.wait_for_event("found", "ok")
        taskbar.wait_for(Colour.GREEN)
        taskbar.picture("1-green")

        windows.pip(prefix, "install", "-q", "-U", "tensorflow==2.12.0")
        watcher.wait_for_event("transition", "→ broken")
        taskbar.wait_for(Colour.RED)
        taskbar.balloon()
        taskbar.picture("2-balloon")

        menu = taskbar.open_menu()
        taskbar.picture("3-menu")
        taskbar.click(menu, REPAIR)
        taskbar.wait_for(Colour.BLUE)  # it is at work
        watcher.wait_for_event("transition", "→ ok", seconds=180)
        taskbar.wait_for(Colour.GREEN)
        taskbar.picture("4-repaired")
    assert windows.check(prefix).json["verdict"] == "ok"


def test_the_icon_comes_with_the_panel_and_goes_with_the_program(
    windows: WindowsMachine, taskbar: Taskbar
) -> None:
    with Watching(windows) as watcher:
        watcher.wait_for_event("tray", "the icon is in the panel")
        wait("an icon", taskbar.colour)
        start = time.monotonic()
        windows.run("taskkill", "/im", "python.exe")
        assert watcher.wait_for_end() == 0
        assert time.monotonic() - start < STOPS
        taskbar.wait_for(None, 5)


def test_a_repair_goes_on_when_the_tray_ends(
    windows: WindowsMachine, prefix: Path, taskbar: Taskbar
) -> None:
    with Watching(windows) as watcher:
        watcher.wait_for_event("found", "ok")
        windows.pip(prefix, "install", "-q", "-U", "tensorflow==2.12.0")
        taskbar.wait_for(Colour.RED)
        taskbar.click(taskbar.open_menu(), REPAIR)
        taskbar.wait_for(Colour.BLUE)
        windows.run("taskkill", "/im", "python.exe")
        assert watcher.wait_for_end() == 0
    ended = next((watcher.data / "logs").glob("repair-tf-*.json"))
    wait("the repair ends", lambda: ended.read_bytes().rstrip().endswith(b"}"), 120)
    assert json.loads(ended.read_bytes())["state"] == "done"


def test_an_editor_stays_open_when_the_program_ends(
    windows: WindowsMachine, taskbar: Taskbar
) -> None:
    with Watching(windows) as watcher:
        wait("an icon", taskbar.colour)
        menu = taskbar.open_menu()
        taskbar.click(menu, height(menu) - 2 * LINE)  # Open configuration
        editor = ("--name", "config.toml")
        wait("an editor", lambda: taskbar.screen.windows(*editor))
        taskbar.picture("editor")
        menu = taskbar.open_menu()
        taskbar.click(menu, height(menu) - LINE)  # Quit
        assert watcher.wait_for_end(STOPS + 1) == 0
        assert taskbar.screen.windows(*editor)
