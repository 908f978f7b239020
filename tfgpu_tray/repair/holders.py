"""Who keeps files of an environment from being replaced: on Windows a loaded DLL cannot be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tfgpu_tray.observe.layout import WINDOWS, names_in
from tfgpu_tray.observe.processes import Process, users_of_tensorflow

# What every program that uses TensorFlow has loaded, and what a GPU adds.
TENSORFLOW = "_pywrap_tensorflow_internal.pyd"
CUDA = re.compile(r"^(cu(dart|blas|blaslt|fft|rand|solver|sparse|dnn)|nvrtc)\S*64_\S*\.dll$", re.I)
_QUOTED_PATH = re.compile(r"'([A-Za-z]:\\[^']+)'")


@dataclass(frozen=True, slots=True)
class Unnamed(Process):
    """Somebody holds a file, and nothing says who."""

    def __str__(self) -> str:
        return f"a program that Windows does not name, which holds {self.command},"


def users(prefix: Path) -> list[Process]:
    """Programs under which nothing of TensorFlow in *prefix* can be replaced."""
    found = users_of_tensorflow(prefix)
    if found or sys.platform != "win32":
        return found
    held = held_files(vital_files(prefix))
    return holders(held) or [Unnamed(0, path) for path in held[:1]]


def vital_files(prefix: Path) -> Iterator[str]:
    """The files of TensorFlow and CUDA in *prefix* that a program loads."""
    site = prefix / "Lib" / "site-packages"
    yield str(site / "tensorflow" / "python" / TENSORFLOW)
    wheels = [site / "nvidia" / name / "bin" for name in names_in(site / "nvidia")]
    for folder in (prefix, prefix / "Library" / "bin", *wheels):
        yield from (str(folder / name) for name in names_in(folder) if CUDA.match(name))


def holders(paths: Iterable[str]) -> list[Process]:
    """The programs that hold any of *paths*, as far as they can be told."""
    wanted = list(paths)
    return (_by_restart_manager(wanted) or _by_looking(wanted)) if wanted else []


def told_by(message: str) -> str:
    """What holds the file that a package manager's *message* complains of; empty if unknown."""
    found = holders(held_files(named_in(message)))
    return f"; {found[0]} holds it, close that and repair again" if found else ""


def named_in(message: str) -> list[str]:
    """The paths that *message* quotes; pip writes every backslash twice."""
    return [path.replace("\\\\", "\\") for path in _QUOTED_PATH.findall(message)]


def _by_looking(paths: list[str]) -> list[Process]:
    """From what each process has loaded; only one's own processes can be asked."""
    wanted = {WINDOWS.rules.normcase(path) for path in paths}
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid == os.getpid():
            continue
        try:
            loaded = {WINDOWS.rules.normcase(m.path) for m in process.memory_maps(grouped=True)}
        except (psutil.Error, OSError):
            continue
        if wanted & loaded:
            found.append(Process(process.pid, " ".join(process.info["cmdline"] or [])[:200]))
    return found


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    GENERIC_WRITE, SHARE_ALL, OPEN_EXISTING = 0x40000000, 7, 3
    ERROR_SHARING_VIOLATION, ERROR_MORE_DATA = 32, 234
    INVALID_HANDLE = ctypes.c_void_p(-1).value

    class _ProcessInfo(ctypes.Structure):
        """RM_PROCESS_INFO of restartmanager.h."""

        _fields_ = (
            ("pid", wintypes.DWORD),
            ("started", wintypes.FILETIME),
            ("name", wintypes.WCHAR * 256),
            ("service", wintypes.WCHAR * 64),
            ("kind", ctypes.c_int),
            ("status", wintypes.ULONG),
            ("session", wintypes.DWORD),
            ("restartable", wintypes.BOOL),
        )

    def held_files(paths: Iterable[str]) -> list[str]:
        """Those of *paths* that nobody may write to now, because a program has them loaded."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateFileW.restype = wintypes.HANDLE
        kernel.CreateFileW.argtypes = (
            *(wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, wintypes.LPVOID),
            *(wintypes.DWORD, wintypes.DWORD, wintypes.HANDLE),
        )
        kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
        found = []
        for path in paths:
            handle = kernel.CreateFileW(
                path, GENERIC_WRITE, SHARE_ALL, None, OPEN_EXISTING, 0, None
            )
            if handle != INVALID_HANDLE:
                kernel.CloseHandle(handle)
            elif ctypes.get_last_error() == ERROR_SHARING_VIOLATION:
                found.append(path)
        return found

    def _by_restart_manager(paths: list[str]) -> list[Process]:
        """From Windows' own service for installers; empty where it does not answer."""
        try:
            manager = ctypes.WinDLL("rstrtmgr")
            session, key = wintypes.DWORD(), ctypes.create_unicode_buffer(33)
            if manager.RmStartSession(ctypes.byref(session), 0, key):
                return []
            try:
                return [_named(info) for info in _listed(manager, session, paths)]
            finally:
                manager.RmEndSession(session)
        except (OSError, AttributeError):  # there is no such service
            return []

    def _listed(
        manager: ctypes.WinDLL, session: wintypes.DWORD, paths: list[str]
    ) -> list[_ProcessInfo]:
        files = (wintypes.LPCWSTR * len(paths))(*paths)
        if manager.RmRegisterResources(session, len(paths), files, 0, None, 0, None):
            return []
        room = 8
        for _ in range(4):  # programs come and go between two calls
            needed, count = wintypes.UINT(), wintypes.UINT(room)
            found, reasons = (_ProcessInfo * room)(), wintypes.DWORD()
            code = manager.RmGetList(
                session,
                ctypes.byref(needed),
                ctypes.byref(count),
                found,
                ctypes.byref(reasons),
            )
            if code != ERROR_MORE_DATA:
                return [] if code else list(found[: count.value])
            room = needed.value + 4
        return []

    def _named(info: _ProcessInfo) -> Process:
        try:
            words = psutil.Process(info.pid).cmdline()
        except (psutil.Error, OSError):
            words = []
        return Process(info.pid, " ".join(words)[:200] or info.name)

else:

    def held_files(paths: Iterable[str]) -> list[str]:
        """Elsewhere a file that is in use can be replaced."""
        return []

    def _by_restart_manager(paths: list[str]) -> list[Process]:
        return []
