"""Finds the Python environments of this user, without running anything."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfgpu_tray.model import Environment, Kind
from tfgpu_tray.observe import layout as lay
from tfgpu_tray.observe.layout import HERE, WINDOWS, Layout, text_of
from tfgpu_tray.observe.windows import Registry

# Default install folders of the conda family (constructor's CONSTRUCT.md; micromamba's
# MAMBA_ROOT_PREFIX defaults), relative to the home folder or absolute.
CONDA_ROOTS = (
    *(f"~/{n}" for n in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba")),
    "~/.local/share/mamba",
    *(f"/opt/{n}" for n in ("conda", "miniconda3", "anaconda3", "miniforge3", "mambaforge")),
)
_CONDARC_FOLDERS = ("/etc/conda", "~/.config/conda", "~/.conda")
CONDARC = (*(f"{p}/{n}" for p in _CONDARC_FOLDERS for n in (".condarc", "condarc")), "~/.condarc")
# "Just me" installs into the home folder, for users of a domain into LOCALAPPDATA; "all users"
# into ProgramData (constructor's main.nsi.tmpl). Older Anacondas had a folder Continuum.
_NAMES = ("miniconda3", "anaconda3", "miniforge3", "mambaforge")
WINDOWS_ROOTS = (
    *(f"{p}/{n}" for p in ("~", "%LOCALAPPDATA%", "%PROGRAMDATA%") for n in _NAMES),
    *(f"%LOCALAPPDATA%/Continuum/{n}" for n in ("anaconda3", "miniconda3")),
    *("~/micromamba", "%APPDATA%/mamba"),
)
WINDOWS_CONDARC = (
    *(
        f"{p}/{n}"
        for p in ("%PROGRAMDATA%/conda", "~/.config/conda", "~/.conda")
        for n in (".condarc", "condarc")
    ),
    "~/.condarc",
)
# Installers of conda enter the Python they bring here, when they are asked to (PEP 514).
REGISTERED = tuple(
    rf"{root}\Software\Python\{company}"
    for root in ("HKCU", "HKLM")
    for company in ("PythonCore", "ContinuumAnalytics")
)
_VARIABLE = re.compile(r"%(\w+)%|\$\{(\w+)\}|\$(\w+)")


def describe(
    prefix: Path, *, found_by: str = "", pin: str | None = None, layout: Layout = HERE
) -> Environment | None:
    """The environment at *prefix*, or None when no environment is there.

    A conda environment is a prefix with the file conda-meta/history, a venv one with pyvenv.cfg.
    """
    python = lay.interpreter(prefix, layout)
    if (prefix / "conda-meta" / "history").is_file():
        kind = Kind.CONDA
    elif (prefix / "pyvenv.cfg").is_file():
        kind = Kind.VENV
    elif python is not None:
        kind = Kind.SYSTEM
    else:
        return None
    version = lay.python_version(prefix, layout)
    return Environment(
        prefix=prefix,
        kind=kind,
        python=python,
        python_version=version,
        site_packages=lay.site_packages(prefix, version, layout),
        user_site=lay.user_site(prefix, kind, version, layout=layout),
        found_by=found_by,
        pin=pin,
        packaged_python=layout is WINDOWS and lay.is_packaged(prefix),
    )


def gone(prefix: Path) -> Environment:
    """An environment that is configured and does not exist (any more)."""
    return Environment(prefix=prefix, kind=Kind.SYSTEM, found_by="configuration")


def planned(
    prefix: Path, kind: Kind, python_version: str, *, pin: str | None, layout: Layout = HERE
) -> Environment:
    """The environment that *prefix* will hold once it has been created."""
    own = layout.interpreters[-1 if kind is Kind.VENV and layout is WINDOWS else 0]
    return Environment(
        prefix=prefix,
        kind=kind,
        python=prefix / own,
        python_version=python_version,
        site_packages=lay.site_packages(prefix, python_version, layout),
        user_site=None,
        found_by="asked for",
        pin=pin,
    )


def discover(
    environ: Mapping[str, str],
    home: Path,
    *,
    own_prefix: Path | None = Path(sys.prefix),
    layout: Layout = HERE,
    registry: Registry | None = None,
) -> list[Environment]:
    """Every environment known to conda, mamba or the current shell, each once, in a stable order.

    *own_prefix* is the tool's own environment, which is never anybody's training environment.
    """
    found: dict[Path, Environment] = {}
    for prefix, reason in _places(environ, home, layout, registry):
        key = Path(os.path.realpath(prefix))
        if key in found or (own_prefix and key == Path(os.path.realpath(own_prefix))):
            continue
        environment = describe(prefix, found_by=reason, layout=layout)
        if environment is not None and environment.kind is not Kind.SYSTEM:
            found[key] = environment
    return list(found.values())


def _places(
    environ: Mapping[str, str], home: Path, layout: Layout, registry: Registry | None
) -> Iterator[tuple[Path, str]]:
    for variable in ("CONDA_PREFIX", "VIRTUAL_ENV"):
        if value := environ.get(variable):
            yield Path(value), "active in this shell"
    yield from ((p, "environments.txt") for p in _environments_txt(home))
    for root in conda_roots(environ, home, layout, registry):
        yield root, "conda root"
        yield from ((p, f"in {root / 'envs'}") for p in _children(root / "envs"))
    for folder in envs_dirs(environ, home, layout):
        yield from ((p, f"in {folder}") for p in _children(folder))


def conda_roots(
    environ: Mapping[str, str],
    home: Path,
    layout: Layout = HERE,
    registry: Registry | None = None,
) -> list[Path]:
    """Install folders of conda, mamba and micromamba that exist."""
    roots: dict[Path, None] = {}
    for variable in ("CONDA_EXE", "_CONDA_EXE", "MAMBA_EXE"):
        if value := environ.get(variable):
            folder = Path(value).parent.parent
            roots[folder.parent if folder.name == "Library" else folder] = None
    for variable in ("MAMBA_ROOT_PREFIX", "CONDA_ROOT"):
        if value := environ.get(variable):
            roots[Path(value)] = None
    for place in WINDOWS_ROOTS if layout is WINDOWS else CONDA_ROOTS:
        if root := _expand(place, environ, home):
            roots[root] = None
    # One that was installed somewhere else, D:\anaconda3, is known by its named environments.
    listed = (p.parent.parent for p in _environments_txt(home) if p.parent.name == "envs")
    known = registry or this_registry()
    for root in (*listed, *(_registered(known) if known else ())):
        if (root / "conda-meta").is_dir():
            roots[root] = None
    return [root for root in roots if root.is_dir()]


def this_registry() -> Registry | None:
    """That of this machine, on Windows."""
    if sys.platform == "win32":
        from tfgpu_tray.observe.windows_api import this_windows

        return this_windows().registry
    return None


def _registered(registry: Registry) -> Iterator[Path]:
    for company in REGISTERED:
        try:
            for tag in registry.keys(company) or ():
                if isinstance(value := registry.value(rf"{company}\{tag}\InstallPath", ""), str):
                    yield Path(value)
        except OSError:
            continue  # not ours to read


def envs_dirs(environ: Mapping[str, str], home: Path, layout: Layout = HERE) -> list[Path]:
    """Folders that hold named environments, from the environment and the .condarc files."""
    texts: list[str] = []
    for variable in ("CONDA_ENVS_DIRS", "CONDA_ENVS_PATH"):
        texts += filter(None, environ.get(variable, "").split(layout.separator))
    places = [*(WINDOWS_CONDARC if layout is WINDOWS else CONDARC), environ.get("CONDARC", "")]
    for place in places:
        if place and (path := _expand(place, environ, home)):
            texts += _condarc_list(path, ("envs_dirs", "envs_path"))
    texts.append("~/.conda/envs")
    if layout is WINDOWS:
        texts.append("%LOCALAPPDATA%/conda/conda/envs")
    folders = dict.fromkeys(_expand(text, environ, home) for text in texts)
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def homes_of_environments(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Folders in which environments, or the list of them, come and go."""
    roots = [root / "envs" for root in conda_roots(environ, home)]
    return [p for p in (*roots, *envs_dirs(environ, home), home / ".conda") if p.is_dir()]


def _condarc_list(path: Path, keys: Sequence[str]) -> list[str]:
    try:
        text = text_of(path.read_bytes())
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


def _expand(text: str, environ: Mapping[str, str], home: Path) -> Path | None:
    """*text* with ~ and its variables filled in, as conda does; None when one is not set."""
    known = {"HOME": str(home), **environ}

    def value(match: re.Match[str]) -> str | None:
        return known.get(match[1].upper() if match[1] else match[2] or match[3])

    if any(value(match) is None for match in _VARIABLE.finditer(text)):
        return None
    text = _VARIABLE.sub(lambda match: value(match) or "", text)
    return home / text[2:] if text[:2] in ("~/", "~\\") else Path(text)


def _environments_txt(home: Path) -> list[Path]:
    """conda writes that list in the code page of the machine, unless Python is told otherwise."""
    try:
        text = text_of((home / ".conda" / "environments.txt").read_bytes())
    except OSError:
        return []
    lines = (line.strip() for line in text.splitlines())
    return [Path(line) for line in lines if line and not line.startswith("#")]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError:
        return []
