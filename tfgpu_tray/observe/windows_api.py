"""Windows itself, asked through its own functions and without starting anything."""

from __future__ import annotations

import ctypes
import os
import sys
import winreg
from ctypes import wintypes
from functools import cache
from pathlib import Path

from tfgpu_tray.observe.windows import RegistryValue, Windows

assert sys.platform == "win32"  # nothing below exists elsewhere

ROOTS = {"HKLM": winreg.HKEY_LOCAL_MACHINE, "HKCU": winreg.HKEY_CURRENT_USER}
READ = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
TEXTS = (winreg.REG_SZ, winreg.REG_EXPAND_SZ)

# Loaded here once, with prototypes of their own: `ctypes.windll` is shared with other modules.
KERNEL, NT = ctypes.WinDLL("kernel32"), ctypes.WinDLL("ntdll")
DEVICES, VERSIONS = ctypes.WinDLL("cfgmgr32"), ctypes.WinDLL("version")
KERNEL.GetEnabledXStateFeatures.restype = ctypes.c_uint64

PF_AVX_INSTRUCTIONS_AVAILABLE = 39
XSTATE_MASK_AVX = 1 << 2
ARCHITECTURES = {0: "x86", 9: "x86_64", 12: "arm64"}  # PROCESSOR_ARCHITECTURE_…
CR_NO_SUCH_DEVNODE = 13


@cache
def this_windows() -> Windows:
    """That of this machine."""
    buffer = ctypes.create_unicode_buffer(260)
    KERNEL.GetSystemDirectoryW(buffer, len(buffer))
    program_files = os.environ.get("PROGRAMW6432") or os.environ.get("PROGRAMFILES")
    return Windows(
        registry=LocalRegistry(),
        calls=LocalCalls(),
        system32=Path(buffer.value or r"C:\Windows\System32"),
        program_files=Path(program_files or r"C:\Program Files"),
    )


class LocalRegistry:
    def value(self, key: str, name: str) -> RegistryValue | None:
        try:
            with _opened(key) as opened:
                value, kind = winreg.QueryValueEx(opened, name)
        except FileNotFoundError:
            return None
        if kind in TEXTS:
            return str(value)
        if kind == winreg.REG_MULTI_SZ:
            return tuple(value or ())
        return value if isinstance(value, int | bytes) else b""

    def keys(self, key: str) -> tuple[str, ...] | None:
        try:
            with _opened(key) as opened:
                count = winreg.QueryInfoKey(opened)[0]
                return tuple(winreg.EnumKey(opened, index) for index in range(count))
        except FileNotFoundError:
            return None


def _opened(key: str) -> winreg.HKEYType:
    root, _, path = key.partition("\\")
    return winreg.OpenKey(ROOTS[root], path, 0, READ)


class _OsVersion(ctypes.Structure):
    _fields_ = (
        ("size", wintypes.DWORD),
        ("major", wintypes.DWORD),
        ("minor", wintypes.DWORD),
        ("build", wintypes.DWORD),
        ("platform", wintypes.DWORD),
        ("service_pack", wintypes.WCHAR * 128),
    )


class _SystemInfo(ctypes.Structure):
    _fields_ = (
        ("architecture", wintypes.WORD),
        ("rest", ctypes.c_byte * 62),  # of 36 or 48 bytes, by the width of pointers
    )


class LocalCalls:
    def build(self) -> int:
        version = _OsVersion(size=ctypes.sizeof(_OsVersion))
        NT.RtlGetVersion(ctypes.byref(version))
        return int(version.build)

    def architecture(self) -> str:
        info = _SystemInfo()
        KERNEL.GetNativeSystemInfo(ctypes.byref(info))
        return ARCHITECTURES.get(info.architecture, f"architecture {info.architecture}")

    def avx(self) -> bool:
        if KERNEL.IsProcessorFeaturePresent(PF_AVX_INSTRUCTIONS_AVAILABLE):
            return True
        # Windows 10 before 2004 does not know that number and answers no to it.
        return bool(KERNEL.GetEnabledXStateFeatures() & XSTATE_MASK_AVX)

    def absent(self, device: str) -> bool:
        node = wintypes.DWORD()
        answer = DEVICES.CM_Locate_DevNodeW(ctypes.byref(node), ctypes.c_wchar_p(device), 0)
        return bool(answer == CR_NO_SUCH_DEVNODE)

    def file_version(self, path: Path) -> str | None:
        name = ctypes.c_wchar_p(str(path))
        size = VERSIONS.GetFileVersionInfoSizeW(name, None)
        if not size:
            return None
        block = ctypes.create_string_buffer(size)
        found, length = ctypes.c_void_p(), wintypes.UINT()
        if not VERSIONS.GetFileVersionInfoW(name, 0, size, block) or not VERSIONS.VerQueryValueW(
            block, ctypes.c_wchar_p("\\"), ctypes.byref(found), ctypes.byref(length)
        ):
            return None
        # VS_FIXEDFILEINFO: signature, structure version, then the two halves of the file's
        words = ctypes.cast(found, ctypes.POINTER(wintypes.DWORD))
        high, low = words[2], words[3]
        return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"
