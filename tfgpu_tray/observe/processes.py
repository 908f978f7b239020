"""Who is at work on an environment: package managers, and programs that use its TensorFlow."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from tfgpu_tray.observe.layout import HERE, Layout

ACTIVATED = frozenset({"conda", "mamba", "micromamba", "uv", "pixi"})  # work on the active one
MANAGERS = frozenset({"pip", "conda", "mamba", "micromamba", "uv", "pixi", "poetry", "pdm"})
CHANGES = frozenset(
    ["install", "uninstall", "remove", "update", "upgrade", "create", "sync", "add"]
)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid})"


@dataclass(frozen=True, slots=True)
class Manager(Process):
    """A package manager that is changing some environment now."""

    words: tuple[str, ...]
    started: float  # seconds since the epoch
    places: tuple[str, ...] = ()  # paths that its program and its words name
    active: tuple[str, ...] = ()  # the environments it would work on without being told one

    def works_on(self, prefix: Path, layout: Layout = HERE) -> bool:
        """Whether it names *prefix*, or something inside it, or is active there."""
        names = {layout.rules.normcase(name) for name in _named(self.words)}
        named = layout.rules.normcase(prefix.name) in names and prefix.parent.name == "envs"
        roots = _roots(prefix)
        return (
            named
            or any(_is_one(place, roots, layout) for place in self.active)
            or any(_inside(place, roots, layout) for place in self.places)
        )


def managers_at_work() -> list[Manager]:
    """Every package manager at work now, this process and its parents left out."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        manager = manager_of(words)
        if process.pid in own or manager is None or not CHANGES.intersection(words):
            continue
        try:
            started, program = process.create_time(), process.exe()
        except (psutil.Error, OSError):
            continue  # it has just ended
        found.append(
            Manager(
                pid=process.pid,
                command=" ".join(words)[:200],
                words=tuple(words),
                started=started,
                places=(program, *(value for word in words for value in _values(word))),
                active=_active(process) if manager in ACTIVATED else (),
            )
        )
    return found


def installers_at_work(prefix: Path) -> list[Manager]:
    """Package managers that are changing *prefix* now, this process and its parents left out."""
    return [manager for manager in managers_at_work() if manager.works_on(prefix)]


def users_of_tensorflow(prefix: Path) -> list[Process]:
    """Programs that have TensorFlow of *prefix* loaded: replacing it under them breaks them."""
    found = []
    roots = _roots(prefix)
    for process in psutil.process_iter(["pid", "cmdline", "exe"]):
        program = os.path.basename(process.info["exe"] or "").lower()
        if process.pid == os.getpid() or "python" not in program:
            continue
        try:
            maps = process.memory_maps(grouped=True)
        except (psutil.Error, OSError):
            continue
        if any("tensorflow" in m.path and _inside(m.path, roots) for m in maps):
            found.append(Process(process.pid, " ".join(process.info["cmdline"] or [])[:200]))
    return found


def _roots(path: Path) -> tuple[str, str]:
    return str(path), os.path.realpath(path)


def manager_of(words: Sequence[str]) -> str | None:
    """What a command line runs: `pip …`, `python -m pip …`, `python /opt/conda/bin/conda …`."""
    bare = (re.split(r"[\\/]", word)[-1].lower() for word in words[:3])
    names = (re.sub(r"(\.exe|\.bat|-script\.pyw?)$", "", name) for name in bare)
    known = (re.sub(r"^pip3?(\.\d+)?$", "pip", name) for name in names)
    return next((name for name in known if name in MANAGERS), None)


def _values(word: str) -> tuple[str, ...]:
    """A word, and what stands behind its = sign: `--prefix=/x`."""
    return (word, word.partition("=")[2])


def _named(words: Sequence[str]) -> set[str]:
    """Environments that a conda command names: `-n tf`, `--name tf`, `--name=tf`."""
    found = {after for before, after in pairwise(words) if before in ("-n", "--name")}
    return found | {word.partition("=")[2] for word in words if word.startswith("--name=")}


def _inside(place: str, roots: Sequence[str], layout: Layout = HERE) -> bool:
    return any(layout.within(place, root) for root in roots)


def _is_one(place: str, roots: Sequence[str], layout: Layout) -> bool:
    return any(layout.within(place, r) and layout.within(r, place) for r in roots)


def _active(process: psutil.Process) -> tuple[str, ...]:
    """The activated environments of *process*, and the .venv of its folder, which uv takes."""
    found = []
    try:
        environ = process.environ()
        found = [environ[name] for name in ("CONDA_PREFIX", "VIRTUAL_ENV") if environ.get(name)]
        found.append(os.path.join(process.cwd(), ".venv"))
    except (psutil.Error, OSError):
        pass
    return tuple(found)
