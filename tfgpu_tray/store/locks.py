"""Locks that the processes of this program share, as files of the data folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from filelock import FileLock, Timeout


def prefix_lock(folder: Path, prefix: Path) -> FileLock:
    """The lock that a repair of *prefix* holds; one, by whatever path the prefix is named."""
    real = os.path.normcase(os.path.realpath(prefix))
    name = hashlib.blake2b(real.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return _lock(folder / "locks" / f"{name}.lock")


def watcher_lock(folder: Path) -> FileLock:
    """The lock that the one running watcher of this data folder holds."""
    return _lock(folder / "locks" / "watcher.lock")


def take(lock: FileLock) -> None:
    """Take *lock*, patiently: `is_held` holds it for a moment. Raises filelock.Timeout when another
    process has it, and OSError."""
    lock.acquire(timeout=0.3, poll_interval=0.02)


def is_held(lock: FileLock) -> bool:
    """Whether another process holds *lock* now."""
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def _lock(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)
