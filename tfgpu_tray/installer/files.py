"""Small files, changed whole: written beside their place and moved over it."""

from __future__ import annotations

from pathlib import Path

from tfgpu_tray.installer.step import StepFailed


def write(path: Path, text: str) -> None:
    """Replace *path* in one move; never writes through a link that conda shares with its cache.

    Raises:
        StepFailed: it could not be written.
    """
    fresh = path.with_name(f".{path.name}.tfgpu-new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(text.encode())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StepFailed(f"{path} could not be written: {error.strerror}") from error


def holds(path: Path, text: str) -> bool:
    """Whether *path* is exactly *text*."""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove one file.

    Raises:
        StepFailed: it could not be removed.
    """
    try:
        path.unlink()
    except OSError as error:
        raise StepFailed(f"{path} could not be removed: {error.strerror}") from error
