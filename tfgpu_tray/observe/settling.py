"""Traces that package managers leave while they work on an environment.

conda renames what it replaces to `*.c~` beside its records; mamba and micromamba hold
conda-meta/conda-meta.lock; pip renames what it replaces to `~…` in site-packages. A trace that has
not changed for a while is a leftover of a run that was killed.
"""

from __future__ import annotations

import os
from pathlib import Path

from tfgpu_tray.model import Environment
from tfgpu_tray.observe.layout import HERE, WINDOWS, Layout

QUIET = 10.0  # seconds without a change after which a trace counts as a leftover


def unfinished_work(environment: Environment, now: float) -> str | None:
    """A trace that changed less than `QUIET` seconds before *now*; None when there is none."""
    for folder, is_trace in (
        (environment.prefix / "conda-meta", _conda_trace),
        (environment.site_packages, _pip_trace),
        (environment.user_site, _pip_trace),
    ):
        if folder is None:
            continue
        for name in _names(folder):
            if is_trace(name) and _age(folder / name, now) < QUIET:
                return os.path.join(folder, name)
    return None


def _conda_trace(name: str) -> bool:
    return name.endswith(".c~") or name == "conda-meta.lock"


def _pip_trace(name: str) -> bool:
    return name.startswith("~")


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _age(path: Path, now: float) -> float:
    """Since its inode changed: a rename moves that time stamp, and not the one of its content.

    A stamp far in the future is from before the clock was set back; the trace is old as well.
    """
    try:
        return abs(now - _changed(path))
    except OSError:
        return QUIET


def _changed(path: Path, layout: Layout = HERE) -> float:
    """When it was renamed or changed last. Python tells no such time on Windows; a rename shows in
    the folder that holds the name."""
    status = os.lstat(path)
    if layout is WINDOWS:
        return max(status.st_mtime, os.stat(path.parent).st_mtime)
    return status.st_ctime
