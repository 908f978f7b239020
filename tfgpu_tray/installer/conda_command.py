"""The user's own conda, mamba or micromamba: where it is, and how it is started.

On Windows conda is a program in its root's Scripts (conda.exe, which starts the root's Python) and
a batch file for shells (condabin\\conda.bat). The program is taken: a batch file reads its command
line once more, with rules of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfgpu_tray.installer.step import StepFailed
from tfgpu_tray.observe.environments import conda_roots
from tfgpu_tray.observe.layout import HERE, WINDOWS, Layout

NAMES = ("conda", "mamba", "micromamba")
# Below an install folder, likeliest first. mamba 2 and micromamba lie in Library\\bin.
_PLACES = {
    "windows": (
        *(f"{folder}/{name}.exe" for name in NAMES for folder in ("Scripts", "Library/bin", ".")),
        "condabin/conda.bat",
    ),
    "posix": tuple(f"bin/{name}" for name in NAMES),
}
# What cmd.exe reads for itself: between quotes too, and only outside of them.
_ALWAYS, _UNQUOTED = re.compile(r'[%"]'), re.compile(r"^\S*[&|<>^()]\S*$")


def find_conda(
    environ: Mapping[str, str],
    home: Path,
    prefix: Path | None = None,
    wanted: str | None = None,
    layout: Layout = HERE,
) -> Path | None:
    """The conda, mamba or micromamba command to use, or None when there is none.

    In order: the configuration, CONDA_EXE and MAMBA_EXE, PATH, the root that holds *prefix*, the
    command that made it (conda-meta/history), the default install folders.
    """
    if wanted:
        found = shutil.which(wanted, path=environ.get("PATH"))
        return Path(found) if found else None
    every = (_program(c) for c in _candidates(environ, home, prefix, layout))
    return next((c for c in every if c.is_file() and os.access(c, os.X_OK)), None)


def _candidates(
    environ: Mapping[str, str], home: Path, prefix: Path | None, layout: Layout
) -> Iterator[Path]:
    places = _PLACES["windows" if layout is WINDOWS else "posix"]
    for variable in ("CONDA_EXE", "MAMBA_EXE"):
        if value := environ.get(variable):
            yield Path(value)
    for name in NAMES:
        if found := shutil.which(name, path=environ.get("PATH")):
            yield Path(found)
    roots = conda_roots(environ, home, layout)
    if prefix is not None:
        yield from (prefix.parent.parent / place for place in places)
        yield from (prefix / place for place in places if layout is WINDOWS)  # the root itself
        yield from _named_in_history(prefix, layout)
    yield from (root / place for root in roots for place in places)


def _program(command: Path) -> Path:
    """The program beside a batch file: root\\condabin\\conda.bat and root\\Scripts\\conda.exe."""
    if command.suffix.lower() == ".bat":
        for folder in (command.parent.parent, command.parent.parent.parent):
            if (program := folder / "Scripts" / f"{command.stem}.exe").is_file():
                return program
    return command


def _named_in_history(prefix: Path, layout: Layout) -> list[Path]:
    try:
        text = (prefix / "conda-meta" / "history").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if layout is WINDOWS:  # C:\\Users\\My Name\\miniconda3\\Scripts\\conda-script.py create …
        lines = re.findall(r"^# cmd: (.+?)[\\/]Scripts[\\/](\w+)", text, re.MULTILINE)
        found = [Path(root, "Scripts", f"{name}.exe") for root, name in reversed(lines)]
    else:
        found = [Path(w) for w in reversed(re.findall(r"^# cmd: (\S+)", text, re.MULTILINE))]
    return [path for path in found if path.stem in NAMES]


def named(conda: Path) -> str:
    """What a person calls it: conda, for conda.exe too."""
    return conda.stem if conda.suffix.lower() in (".exe", ".bat") else conda.name


def command_line(conda: Path, arguments: Sequence[str]) -> list[str]:
    """The words that start *conda*.

    Raises:
        StepFailed: only a batch file was found, and cmd.exe would read an argument otherwise.
    """
    if conda.suffix.lower() != ".bat":
        return [str(conda), *arguments]
    if any(_ALWAYS.search(w) or _UNQUOTED.search(w) for w in (str(conda), *arguments)):
        raise StepFailed(
            f"{conda} is a batch file, which cannot be given these arguments safely; set conda in "
            "config.toml to the conda.exe of that installation"
        )
    # `call` in front keeps cmd.exe from taking quotes off the line.
    return ["cmd.exe", "/d", "/c", "call", str(conda), *arguments]


def run_environ(conda: Path, session: Mapping[str, str]) -> dict[str, str]:
    """Variables for a run of *conda*. On Windows its root's folders come first on PATH: older
    ones find their own libraries for TLS only there."""
    environ = dict(session) | {"PYTHONUTF8": "1", "NO_COLOR": "1"}
    if sys.platform == "win32":
        root = conda.parent.parent
        root = root.parent if root.name.lower() == "library" else root
        folders = [str(root / folder) for folder in WINDOWS.on_path if (root / folder).is_dir()]
        environ["PATH"] = os.pathsep.join([*folders, environ.get("PATH", "")])
    return environ
