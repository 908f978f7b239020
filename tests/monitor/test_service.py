"""The threads around the monitor: they ask in time, outlive errors, and end."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from apscheduler.schedulers.base import BaseScheduler

from tests.monitor.day import Scheduler, calendar
from tests.monitor.simulation import NO_CUDNN, Clock, Machine, Place
from tests.until import until
from tfgpu_tray.config import Schedule
from tfgpu_tray.model import Depth, Event
from tfgpu_tray.monitor import service as service_module
from tfgpu_tray.monitor.clock import Pulse
from tfgpu_tray.monitor.monitor import Monitor
from tfgpu_tray.monitor.service import (
    AFTER_RESUME,
    JITTER,
    Service,
    Timetable,
    background_scheduler,
)
from tfgpu_tray.monitor.watch import Watcher
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import open_database

DEADLINE = 10.0
FINGERPRINT, STATIC, TENSORFLOW = Depth.FINGERPRINT, Depth.STATIC, Depth.TENSORFLOW


# ---- the timetable -----------------------------------------------------------------------------


class Plan:
    """A timetable on a simulated clock, and what it asks for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[float, Depth]] = []
        self.said: list[tuple[str, str]] = []
        self.scheduler = Scheduler(self.clock)
        self.error: Exception | None = None
        self.timetable = Timetable(
            self,  # type: ignore[arg-type]
            Schedule(fingerprint=60, static=900, tensorflow=7200),
            lambda kind, text: self.said.append((kind, text)),
            self.scheduler,
            lambda: datetime.fromtimestamp(self.clock.wall, UTC),
        )

    def ask(self, depth: Depth) -> None:
        self.asked.append((self.clock.steady, depth))
        if self.error is not None:
            raise self.error

    def wait(self, seconds: float) -> None:
        end = self.clock.steady + seconds
        self.scheduler.process()
        while self.scheduler.wakes_at < end:
            self.clock.pass_by(max(0.0, self.scheduler.wakes_at - self.clock.steady) + 0.001)
            self.scheduler.process()
        self.clock.pass_by(end - self.clock.steady)

    def times(self, depth: Depth) -> list[float]:
        return [at for at, of in self.asked if of is depth]


@pytest.fixture
def plan() -> Iterator[Plan]:
    plan = Plan()
    with calendar(plan.clock):
        plan.timetable.start()
        yield plan
        with suppress(Exception):
            plan.timetable.stop()


def test_every_depth_is_asked_for_at_its_cadence(plan: Plan) -> None:
    assert plan.asked == [(plan.clock.steady, FINGERPRINT)]
    plan.wait(8 * 3600)
    for depth, cadence in ((FINGERPRINT, 60), (STATIC, 900), (TENSORFLOW, 7200)):
        times = plan.times(depth)
        gaps = [after - before for before, after in pairwise(times)]
        assert len(times) >= 8 * 3600 / (cadence * (1 + JITTER)) - 1
        assert all(cadence * 0.99 <= gap <= cadence * (1 + JITTER) + 1 for gap in gaps)


def test_what_is_late_is_asked_for_once(plan: Plan) -> None:
    """Nobody noticed the sleep; the runs that were missed are one."""
    plan.wait(30)
    plan.clock.sleep(3 * 3600)
    plan.asked.clear()
    plan.wait(35)
    assert (len(plan.times(STATIC)), len(plan.times(TENSORFLOW))) == (1, 1)
    assert len(plan.times(FINGERPRINT)) in (1, 2)  # the late one, and perhaps the next


def test_after_a_jump_it_looks_at_once_and_closely_when_things_are_up(plan: Plan) -> None:
    plan.wait(30)
    plan.asked.clear()
    plan.clock.set(-5 * 3600)
    plan.timetable.jumped("the clock was set back by 18000 s")
    assert plan.said == [
        ("resumed", "the clock was set back by 18000 s; looking at everything again")
    ]
    now = plan.clock.steady
    assert plan.asked == [(now, FINGERPRINT)]
    plan.wait(AFTER_RESUME - 1)
    assert plan.times(TENSORFLOW) == []
    plan.wait(3600)
    assert len(plan.times(TENSORFLOW)) == 1  # not before two hours have passed again
    assert plan.times(TENSORFLOW)[0] - now == pytest.approx(AFTER_RESUME, abs=1)
    assert plan.times(FINGERPRINT)[1] - now <= 60 * (1 + JITTER) + 1
    assert 3 <= len(plan.times(STATIC)) <= 4


def test_two_jumps_are_one_close_look(plan: Plan) -> None:
    plan.timetable.jumped("a")
    plan.wait(5)
    plan.timetable.jumped("b")
    plan.wait(60)
    assert len(plan.times(TENSORFLOW)) == 1


def test_a_job_that_fails_is_told_and_runs_again(plan: Plan) -> None:
    plan.error = ValueError("odd")
    plan.wait(64)
    assert plan.said == [("failed", "the job fingerprint failed: odd")]
    plan.error = None
    plan.asked.clear()
    plan.wait(64)
    assert plan.times(FINGERPRINT) != []


def test_the_schedule_is_right_even_if_a_jump_cannot_be_told(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(kind: str, text: str) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(plan.timetable, "_say", say)
    plan.clock.set(-5 * 3600)
    with pytest.raises(sqlite3.OperationalError):
        plan.timetable.jumped("x")
    plan.asked.clear()
    plan.wait(64)
    assert plan.times(FINGERPRINT) != []


def test_the_real_scheduler_asks_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    asked: list[Depth] = []

    class Asked:
        def ask(self, depth: Depth) -> None:
            asked.append(depth)

    scheduler: BaseScheduler = background_scheduler()
    schedule = Schedule(fingerprint=0.05, static=3600, tensorflow=3600)
    timetable = Timetable(Asked(), schedule, lambda kind, text: None, scheduler)  # type: ignore[arg-type]
    timetable.start()
    until(lambda: len(asked) > 3)
    timetable.stop()
    until(lambda: set(threading.enumerate()) <= before)


# ---- the service -------------------------------------------------------------------------------


class House:
    """A service with all its threads, on a machine in memory with one real folder."""

    def __init__(self, root: Path):
        self.clock = Clock()
        self.machine = Machine(root / "envs", self.clock)
        self.place: Place = self.machine.add("tf")
        self.site = self.place.environment.site_packages or root
        self.site.mkdir(parents=True)
        self.board = Board(open_database(root / "data"), lambda: self.clock.wall)
        self.woken = threading.Event()
        self.told: list[Event] = []
        self.rest: float | None = None  # of a pause
        self.broken: Exception | None = None  # instead of what is known of the pause
        self.refused = 0
        self.monitor = Monitor(
            self.machine,
            self.board,
            lambda: self.clock.wall,
            tell=self.told.append,
            wake=self.woken.set,
        )
        self.watcher = Watcher(self.monitor.touched, lambda text: None)
        self.timetable = Timetable(self.monitor, Schedule(), self.say)
        self.service = Service(
            self.monitor,
            self.woken,
            self.watcher,
            self.timetable,
            lambda: [root / "envs"],
            self.paused,
            Pulse(lambda: self.clock.wall, lambda: self.clock.steady),
        )

    def say(self, kind: str, text: str) -> None:
        self.told.append(Event(kind, None, text, self.clock.wall))

    def paused(self) -> float | None:
        if self.broken is not None:
            self.refused += 1
            raise self.broken
        return self.rest

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    before = set(threading.enumerate())
    house = House(tmp_path)
    house.service.start()
    until(lambda: house.kinds == ["found"])
    yield house
    house.service.stop()
    until(lambda: set(threading.enumerate()) <= before)


def test_it_looks_when_it_starts_and_when_a_folder_changes(house: House) -> None:
    house.place.fingerprint, house.place.answer = "changed", NO_CUDNN
    until(lambda: any(p.path == str(house.site) for p in house.watcher._watches))
    (house.site / "~ensorflow").mkdir()
    until(lambda: house.kinds == ["found", "transition"])


def test_an_environment_that_is_new_is_seen_where_environments_come(house: House) -> None:
    homes = house.machine.root
    until(lambda: any(p.path == str(homes) for p in house.watcher._watches))
    house.machine.add("new")
    (homes / "new").mkdir()
    until(lambda: house.kinds == ["found", "found"])


def test_a_sleep_is_noticed_at_the_next_beat(house: House) -> None:
    house.service.beat()
    assert house.kinds == ["found"]
    house.clock.sleep(600)
    house.service.beat()
    house.service.beat()
    assert [e.text for e in house.told[1:]] == [
        "the computer slept, or its clock was set forward, for 600 s; looking at everything again"
    ]


def test_what_the_desktop_says_of_a_sleep_is_told_once(house: House) -> None:
    house.service.resumed()
    assert house.kinds == ["found"]  # it did not sleep
    house.clock.sleep(600)
    house.service.resumed()
    house.service.beat()
    assert [e.text for e in house.told[1:]] == ["the computer woke up; looking at everything again"]


def test_a_jump_that_cannot_be_told_does_not_end_the_program(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jumped(why: str) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(house.timetable, "jumped", jumped)
    house.clock.sleep(600)
    house.service.beat()
    house.clock.sleep(600)
    house.service.resumed()


def test_nothing_is_looked_at_during_a_pause_and_nothing_is_forgotten(house: House) -> None:
    house.rest = 3600.0
    house.woken.set()
    looks = list(house.machine.looks)
    house.place.answer = NO_CUDNN
    house.monitor.ask(TENSORFLOW)
    until(lambda: not house.woken.is_set())
    assert house.machine.looks == looks and house.monitor.due() == 0.0
    house.rest = None
    house.woken.set()
    until(lambda: house.kinds == ["found", "transition"])


def test_a_pause_ends_by_itself(house: House) -> None:
    ends = time.monotonic() + 0.1
    house.service._paused = lambda: rest if (rest := ends - time.monotonic()) > 0 else None
    house.place.answer = NO_CUDNN
    house.monitor.ask(TENSORFLOW)
    until(lambda: house.kinds == ["found", "transition"])


def test_the_worker_outlives_a_store_that_cannot_be_used(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "REST", 0.01)
    house.broken = sqlite3.OperationalError("database is locked")
    house.monitor.ask(TENSORFLOW)
    until(lambda: house.refused > 1)
    house.place.answer = NO_CUDNN
    house.monitor.ask(TENSORFLOW)
    house.broken = None
    until(lambda: house.kinds == ["found", "transition"])


def test_the_worker_outlives_an_error_of_the_watcher(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "REST", 0.01)
    errors = [OSError(5, "Input/output error")]

    def watch(folders: object) -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(house.watcher, "watch", watch)
    house.monitor.ask(TENSORFLOW)
    until(lambda: not errors)
    house.place.answer = NO_CUDNN
    house.monitor.ask(TENSORFLOW)
    until(lambda: house.kinds == ["found", "transition"])


def test_a_look_under_way_does_not_hold_up_the_stop(house: House) -> None:
    started, ended = threading.Event(), threading.Event()

    def hang(depth: Depth) -> None:
        started.set()
        ended.wait(DEADLINE)

    house.place.during = hang
    house.monitor.ask(TENSORFLOW)
    assert started.wait(DEADLINE)
    before = time.monotonic()
    house.service.stop()
    assert time.monotonic() - before < 2
    ended.set()
