"""What holds now, what happened, and what the user said about it: all that the tray shows.

The watcher writes here; the tray, `status` and a second start only read. Conditions change together
with the event that tells of it, in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tfgpu_tray.model import Condition, Event, Judgement, Offer, Verdict, plain
from tfgpu_tray.store.journal import Repair


class Silence(StrEnum):
    ACKNOWLEDGED = "acknowledged"  # seen: no reminders while it lasts
    IGNORED = "ignored"  # not a fault here: neither told nor shown in the icon's state


#: By prefix and cause.
Silenced = Mapping[tuple[Path, str], Silence]


def silence_of(silenced: Silenced, condition: Condition) -> Silence | None:
    """What the user said of what is wrong there."""
    return silenced.get((condition.prefix, condition.shown.cause or ""))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known without looking."""

    running: bool  # whether a watcher keeps it up to date
    conditions: tuple[Condition, ...]
    repairs: tuple[Repair, ...]  # at work
    paused_until: float | None
    silenced: Silenced

    def silence(self, condition: Condition) -> Silence | None:
        return silence_of(self.silenced, condition)

    @property
    def verdict(self) -> Verdict:
        """The worst of the environments, where an ignored cause is none; unknown without any."""
        shown = [
            Verdict.OK if self.silence(c) is Silence.IGNORED else c.shown.verdict
            for c in self.conditions
        ]
        return max(shown, key=lambda v: v.badness, default=Verdict.UNKNOWN)


class Board:
    def __init__(self, database: sqlite3.Connection, clock: Callable[[], float] = time.time):
        self._database = database
        self._clock = clock
        self._writing = threading.Lock()  # one connection serves several threads

    def commit_lazily(self) -> None:
        """From now on the last commits may be lost with the power, never with the process.

        Enough for what is seen again at the next start, and ten times faster.
        """
        self._database.execute("PRAGMA synchronous=NORMAL")

    # ---- conditions and events -----------------------------------------------------------------

    def conditions(self) -> list[Condition]:
        """In the order of their prefixes; a row of another version's form is left out."""
        rows = self._database.execute("SELECT content FROM conditions ORDER BY prefix")
        return [c for row in rows.fetchall() if (c := _condition(row["content"])) is not None]

    def hold(self, condition: Condition, event: Event | None = None) -> None:
        """*condition* holds from now on; *event* is how that came."""
        row = (str(condition.prefix), json.dumps(plain(condition), ensure_ascii=False))
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO conditions VALUES (?, ?)", row)
            if event is not None:
                self._append(event)

    def drop(self, prefix: Path, event: Event | None = None) -> None:
        """Nothing is known of *prefix* any more; what the user said of it stays."""
        with self._transaction():
            for table in ("conditions", "manifests", "told"):
                self._database.execute(f"DELETE FROM {table} WHERE prefix = ?", (str(prefix),))
            if event is not None:
                self._append(event)

    def append(self, event: Event) -> None:
        with self._transaction():
            self._append(event)

    def events(self, limit: int = 50) -> list[Event]:
        """The newest first."""
        rows = self._database.execute("SELECT * FROM events ORDER BY id DESC LIMIT ?", (limit,))
        return [
            Event(r["kind"], Path(r["prefix"]) if r["prefix"] else None, r["text"], r["at"])
            for r in rows.fetchall()
        ]

    def _append(self, event: Event) -> None:
        self._database.execute(
            "INSERT INTO events (at, kind, prefix, text) VALUES (?, ?, ?, ?)",
            (event.at, event.kind, str(event.prefix) if event.prefix else None, event.text),
        )

    # ---- manifests: what was there when it was last settled ------------------------------------

    def manifest(self, prefix: Path) -> tuple[float, str] | None:
        """When it was taken, and its text."""
        row = self._one("SELECT at, content FROM manifests WHERE prefix = ?", str(prefix))
        return (row["at"], row["content"]) if row else None

    def keep_manifest(self, prefix: Path, content: str) -> None:
        self._write(
            "INSERT OR REPLACE INTO manifests VALUES (?, ?, ?)",
            (str(prefix), self._clock(), content),
        )

    # ---- what the user was told, and said ------------------------------------------------------

    def told(self) -> dict[Path, tuple[str, float]]:
        """What each environment's last notification was about, and when."""
        rows = self._database.execute("SELECT * FROM told")
        return {Path(r["prefix"]): (r["what"], r["at"]) for r in rows.fetchall()}

    def tell(self, prefix: Path, what: str) -> None:
        """Write down that the user is being told; before it is sent, so that it is sent once."""
        self._write(
            "INSERT OR REPLACE INTO told VALUES (?, ?, ?)", (str(prefix), what, self._clock())
        )

    def silence(self, prefix: Path, cause: str, kind: Silence | None) -> None:
        """None takes it back."""
        with self._transaction():
            self._database.execute(
                "DELETE FROM silenced WHERE prefix = ? AND cause = ?", (str(prefix), cause)
            )
            if kind is not None:
                self._database.execute(
                    "INSERT INTO silenced VALUES (?, ?, ?, ?)",
                    (str(prefix), cause, kind.value, self._clock()),
                )

    def silenced(self) -> dict[tuple[Path, str], Silence]:
        rows = self._database.execute("SELECT prefix, cause, kind FROM silenced")
        return {(Path(r["prefix"]), r["cause"]): Silence(r["kind"]) for r in rows.fetchall()}

    @property
    def paused_until(self) -> float | None:
        """When the pause ends; None when there is none."""
        row = self._one("SELECT value FROM settings WHERE name = 'paused_until'")
        until = float(row["value"]) if row else 0.0
        return until if until > self._clock() else None

    def pause(self, until: float | None) -> None:
        """None ends the pause."""
        self._write(
            "INSERT OR REPLACE INTO settings VALUES ('paused_until', ?)", (str(until or 0.0),)
        )

    # ---- how -----------------------------------------------------------------------------------

    def _one(self, query: str, *values: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._database.execute(query, values).fetchone()
        return row

    def _write(self, statement: str, values: tuple[str | float, ...]) -> None:
        """Never inside the transaction of another thread, which may be rolled back."""
        with self._transaction():
            self._database.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing:
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:
                yield


def _condition(text: str) -> Condition | None:
    try:
        content = json.loads(text)
        return Condition(
            prefix=Path(content["prefix"]),
            settled=_judgement(content["settled"]),
            since=content["since"],
            seen=content["seen"],
            glimpse=_judgement(content["glimpse"]),
            fingerprint=content["fingerprint"],
        )
    except (KeyError, TypeError, ValueError):
        return None


def _judgement(content: dict[str, Any] | None) -> Judgement | None:
    if content is None:
        return None
    return Judgement(
        verdict=Verdict(content["verdict"]),
        headline=content["headline"],
        cause=content["cause"],
        also=tuple(content["also"]),
        offer=_offer(content["offer"]),
        advice=content["advice"],
        who=content["who"],
    )


def _offer(content: dict[str, Any] | None) -> Offer | None:
    if content is None:
        return None
    steps, instead = tuple(content["steps"]), tuple(content["instead"])
    return Offer(content["title"], steps, content["download_mb"], instead)
