"""Remembers TensorFlow's own last answer for each environment, and the events."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tfgpu_tray.examine import Remembered
from tfgpu_tray.model import Outcome, Report, Snapshot, Verdict


class Looks:
    def __init__(self, database: sqlite3.Connection, clock: Callable[[], float] = time.time):
        self._database = database
        self._clock = clock

    def keep(self, report: Report) -> None:
        """Remember a report that rests on TensorFlow's own answer; a probe that was stopped or
        crashed gave none."""
        snapshot = report.snapshot
        answered = (Outcome.COMPLETED, Outcome.FAILED)
        if snapshot.tensorflow is None or snapshot.tensorflow.outcome not in answered:
            return
        prefix, version, now = str(report.prefix), snapshot.tensorflow.version, self._clock()
        self._database.execute(
            "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?)",
            (prefix, snapshot.fingerprint, now, report.verdict.value, report.headline, version),
        )
        if snapshot.tensorflow.gpus and version:
            self._database.execute(
                "INSERT OR REPLACE INTO good VALUES (?, ?, ?)", (prefix, version, now)
            )

    def recall(self, snapshot: Snapshot) -> Remembered | None:
        """The last answer, if the environment still looks the same from outside."""
        row = self._database.execute(
            "SELECT * FROM looks WHERE prefix = ? AND fingerprint = ?",
            (str(snapshot.environment.prefix), snapshot.fingerprint),
        ).fetchone()
        if row is None:
            return None
        age = max(0.0, self._clock() - row["at"])
        return Remembered(Verdict(row["verdict"]), row["headline"], age)

    def last_good(self, prefix: Path) -> str | None:
        """The TensorFlow version that last saw a GPU in *prefix*."""
        row = self._database.execute(
            "SELECT tensorflow FROM good WHERE prefix = ?", (str(prefix),)
        ).fetchone()
        return row["tensorflow"] if row else None

    def known_prefixes(self) -> set[str]:
        """Environments in which TensorFlow was once seen."""
        return {row["prefix"] for row in self._database.execute("SELECT prefix FROM looks")}
