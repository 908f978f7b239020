"""Whether the panel is dark, as far as the desktop tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

DARK_PANELS = frozenset({"gnome", "ubuntu", "unity", "pantheon"})  # whatever the theme
SECONDS = 2.0  # for the portal's answer; the icon waits for it
PREFERS_DARK = 1  # org.freedesktop.appearance color-scheme


async def panel_is_dark(environ: Mapping[str, str]) -> bool:
    if sys.platform == "win32":
        return _windows_taskbar_is_dark()
    desktops = environ.get("XDG_CURRENT_DESKTOP", "").lower().split(":")
    return bool(DARK_PANELS.intersection(desktops)) or await _prefers_dark()


async def _prefers_dark() -> bool:
    """The portal's word (org.freedesktop.portal.Settings); False when there is none."""
    from tfgpu_tray.tray.statusnotifier import NoBus, Peer, call, close, connect

    portal = Peer(
        "org.freedesktop.portal.Desktop",
        "/org/freedesktop/portal/desktop",
        "org.freedesktop.portal.Settings",
    )
    asked = ("org.freedesktop.appearance", "color-scheme")
    try:
        async with asyncio.timeout(SECONDS):
            bus = await connect()
            try:
                answer = await call(bus, portal, "Read", "ss", *asked)
            finally:
                await close(bus)
    except (NoBus, TimeoutError):
        return False
    value: Any = answer[0] if answer else None
    while hasattr(value, "value"):  # Read wraps its answer in a variant twice
        value = value.value
    return bool(value == PREFERS_DARK)


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
