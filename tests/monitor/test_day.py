"""A whole day, and the same for weeks: nothing missed, nothing told twice, nothing that grows."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.day import Day, calendar, evening, lively
from tests.monitor.simulation import Place

GROWTH = 300_000  # bytes that a day may leave behind


@pytest.fixture
def seeded() -> Iterator[None]:
    """APScheduler's jitter comes from the one generator of the process."""
    state = random.getstate()
    random.seed(1)
    yield
    random.setstate(state)


def held_resources() -> tuple[int, int]:
    """Threads and open files."""
    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    return threading.active_count(), files


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def assert_it_went_well(day: Day, places: list[Place]) -> None:
    held = {c.prefix: c for c in day.board.conditions()}
    assert held.keys() == {p.environment.prefix for p in places}
    for place in places:
        condition = held[place.environment.prefix]
        assert condition.settled is not None and condition.glimpse is None
        assert condition.settled.key == place.answer.key, place.environment.name
        assert condition.fingerprint == place.fingerprint
    assert max(day.notified.values(), default=0) <= 1
    assert day.unfounded == []
    for place in places:
        prefix = place.environment.prefix
        told = sum(1 for of, _ in day.notified if of == prefix)
        assert told <= day.transitions[prefix]
    assert day.machine.awaited == []


@pytest.mark.usefixtures("seeded")
def test_a_day(tmp_path: Path) -> None:
    day = Day(tmp_path, seed=7, hours=24)
    with calendar(day.clock):
        day.timetable.start()
        places = lively(day)
        day.run(until=4)
        tracemalloc.start()
        try:
            day.run(until=5)  # what was allocated before is not traced, and may be freed
            memory, held = traced(), held_resources()
            day.run()
            assert held_resources() == held
            assert traced() - memory < GROWTH
        finally:
            tracemalloc.stop()
        evening(day)
        day.timetable.stop()
    assert_it_went_well(day, places)
    assert day.touches > 10_000 and min(day.happened.values()) >= 2
    assert len(day.notified) > 50
    kinds = {event.kind for event in day.board.events(10_000)}
    assert {"found", "transition", "gone", "waiting", "skipped", "failed", "resumed"} <= kinds
    day.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert os.path.getsize(tmp_path / "data" / "tfgpu.db") < 1_000_000


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("seed", range(8))
def test_a_morning(tmp_path: Path, seed: int) -> None:
    day = Day(tmp_path, seed, hours=4)
    with calendar(day.clock):
        day.timetable.start()
        places = lively(day)
        day.run()
        evening(day)
        day.timetable.stop()
    assert_it_went_well(day, places)
