"""A job object: what holds a process and everything it starts, so that all of it can be ended.

Windows keeps no process groups that a signal reaches, and a child whose parent has ended cannot be
found from it any more.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from ctypes import wintypes

assert sys.platform == "win32"  # nothing below exists elsewhere

CREATE_SUSPENDED = 0x00000004
_KILL_ON_JOB_CLOSE = 0x00002000
_EXTENDED_LIMIT_INFORMATION = 9
# A crash or a damaged DLL must end a child, not wait in a dialog for somebody to press OK.
_NO_DIALOGS = 0x0001 | 0x0002 | 0x8000


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
        ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_ulonglong * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateJobObjectW.restype = wintypes.HANDLE
_kernel.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
_kernel.SetInformationJobObject.argtypes = (
    *(wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD),
)
_kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
_kernel.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
_kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
_ntdll = ctypes.WinDLL("ntdll")
_ntdll.NtResumeProcess.argtypes = (wintypes.HANDLE,)


class Job:
    """Holds one process, started suspended, and all that it will start."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._handle = _kernel.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE  # also when we crash
        _kernel.SetInformationJobObject(
            self._handle,
            _EXTENDED_LIMIT_INFORMATION,
            ctypes.byref(limits),
            ctypes.sizeof(limits),
        )
        handle = wintypes.HANDLE(int(process._handle))  # type: ignore[attr-defined]
        _kernel.AssignProcessToJobObject(self._handle, handle)
        _ntdll.NtResumeProcess(handle)

    def end(self) -> None:
        """End everything in it; harmless when all are gone already."""
        if self._handle:
            _kernel.TerminateJobObject(self._handle, 1)
            _kernel.CloseHandle(self._handle)
            self._handle = None


def without_dialogs() -> None:
    """Children inherit this of us."""
    _kernel.SetErrorMode(_NO_DIALOGS)
