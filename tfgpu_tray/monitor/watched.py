"""What the monitor is given to look with, and what it knows of one environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tfgpu_tray.model import Depth, Environment, Verdict
from tfgpu_tray.monitor.command_line import Command
from tfgpu_tray.monitor.looking import Looker
from tfgpu_tray.observe.manifest import Manifest
from tfgpu_tray.observe.processes import Manager


class Senses(Protocol):
    """Where the monitor's facts come from; all but `look` take milliseconds."""

    @property
    def look(self) -> Looker: ...

    def find(self) -> list[Environment]:
        """The environments to watch."""
        ...

    def fingerprint(self, environment: Environment) -> str: ...

    def manifest(self, environment: Environment) -> Manifest: ...

    def managers(self) -> list[Manager]:
        """The package managers at work now, on whatever environment."""
        ...

    def unfinished(self, environment: Environment) -> str | None:
        """A fresh trace of a package manager's work that is not finished."""
        ...

    def repairing(self, prefix: Path) -> str | None:
        """What of ours is at work there, whoever started it: "repair", "install" or "undo"."""
        ...

    def reluctance(self) -> str | None:
        """Why TensorFlow should not be asked now; None when it may."""
        ...

    def await_exit(self, managers: Sequence[Manager], then: Callable[[], None]) -> None:
        """Call *then*, from some thread, when all of *managers* have ended."""
        ...


@dataclass
class Watched:
    """What the monitor knows of one environment between two looks."""

    environment: Environment
    fingerprint: str | None  # when it was last looked at
    wanted: Depth | None = Depth.FINGERPRINT  # the depth somebody asked for
    forced: bool = False  # a person asked: neither battery nor busy GPU counts
    touched: tuple[float, float] | None = None  # the first and the last change not looked at yet
    not_before: float = 0.0
    waiting: bool = False  # for somebody who was seen at work
    trace: str | None = None  # of unfinished work, told when it is the first
    commands: list[Command] = field(default_factory=list)  # of package managers seen at work
    confirmed: float | None = None  # when it was last seen to be as it was, since we watch
    unrecorded: bool = False  # no manifest of it has been kept yet
    has_changed: bool = False  # since TensorFlow was last asked
    who: str = ""  # changed it, one sentence
    repeats: int = 0
    owed: bool = False  # TensorFlow's own answer, which somebody asked for
    unread: bool = False  # its files, which that look would have read as well
    retry_at: float = 0.0  # when TensorFlow could not be asked
    overruled: tuple[Verdict, str | None] | None = None  # what files said, and TensorFlow did not
    skipped: str = ""  # why it was not asked, as last told
    failure: str = ""  # as last told

    @property
    def prefix(self) -> Path:
        return self.environment.prefix

    @property
    def has_work(self) -> bool:
        return self.wanted is not None or self.touched is not None

    def want(self, depth: Depth, *, forced: bool = False) -> None:
        self.wanted = max(depth, self.wanted or depth)
        self.forced |= forced
