"""Waits until nobody is at work on an environment: judged is only what has settled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tfgpu_tray.model import Depth
from tfgpu_tray.monitor.command_line import Command, short
from tfgpu_tray.monitor.watched import Senses, Watched
from tfgpu_tray.observe.processes import Manager
from tfgpu_tray.observe.settling import QUIET

CALM = 0.2  # seconds without a further change before a change by hand is looked at
AT_MOST = 2.0  # seconds that a stream of such changes can put a look off
POLL = 0.5  # seconds between questions whether a repair of ours is still at work
PATIENCE = 30.0  # seconds between the same about a package manager, whose end is told as well


class Settling:
    def __init__(
        self,
        senses: Senses,
        clock: Callable[[], float],
        steady: Callable[[], float],
        lock: threading.Lock,
        tell: Callable[[str, Path, str], None],
        wake: Callable[[], None],
    ):
        """*lock* guards what other threads write to a `Watched`; *tell* makes an event of kind,
        environment and text."""
        self._senses, self._clock, self._steady = senses, clock, steady
        self._lock, self._tell, self._wake = lock, tell, wake

    def waits(self, watched: Watched, managers: Sequence[Manager]) -> bool:
        """Whether somebody is still at work there; judged is only what has settled."""
        now = self._steady()
        if (ours := self._senses.repairing(watched.prefix)) is not None:
            words = ("tfgpu-tray", ours)
            if not any(c.words == words for c in watched.commands):  # else its pip gets the blame
                watched.commands.append(Command(words, self._clock()))
            watched.waiting, watched.not_before = True, now + POLL
            return True
        if working := [m for m in managers if m.works_on(watched.prefix)]:
            self._wait_for(watched, working)
            return True
        if watched.waiting:  # its traces are leftovers, if it left any
            watched.waiting = False
            return False
        if watched.touched is not None:
            first, last = watched.touched
            watched.not_before = min(last + CALM, first + AT_MOST)
            if now < watched.not_before:
                return True
        trace = self._senses.unfinished(watched.environment)
        if trace is not None:
            if watched.trace is None:
                text = f"{trace} was left a moment ago; looking when nothing moves any more"
                self._tell("waiting", watched.prefix, text)
            watched.not_before = now + QUIET
        watched.trace = trace
        return trace is not None

    def _wait_for(self, watched: Watched, working: Sequence[Manager]) -> None:
        if not watched.waiting:
            command = short(Command(working[0].words, working[0].started))
            text = f"`{command}` is at work; looking when it has finished"
            self._tell("waiting", watched.prefix, text)
        seen = {c.pid for c in watched.commands}
        new = [Command(m.words, m.started, m.pid) for m in working if m.pid not in seen]
        watched.commands += new
        with self._lock:
            watched.waiting, watched.not_before = True, self._steady() + PATIENCE
            watched.want(Depth.STATIC)  # even if the fingerprint ends as it began

        def ended() -> None:
            with self._lock:
                watched.not_before = 0.0
            self._wake()

        if new:
            self._senses.await_exit([m for m in working if m.pid not in seen], ended)
