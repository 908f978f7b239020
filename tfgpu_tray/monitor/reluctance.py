"""When asking TensorFlow itself can wait: it takes seconds of processor and half a gigabyte."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from tfgpu_tray.model import Driver
from tfgpu_tray.observe.driver import observe_driver

BUSY = 50  # per cent of a GPU's time


def reluctance(
    battery: Callable[[], bool | None] | None = None,
    driver: Callable[[], Driver] = observe_driver,
) -> str | None:
    """Why TensorFlow should not be asked now, as a clause; None when it may.

    The clause tells no number that moves: whoever hears it again takes it for the same reason.
    """
    if (battery or on_battery)():
        return "the computer runs on its battery"
    for gpu in driver().gpus or ():
        if (gpu.utilization or 0) >= BUSY:
            return f"the GPU {gpu.name} is at work"
    return None


def on_battery() -> bool | None:
    """None where there is no battery, or nobody can tell."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):
        return None
    if battery is None or battery.power_plugged is None:
        return None
    return not battery.power_plugged
