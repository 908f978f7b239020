"""The journal of repairs: what was about to be done, was done, and how it ended."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    APPLYING = "applying"
    DONE = "done"
    UNDOING = "undoing"  # being taken back; if that was interrupted, it can be taken back again
    UNDONE = "undone"  # the user took it back
    ROLLED_BACK = "rolled-back"  # it failed, was no better, or was interrupted
    EXPIRED = "expired"  # it stands, and is too old to be taken back
    STUCK = "stuck"  # it could not be put back completely; a person must look


@dataclass(frozen=True, slots=True)
class Repair:
    id: int
    prefix: Path
    command: str  # "repair" or "install"
    state: State
    started: float
    before: str | None
    after: str | None
    note: str | None
    phase: str = ""  # what it is doing now, while it is applied
    fraction: float | None = None  # how much of it is done, 0 to 1; None when it cannot be said

    @property
    def doing(self) -> str:
        """The command that is at work on it: its own, or "undo"."""
        return "undo" if self.state is State.UNDOING else self.command


class Journal:
    """Every method is on disk when it returns."""

    def __init__(self, database: sqlite3.Connection, clock: Callable[[], float] = time.time):
        self._database = database
        self._clock = clock

    def begin(self, prefix: Path, command: str, before: str, titles: Sequence[str]) -> int:
        """Write down a repair that is about to start; returns its number."""
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:
            cursor = self._database.execute(
                "INSERT INTO repairs (prefix, command, state, started, before)"
                " VALUES (?, ?, ?, ?, ?)",
                (str(prefix), command, State.APPLYING, self._clock(), before),
            )
            number = cursor.lastrowid or 0
            self._database.executemany(
                "INSERT INTO steps (repair, number, title, state) VALUES (?, ?, ?, 'planned')",
                [(number, place, title) for place, title in enumerate(titles)],
            )
        return number

    def step_begins(self, repair: int, step: int) -> None:
        self._database.execute(
            "UPDATE steps SET state = 'applying', started = ? WHERE repair = ? AND number = ?",
            (self._clock(), repair, step),
        )

    def step_ends(self, repair: int, step: int, state: str, note: str | None = None) -> None:
        self._database.execute(
            "UPDATE steps SET state = ?, ended = ?, note = ? WHERE repair = ? AND number = ?",
            (state, self._clock(), note, repair, step),
        )

    def progress(self, repair: int, phase: str, fraction: float | None = None) -> None:
        """What it is doing now, for whoever shows it; the tray is another process."""
        self._database.execute(
            "UPDATE repairs SET phase = ?, fraction = ? WHERE id = ?", (phase, fraction, repair)
        )

    def undo_begins(self, repair: int, phase: str) -> None:
        self._database.execute(
            "UPDATE repairs SET state = ?, phase = ?, fraction = NULL WHERE id = ?",
            (State.UNDOING, phase, repair),
        )

    def end(
        self, repair: int, state: State, *, after: str | None = None, note: str | None = None
    ) -> None:
        self._database.execute(
            "UPDATE repairs SET state = ?, ended = ?, after = COALESCE(?, after),"
            " note = COALESCE(?, note) WHERE id = ?",
            (state, self._clock(), after, note, repair),
        )

    def unfinished(self, prefix: Path | None = None) -> list[Repair]:
        """Repairs that were interrupted, newest first."""
        found = self._select("state = ?", State.APPLYING)
        return [r for r in found if _concerns(r, prefix)]

    def done(self, prefix: Path | None = None) -> list[Repair]:
        """Repairs that stand and can be taken back, newest first."""
        found = self._select("state IN (?, ?)", State.DONE, State.UNDOING)
        return [r for r in found if _concerns(r, prefix)]

    def at_work(self) -> list[Repair]:
        """Repairs that are being carried out or taken back, if their process still lives."""
        return self._select("state IN (?, ?)", State.APPLYING, State.UNDOING)

    def last_done(self, prefix: Path | None = None) -> Repair | None:
        """The newest repair that stands, the one `undo` takes back."""
        return next(iter(self.done(prefix)), None)

    def _select(self, where: str, *values: str) -> list[Repair]:
        rows = self._database.execute(
            f"SELECT * FROM repairs WHERE {where} ORDER BY id DESC", values
        )
        return [
            Repair(
                id=row["id"],
                prefix=Path(row["prefix"]),
                command=row["command"],
                state=State(row["state"]),
                started=row["started"],
                before=row["before"],
                after=row["after"],
                note=row["note"],
                phase=row["phase"] or "",
                fraction=row["fraction"],
            )
            for row in rows
        ]


def _concerns(repair: Repair, prefix: Path | None) -> bool:
    """Whether *repair* was of *prefix*, by whatever path either is named; None is any."""
    return prefix is None or os.path.realpath(repair.prefix) == os.path.realpath(prefix)
