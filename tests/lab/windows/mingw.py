"""Compiles small Windows programs and libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["GCC", "OBJDUMP", "C", "compile_resource", "compile_windows", "manifest"]

C = Path(__file__).parent / "c"
GCC = "x86_64-w64-mingw32-gcc"
OBJDUMP = "x86_64-w64-mingw32-objdump"
WINDRES = "x86_64-w64-mingw32-windres"


def compile_windows(path: Path, *arguments: str | Path) -> Path:
    """Compiles an .exe or .dll, by the path's suffix; `arguments` are sources and options."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "-shared" if path.suffix == ".dll" else "-municode"
    command = [GCC, kind, "-O1", "-s", "-static-libgcc", "-o", path, *arguments]
    subprocess.run(list(map(str, command)), check=True)
    return path


def compile_resource(script: str, folder: Path) -> Path:
    """An object file, in the folder, with a resource to link a program or library with."""
    source, made = folder / "resource.rc", folder / "resource.o"
    source.write_text(script, encoding="utf-8")
    subprocess.run([WINDRES, str(source), str(made)], check=True)
    source.unlink()
    return made


def manifest(folder: Path) -> Path:
    """An object file with the manifest of python.exe.

    Windows tells its true version to programs that say that they know it.
    """
    return compile_resource(f'1 24 "{(C / "windows10.manifest").as_posix()}"\n', folder)
