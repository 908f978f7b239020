"""What the tray asks of Windows itself: sizes, icons, messages, and who this program is."""

from __future__ import annotations

import ctypes
import sys
import winreg
from collections.abc import Sequence
from ctypes import wintypes
from pathlib import Path
from typing import Any

from tfgpu_tray.tray.notifier import NAME
from tfgpu_tray.tray.pixmap import Pixmap, icon_resource, nearest

assert sys.platform == "win32"  # nothing below exists elsewhere

SHOWN_NAME = "tfgpu-tray"
PER_MONITOR_V2 = -4  # DPI_AWARENESS_CONTEXT
PER_MONITOR = 2  # PROCESS_DPI_AWARENESS, before Windows 10 1703
SM_CXSMICON = 49
ICON_FORMAT = 0x00030000
TIMER = 1

user32 = ctypes.WinDLL("user32", use_last_error=True)
user32.CreateIconFromResourceEx.restype = wintypes.HICON
user32.CreateIconFromResourceEx.argtypes = (
    *(wintypes.LPCSTR, wintypes.DWORD, wintypes.BOOL, wintypes.DWORD),
    *(ctypes.c_int, ctypes.c_int, wintypes.UINT),
)
user32.FindWindowW.restype = wintypes.HWND
user32.FindWindowW.argtypes = (wintypes.LPCWSTR, wintypes.LPCWSTR)
user32.PostMessageW.argtypes = (wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM)
user32.SetTimer.restype = ctypes.c_size_t
user32.SetTimer.argtypes = (wintypes.HWND, ctypes.c_size_t, wintypes.UINT, ctypes.c_void_p)


def introduce() -> None:
    """To be called before any window is made: by then Windows has made up its mind."""
    ctypes.WinDLL("shell32").SetCurrentProcessExplicitAppUserModelID(ctypes.c_wchar_p(NAME))
    try:
        user32.SetProcessDpiAwarenessContext(ctypes.c_void_p(PER_MONITOR_V2))
    except AttributeError:
        try:
            ctypes.WinDLL("shcore").SetProcessDpiAwareness(PER_MONITOR)
        except (OSError, AttributeError):
            user32.SetProcessDPIAware()


def sign_notifications(picture: Path | None) -> None:
    """The name and the picture that Windows shows above notifications of this program."""
    key = rf"Software\Classes\AppUserModelId\{NAME}"
    with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as opened:
        winreg.SetValueEx(opened, "DisplayName", 0, winreg.REG_SZ, SHOWN_NAME)
        if picture is not None:
            winreg.SetValueEx(opened, "IconUri", 0, winreg.REG_SZ, str(picture))


class WindowsShell:
    def make_icon(self, pictures: Sequence[Pixmap]) -> int:
        size = icon_size()
        data = icon_resource(nearest(pictures, size))
        handle = user32.CreateIconFromResourceEx(data, len(data), True, ICON_FORMAT, size, size, 0)
        if not handle:
            raise ctypes.WinError(ctypes.get_last_error())
        return int(handle)

    def notify_icon(self, what: int, window: int, **fields: Any) -> bool:
        from pystray._util import win32

        data = win32.NOTIFYICONDATAW(hWnd=window, **fields)
        data.cbSize = ctypes.sizeof(data)
        return bool(win32.Shell_NotifyIcon(what, data))

    def post(self, window: int, message: int) -> None:
        user32.PostMessageW(window, message, 0, 0)

    def set_timer(self, window: int, seconds: float) -> None:
        user32.SetTimer(window, TIMER, int(1000 * seconds), None)


def icon_size() -> int:
    """Pixels of an icon in the taskbar, on the monitor where it is."""
    taskbar = user32.FindWindowW("Shell_TrayWnd", None)
    try:
        dots = user32.GetDpiForWindow(wintypes.HWND(taskbar)) if taskbar else 0
        size = user32.GetSystemMetricsForDpi(SM_CXSMICON, dots) if dots else 0
    except AttributeError:
        size = 0  # before Windows 10 1607
    return int(size or user32.GetSystemMetrics(SM_CXSMICON) or 16)
