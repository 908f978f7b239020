"""Whether the panel is dark, as far as the desktop tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

DARK_PANELS = frozenset({"gnome", "ubuntu", "unity", "pantheon"})  # whatever the theme
PREFERS_DARK = 1  # org.freedesktop.appearance color-scheme


async def panel_is_dark(environ: Mapping[str, str]) -> bool:
    if sys.platform == "win32":
        return _windows_taskbar_is_dark()
    desktops = environ.get("XDG_CURRENT_DESKTOP", "").lower().split(":")
    return bool(DARK_PANELS.intersection(desktops)) or await _prefers_dark()


async def _prefers_dark() -> bool:
    """The portal's word (org.freedesktop.portal.Settings); False when there is none."""
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

    try:
        bus = await asyncio.wait_for(MessageBus().connect(), 2)
    except Exception:
        return False
    try:
        asked = Message(
            destination="org.freedesktop.portal.Desktop",
            path="/org/freedesktop/portal/desktop",
            interface="org.freedesktop.portal.Settings",
            member="Read",
            signature="ss",
            body=["org.freedesktop.appearance", "color-scheme"],
        )
        answer = await asyncio.wait_for(bus.call(asked), 2)
        value: Any = answer.body[0] if answer is not None and answer.body else None
        while hasattr(value, "value"):  # Read wraps its answer in a variant twice
            value = value.value
        return bool(value == PREFERS_DARK)
    except (TimeoutError, OSError, EOFError):
        return False
    finally:
        bus.disconnect()


def _windows_taskbar_is_dark() -> bool:
    """Missing before Windows 10 1903, which is light."""
    if sys.platform != "win32":
        return False
    import winreg

    place = r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"
    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, place) as key:
            return bool(winreg.QueryValueEx(key, "SystemUsesLightTheme")[0] == 0)
    except OSError:
        return False
