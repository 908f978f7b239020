"""Who is at work on an environment: package managers, and programs that use its TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

ACTIVATED = frozenset({"conda", "mamba", "micromamba", "uv", "pixi"})  # work on the active one
MANAGERS = frozenset({"pip", "pip3", "conda", "mamba", "micromamba", "uv", "pixi", "poetry", "pdm"})
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
        places = [process.info["exe"] or "", *words]
        active = manager in ACTIVATED and _activated_in(process, prefix)
        if active or any(_inside(place, prefix) for place in places):
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
        if any(m.path.startswith(f"{prefix}{os.sep}") and "tensorflow" in m.path for m in maps):
            found.append(Process(process.pid, " ".join(process.info["cmdline"] or [])[:200]))
    return found


def _manager(words: list[str]) -> str | None:
    """What a command line runs: `pip …`, `python -m pip …`, `python /opt/conda/bin/conda …`."""
    names = (Path(word).name.removesuffix(".exe") for word in words[:3])
    return next((name for name in names if name in MANAGERS), None)


def _inside(place: str, prefix: Path) -> bool:
    return place == str(prefix) or place.startswith(f"{prefix}{os.sep}")


def _activated_in(process: psutil.Process, prefix: Path) -> bool:
    try:
        environ = process.environ()
    except (psutil.Error, OSError):
        return False
    return str(prefix) in (environ.get("CONDA_PREFIX"), environ.get("VIRTUAL_ENV"))
