"""Finds the Python environments of this user, without running anything."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfgpu_tray.model import Environment, Kind

# Default install folders of the conda family (constructor's CONSTRUCT.md; micromamba's
# MAMBA_ROOT_PREFIX defaults), relative to the home folder or absolute.
CONDA_ROOTS = (
    *(f"~/{n}" for n in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba")),
    "~/.local/share/mamba",
    *(f"/opt/{n}" for n in ("conda", "miniconda3", "anaconda3", "miniforge3", "mambaforge")),
)
_CONDARC_FOLDERS = ("/etc/conda", "~/.config/conda", "~/.conda")
CONDARC = (*(f"{p}/{n}" for p in _CONDARC_FOLDERS for n in (".condarc", "condarc")), "~/.condarc")
_PYTHON_FOLDER = re.compile(r"^python(3\.\d+)$")


def describe(prefix: Path, *, found_by: str = "", pin: str | None = None) -> Environment | None:
    """The environment at *prefix*, or None when no environment is there.

    A conda environment is a prefix with the file conda-meta/history, a venv one with pyvenv.cfg.
    """
    if (prefix / "conda-meta" / "history").is_file():
        kind = Kind.CONDA
    elif (prefix / "pyvenv.cfg").is_file():
        kind = Kind.VENV
    elif _interpreter(prefix) is not None:
        kind = Kind.SYSTEM
    else:
        return None
    python = _interpreter(prefix)
    version = _python_version(prefix)
    return Environment(
        prefix=prefix,
        kind=kind,
        python=python,
        python_version=version,
        site_packages=site_packages(prefix, version),
        user_site=_user_site(prefix, kind, version),
        found_by=found_by,
        pin=pin,
    )


def gone(prefix: Path) -> Environment:
    """An environment that is configured and does not exist (any more)."""
    return Environment(prefix=prefix, kind=Kind.SYSTEM, found_by="configuration")


def planned(prefix: Path, kind: Kind, python_version: str, *, pin: str | None) -> Environment:
    """The environment that *prefix* will hold once it has been created."""
    return Environment(
        prefix=prefix,
        kind=kind,
        python=prefix / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"),
        python_version=python_version,
        site_packages=site_packages(prefix, python_version),
        user_site=None,
        found_by="asked for",
        pin=pin,
    )


def discover(
    environ: Mapping[str, str], home: Path, *, own_prefix: Path | None = Path(sys.prefix)
) -> list[Environment]:
    """Every environment known to conda, mamba or the current shell, each once, in a stable order.

    *own_prefix* is the tool's own environment, which is never anybody's training environment.
    """
    found: dict[Path, Environment] = {}
    for prefix, reason in _places(environ, home):
        key = Path(os.path.realpath(prefix))
        if key in found or (own_prefix and key == Path(os.path.realpath(own_prefix))):
            continue
        environment = describe(prefix, found_by=reason)
        if environment is not None and environment.kind is not Kind.SYSTEM:
            found[key] = environment
    return list(found.values())


def _places(environ: Mapping[str, str], home: Path) -> Iterator[tuple[Path, str]]:
    for variable in ("CONDA_PREFIX", "VIRTUAL_ENV"):
        if value := environ.get(variable):
            yield Path(value), "active in this shell"
    yield from ((p, "environments.txt") for p in _environments_txt(home))
    for root in conda_roots(environ, home):
        yield root, "conda root"
        yield from ((p, f"in {root}/envs") for p in _children(root / "envs"))
    for folder in envs_dirs(environ, home):
        yield from ((p, f"in {folder}") for p in _children(folder))


def conda_roots(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Install folders of conda, mamba and micromamba that exist."""
    roots: dict[Path, None] = {}
    for variable in ("CONDA_EXE", "_CONDA_EXE", "MAMBA_EXE"):
        if value := environ.get(variable):
            roots[Path(value).parent.parent] = None
    for variable in ("MAMBA_ROOT_PREFIX", "CONDA_ROOT"):
        if value := environ.get(variable):
            roots[Path(value)] = None
    for place in CONDA_ROOTS:
        roots[home / place[2:] if place.startswith("~/") else Path(place)] = None
    return [root for root in roots if root.is_dir()]


def envs_dirs(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Folders that hold named environments, from the environment and the .condarc files."""
    folders: dict[Path, None] = {}
    for variable in ("CONDA_ENVS_DIRS", "CONDA_ENVS_PATH"):
        for part in environ.get(variable, "").split(os.pathsep):
            if part:
                folders[_expand(part, home)] = None
    places = [_expand(place, home) for place in CONDARC]
    if value := environ.get("CONDARC"):
        places.append(_expand(value, home))
    for place in places:
        for part in _condarc_list(place, ("envs_dirs", "envs_path")):
            folders[_expand(part, home)] = None
    folders[home / ".conda" / "envs"] = None
    return [folder for folder in folders if folder.is_dir()]


def homes_of_environments(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Folders in which environments, or the list of them, come and go."""
    roots = [root / "envs" for root in conda_roots(environ, home)]
    return [p for p in (*roots, *envs_dirs(environ, home), home / ".conda") if p.is_dir()]


def _condarc_list(path: Path, keys: Sequence[str]) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if not any(key in text for key in keys):
        return []
    import yaml  # 30 ms to import, and most machines never need it

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return []
    values = [content.get(key) for key in keys] if isinstance(content, dict) else []
    return [str(item) for value in values if isinstance(value, list) for item in value]


def _expand(text: str, home: Path) -> Path:
    text = text.replace("${HOME}", str(home)).replace("$HOME", str(home))
    return home / text[2:] if text.startswith("~/") else Path(text)


def _environments_txt(home: Path) -> list[Path]:
    try:
        text = (home / ".conda" / "environments.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = (line.strip() for line in text.splitlines())
    return [Path(line) for line in lines if line and not line.startswith("#")]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError:
        return []


def _interpreter(prefix: Path) -> Path | None:
    windows = sys.platform == "win32"
    names = ("python.exe", "Scripts/python.exe") if windows else ("bin/python", "bin/python3")
    for name in names:
        path = prefix / name
        if path.exists():
            return path
    return None


def _python_version(prefix: Path) -> str | None:
    """From pyvenv.cfg, else from the library folder, else from conda's record of Python."""
    try:
        text = (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version", "version_info"):
            return ".".join(value.strip().split(".")[:2])
    # `python3.1 -> python3.10` and leftovers of an upgrade exist: the record decides before names.
    for record in sorted(prefix.glob("conda-meta/python-3.*.json")):
        return ".".join(record.name.split("-")[1].split(".")[:2])
    names = [match[1] for child in _children(prefix / "lib") if (match := _match(child))]
    return max(names, key=lambda v: int(v.split(".")[1]), default=None)


def _match(folder: Path) -> re.Match[str] | None:
    return None if folder.is_symlink() else _PYTHON_FOLDER.match(folder.name)


def site_packages(prefix: Path, version: str | None) -> Path | None:
    if sys.platform == "win32":
        return prefix / "Lib" / "site-packages"
    return prefix / "lib" / f"python{version}" / "site-packages" if version else None


def _user_site(prefix: Path, kind: Kind, version: str | None) -> Path | None:
    """Where `pip install --user` puts things for this Python version (PEP 370).

    Comes before the environment's own site-packages. A venv ignores it unless it was made with
    --system-site-packages.
    """
    if version is None:
        return None
    if kind is Kind.VENV:
        try:
            text = (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").lower()
        except OSError:
            return None
        if not re.search(r"include-system-site-packages\s*=\s*true", text):
            return None
    if sys.platform == "win32":
        base = os.environ.get("APPDATA")
        folder = f"Python{version.replace('.', '')}"
        return Path(base) / "Python" / folder / "site-packages" if base else None
    base = os.environ.get("PYTHONUSERBASE") or str(Path.home() / ".local")
    return Path(base) / "lib" / f"python{version}" / "site-packages"
