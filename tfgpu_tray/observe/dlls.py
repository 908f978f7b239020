"""Which of the DLLs a TensorFlow opens Windows finds, and where: `libraries` for native Windows.

TensorFlow up to 2.10 calls LoadLibraryExW with a bare file name. Windows then takes a module of
that name that is loaded already, else the first file of that name in the folder of the running
python.exe, System32, Windows, the current folder and PATH; it does not go on to the next one when
that file cannot be loaded. Folders of os.add_dll_directory are not searched. Order:
https://learn.microsoft.com/windows/win32/dlls/dynamic-link-library-search-order
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from tfgpu_tray.model import Environment, Kind, Libraries, Library, LibraryState, Outcome
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.observe.layout import WINDOWS, names_in, venv_settings
from tfgpu_tray.observe.opening import Attempt, Opener

CUDNN, ZLIB = "cudnn64_8.dll", "zlibwapi.dll"
MODULE_NOT_FOUND, BAD_EXE_FORMAT = 126, 193  # winerror.h
AMD64 = 0x8664  # IMAGE_FILE_MACHINE_AMD64
_CUDA = re.compile(r"^(cudart|cublas|cufft|curand|cusolver|cusparse|cudnn)\w*64_\d+\.dll$")
_VERSIONED = re.compile(r"^(.+64_)\d+\.dll$")


def predict(
    environment: Environment,
    names: Sequence[str],
    path: str | None,
    session: Mapping[str, str],
    preloaded: bool,
) -> Libraries:
    """Work out from files what Windows would find.

    *path* is PATH after activation, None when it could not be worked out; then nothing can be
    called unreachable. *preloaded*: our preload opens DLLs by their full path.
    """
    names = _with_helper(environment, names, session)
    activated = search_order(environment, path or "", session)
    bare = search_order(environment, session.get("PATH", ""), session)
    found: list[Library] = []
    for name in names:
        same, other = candidates(environment, name, session)
        inside = [c for c in same if WINDOWS.within(c, str(environment.prefix))]
        by_preload = next((c for c in inside if is_whole(c)), None) if preloaded else None
        place = by_preload or _first(name, activated)
        if place is not None:
            state = LibraryState.FOUND if is_whole(place) else _unusable(place, same)
        elif not same:
            state = LibraryState.MISSING
        elif not any(is_whole(c) for c in same):
            state, place = LibraryState.DAMAGED, same[0]
        else:
            state = LibraryState.UNREACHABLE if path is not None else LibraryState.UNKNOWN
        without = by_preload or _first(name, bare)
        found.append(
            Library(
                name,
                state,
                place,
                same,
                other,
                without_activation=without is not None and is_whole(without),
            )
        )
    return Libraries("predicted", Outcome.COMPLETED, tuple(found))


def load(
    environment: Environment,
    names: Sequence[str],
    activated: Mapping[str, str],
    session: Mapping[str, str],
    *,
    deadline: float = 20.0,
    runner: Runner = run,
) -> Libraries:
    """Let the environment's Python open the DLLs, as activated and as started without it."""
    return Opener(
        environment,
        "dll_probe.py",
        _with_helper(environment, names, activated),
        {},
        partial(_judged, environment, activated),
        deadline,
        runner,
    ).open(activated, session)


def _with_helper(
    environment: Environment, names: Sequence[str], session: Mapping[str, str]
) -> tuple[str, ...]:
    """cuDNN 8 opens one more by name, from 8.3 on; whether it matters is for others to judge."""
    if CUDNN not in names or not candidates(environment, CUDNN, session)[0]:
        return tuple(names)
    return (*names, ZLIB)


def _judged(
    environment: Environment, environ: Mapping[str, str], name: str, opened: Attempt | None
) -> Library:
    same, other = candidates(environment, name, environ)
    if opened is None:
        return Library(name, LibraryState.UNKNOWN, None, same, other)
    path = opened.path
    if opened.error is None:
        return Library(name, LibraryState.FOUND, path, same, other)
    if path is not None:
        broken = opened.code == BAD_EXE_FORMAT or not is_whole(path)
        state = _unusable(path, same) if broken else LibraryState.DAMAGED
    elif opened.code != MODULE_NOT_FOUND:
        state = LibraryState.DAMAGED
    elif same and not any(is_whole(c) for c in same):
        state, path = LibraryState.DAMAGED, same[0]
    else:
        state = LibraryState.UNREACHABLE if same else LibraryState.MISSING
    return Library(name, state, path, same, other, error=opened.error)


def _unusable(path: str, same: Sequence[str]) -> LibraryState:
    """HIDDEN when *path* stands in front of a sound file of the same name."""
    others = (c for c in same if not _is_one(c, path) and is_whole(c))
    return LibraryState.HIDDEN if any(others) else LibraryState.DAMAGED


def _is_one(one: str, other: str) -> bool:
    return bool(WINDOWS.rules.normcase(one) == WINDOWS.rules.normcase(other))


# ---- where ---------------------------------------------------------------------------------------


def search_order(environment: Environment, path: str, session: Mapping[str, str]) -> list[str]:
    """The folders that are searched for a DLL, in order, with *path* as PATH."""
    home = running_python(environment)
    root = session.get("SYSTEMROOT")
    system = [os.path.join(root, "System32"), root] if root else []
    searched = [] if environment.packaged_python else _folders_of(path)
    return [*([str(home)] if home else []), *system, *searched]


def running_python(environment: Environment) -> Path | None:
    """The folder of the python.exe that really runs. A venv's own only starts the one that it was
    made with, unless the interpreter's DLL was copied beside it."""
    if environment.python is None:
        return None
    own = environment.python.parent
    if environment.kind is not Kind.VENV:
        return own
    if any(name.lower().startswith("python3") and name.endswith(".dll") for name in names_in(own)):
        return own
    home = venv_settings(environment.prefix).get("home")
    return Path(home) if home else own


def candidates(
    environment: Environment, name: str, session: Mapping[str, str] = os.environ
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files called *name* in the environment, CUDA's usual places and on PATH, and its relatives.

    Relatives are the same component of another version, cudart64_101.dll for cudart64_110.dll, in
    the environment or on PATH: a toolkit that nobody put on a path explains nothing.
    """
    wanted = name.lower()
    match = _VERSIONED.match(wanted)
    stem = match[1] if match else None
    near = [*_own_folders(environment), *_beside_system(session)]
    same: dict[str, str] = {}
    other: dict[str, str] = {}
    for folder in (*near, *toolkits(session)):
        files = _dlls(folder)
        if wanted in files:
            same.setdefault(WINDOWS.rules.normcase(files[wanted]), files[wanted])
        if stem is not None and folder in near:
            for other_name, path in files.items():
                relative = _VERSIONED.match(other_name)
                if relative and relative[1] == stem and other_name != wanted:
                    other.setdefault(WINDOWS.rules.normcase(path), path)
    return tuple(same.values()), tuple(other.values())


def _own_folders(environment: Environment) -> Iterator[str]:
    prefix = environment.prefix
    yield from (str(prefix), str(prefix / "Library" / "bin"))
    for site in (environment.site_packages, environment.user_site):
        if site is not None:
            yield from nvidia_folders(site)


def nvidia_folders(site: Path) -> list[str]:
    """The bin folders of the nvidia-* wheels in *site*."""
    folders = (site / "nvidia" / name / "bin" for name in names_in(site / "nvidia"))
    return [str(folder) for folder in folders if folder.is_dir()]


def toolkits(session: Mapping[str, str]) -> list[str]:
    """The bin folders of the CUDA toolkits and cuDNNs of this machine."""
    named = [
        os.path.join(value, "bin")
        for key, value in sorted(session.items())
        if key == "CUDA_PATH" or key.startswith("CUDA_PATH_V")
    ]
    programs = session.get("PROGRAMFILES")
    if programs:
        for place in ("NVIDIA GPU Computing Toolkit/CUDA", "NVIDIA/CUDNN"):
            root = Path(programs, place)
            named += [str(root / name / "bin") for name in reversed(names_in(root))]
    drive = session.get("SYSTEMDRIVE", "")
    named.append(os.path.join(drive + os.sep, "tools", "cuda", "bin"))  # of TensorFlow's old guide
    return [folder for folder in dict.fromkeys(named) if os.path.isdir(folder)]


def cuda_on_path(session: Mapping[str, str]) -> list[str]:
    """CUDA's and cuDNN's DLLs in the folders of PATH, in the order in which they are found."""
    files = (path for folder in _beside_system(session) for path in _dlls(folder).items())
    return [path for name, path in files if _CUDA.match(name)]


def _beside_system(session: Mapping[str, str]) -> list[str]:
    """The folders of PATH that are not Windows' own, which hold thousands of files."""
    root = session.get("SYSTEMROOT")
    folders = _folders_of(session.get("PATH", ""))
    return [f for f in folders if not root or not WINDOWS.within(f, root)]


def _folders_of(path: str) -> list[str]:
    return [part for part in path.split(WINDOWS.separator) if part]


def _first(name: str, order: Sequence[str]) -> str | None:
    places = (os.path.join(folder, name) for folder in order)
    return next((place for place in places if os.path.isfile(place)), None)


def _dlls(folder: str) -> Mapping[str, str]:
    try:
        stamp = os.stat(folder).st_mtime_ns
    except OSError:
        return {}
    return _listed(folder, stamp)


@lru_cache(maxsize=1024)
def _listed(folder: str, stamp: int) -> Mapping[str, str]:
    """Paths of the DLLs in *folder* by name in lower case, as Windows compares them."""
    names = (name for name in names_in(Path(folder)) if name.lower().endswith(".dll"))
    return {name.lower(): os.path.join(folder, name) for name in names}


def is_whole(path: str) -> bool:
    """Whether *path* starts like a DLL for 64-bit Windows (PE format: docs/pe-format)."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:2] != b"MZ":
                return False
            file.seek(struct.unpack_from("<I", head, 60)[0])
            signature = file.read(6)
    except OSError:
        return False
    return signature == b"PE\0\0" + struct.pack("<H", AMD64)
