"""A virtual desktop: a real panel and a real notification daemon on a screen nobody sees.

It is what a person on XFCE has: an X server, a session bus, openbox, xfce4-panel with its tray,
dunst. Tests look at the pictures, operate the mouse and the keyboard, and hear what is said on the
session bus; nothing in here knows the program under test.
"""

from tests.lab.desktop.bus import GONE, REPLACED, Notification
from tests.lab.desktop.desktop import Desktop
from tests.lab.desktop.menu import MenuEntry
from tests.lab.desktop.picture import Box, Colour, TrayIcon
from tests.lab.desktop.session import DesktopError

__all__ = [
    "GONE",
    "REPLACED",
    "Box",
    "Colour",
    "Desktop",
    "DesktopError",
    "MenuEntry",
    "Notification",
    "TrayIcon",
]
