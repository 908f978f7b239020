"""Notices that the computer slept or that somebody set its clock.

Timers stand still while a computer sleeps, and APScheduler plans by the wall clock: after either,
what is due must be found out anew.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

TOLERANCE = 5.0  # seconds of difference that a busy machine and a clock being tuned may cause


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock went *seconds* further than time did; below 0: it was set back."""

    seconds: float

    @property
    def text(self) -> str:
        if self.seconds < 0:
            return f"the clock was set back by {-self.seconds:.0f} s"
        return f"the computer slept, or its clock was set forward, for {self.seconds:.0f} s"


def awake() -> float:
    """Seconds, from some moment on, that this computer was awake; nobody can set them."""
    if sys.platform != "win32":
        return time.monotonic()  # CLOCK_MONOTONIC stands still during sleep
    passed = ctypes.c_ulonglong()  # of 100 ns; what Python calls monotonic goes on there
    ctypes.windll.kernel32.QueryUnbiasedInterruptTime(ctypes.byref(passed))
    return passed.value / 1e7


class Pulse:
    """Compares the wall clock with the time awake, each time it is asked: sleep shows as a jump
    forward."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = awake,
    ):
        self._wall, self._steady = wall, steady
        self._lock = threading.Lock()  # the desktop's word comes in another thread
        self._at = wall() - steady()

    def beat(self) -> Jump | None:
        """What happened since the last beat; None when nothing did."""
        with self._lock:
            before, self._at = self._at, self._wall() - self._steady()
            moved = self._at - before
        return Jump(moved) if abs(moved) > TOLERANCE else None
