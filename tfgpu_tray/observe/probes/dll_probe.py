"""Opens the DLLs a TensorFlow needs as TensorFlow up to 2.10 does on Windows, without TensorFlow.

Argument: one JSON object ``{"names": [...], "driver": bool}``. ``driver`` asks to start the driver
as well. TensorFlow calls LoadLibraryExW with a bare file name and LOAD_WITH_ALTERED_SEARCH_PATH:
folders of ``os.add_dll_directory`` are not searched then, those of PATH are.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any, Optional, Tuple

# The script's own folder must not be importable: TensorFlow's users' names live there.
sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]

LOAD_WITH_ALTERED_SEARCH_PATH = 0x8
LONGEST = 32768  # characters of a path
api: Any = ctypes  # type checkers hide half of it where they do not run on Windows


def say(**facts: object) -> None:
    sys.stdout.write("@tfgpu " + json.dumps(facts) + "\n")
    sys.stdout.flush()


def let_preload_run() -> None:
    """A preload hook acts when tensorflow is looked up; looking up does not import it."""
    import importlib.util

    try:
        importlib.util.find_spec("tensorflow")
    except Exception:
        pass


class Loader:
    def __init__(self) -> None:
        kernel: Any = api.WinDLL("kernel32", use_last_error=True)
        kernel.LoadLibraryExW.restype = ctypes.c_void_p
        kernel.LoadLibraryExW.argtypes = (ctypes.c_wchar_p, ctypes.c_void_p, ctypes.c_uint32)
        kernel.GetModuleFileNameW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_uint32)
        self.kernel = kernel

    def open(self, name: str) -> Tuple[Optional[int], int]:
        """A handle, or None and Windows' error code."""
        handle = self.kernel.LoadLibraryExW(name, None, LOAD_WITH_ALTERED_SEARCH_PATH)
        if handle:
            return int(handle), 0
        return None, int(api.get_last_error())

    def file_of(self, handle: int) -> Optional[str]:
        buffer = ctypes.create_unicode_buffer(LONGEST)
        self.kernel.GetModuleFileNameW(handle, buffer, LONGEST)
        return buffer.value or None

    def lies(self, name: str) -> Optional[str]:
        """The file of that name that comes first in the order of the search."""
        buffer = ctypes.create_unicode_buffer(LONGEST)
        found = self.kernel.SearchPathW(None, name, None, LONGEST, buffer, None)
        return buffer.value if found else None


def text_of(code: int) -> str:
    text = str(api.FormatError(code)).strip()
    return "[WinError {}] {}".format(code, text)


def open_nvcuda(loader: Loader) -> None:
    handle, code = loader.open("nvcuda.dll")
    if handle is None:
        say(libcuda=text_of(code), cuinit=None, libcuda_path=None)
        return
    say(libcuda="", libcuda_path=loader.file_of(handle), stage="cuinit")
    try:
        library: Any = api.WinDLL("nvcuda.dll", handle=handle)
        say(cuinit=int(library.cuInit(0)))
    except (AttributeError, OSError) as error:
        say(libcuda=str(error))


def main() -> None:
    request = json.loads(sys.argv[1])
    let_preload_run()
    loader = Loader()
    for name in request["names"]:
        handle, code = loader.open(name)
        if handle is not None:
            said = {"path": loader.file_of(handle), "error": None, "code": 0}
        else:
            said = {"path": loader.lies(name), "error": text_of(code), "code": code}
        say(library=dict(said, name=name))
    if request["driver"]:
        say(stage="libcuda")
        open_nvcuda(loader)
    say(stage="done")


if __name__ == "__main__":
    main()
