"""Small files, changed whole: written beside their place and moved over it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tfgpu_tray.installer.step import StepFailed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries again, after each of *pauses*, what is refused. On Windows a virus scanner or an
    indexer holds a file for a moment after it was written; nothing tells when it lets go."""

    pauses: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8) if sys.platform == "win32" else ()
    sleep: Callable[[float], object] = time.sleep

    def __call__(self, action: Callable[[], T]) -> T:
        for pause in self.pauses:
            try:
                return action()
            except PermissionError:
                self.sleep(pause)
        return action()


PATIENT = Patience()


def write(path: Path, content: str | bytes, patience: Patience = PATIENT) -> None:
    """Replace *path* in one move; never writes through a link that conda shares with its cache.

    Raises:
        StepFailed: it could not be written.
    """
    fresh = path.with_name(f".{path.name}.tfgpu-new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        patience(lambda: fresh.replace(path))
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StepFailed(f"{path} could not be written: {error.strerror}") from error


def holds(path: Path, text: str) -> bool:
    """Whether *path* is exactly *text*."""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def remove(path: Path, patience: Patience = PATIENT) -> None:
    """Remove one file.

    Raises:
        StepFailed: it could not be removed.
    """
    try:
        patience(path.unlink)
    except OSError as error:
        raise StepFailed(f"{path} could not be removed: {error.strerror}") from error
