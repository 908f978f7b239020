"""Environments laid out as on Windows, on whatever system the tests run."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.fakes import record, write
from tfgpu_tray.model import Environment
from tfgpu_tray.observe.environments import describe
from tfgpu_tray.observe.layout import WINDOWS

AMD64, I386 = 0x8664, 0x014C


def conda(prefix: Path, version: str = "3.10.11") -> Path:
    write(prefix / "python.exe", b"MZ")
    write(prefix / "conda-meta" / "history")
    record(prefix, "python", version, "h0_0")
    return prefix


def venv(prefix: Path, home: str = r"C:\Python310", shared: str = "false") -> Path:
    write(prefix / "Scripts" / "python.exe", b"MZ")
    text = f"home = {home}\r\ninclude-system-site-packages = {shared}\r\nversion = 3.10.11\r\n"
    write(prefix / "pyvenv.cfg", text)
    return prefix


def seen(prefix: Path) -> Environment:
    found = describe(prefix, layout=WINDOWS)
    assert found is not None
    return found


def dll(path: Path, machine: int = AMD64) -> Path:
    """A file that starts like a DLL, which is all that a look at files asks."""
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    return write(path, head + b"PE\0\0" + struct.pack("<H", machine) + bytes(200))
