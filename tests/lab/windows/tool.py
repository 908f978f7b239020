"""The Windows Python that the tool runs on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.lab.clone import copy_tree
from tests.lab.wheels import download
from tests.lab.windows.wheels import PLATFORM, Site, resolve

__all__ = ["PYTHON", "build"]

#: Where it is on every machine.
PYTHON = r"C:\Program Files\Python311"

SPY = Path(__file__).with_name("spy.py")
PROJECT = Path(__file__).parents[3] / "pyproject.toml"

# Wine 8 does not answer the question by which psutil learns a process's program; an older one it
# does. Windows answers both, so this changes nothing but where psutil asks.
PSUTIL = '''

def _program_of(pid):
    """The lab's own: what Wine answers."""
    import ctypes
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(0x1000, False, pid)
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        name, size = ctypes.create_unicode_buffer(32768), ctypes.c_ulong(32768)
        arguments = (ctypes.c_void_p(handle), 0, name, ctypes.byref(size))
        if not kernel.QueryFullProcessImageNameW(*arguments):
            raise ctypes.WinError(ctypes.get_last_error())
        return name.value
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


cext.proc_exe = _program_of
'''


def build(folder: Path, python: Path) -> None:
    """Copies Python 3.11 and installs pip and what pyproject.toml says that the tool needs."""
    copy_tree(str(python), str(folder))
    site = Site(folder, rf"{PYTHON}\python.exe", "3.11")
    with tempfile.TemporaryDirectory() as shelf:
        download(resolve([PROJECT], "3.11"), PLATFORM, "3.11", Path(shelf))
        wheels = sorted(Path(shelf).glob("*.whl"))
        site.install(wheels)
    with (site.packages / "psutil" / "_pswindows.py").open("a", encoding="utf-8") as file:
        file.write(PSUTIL)
    shutil.copy(SPY, site.packages / "lab_spy.py")
    with (site.packages / "pystray" / "_util" / "win32.py").open("a", encoding="utf-8") as file:
        file.write("\n\nimport lab_spy\nlab_spy.watch(globals())\n")
