"""How far a repair is, written into the journal, where the tray reads it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tfgpu_tray.installer.pip import downloads
from tfgpu_tray.store.journal import Journal

EVERY = 0.5  # seconds between two entries of the same step


class Gauge:
    def __init__(
        self,
        journal: Journal,
        number: int,
        steps: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        """For the repair *number* of so many *steps*; asking TensorFlow counts as one more."""
        self._journal, self._number, self._parts, self._clock = journal, number, steps + 1, clock
        self._done, self._title, self._written = 0, "", 0.0

    def step(self, done: int, title: str) -> None:
        """*done* steps are behind, the one called *title* begins."""
        self._done, self._title, self._written = done, title, self._clock()
        self._journal.progress(self._number, title, done / self._parts)

    def output(self, text: str) -> None:
        """What the step's package manager printed."""
        known = [(came, of) for came, of in downloads(text) if of]
        now = self._clock()
        if known and now - self._written >= EVERY:
            self._written = now
            came, of = known[-1]
            part = min(came / of, 1.0) if of else 0.0
            self._journal.progress(self._number, self._title, (self._done + part) / self._parts)
