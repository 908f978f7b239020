"""Runs a program as administrator, after Windows asked the person at the screen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Elevated:
    """How it ended. With neither a code nor an error the person said no."""

    code: int | None = None  # exit status
    error: str | None = None  # why it could not be run to its end

    @property
    def declined(self) -> bool:
        return self.code is None and self.error is None


class Elevate(Protocol):
    def __call__(self, program: str, arguments: Sequence[str], *, deadline: float) -> Elevated: ...


def run_elevated(program: str, arguments: Sequence[str], *, deadline: float) -> Elevated:
    """Run *program* as administrator in a window of its own, for at most *deadline* seconds.

    Nothing of ours runs with those rights. Whose they are is up to the person, who may give the
    name of another account: what the program leaves to its user is then that account's.
    https://learn.microsoft.com/windows/win32/api/shellapi/nf-shellapi-shellexecuteexw
    """
    if sys.platform != "win32":
        return Elevated(error="only Windows asks for an administrator's consent in this way")
    import ctypes
    from ctypes import wintypes

    class Execution(ctypes.Structure):
        _fields_ = (
            ("cbSize", wintypes.DWORD),
            ("fMask", ctypes.c_ulong),
            ("hwnd", wintypes.HWND),
            ("lpVerb", wintypes.LPCWSTR),
            ("lpFile", wintypes.LPCWSTR),
            ("lpParameters", wintypes.LPCWSTR),
            ("lpDirectory", wintypes.LPCWSTR),
            ("nShow", ctypes.c_int),
            ("hInstApp", wintypes.HINSTANCE),
            ("lpIDList", ctypes.c_void_p),
            ("lpClass", wintypes.LPCWSTR),
            ("hkeyClass", wintypes.HKEY),
            ("dwHotKey", wintypes.DWORD),
            ("hIcon", wintypes.HANDLE),
            ("hProcess", wintypes.HANDLE),
        )

    close_later, no_dialog, in_this_thread = 0x40, 0x400, 0x100  # SEE_MASK_…
    cancelled, still_waiting, show = 1223, 0x102, 1
    shell = ctypes.WinDLL("shell32", use_last_error=True)
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    kernel.GetExitCodeProcess.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
    kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    execution = Execution(
        cbSize=ctypes.sizeof(Execution),
        fMask=close_later | no_dialog | in_this_thread,
        lpVerb="runas",
        lpFile=program,
        lpParameters=subprocess.list2cmdline(arguments),
        nShow=show,
    )
    if not shell.ShellExecuteExW(ctypes.byref(execution)):
        error = ctypes.get_last_error()
        if error == cancelled:
            return Elevated()
        return Elevated(error=f"{program} could not be started: {ctypes.FormatError(error)}")
    if not execution.hProcess:
        return Elevated(error=f"Windows started {program} and does not say how it ended")
    try:
        if kernel.WaitForSingleObject(execution.hProcess, int(deadline * 1000)) == still_waiting:
            return Elevated(error=f"{program} still runs after {deadline / 60:.0f} min")
        code = wintypes.DWORD()
        kernel.GetExitCodeProcess(execution.hProcess, ctypes.byref(code))
        return Elevated(code.value)
    finally:
        kernel.CloseHandle(execution.hProcess)
