"""The X display: pictures of it, its windows, and a mouse and a keyboard."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from PIL import Image, ImageGrab

from tests.lab.desktop.picture import Box

SIZE = (1024, 768)
ASIDE = (SIZE[0] // 2, SIZE[1] - 20)  # where the pointer rests: over nothing
TRIES = 5  # at a list of windows during which none of them closes

# One window as `xdotool getwindowgeometry --shell` tells of it.
WINDOW = re.compile("WINDOW=(.+)\nX=(.+)\nY=(.+)\nWIDTH=(.+)\nHEIGHT=(.+)\n")


class Screen:
    def __init__(self, display: str, environ: Mapping[str, str]) -> None:
        self._display = display
        self._environ = environ

    def pixels(self) -> Image.Image:
        return ImageGrab.grab(xdisplay=self._display)

    def panels(self) -> list[Box]:
        return list(self.windows("--name", "^xfce4-panel$").values())

    def menus(self) -> list[Box]:
        """The tray's menus that are open."""
        windows = self.windows("--class", "^wrapper-2.0$")  # the panel runs its tray in this
        return [box for number, box in windows.items() if "_MENU" in self._kind(number)]

    def windows(self, *which: str) -> dict[str, Box]:
        """Visible windows by their number, without those too small to be seen."""
        search = ["search", "--onlyvisible", *which, "getwindowgeometry", "--shell", "%@"]
        for _ in range(TRIES):
            done = self._run("xdotool", *search)
            if "X Error" not in done.stderr:
                break
        found = {}
        for number, *values in WINDOW.findall(done.stdout):
            x, y, width, height = map(int, values)
            if width > 10 and height > 10:
                found[number] = Box(x, y, x + width, y + height)
        return found

    def click(self, box: Box, button: int) -> None:
        """Clicks the middle of *box*; then the pointer is where it shows no hints."""
        x, y = map(str, box.centre)
        aside = map(str, ASIDE)
        self._run("xdotool", "mousemove", x, y, "click", str(button), "mousemove", *aside)

    def point(self, box: Box) -> None:
        """Moves the pointer to the middle of *box*, and leaves it there."""
        self._run("xdotool", "mousemove", *map(str, box.centre))

    def press(self, *keys: str) -> None:
        self._run("xdotool", "key", "--delay", "20", *keys)

    def _kind(self, number: str) -> str:
        return self._run("xprop", "-id", number, "_NET_WM_WINDOW_TYPE").stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        # these tools fail where there is no such window, or no longer
        return subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=10
        )
