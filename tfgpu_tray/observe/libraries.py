"""Which of the libraries a TensorFlow opens the loader finds, and where. (Windows: `dlls`.)

Two methods: `predict` works from files alone (static depth); `load` lets the environment's Python
really open them (loader depth). The order searched is ld.so(8)'s: DT_RPATH of the caller unless it
has DT_RUNPATH, LD_LIBRARY_PATH, DT_RUNPATH, the cache, the default folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from tfgpu_tray.model import Environment, Libraries, Library, LibraryState, Outcome
from tfgpu_tray.observe import dlls
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.observe.opening import Attempt, Opener

SYSTEM_CUDA = ("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/cuda")
_ABSENT = re.compile(r"^(?P<file>\S+): cannot open shared object file: No such file or directory")


@dataclass(frozen=True, slots=True)
class Wheel:
    """What libtensorflow_framework.so.2 says of its own search path."""

    runpath: tuple[str, ...] = ()  # absolute folders
    legacy: bool = False  # DT_RPATH: comes before LD_LIBRARY_PATH


def read_wheel(tensorflow: Path) -> Wheel | None:
    """DT_RPATH/DT_RUNPATH of the TensorFlow in *tensorflow*, None where it cannot be read."""
    for name in ("libtensorflow_framework.so.2", "libtensorflow_framework.so"):
        path = tensorflow / name
        try:
            stamp = path.stat()
        except OSError:
            continue
        entry = _dynamic(str(path), stamp.st_mtime_ns, stamp.st_size)
        if entry is None:
            return None
        text, legacy = entry
        origin = str(tensorflow)
        folders = [
            os.path.normpath(part.replace("$ORIGIN", origin).replace("${ORIGIN}", origin))
            for part in text.split(":")
            if part
        ]
        if legacy:
            # A caller with DT_RPATH also inherits the interpreter's ($ORIGIN/../lib in conda).
            folders.append(
                str(tensorflow.parents[3] / "lib") if len(tensorflow.parents) > 3 else ""
            )
        return Wheel(tuple(f for f in folders if f), legacy)
    return None


@lru_cache(maxsize=256)
def _dynamic(path: str, mtime: int, size: int) -> tuple[str, bool] | None:
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            for segment in ELFFile(file).iter_segments(type="PT_DYNAMIC"):
                if not isinstance(segment, DynamicSegment):
                    continue
                tags = {t.entry.d_tag: t for t in segment.iter_tags()}
                if "DT_RUNPATH" in tags:
                    return str(tags["DT_RUNPATH"].runpath), False
                if "DT_RPATH" in tags:
                    return str(tags["DT_RPATH"].rpath), True
                return "", False
    except (OSError, ELFError):
        return None
    return None


@lru_cache(maxsize=1)
def loader_cache() -> Mapping[str, str]:
    """soname → path of the loader's cache, read with `ldconfig -p`."""
    for command in ("/sbin/ldconfig", "ldconfig"):
        result = run([command, "-p"], deadline=5)
        if result.outcome is Outcome.COMPLETED:
            lines = (line.strip().split(" ", 1) for line in result.stdout.splitlines()[1:])
            return {p[0]: p[1].split("=> ")[-1] for p in lines if len(p) == 2 and "=> " in p[1]}
    return {}


def candidates(environment: Environment, soname: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files named *soname* in the environment and the usual system places, and its relatives.

    Relatives are the same component of another version, libcudart.so.12 for libcudart.so.11.0, in
    the environment or in the loader's cache: a toolkit that nobody put on a path explains nothing.
    """
    if soname.endswith(".dll"):
        return dlls.candidates(environment, soname)
    stem = soname.split(".so")[0] + ".so"
    same: list[str] = []
    other: list[str] = []
    for folder in _folders(environment):
        for name, path in _shared_objects(folder).items():
            if name == soname:
                same.append(path)
            elif _is_version_of(name, stem) and folder not in SYSTEM_CUDA:
                other.append(path)
    other += [path for name, path in loader_cache().items() if _is_version_of(name, stem)]
    cached = loader_cache().get(soname)
    if cached and cached not in same:
        same.append(cached)
    return tuple(same), tuple(p for p in dict.fromkeys(other) if p not in same)


def _is_version_of(name: str, stem: str) -> bool:
    return name.startswith(stem + ".") and name.removeprefix(stem + ".")[:1].isdigit()


def _folders(environment: Environment) -> list[str]:
    prefix = environment.prefix
    folders = [str(prefix / "lib")]
    for site in (environment.site_packages, environment.user_site):
        if site is not None:
            folders += nvidia_folders(site)
    return folders + [f for f in SYSTEM_CUDA if f not in folders]


def nvidia_folders(site: Path) -> list[str]:
    """The lib folders of the nvidia-* wheels in *site*."""
    root = os.path.join(site, "nvidia")
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    return [p for n in names if os.path.isdir(p := os.path.join(root, n, "lib"))]


def _shared_objects(folder: str) -> Mapping[str, str]:
    try:
        stamp = os.stat(folder).st_mtime_ns
    except OSError:
        return {}
    return _listed(folder, stamp)


@lru_cache(maxsize=1024)
def _listed(folder: str, stamp: int) -> Mapping[str, str]:
    return {n: os.path.join(folder, n) for n in sorted(os.listdir(folder)) if ".so" in n}


def predict(
    environment: Environment,
    sonames: Sequence[str],
    wheel: Wheel | None,
    loader_path: str | None,
    preloaded: bool,
) -> Libraries:
    """Work out from files what the loader would find.

    *loader_path* is LD_LIBRARY_PATH after activation, None when it could not be worked out; then
    nothing can be called unreachable. *preloaded*: our preload opens libraries by their full path.
    """
    found: list[Library] = []
    settled = wheel is not None and loader_path is not None
    for soname in sonames:
        same, other = candidates(environment, soname)
        path = _first(soname, wheel, loader_path or "") if wheel else None
        inside = [c for c in same if _within(c, environment)]
        if path is None and preloaded and inside:
            path = inside[0]
        if path is not None:
            state = LibraryState.FOUND if is_whole(path) else _unusable(path, same)
        elif not same:
            state = LibraryState.MISSING
        elif not any(is_whole(c) for c in same):
            state, path = LibraryState.DAMAGED, same[0]
        else:
            state = LibraryState.UNREACHABLE if settled else LibraryState.UNKNOWN
        found.append(Library(soname, state, path, same, other))
    return Libraries("predicted", Outcome.COMPLETED, tuple(found))


def _within(path: str, environment: Environment) -> bool:
    return path.startswith(str(environment.prefix) + os.sep)


def _first(soname: str, wheel: Wheel, loader_path: str) -> str | None:
    variable = [p or "." for p in loader_path.split(":")] if loader_path else []
    order = (*wheel.runpath, *variable) if wheel.legacy else (*variable, *wheel.runpath)
    for folder in order:
        if os.path.exists(path := os.path.join(folder, soname)):
            return path
    return loader_cache().get(soname)


def is_whole(path: str) -> bool:
    """Whether *path* starts like a shared library; an empty or truncated file does not."""
    if path.lower().endswith(".dll"):
        return dlls.is_whole(path)
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF" and os.fstat(file.fileno()).st_size > 64
    except OSError:
        return False


def load(
    environment: Environment,
    sonames: Sequence[str],
    wheel: Wheel | None,
    activated: Mapping[str, str],
    session: Mapping[str, str],
    *,
    deadline: float = 20.0,
    runner: Runner = run,
) -> Libraries:
    """Let the environment's Python open the libraries, as activated and as started without it."""
    wheel = wheel or Wheel()
    return Opener(
        environment,
        "loader_probe.py",
        sonames,
        {"runpath": wheel.runpath, "legacy_rpath": wheel.legacy},
        partial(_judged, environment),
        deadline,
        runner,
    ).open(activated, session)


def _unusable(path: str, same: Sequence[str]) -> LibraryState:
    """HIDDEN when *path* stands in front of a sound file of the same name."""
    others = [c for c in same if c != path and is_whole(c)]
    return LibraryState.HIDDEN if others else LibraryState.DAMAGED


def _judged(environment: Environment, soname: str, opened: Attempt | None) -> Library:
    same, other = candidates(environment, soname)
    if opened is None:
        return Library(soname, LibraryState.UNKNOWN, None, same, other)
    path, error = opened.path, opened.error
    if error is None:
        return Library(soname, LibraryState.FOUND, path, same, other)
    absent = _ABSENT.match(error)
    if absent and absent["file"] == soname:
        state = LibraryState.UNREACHABLE if same else LibraryState.MISSING
        if same and not any(is_whole(c) for c in same):
            state, path = LibraryState.DAMAGED, same[0]
    else:
        state = _unusable(path, same) if path else LibraryState.DAMAGED
    return Library(soname, state, path, same, other, error=error)
