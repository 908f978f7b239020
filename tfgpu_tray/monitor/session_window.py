"""The window that nobody sees, and the console's handler: both hand on to `Answers`."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from ctypes import wintypes

from tfgpu_tray.monitor.session import WM_CLOSE, Answers

assert sys.platform == "win32"  # nothing below exists elsewhere

CLASS = "tfgpu-tray session"
WM_APP = 0x8000  # here: close for good
READY = 5.0  # seconds in which a window is made
LRESULT = ctypes.c_ssize_t

log = logging.getLogger(__name__)
user32 = ctypes.WinDLL("user32", use_last_error=True)
kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
MESSAGE = (wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM)
Procedure = ctypes.WINFUNCTYPE(LRESULT, *MESSAGE)
ConsoleHandler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)


class _WindowClass(ctypes.Structure):
    _fields_ = (
        ("style", wintypes.UINT),
        ("procedure", Procedure),
        ("class_extra", ctypes.c_int),
        ("window_extra", ctypes.c_int),
        ("instance", wintypes.HINSTANCE),
        ("icon", wintypes.HICON),
        ("cursor", wintypes.HANDLE),
        ("background", wintypes.HBRUSH),
        ("menu", wintypes.LPCWSTR),
        ("name", wintypes.LPCWSTR),
    )


user32.DefWindowProcW.restype = LRESULT
user32.DefWindowProcW.argtypes = MESSAGE
user32.DestroyWindow.argtypes = (wintypes.HWND,)
user32.PostMessageW.argtypes = MESSAGE
user32.GetMessageW.argtypes = (
    ctypes.POINTER(wintypes.MSG),
    wintypes.HWND,
    wintypes.UINT,
    wintypes.UINT,
)
user32.CreateWindowExW.restype = wintypes.HWND
user32.CreateWindowExW.argtypes = (
    *(wintypes.DWORD, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    *(wintypes.HWND, wintypes.HMENU, wintypes.HINSTANCE, wintypes.LPVOID),
)
user32.UnregisterClassW.argtypes = (wintypes.LPCWSTR, wintypes.HINSTANCE)
kernel32.GetModuleHandleW.restype = wintypes.HMODULE
kernel32.GetModuleHandleW.argtypes = (wintypes.LPCWSTR,)


class SessionWindow:
    """Open until it is closed. Raises OSError when Windows gives no window."""

    def __init__(self, answers: Answers):
        self._answers = answers
        self._window: int | None = None
        self._error: OSError | None = None
        self._ready = threading.Event()
        # Both must live as long as Windows may call them.
        self._procedure = Procedure(self._message)
        self._handler = ConsoleHandler(answers.console)
        self._thread = threading.Thread(target=self._serve, name="session", daemon=True)
        self._thread.start()
        if not self._ready.wait(READY):
            raise TimeoutError("no window came up")
        if self._error is not None:
            raise self._error
        kernel32.SetConsoleCtrlHandler(self._handler, True)  # fails harmlessly without a console

    def close(self) -> None:
        kernel32.SetConsoleCtrlHandler(self._handler, False)
        user32.PostMessageW(self._window, WM_APP, 0, 0)
        self._thread.join(1.0)

    def _serve(self) -> None:
        """A window belongs to the thread that made it. Only a top-level one hears broadcasts."""
        instance = kernel32.GetModuleHandleW(None)
        kind = _WindowClass(procedure=self._procedure, instance=instance, name=CLASS)
        if user32.RegisterClassW(ctypes.byref(kind)):
            self._window = user32.CreateWindowExW(
                0, CLASS, CLASS, 0, 0, 0, 0, 0, None, None, instance, None
            )
        if self._window is None:
            self._error = ctypes.WinError(ctypes.get_last_error())
            self._ready.set()
            return
        self._ready.set()
        message = wintypes.MSG()
        while user32.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            user32.DispatchMessageW(ctypes.byref(message))
        user32.UnregisterClassW(CLASS, instance)

    def _message(self, window: int, number: int, word: int, long: int) -> int:
        if number == WM_APP:
            user32.DestroyWindow(window)
            user32.PostQuitMessage(0)
            return 0
        try:
            answer = self._answers.message(number, word)
        except Exception:
            log.exception("a message of the session")
            answer = 0 if number == WM_CLOSE else None
        if answer is not None:
            return answer
        return int(user32.DefWindowProcW(window, number, word, long))
