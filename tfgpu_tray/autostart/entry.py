"""What the places that start programs at login have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

NAME = "tfgpu-tray"


class AutostartError(Exception):
    """Starting at login could not be read or changed; the text is a sentence for the user."""


class Method(StrEnum):
    XDG = "xdg"
    SYSTEMD = "systemd"
    REGISTRY = "registry"


@dataclass(frozen=True, slots=True)
class Found:
    """One entry as it stands."""

    words: tuple[str, ...]  # the command line; empty when it cannot be read
    off: str  # why it starts nothing although it is there; "" when it does


class Entry(Protocol):
    """One place that starts programs at login. Its methods raise OSError as the place does."""

    @property
    def method(self) -> Method: ...

    @property
    def place(self) -> str: ...

    def read(self) -> Found | None: ...

    def write(self, words: Sequence[str]) -> None:
        """Start *words* from the next login on, whatever was switched off before."""

    def retarget(self, words: Sequence[str]) -> None:
        """Change what an entry starts, and nothing else."""

    def remove(self) -> None: ...

    def caveats(self, words: Sequence[str]) -> list[str]:
        """When an entry that starts *words* starts nothing all the same."""
