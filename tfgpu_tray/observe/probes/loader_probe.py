"""Opens the libraries a TensorFlow needs, in the order its loader would look, without TensorFlow.

Argument: one JSON object
``{"names": [...], "driver": bool, "runpath": [...], "legacy_rpath": bool}``.
``runpath`` is that of libtensorflow_framework: a plain ``dlopen`` from Python would not search it.
With ``legacy_rpath`` it is DT_RPATH, which comes before LD_LIBRARY_PATH. ``driver`` asks to start
the driver as well. Windows has ``dll_probe.py``.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Dict, List, Optional, Tuple

# The script's own folder must not be importable: TensorFlow's users' names live there.
sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]


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


def mapped() -> Dict[str, str]:
    """Files mapped into this process, base name -> path (Linux)."""
    found: Dict[str, str] = {}
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                parts = line.rstrip("\n").split(None, 5)
                if len(parts) == 6 and ".so" in parts[5]:
                    found.setdefault(os.path.basename(parts[5]), parts[5])
    except OSError:
        pass
    return found


def where(soname: str) -> Optional[str]:
    files = mapped()
    if soname in files:
        return files[soname]
    stem = soname.split(".so")[0] + ".so"
    return next((path for name, path in sorted(files.items()) if name.startswith(stem)), None)


def is_loaded(soname: str) -> bool:
    try:
        ctypes.CDLL(soname, mode=getattr(os, "RTLD_NOLOAD", 0))
    except OSError:
        return False
    return True


def search(soname: str, folders: List[str]) -> Tuple[Optional[str], Optional[str]]:
    """Open the first file of that name in *folders*; the loader stops at the first it finds."""
    for folder in folders:
        path = os.path.join(folder, soname)
        if os.path.lexists(path) and os.path.exists(path):
            try:
                ctypes.CDLL(path)
            except OSError as error:
                return path, str(error)
            return path, None
    return None, None


def open_library(
    soname: str, before: List[str], after: List[str]
) -> Tuple[Optional[str], Optional[str]]:
    if is_loaded(soname):
        return where(soname), None
    for folders in (before, after):
        path, error = search(soname, folders)
        if path:
            return path, error
    try:
        ctypes.CDLL(soname)
    except OSError as error:
        return None, str(error)
    return where(soname), None


def open_libcuda() -> None:
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        say(libcuda=str(error), cuinit=None, libcuda_path=None)
        return
    say(libcuda="", libcuda_path=where("libcuda.so.1"), stage="cuinit")
    try:
        say(cuinit=int(library.cuInit(0)))
    except AttributeError as error:
        say(libcuda=str(error))


def main() -> None:
    request = json.loads(sys.argv[1])
    let_preload_run()
    loader_path = [p or "." for p in os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    if not os.environ.get("LD_LIBRARY_PATH"):
        loader_path = []
    built_in = request["runpath"]
    order = (built_in, loader_path) if request["legacy_rpath"] else (loader_path, built_in)
    for soname in request["names"]:
        path, error = open_library(soname, *order)
        say(library={"name": soname, "path": path, "error": error})
    if request["driver"]:
        say(stage="libcuda")
        open_libcuda()
    say(stage="done")


if __name__ == "__main__":
    main()
