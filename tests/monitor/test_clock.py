"""Sleep and a clock that somebody sets are told from time that passes."""

from __future__ import annotations

import threading

import pytest

from tests.monitor.simulation import Clock
from tests.until import until
from tfgpu_tray.monitor.clock import TOLERANCE, Jump, Pulse, awake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(lambda: clock.wall, lambda: clock.steady)


def test_time_that_passes_is_nothing(clock: Clock, pulse: Pulse) -> None:
    for seconds in (0, 30, 3600, 86400):
        clock.pass_by(seconds)
        assert pulse.beat() is None


def test_a_sleep_is_noticed_once_with_its_length(clock: Clock, pulse: Pulse) -> None:
    clock.pass_by(30)
    clock.sleep(7200)
    assert pulse.beat() == Jump(7200)
    clock.pass_by(30)
    assert pulse.beat() is None


def test_a_clock_set_back_is_noticed(clock: Clock, pulse: Pulse) -> None:
    clock.set(-3600)
    jump = pulse.beat()
    assert jump == Jump(-3600) and jump.text == "the clock was set back by 3600 s"
    assert pulse.beat() is None


def test_a_sleep_is_told_as_one() -> None:
    assert Jump(90.4).text == "the computer slept, or its clock was set forward, for 90 s"


@pytest.mark.parametrize("seconds", [-TOLERANCE, TOLERANCE])
def test_a_clock_being_tuned_is_nothing(clock: Clock, pulse: Pulse, seconds: float) -> None:
    clock.set(seconds)
    assert pulse.beat() is None
    clock.set(seconds * 1.1)
    assert pulse.beat() is not None


def test_one_jump_is_seen_by_one_of_two_threads() -> None:
    """The timer and the desktop ask at the same moment."""
    clock = Clock()
    together = threading.Barrier(2)

    def wall() -> float:
        try:
            together.wait(0.2)  # both are here, unless one waits for the other
        except threading.BrokenBarrierError:
            pass
        return clock.wall

    together.abort()
    pulse = Pulse(wall, lambda: clock.steady)
    together.reset()
    clock.sleep(600)
    seen: list[Jump | None] = []
    threads = [threading.Thread(target=lambda: seen.append(pulse.beat())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(seen, key=str) == [Jump(600), None]


def test_the_time_awake_goes_on() -> None:
    before = awake()
    until(lambda: awake() != before, 5)
    assert 0 < awake() - before < 5
