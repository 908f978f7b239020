"""Days in the life of a monitor: the real schedule, the real store, and a machine that lives.

Everything that could be kept track of outside the monitor is: when each environment was last
looked at, while nothing excused it; what was told, and what a person was notified of.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from itertools import count
from pathlib import Path
from unittest.mock import patch

from apscheduler.executors.base import BaseExecutor
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.base import BaseScheduler

from tests.monitor.simulation import CPU_ONLY, NO_CUDNN, SEES_GPU, UNASKED, Clock, Machine, Place
from tfgpu_tray.config import Notifications, Schedule
from tfgpu_tray.daemon import BEAT
from tfgpu_tray.model import Depth, Event, Judgement
from tfgpu_tray.monitor.clock import Pulse
from tfgpu_tray.monitor.looking import LookFailed
from tfgpu_tray.monitor.monitor import PAUSE, RETRY, Monitor
from tfgpu_tray.monitor.service import AFTER_RESUME, JITTER, JOBS, Timetable
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import open_database
from tfgpu_tray.store.journal import Journal
from tfgpu_tray.tray import notices
from tfgpu_tray.tray.view import read_view

MINUTE, HOUR = 60.0, 3600.0
SCHEDULE = Schedule(fingerprint=60, static=15 * MINUTE, tensorflow=2 * HOUR)
SECONDS = {Depth.STATIC: 1.0, Depth.TENSORFLOW: 6.0}  # that a look takes
HANGS = 200.0
BATTERY = "the computer runs on its battery"


class Scheduler(BaseScheduler):  # type: ignore[misc]
    """APScheduler without a thread: it waits on time itself, as its thread does."""

    def __init__(self, clock: Clock):
        super().__init__(timezone=UTC, job_defaults=JOBS)
        self._clock, self.wakes_at = clock, clock.steady

    def wakeup(self) -> None:
        self.wakes_at = self._clock.steady

    def shutdown(self, wait: bool = True) -> None:
        super().shutdown(wait)

    def process(self) -> None:
        if self._clock.steady >= self.wakes_at:
            wait = self._process_jobs()
            self.wakes_at = self._clock.steady + (wait if wait is not None else HOUR)

    def _create_default_executor(self) -> BaseExecutor:
        return DebugExecutor()


@contextmanager
def calendar(clock: Clock) -> Iterator[None]:
    """APScheduler reads *clock* instead of the computer's."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Now:
            return cls.fromtimestamp(clock.wall, tz)

    places = ("apscheduler.schedulers.base.datetime", "apscheduler.triggers.interval.datetime")
    with patch(places[0], Now), patch(places[1], Now):
        yield


class Day:
    def __init__(self, folder: Path, seed: int, *, hours: float):
        self.random = random.Random(seed)
        self.clock = Clock()
        self.started, self.until = self.clock.elapsed, self.clock.elapsed + hours * HOUR
        self.machine = Machine(folder / "envs", self.clock, lambda depth: SECONDS[depth])
        self.machine.asked = self._asked
        self.database = open_database(folder / "data")
        self.database.execute("PRAGMA synchronous=OFF")
        self.board = Board(self.database, lambda: self.clock.wall)
        self.journal = Journal(self.database)
        self.monitor = Monitor(
            self.machine,
            self.board,
            lambda: self.clock.wall,
            steady=lambda: self.clock.steady,
            tell=self._told,
            show=self._shown,
        )
        self.scheduler = Scheduler(self.clock)
        self.timetable = Timetable(
            self.monitor,
            SCHEDULE,
            lambda kind, text: self.board.append(Event(kind, None, text, self.clock.wall)),
            self.scheduler,
            lambda: datetime.fromtimestamp(self.clock.wall, UTC),
        )
        self.pulse = Pulse(lambda: self.clock.wall, lambda: self.clock.steady)
        self.next_beat = self.clock.steady + BEAT
        self.happenings: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = count(1)
        self.touches = 0
        self.stale = False
        self.checked = self.clock.steady, 0.0  # then, and what `looking` was then
        self.looking = 0.0  # seconds that all looks took, in which the worker had no time
        self.ages: dict[Path, dict[Depth, float]] = {}
        self.deferred: defaultdict[Path, float] = defaultdict(float)
        self.worst: defaultdict[Depth, float] = defaultdict(float)
        self.skipped: set[Path] = set()
        self.transitions: Counter[Path] = Counter()
        self.notified: Counter[tuple[Path, str]] = Counter()
        self.unfounded: list[str] = []  # notices of what no event told
        self.began: set[tuple[Path, str]] = set()
        self.happened: Counter[str] = Counter()
        whole = self.machine.fingerprint
        self.machine.fingerprint = self._compared(whole)  # type: ignore[method-assign]

    # ---- what happens --------------------------------------------------------------------------

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Awake or asleep, *seconds* from now."""
        entry = (self.clock.elapsed + seconds, next(self.numbers), what)
        heapq.heappush(self.happenings, entry)

    def every(self, low: float, high: float, what: Callable[[], None]) -> None:
        """Again and again, each time after *low* to *high* seconds."""

        def again() -> None:
            self.happened[what.__name__] += 1
            what()
            self.later(self.random.uniform(low, high), again)

        self.later(self.random.uniform(0, high), again)

    def add(self, name: str) -> Place:
        place = self.machine.add(name)
        self._is_new(place)
        return place

    def change(self, place: Place, answer: Judgement, files: Judgement | None = None) -> None:
        """Something happens to its files; the watcher sees it, more or less often."""
        place.fingerprint = f"state {next(self.numbers)}"
        place.answer = answer
        place.files = files or self.random.choice([UNASKED, answer])
        self.touch(place, self.random.randrange(60))

    def touch(self, place: Place, times: int) -> None:
        for _ in range(times):
            self.later(self.random.uniform(0, 3), lambda: self._touch(place))

    def _touch(self, place: Place) -> None:
        self.touches += 1
        self.monitor.touched(place.environment.prefix)

    def pip(self, place: Place) -> None:
        manager = self.machine.manager(next(self.numbers), "pip install keras", place)
        self.change(place, place.answer)

        def ends() -> None:
            answer = self.random.choice([place.answer, SEES_GPU, NO_CUDNN, CPU_ONLY])
            self.change(place, answer)
            self.machine.ends(manager)

        self.later(self.random.choice([0.3, 20, 300]), ends)

    def leave_a_trace(self, place: Place) -> None:
        place.trace = f"~{next(self.numbers)}"
        self.change(place, place.answer)

        def settle() -> None:
            place.trace = None

        self.later(15, settle)

    def fail(self, place: Place, error: Exception) -> None:
        place.error = error

        def mend() -> None:
            place.error = None

        self.later(self.random.uniform(1, 20) * MINUTE, mend)

    def hang(self, place: Place) -> None:
        def wait(depth: Depth) -> None:
            place.during = None
            self.clock.pass_by(HANGS)
            self.clock.sleep(self.random.choice([0, 0, HOUR]))
            self.looking += HANGS
            raise LookFailed(f"check was stopped after {HANGS:.0f} s")

        place.during = wait

    def unplug(self) -> None:
        self.machine.reason = BATTERY

        def plug_in() -> None:
            self.machine.reason = None

        self.later(self.random.uniform(20, 150) * MINUTE, plug_in)

    def leave(self, place: Place) -> None:
        """The environment is deleted, and made again later."""
        prefix = place.environment.prefix
        if prefix not in self.machine.places:
            return
        del self.machine.places[prefix]
        self.monitor.touched(None)

        def come_back() -> None:
            self.machine.places[prefix] = place
            self._is_new(place)
            if self.random.random() < 0.5:
                self.monitor.touched(None)

        self.later(self.random.uniform(1, 40) * MINUTE, come_back)

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    # ---- time ----------------------------------------------------------------------------------

    def run(self, until: float | None = None) -> None:
        """To that hour of the day, by default to its end."""
        end = self.until if until is None else self.started + until * HOUR
        while self.clock.elapsed < end:
            self._turn(end)

    def _turn(self, end: float) -> None:
        due = self.monitor.due()
        steps = [end - self.clock.elapsed, self.next_beat - self.clock.steady]
        steps.append(self.scheduler.wakes_at - self.clock.steady)
        steps += [due] if due is not None else []
        steps += [self.happenings[0][0] - self.clock.elapsed] if self.happenings else []
        self.clock.pass_by(max(0.0, min(steps)) + 0.001)
        while self.happenings and self.happenings[0][0] <= self.clock.elapsed:
            heapq.heappop(self.happenings)[2]()
        self.scheduler.process()
        if self.clock.steady >= self.next_beat:
            self.next_beat = self.clock.steady + BEAT
            jump = self.pulse.beat()
            if jump is not None:
                self.timetable.jumped(jump.text)
        for _ in range(60):
            if self.monitor.due() != 0.0:
                break
            self.monitor.work()
        else:
            raise AssertionError("the monitor never rests")
        self.machine.looks.clear()
        self._notify()
        self._check()

    # ---- what a person sees --------------------------------------------------------------------

    def _told(self, event: Event) -> None:
        if event.kind == "skipped" and event.prefix:
            self.skipped.add(event.prefix)
        if event.kind in ("transition", "found") and event.prefix:
            self.transitions[event.prefix] += 1
            self.began.add((event.prefix, f"{event.at:.3f}"))

    def _shown(self) -> None:
        self.stale = True

    def _notify(self) -> None:
        """As the tray does, which is another thread."""
        if not self.stale:
            return
        self.stale = False
        view = read_view(self.board, self.journal, (), self.clock.wall)
        for notice in notices.due(view, Notifications(remind=None)):
            self.board.tell(notice.prefix, notice.what)
            self.notified[notice.prefix, notice.what] += 1
            if (notice.prefix, notice.what.rsplit(" ", 1)[1]) not in self.began:
                self.unfounded.append(notice.what)

    # ---- what was missed -----------------------------------------------------------------------

    def _is_new(self, place: Place) -> None:
        now = self.clock.steady
        self.ages[place.environment.prefix] = dict.fromkeys(
            (Depth.FINGERPRINT, Depth.STATIC, Depth.TENSORFLOW), now
        )

    def _asked(self, prefix: Path, depth: Depth) -> None:
        self.looking += SECONDS[depth]
        if prefix not in self.ages:
            return
        for shallower in (Depth.FINGERPRINT, Depth.STATIC, depth):
            self.ages[prefix][shallower] = self.clock.steady
        if depth >= Depth.TENSORFLOW:
            self.deferred[prefix] = 0.0
            self.skipped.discard(prefix)

    def _compared(self, whole: Callable[..., str]) -> Callable[..., str]:
        def fingerprint(environment: object) -> str:
            prefix = environment.prefix  # type: ignore[attr-defined]
            if prefix in self.ages:
                self.ages[prefix][Depth.FINGERPRINT] = self.clock.steady
            return whole(environment)

        return fingerprint

    def _excused(self, place: Place) -> bool:
        """Whether nobody may look at it now."""
        prefix = place.environment.prefix
        return place.trace is not None or any(m.works_on(prefix) for m in self.machine.working)

    def _check(self) -> None:
        now = self.clock.steady
        passed, looked = now - self.checked[0], self.looking - self.checked[1]
        self.checked = now, self.looking
        for prefix, place in self.machine.places.items():
            excuse = passed if self._excused(place) else looked
            if self.machine.reason is not None:
                self.deferred[prefix] += passed
            for depth, last in self.ages[prefix].items():
                self.ages[prefix][depth] = min(now, last + excuse)
                age = now - self.ages[prefix][depth]
                if depth is Depth.TENSORFLOW and self.deferred[prefix]:
                    if age > LIMITS[depth]:
                        assert prefix in self.skipped, f"{prefix}: nobody told of a look put off"
                    age -= self.deferred[prefix]
                self.worst[depth] = max(self.worst[depth], age)
                at = (self.clock.elapsed - self.started) / HOUR
                assert age <= LIMITS[depth], f"{place.environment.name}, {depth!r}, hour {at:.2f}"


_TURN = SCHEDULE.fingerprint * (1 + JITTER) + BEAT + PAUSE + 2
LIMITS = {
    Depth.FINGERPRINT: _TURN,
    Depth.STATIC: SCHEDULE.static * (1 + JITTER) + BEAT + AFTER_RESUME + _TURN,
    Depth.TENSORFLOW: SCHEDULE.tensorflow * (1 + JITTER) + BEAT + AFTER_RESUME + RETRY + _TURN,
}


def lively(day: Day) -> list[Place]:
    """Five environments, and everything that may happen to them."""
    names = ("quiet", "flapping", "worked on", "comes and goes", "odd")
    quiet, flapping, worked_on, comes_and_goes, odd = places = [day.add(name) for name in names]

    def flap() -> None:
        day.change(flapping, SEES_GPU if flapping.answer is NO_CUDNN else NO_CUDNN)

    def harmless() -> None:
        day.change(quiet, SEES_GPU, UNASKED)

    def pip() -> None:
        if not any(m.works_on(worked_on.environment.prefix) for m in day.machine.working):
            day.pip(worked_on)

    def go() -> None:
        day.leave(comes_and_goes)

    def trace() -> None:
        day.leave_a_trace(comes_and_goes)

    def fail() -> None:
        day.fail(odd, LookFailed("check ended with exit status 2"))

    def crash() -> None:
        day.fail(odd, OSError(5, "Input/output error"))

    def hang() -> None:
        day.hang(day.random.choice([odd, quiet]))

    def unplug() -> None:
        day.unplug()

    def sleep() -> None:
        day.sleep(day.random.choice([2, 10, 60, 180]) * MINUTE)

    def doze() -> None:
        day.sleep(day.random.uniform(1, 40))

    def set_clock() -> None:
        day.clock.set(day.random.choice([-9, -3, -1, 1, 2, 7]) * HOUR)

    day.every(2 * MINUTE, 6 * MINUTE, flap)
    day.every(40 * MINUTE, 2 * HOUR, harmless)
    day.every(5 * MINUTE, 30 * MINUTE, pip)
    day.every(30 * MINUTE, 2 * HOUR, go)
    day.every(30 * MINUTE, 2 * HOUR, trace)
    day.every(1 * HOUR, 3 * HOUR, fail)
    day.every(1 * HOUR, 3 * HOUR, crash)
    day.every(1 * HOUR, 3 * HOUR, hang)
    day.every(3 * HOUR, 6 * HOUR, unplug)
    day.every(2.5 * HOUR, 6 * HOUR, sleep)
    day.every(2 * HOUR, 6 * HOUR, doze)
    day.every(2.5 * HOUR, 6 * HOUR, set_clock)
    return places


def evening(day: Day) -> None:
    """Nothing happens any more; what is under way comes to its end."""
    day.happenings = [entry for entry in day.happenings if entry[2].__name__ != "again"]
    heapq.heapify(day.happenings)
    day.until = day.clock.elapsed + 3 * HOUR
    day.run()
