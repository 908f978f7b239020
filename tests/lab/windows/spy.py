"""Tells tests what the open menu of pystray's icon holds; runs inside the program with the icon.

Windows has no D-Bus to ask another program for its menu. While one is open its entries, and where
each is on the screen, stand in %TEMP%\\lab-menu.json. The lab's pystray calls `watch` with its
wrappers of Windows' functions when it is imported; nothing that they do is changed.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from typing import Any

if sys.platform == "win32":
    from ctypes import wintypes

    SECONDS = 0.05  # between two looks
    MENU_WINDOWS, MN_GETHMENU = "#32768", 0x01E1  # their class, and what they show

    def watch(win32: dict[str, Any]) -> None:
        """Replaces three functions in the namespace of pystray._util.win32."""
        create, insert, track = (
            win32[name] for name in ("CreatePopupMenu", "InsertMenuItem", "TrackPopupMenuEx")
        )
        menus: dict[int, list[tuple[Any, int, int]]] = {}  # text, state, submenu

        def spied_create() -> Any:
            menu = create()
            menus[menu] = []
            return menu

        def spied_insert(menu: Any, place: int, by_position: Any, item: Any) -> Any:
            fields = item._obj
            separator = bool(fields.fType & win32["MFT_SEPARATOR"])
            text = None if separator else str(fields.dwTypeData)
            menus[menu].insert(place, (text, fields.fState, fields.hSubMenu))
            return insert(menu, place, by_position, item)

        def described(menu: Any) -> list[dict[str, Any]]:
            return [
                {
                    "text": text,
                    "enabled": not state & win32["MFS_DISABLED"],
                    "checked": bool(state & win32["MFS_CHECKED"]),
                    "default": bool(state & win32["MFS_DEFAULT"]),
                    "box": _box(menu, place),
                    "entries": described(submenu) if submenu else [],
                }
                for place, (text, state, submenu) in enumerate(menus[menu])
            ]

        def tell(menu: Any, ended: threading.Event) -> None:
            path = os.path.join(os.environ["TEMP"], "lab-menu.json")
            while not ended.wait(SECONDS):
                with open(f"{path}.new", "w", encoding="utf-8") as file:
                    json.dump(described(menu), file)
                os.replace(f"{path}.new", path)
            if os.path.exists(path):
                os.unlink(path)

        def spied_track(menu: Any, *arguments: Any) -> Any:
            ended = threading.Event()
            teller = threading.Thread(target=tell, args=(menu, ended), daemon=True)
            teller.start()
            try:
                return track(menu, *arguments)
            finally:
                ended.set()
                teller.join()

        win32.update(
            CreatePopupMenu=spied_create,
            InsertMenuItem=spied_insert,
            TrackPopupMenuEx=spied_track,
        )

    def _box(menu: Any, place: int) -> list[int] | None:
        """Where the entry is on the screen; None while its menu is closed."""
        if menu not in _shown():  # a window that is being opened is not yet where it will be
            return None
        rectangle = ctypes.windll.user32.GetMenuItemRect
        rectangle.argtypes = (wintypes.HWND, wintypes.HMENU, wintypes.UINT, ctypes.c_void_p)
        found = wintypes.RECT()
        if not rectangle(None, menu, place, ctypes.byref(found)) or found.right <= found.left:
            return None
        return [found.left, found.top, found.right, found.bottom]

    def _shown() -> set[int]:
        """The menus whose windows are visible."""
        user32 = ctypes.windll.user32
        find, ask = user32.FindWindowExW, user32.SendMessageW
        find.argtypes = (wintypes.HWND, wintypes.HWND, wintypes.LPCWSTR, wintypes.LPCWSTR)
        find.restype = wintypes.HWND
        ask.argtypes = (wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM)
        ask.restype = wintypes.HMENU
        menus, window = set(), None
        while window := find(None, window, MENU_WINDOWS, None):
            if user32.IsWindowVisible(wintypes.HWND(window)):
                menus.add(ask(window, MN_GETHMENU, 0, 0))
        return menus
