"""Who is at work on an environment: package managers, and programs that use its TensorFlow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

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


def installers_at_work(prefix: Path) -> list[Process]:
    """Package managers that are changing *prefix* now, this process and its parents left out."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "exe"]):
        words = process.info["cmdline"] or []
        manager = _manager(words)
        if process.pid in own or manager is None or not CHANGES.intersection(words):
            continue
        places = [process.info["exe"] or "", *(value for word in words for value in _values(word))]
        named = prefix.name in _named(words) and prefix.parent.name == "envs"
        active = manager in ACTIVATED and _activated_in(process, prefix)
        if named or active or any(_inside(place, prefix) for place in places):
            found.append(Process(process.pid, " ".join(words)[:200]))
    return found


def users_of_tensorflow(prefix: Path) -> list[Process]:
    """Programs that have TensorFlow of *prefix* loaded: replacing it under them breaks them."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "exe"]):
        if process.pid == os.getpid() or "python" not in os.path.basename(
            process.info["exe"] or ""
        ):
            continue
        try:
            maps = process.memory_maps(grouped=True)
        except (psutil.Error, OSError):
            continue
        if any("tensorflow" in m.path and _inside(m.path, prefix) for m in maps):
            found.append(Process(process.pid, " ".join(process.info["cmdline"] or [])[:200]))
    return found


def _manager(words: list[str]) -> str | None:
    """What a command line runs: `pip …`, `python -m pip …`, `python /opt/conda/bin/conda …`."""
    names = (Path(word).name.removesuffix(".exe") for word in words[:3])
    known = (re.sub(r"^pip3?(\.\d+)?$", "pip", name) for name in names)
    return next((name for name in known if name in MANAGERS), None)


def _values(word: str) -> tuple[str, ...]:
    """A word, and what stands behind its = sign: `--prefix=/x`."""
    return (word, word.partition("=")[2])


def _named(words: list[str]) -> set[str]:
    """Environments that a conda command names: `-n tf`, `--name tf`, `--name=tf`."""
    found = {after for before, after in pairwise(words) if before in ("-n", "--name")}
    return found | {word.partition("=")[2] for word in words if word.startswith("--name=")}


def _inside(place: str, prefix: Path) -> bool:
    return any(
        place == root or place.startswith(root + os.sep)
        for root in (str(prefix), os.path.realpath(prefix))
    )


def _activated_in(process: psutil.Process, prefix: Path) -> bool:
    try:
        environ = process.environ()
    except (psutil.Error, OSError):
        return False
    return str(prefix) in (environ.get("CONDA_PREFIX"), environ.get("VIRTUAL_ENV"))
