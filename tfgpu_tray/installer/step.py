"""What a step is: one reversible change to one link of the chain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tfgpu_tray.knowledge.shells import typed
from tfgpu_tray.observe.child import Result, Runner, run


class StepFailed(Exception):
    """A step could not be carried out; the text says what happened and what to do."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a person is told about a step before it is run."""

    title: str  # "Install tensorflow 2.10.1"
    why: str
    commands: tuple[str, ...]  # what would be run or written, as one could type it
    download_mb: int | None = None  # None: not known; 0: nothing is downloaded


def shown(words: Sequence[str]) -> str:
    """A command as one types it in a shell of this system."""
    return typed(words, "windows" if sys.platform == "win32" else "linux")


class Keeper(Protocol):
    """Puts back what was there before a transaction."""

    def restore(self, paths: Iterable[Path]) -> None: ...


@dataclass(frozen=True, slots=True)
class Work:
    """What a step may use while it is applied."""

    session: Mapping[str, str]  # the user's environment variables, no environment activated
    runner: Runner = run
    progress: Callable[[str], None] = field(default=lambda _: None)
    deadline: float = 3600.0  # seconds for one package manager's run

    def call(self, command: Sequence[str | Path], environ: Mapping[str, str]) -> Result:
        """Run a package manager to its end, passing its progress on."""
        return self.runner(command, deadline=self.deadline, environ=environ, watch=self.progress)


class Step(Protocol):
    @property
    def chapter(self) -> str: ...

    def check(self) -> bool:
        """Whether the machine already is as this step would leave it."""
        ...

    def describe(self) -> Description: ...

    def touches(self) -> tuple[Path, ...]:
        """Every folder or file the step may change; kept before it is applied."""
        ...

    def apply(self, work: Work) -> None:
        """Make the change.

        Raises:
            StepFailed: it could not be made; the transaction puts everything back.
        """
        ...

    def undo(self, keeper: Keeper) -> None:
        """Put back what was there."""
        ...


class Kept:
    """A step whose undo is to put back the files it touched, which is all of ours so far."""

    def touches(self) -> tuple[Path, ...]:
        raise NotImplementedError

    def undo(self, keeper: Keeper) -> None:
        keeper.restore(self.touches())
