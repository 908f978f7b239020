"""Conditions of all environments, kept current by looks of three depths."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.model import Depth, Environment, Report, Role, Verdict
from tfgpu_tray.observe.processes import Process, installers_at_work
from tfgpu_tray.survey import Survey


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds now for one environment, and since when."""

    verdict: Verdict
    cause: str | None
    headline: str
    since: float


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: "found", "transition", "gone", "waiting" or "failed"."""

    kind: str
    prefix: Path | None
    text: str
    at: float


class Monitor:
    """One look at a time; a look that fails is an event, and the monitor goes on."""

    def __init__(
        self,
        survey: Callable[[], Survey],
        tell: Callable[[Event], None],
        clock: Callable[[], float] = time.time,
        working: Callable[[Path], list[Process]] = installers_at_work,
    ):
        self._survey = survey
        self._tell = tell
        self._clock = clock
        self._working = working
        self._busy = threading.Lock()
        self._conditions: dict[Path, Condition] = {}
        self._fingerprints: dict[Path, str] = {}
        self._waiting: set[Path] = set()
        self._failures: dict[Path | None, str] = {}
        self._closed = threading.Event()

    @property
    def conditions(self) -> dict[Path, Condition]:
        return dict(self._conditions)

    def look(self, depth: Depth) -> None:
        """Look at every environment to *depth*, deeper where something changed."""
        with self._busy:
            try:
                self._look(depth)
            except Exception as error:
                self._failed(None, error)
            else:
                self._failures.pop(None, None)

    def close(self) -> None:
        """From now on nothing is told: a look cut short by the end would only mislead."""
        self._closed.set()

    def _look(self, depth: Depth) -> None:
        survey = self._survey()
        judged, _ = survey.find()
        self._forget_the_gone({e.prefix for e in judged})
        if depth is Depth.FINGERPRINT:
            judged = [e for e in judged if self._has_changed(survey, e)]
            depth = Depth.TENSORFLOW
        settled = [e for e in judged if self._is_settled(e)]
        if not settled:
            return
        machine = survey.observer.machine(depth)
        for environment in settled:
            if self._closed.is_set():
                return
            try:
                report = survey.examine(environment, depth, machine)
                if report.verdict is Verdict.UNKNOWN and depth < Depth.TENSORFLOW:
                    report = survey.examine(environment, Depth.TENSORFLOW, machine)
            except Exception as error:  # one environment must not keep the others from being seen
                self._failed(environment.prefix, error)
                continue
            self._failures.pop(environment.prefix, None)
            self._fingerprints[environment.prefix] = report.snapshot.fingerprint
            self._take(report)

    def _failed(self, prefix: Path | None, error: Exception) -> None:
        """Told once, not at every look."""
        text = f"a look failed: {type(error).__name__}: {error}"
        if self._failures.get(prefix) != text:
            self._failures[prefix] = text
            self._event("failed", prefix, text)

    def _has_changed(self, survey: Survey, environment: Environment) -> bool:
        now = survey.observer.fingerprint(environment)
        return self._fingerprints.get(environment.prefix) != now

    def _is_settled(self, environment: Environment) -> bool:
        """Not while a package manager works on it; the next look comes soon enough."""
        prefix = environment.prefix
        working = self._working(prefix)
        if not working:
            self._waiting.discard(prefix)
            return True
        if prefix not in self._waiting:
            self._waiting.add(prefix)
            self._fingerprints.pop(prefix, None)
            self._event("waiting", prefix, f"{working[0]} is at work; looking when it has finished")
        return False

    def _take(self, report: Report) -> None:
        """A transition is told; the same verdict for the same cause is not."""
        primary = report.primary
        cause = primary.cause if primary else None
        held = self._conditions.get(report.prefix)
        if held and (held.verdict, held.cause) == (report.verdict, cause):
            return
        now = self._clock()
        self._conditions[report.prefix] = Condition(report.verdict, cause, report.headline, now)
        before = f"{held.verdict.value} → " if held else ""
        blemishes = [d.summary for d in report.diagnoses if d.role is Role.CONTRIBUTING]
        also = f" (also: {'; '.join(blemishes[:2])})" if primary and blemishes else ""
        text = f"{before}{report.verdict.value}: {report.headline}{also}"
        self._event("transition" if held else "found", report.prefix, text)

    def _forget_the_gone(self, present: set[Path]) -> None:
        for prefix in self._conditions.keys() - present:
            del self._conditions[prefix]
            self._fingerprints.pop(prefix, None)
            self._event("gone", prefix, "the environment is gone; not watched any more")

    def _event(self, kind: str, prefix: Path | None, text: str) -> None:
        if self._closed.is_set():
            return
        self._tell(Event(kind, prefix, text, self._clock()))
