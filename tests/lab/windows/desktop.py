"""The screen of a Windows machine: its taskbar's icons, their menus and balloons."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from PIL import Image

from tests.lab.desktop.parts import Part, start_display, start_window_manager
from tests.lab.desktop.picture import Box, Colour, TrayIcon, keep, tray_icons
from tests.lab.desktop.screen import SIZE, Screen
from tests.lab.desktop.session import DesktopError

__all__ = ["MenuEntry", "WindowsDesktop"]

T = TypeVar("T")

SECONDS = 20  # of patience
PACKAGES = {
    "Xvfb": "xvfb",
    "openbox": "openbox",
    "trayer": "trayer",
    "xdotool": "xdotool",
    "setpriv": "util-linux",
}
EXPLORER = "^explorer.exe$"  # which draws balloons and hints

#: Wine's icons dock into a tray of X11; trayer is nothing but one. Its end is left blank.
TRAYER = (
    *("trayer", "--edge", "top", "--align", "left", "--widthtype", "pixel", "--width", "200"),
    *("--height", "26", "--transparent", "false", "--distance", "0", "--margin", "0"),
)


@dataclass(frozen=True)
class MenuEntry:
    """An entry of the open menu; a separator has no text, a closed menu's entries no box."""

    text: str | None
    enabled: bool
    checked: bool
    default: bool
    box: Box | None
    entries: tuple[MenuEntry, ...]


class WindowsDesktop:
    """A context manager, in which the machine is: `WindowsMachine(lab, folder, desktop)`."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._screen: Screen | None = None
        self._menu = Path()
        self.folder = Path()
        self.display = ""

    @staticmethod
    def missing() -> str | None:
        """Why this machine cannot show a desktop, in one line; None when it can."""
        lacking = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
        return f"the desktop needs: apt-get install {' '.join(lacking)}" if lacking else None

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="windows-desktop-"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, DesktopError):  # which took its own
            self.screenshot("failure")
        self._end()

    def _start(self) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        size = f"{SIZE[0]}x{SIZE[1]}x24"
        server, self.display = start_display(environ, self.folder, size)
        self._parts.append(server)
        environ["DISPLAY"] = self.display
        self._screen = Screen(self.display, environ)
        self._parts.append(start_window_manager(environ, self.folder))
        self._parts.append(Part(TRAYER, environ, self.folder))
        self.tray_area()

    def _end(self) -> None:
        for part in reversed(self._parts):
            part.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def watch(self, home: Path) -> None:
        """Reads the menus of programs of the user with that home folder on the machine."""
        self._menu = home / "Temp" / "lab-menu.json"

    # eyes

    @property
    def screen(self) -> Screen:
        if self._screen is None:
            raise DesktopError("the desktop has not started")
        return self._screen

    def pixels(self) -> Image.Image:
        return self.screen.pixels()

    def screenshot(self, name: str) -> Path:
        """Keeps a picture of the screen (`picture.keep`)."""
        return keep(self.pixels(), f"windows-{name}")

    def tray_area(self) -> Box:
        shown = self._wait("the tray is shown", lambda: self.screen.windows("--class", "^trayer$"))
        return next(iter(shown.values()))

    def icons(self) -> tuple[TrayIcon, ...]:
        return tray_icons(self.pixels(), self.tray_area())

    def wait_for_icon(self, colour: Colour | None = None, seconds: float = SECONDS) -> TrayIcon:
        """The first icon of this colour, or any; one counts when two pictures show the same."""
        last: TrayIcon | None = None

        def look() -> TrayIcon | None:
            nonlocal last
            fitting = (icon for icon in self.icons() if colour in (None, icon.colour))
            before, last = last, next(fitting, None)
            return last if last == before else None

        return self._wait(f"an icon ({colour or 'any'}) is in the tray", look, seconds)

    def wait_for_no_icon(self, seconds: float = SECONDS) -> None:
        self._wait("the tray is empty", lambda: not self.icons(), seconds)

    def balloons(self) -> tuple[Box, ...]:
        """Balloons, and hints that the mouse brought up, which are on the screen."""
        windows = self.screen.windows("--class", EXPLORER).values()
        tray = self.tray_area()  # whose icons are windows of the same program
        return tuple(box for box in windows if box.bottom > tray.bottom)

    def wait_for_balloon(self, seconds: float = SECONDS) -> Box:
        return self._wait("a balloon is shown", self.balloons, seconds)[0]

    # hands

    def click_icon(self, button: int = 1) -> None:
        """1 is the left button, 3 the right one."""
        self.screen.click(self.wait_for_icon().box, button)

    def open_menu(self) -> tuple[MenuEntry, ...]:
        """Opens the icon's menu with the right button; what it holds."""
        self.click_icon(3)
        return self._wait("a menu is open", self._shown)

    def menu_items(self) -> tuple[MenuEntry, ...]:
        """What the open menu holds; nothing where none is open."""
        try:
            return _entries(json.loads(self._menu.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ()

    def click_menu(self, *labels: str) -> None:
        """Chooses an entry by mouse; several labels lead through submenus.

        Opens the menu unless it is open. Raises LookupError where there is no such entry or it is
        disabled.
        """
        if not self.menu_items():
            self.open_menu()
        for depth in range(1, len(labels)):
            self.screen.point(self._reach(labels[:depth]))  # which opens its submenu
        box = self._reach(labels)
        self.screen.point(box)
        self.screen.click(box, 1)
        self._wait("the menu closes", lambda: not self.menu_items())

    def close_menu(self) -> None:
        """Clicks beside it."""
        if self.menu_items():
            self.screen.click(Box(SIZE[0] - 40, SIZE[1] - 40, SIZE[0], SIZE[1]), 1)
            self._wait("the menu closes", lambda: not self.menu_items())

    def _shown(self) -> tuple[MenuEntry, ...] | None:
        entries = self.menu_items()
        return entries if any(entry.box for entry in entries) else None

    def _reach(self, labels: tuple[str, ...]) -> Box:
        return self._wait(f"{labels} is on the screen", lambda: self._box(labels))

    def _box(self, labels: tuple[str, ...]) -> Box | None:
        entries = self.menu_items()
        entry = None
        for label in labels:
            entry = next((one for one in entries if one.text == label), None)
            if entry is None or not entry.enabled:
                self.close_menu()
                raise LookupError(f"{labels}: no such entry, or it is disabled, in {entries}")
            entries = entry.entries
        return entry.box if entry is not None else None

    def _wait(self, what: str, condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
        end = time.monotonic() + seconds
        while True:
            if value := condition():
                return value
            dead = [part.said() for part in self._parts if not part.alive]
            if dead or time.monotonic() > end:
                why = "\n".join(dead) or f"not within {seconds:g} s"
                raise DesktopError(f"{what}: {why}\nscreen: {self.screenshot('failure')}")
            time.sleep(0.02)


def _entries(told: list[Mapping[str, Any]]) -> tuple[MenuEntry, ...]:
    return tuple(
        MenuEntry(
            text=one["text"],
            enabled=one["enabled"],
            checked=one["checked"],
            default=one["default"],
            box=Box(*one["box"]) if one["box"] else None,
            entries=_entries(one["entries"]),
        )
        for one in told
    )
