"""Windows CPython, put together from wheels: no package registry has its installer.

panda3d's wheels carry, for frozen programs, the official python3xy.dll, extension modules and
their DLLs. The standard library is that of this machine's CPython of the same minor version.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from tests.lab.interpreters import interpreter
from tests.lab.wheels import download
from tests.lab.windows.mingw import OBJDUMP, C, compile_windows, manifest
from tests.lab.windows.wheels import PLATFORM, compile_all

__all__ = ["PANDA3D", "build_python"]

PANDA3D = "panda3d==1.10.16"
SOURCE = "deploy_libs/"

#: Not there on Windows, or of no use to the lab.
LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "test", "tests", "idle_test", "lib-dynload", "config-*", "__pycache__"
)


def build_python(folder: Path, version: str) -> None:
    """Builds the layout that the installer of python.org leaves, without pip."""
    with tempfile.TemporaryDirectory() as shelf:
        download([PANDA3D], PLATFORM, version, Path(shelf))
        [wheel] = Path(shelf).glob("*.whl")
        _unpack(wheel, folder)
    number = version.replace(".", "")
    source = interpreter(version)
    shutil.copytree(source.prefix / "lib" / f"python{version}", folder / "Lib", ignore=LEFT_OUT)
    (folder / "Lib" / "site-packages").mkdir()
    with tempfile.TemporaryDirectory() as made:
        resource = manifest(Path(made))
        library = f'-DLIBRARY=L"python{number}.dll"'
        compile_windows(folder / "python.exe", library, C / "python.c", resource)
        windowed = ("-mwindows", "-DWINDOWED", library)
        compile_windows(folder / "pythonw.exe", *windowed, C / "python.c", resource)
        _stable_abi(folder, f"python{number}", Path(made))
    launchers = folder / "Lib" / "venv" / "scripts" / "nt"
    source_c = C / "venvlauncher.c"
    compile_windows(launchers / "python.exe", '-DPROGRAM=L"python.exe"', source_c)
    windowed = ("-mwindows", "-DWINDOWED", '-DPROGRAM=L"pythonw.exe"')
    compile_windows(launchers / "pythonw.exe", *windowed, source_c)
    compile_all(folder / "Lib", version)


def _unpack(wheel: Path, folder: Path) -> None:
    (folder / "DLLs").mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            file = name.removeprefix(SOURCE)
            # Wine has a C runtime of its own
            if file == name or file.startswith("api-ms-win-crt-"):
                continue
            beside = file.lower().startswith(("python3", "vcruntime"))
            target = folder / file if beside else folder / "DLLs" / file
            target.write_bytes(archive.read(name))


def _stable_abi(folder: Path, library: str, made: Path) -> None:
    """python3.dll, which abi3 wheels need: it forwards each name to the DLL of this version."""
    command = [OBJDUMP, "-p", str(folder / f"{library}.dll")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    table = listed.partition("[Ordinal/Name Pointer] Table")[2]
    names = re.findall(r"^\s*\[[^]]*\].*?(\w+)$", table, re.MULTILINE)
    lines = "".join(f"{name} = {library}.{name}\n" for name in names)
    definitions, empty = made / "python3.def", made / "empty.c"
    definitions.write_text(f"LIBRARY python3\nEXPORTS\n{lines}", encoding="utf-8")
    empty.write_text("int DllMainCRTStartup(void) { return 1; }\n", encoding="utf-8")
    compile_windows(folder / "python3.dll", "-nostdlib", empty, definitions)
