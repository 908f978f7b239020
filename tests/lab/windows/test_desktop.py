"""The screen of a Windows machine shows pystray's icon, and its mouse really acts."""

from __future__ import annotations

import pytest

from tests.lab.desktop import Colour
from tests.lab.windows.desktop import WindowsDesktop
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.tool import PYTHON

PROGRAM = """
import sys, pystray
from PIL import Image
from pystray import Menu, MenuItem

def painted(colour):
    return Image.new("RGBA", (64, 64), colour)

def paint(colour):
    return lambda icon, _: setattr(icon, "icon", painted(colour))

menu = Menu(
    MenuItem("Red", paint("#cf222e"), default=True),
    MenuItem("Not now", lambda: None, enabled=False),
    Menu.SEPARATOR,
    MenuItem("More", Menu(MenuItem("Grey", paint("#828b96")), MenuItem("Blue", paint("#0969da")))),
    MenuItem("Tell", lambda icon, _: icon.notify("The GPU is visible again", "tfgpu")),
    MenuItem("Quit", lambda icon, _: icon.stop()),
)
pystray.Icon("lab", painted("#1a7f37"), "a hint", menu).run()
"""


def test_icon_menu_and_balloon(
    desktop: WindowsDesktop, windows_with_screen: WindowsMachine
) -> None:
    process = windows_with_screen.start(rf"{PYTHON}\python.exe", "-c", PROGRAM)
    try:
        desktop.wait_for_icon(Colour.GREEN)

        desktop.open_menu()
        shown = [(one.text, one.enabled, one.default) for one in desktop.menu_items()]
        assert shown == [
            ("Red", True, True),
            ("Not now", False, False),
            (None, True, False),
            ("More", True, False),
            ("Tell", True, False),
            ("Quit", True, False),
        ]
        desktop.screenshot("menu")
        with pytest.raises(LookupError, match="disabled"):
            desktop.click_menu("Not now")
        assert not desktop.menu_items()

        desktop.click_menu("More", "Blue")
        desktop.wait_for_icon(Colour.BLUE)
        desktop.click_icon(1)
        desktop.wait_for_icon(Colour.RED)

        assert not desktop.balloons()
        desktop.click_menu("Tell")
        desktop.wait_for_balloon()
        desktop.screenshot("balloon")

        desktop.click_menu("Quit")
        _, errors = process.communicate(b"", timeout=20)
        assert process.returncode == 0, errors.decode()
        desktop.wait_for_no_icon()
    finally:
        process.kill()
        process.communicate()
