"""When TensorFlow is not asked, and why."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace

import psutil
import pytest

from tests.snapshots import DRIVER, GPU
from tfgpu_tray.model import Driver, Outcome
from tfgpu_tray.monitor.reluctance import BUSY, on_battery, reluctance

Battery = namedtuple("Battery", "percent secsleft power_plugged")


def gpus(*utilization: int | None) -> Driver:
    found = tuple(replace(GPU, index=i, utilization=u) for i, u in enumerate(utilization))
    return replace(DRIVER, gpus=found)


def test_on_battery_it_is_not_asked() -> None:
    assert reluctance(lambda: True, gpus) == "the computer runs on its battery"


@pytest.mark.parametrize("plugged", [False, None])
def test_mains_and_an_idle_gpu_are_no_reason(plugged: bool | None) -> None:
    assert reluctance(lambda: plugged, lambda: gpus(0, BUSY - 1)) is None


@pytest.mark.parametrize("driver", [gpus(None), gpus(), Driver(Outcome.TIMED_OUT)])
def test_what_cannot_be_seen_is_no_reason(driver: Driver) -> None:
    assert reluctance(lambda: None, lambda: driver) is None


@pytest.mark.parametrize("load", [BUSY, 77, 100])
def test_a_gpu_at_work_is_a_reason_that_does_not_change_with_its_load(load: int) -> None:
    assert reluctance(lambda: None, lambda: gpus(0, load)) == f"the GPU {GPU.name} is at work"


def test_the_driver_is_not_asked_on_battery() -> None:
    def driver() -> Driver:
        raise AssertionError("this costs a process")

    assert reluctance(lambda: True, driver) is not None


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (None, None),
        (Battery(50, 3600, False), True),
        (Battery(50, 3600, True), False),
        (Battery(50, 3600, None), None),
    ],
)
def test_a_battery_counts_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, battery: Battery | None, expected: bool | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery)
    assert on_battery() is expected


@pytest.mark.parametrize("error", [OSError(2, "x"), RuntimeError(), AttributeError()])
def test_a_battery_that_cannot_be_read_is_none(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(psutil, "sensors_battery", broken)
    assert on_battery() is None
