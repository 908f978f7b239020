"""Where things lie in an environment: the one place that knows how operating systems differ in it.

Text that Windows programs leave behind is read here too, because its encoding is part of that.
"""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tfgpu_tray.model import Kind

ANSI = "mbcs" if sys.platform == "win32" else "utf-8"  # what programs of Windows write files in
OEM = "oem" if sys.platform == "win32" else "utf-8"  # what cmd.exe reads and writes


@dataclass(frozen=True, slots=True)
class Layout:
    system: str  # as in `Host.system`
    interpreters: tuple[str, ...]  # below the prefix, conda's before a venv's
    scripts: str  # where an environment's programs lie
    library_folder: str  # where conda puts shared libraries
    nvidia_folder: str  # of a wheel below site-packages/nvidia/NAME
    on_path: tuple[str, ...]  # what conda's activation puts in front of PATH, in this order
    separator: str  # between folders in PATH
    rules: ModuleType  # how paths are written and compared

    def within(self, path: str, folder: str) -> bool:
        """Whether *path* is *folder* or lies below it, as the file system compares names."""
        inner, outer = (self.rules.normcase(text).rstrip("/\\") for text in (path, folder))
        return bool(inner == outer or inner.startswith(outer + self.rules.sep))


POSIX = Layout(
    system="darwin" if sys.platform == "darwin" else "linux",
    interpreters=("bin/python", "bin/python3"),
    scripts="bin",
    library_folder="lib",
    nvidia_folder="lib",
    on_path=("bin",),
    separator=":",
    rules=posixpath,
)
WINDOWS = Layout(
    system="windows",
    interpreters=("python.exe", "Scripts/python.exe"),
    scripts="Scripts",
    library_folder="Library/bin",
    nvidia_folder="bin",
    # conda/activate.py, _get_path_dirs
    on_path=("", "Library/mingw-w64/bin", "Library/usr/bin", "Library/bin", "Scripts", "bin"),
    separator=";",
    rules=ntpath,
)
HERE = WINDOWS if sys.platform == "win32" else POSIX

_PYTHON_FOLDER = re.compile(r"^python(3\.\d+)$")
_PYTHON_DLL = re.compile(r"^python3(\d+)\.dll$", re.IGNORECASE)
_STORE = re.compile(r"[\\/]WindowsApps[\\/]PythonSoftwareFoundation\.", re.IGNORECASE)


def interpreter(prefix: Path, layout: Layout = HERE) -> Path | None:
    return next((p for n in layout.interpreters if (p := prefix / n).exists()), None)


def python_version(prefix: Path, layout: Layout = HERE) -> str | None:
    """From pyvenv.cfg, else from conda's record of Python, else from the names of its files."""
    settings = venv_settings(prefix)
    for key in ("version", "version_info"):
        if key in settings:
            return ".".join(settings[key].split(".")[:2])
    # `python3.1 -> python3.10` and leftovers of an upgrade exist: the record decides before names.
    for record in sorted(prefix.glob("conda-meta/python-3.*.json")):
        return ".".join(record.name.split("-")[1].split(".")[:2])
    if layout is WINDOWS:
        matches = (_PYTHON_DLL.match(name) for name in names_in(prefix))
        versions = [f"3.{match[1]}" for match in matches if match]
    else:
        folders = (prefix / "lib" / name for name in names_in(prefix / "lib"))
        found = (_PYTHON_FOLDER.match(f.name) for f in folders if not f.is_symlink())
        versions = [match[1] for match in found if match]
    return max(versions, key=lambda v: int(v.split(".")[1]), default=None)


def site_packages(prefix: Path, version: str | None, layout: Layout = HERE) -> Path | None:
    if layout is WINDOWS:
        return prefix / "Lib" / "site-packages"
    return prefix / "lib" / f"python{version}" / "site-packages" if version else None


def user_site(
    prefix: Path,
    kind: Kind,
    version: str | None,
    environ: Mapping[str, str] = os.environ,
    layout: Layout = HERE,
) -> Path | None:
    """Where `pip install --user` puts things for this Python version (PEP 370).

    Comes before the environment's own site-packages. A venv ignores it unless it was made with
    --system-site-packages.
    """
    if version is None:
        return None
    shared = venv_settings(prefix).get("include-system-site-packages", "").lower()
    if kind is Kind.VENV and shared != "true":
        return None
    base = environ.get("PYTHONUSERBASE")
    if layout is WINDOWS:
        roaming = environ.get("APPDATA")
        root = Path(base) if base else Path(roaming) / "Python" if roaming else None
        return root / f"Python{version.replace('.', '')}" / "site-packages" if root else None
    home = Path(base) if base else Path.home() / ".local"
    return home / "lib" / f"python{version}" / "site-packages"


def venv_settings(prefix: Path) -> dict[str, str]:
    """The content of pyvenv.cfg; nothing where there is none."""
    try:
        raw = (prefix / "pyvenv.cfg").read_bytes()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text_of(raw).splitlines())
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals}


def is_packaged(prefix: Path) -> bool:
    """Whether Python at *prefix*, or the one that a venv there starts, is Microsoft Store's."""
    places = (str(prefix) + os.sep, venv_settings(prefix).get("home", ""))
    return any(_STORE.search(place) for place in places)


def names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def text_of(raw: bytes, otherwise: str = ANSI) -> str:
    """*raw* as text: its byte order mark decides, else it is UTF-8 if it can be, else a code page
    of this machine."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode(otherwise, "replace")
