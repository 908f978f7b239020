"""The threads around the monitor: a worker, the schedule, the watcher, the pulse."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler

from tfgpu_tray.config import Schedule
from tfgpu_tray.model import Depth
from tfgpu_tray.monitor.clock import Pulse
from tfgpu_tray.monitor.monitor import Monitor
from tfgpu_tray.monitor.watch import Watcher, folders_of

# A run that is late, after sleep or under load, is run late, once; the library's default drops it.
JOBS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
JITTER = 0.05  # of each interval, so that many machines do not look at the same moment
AFTER_RESUME = 15.0  # seconds that a computer gets to find its GPU and its disks again
REST = 5.0  # seconds after an error that could not be told

log = logging.getLogger(__name__)


def background_scheduler() -> BaseScheduler:
    return BackgroundScheduler(timezone=UTC, job_defaults=JOBS)


class Timetable:
    """Asks the monitor for the looks of each depth at their cadence."""

    def __init__(
        self,
        monitor: Monitor,
        schedule: Schedule,
        say: Callable[[str, str], None],
        scheduler: BaseScheduler | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        """*say* gets kind and text of what is worth an event."""
        self._monitor, self._schedule, self._say, self._now = monitor, schedule, say, now
        self._scheduler = scheduler or background_scheduler()
        self._scheduler.add_listener(self._failed, EVENT_JOB_ERROR)

    def start(self) -> None:
        self._plan()
        self._scheduler.start()
        self._monitor.ask(Depth.FINGERPRINT)

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def jumped(self, why: str) -> None:
        """Times were planned by a clock that is no longer right, and things may be different."""
        self._plan()
        self._say("resumed", f"{why}; looking at everything again")
        self._monitor.ask(Depth.FINGERPRINT)
        later = self._now() + timedelta(seconds=AFTER_RESUME)
        self._add("resume", self._look_closely, "date", run_date=later)

    def _plan(self) -> None:
        for depth, seconds in (
            (Depth.FINGERPRINT, self._schedule.fingerprint),
            (Depth.STATIC, self._schedule.static),
            (Depth.TENSORFLOW, self._schedule.tensorflow),
        ):
            self._add(
                depth.word,
                self._monitor.ask,
                "interval",
                args=[depth],
                seconds=seconds,
                jitter=seconds * JITTER,
            )

    def _add(self, name: str, function: Callable[..., None], trigger: str, **how: Any) -> None:
        self._scheduler.add_job(function, trigger, id=name, replace_existing=True, **how)

    def _look_closely(self) -> None:
        self._monitor.ask(Depth.TENSORFLOW)

    def _failed(self, event: JobExecutionEvent) -> None:
        self._say("failed", f"the job {event.job_id} failed: {event.exception}")


class Service:
    """Keeps one monitor at work until it is stopped."""

    def __init__(
        self,
        monitor: Monitor,
        woken: threading.Event,
        watcher: Watcher,
        timetable: Timetable,
        homes: Callable[[], list[Path]],
        paused: Callable[[], float | None],
        pulse: Pulse | None = None,
    ):
        """*woken* is what the monitor's `wake` sets; *homes* are folders in which environments come
        and go; *paused* says for how many seconds nothing shall be looked at."""
        self._monitor, self._woken, self._watcher = monitor, woken, watcher
        self._timetable, self._homes, self._paused = timetable, homes, paused
        self._pulse = pulse or Pulse()
        self._stopped = threading.Event()
        self._worker = threading.Thread(target=self._work, name="monitor", daemon=True)

    def start(self) -> None:
        self._worker.start()
        self._timetable.start()

    def stop(self) -> None:
        """Ends everything but a look that is under way; whose children the caller ends."""
        self._stopped.set()
        self._woken.set()
        self._timetable.stop()
        self._watcher.stop()

    def beat(self) -> None:
        """To be called every now and then, by a timer that needs no clock: notices sleep."""
        jump = self._pulse.beat()
        if jump is not None:
            self._jumped(jump.text)

    def resumed(self) -> None:
        """The desktop says that the computer woke up; the pulse would notice it later."""
        if self._pulse.beat() is not None:
            self._jumped("the computer woke up")

    def _jumped(self, why: str) -> None:
        try:
            self._timetable.jumped(why)
        except Exception:  # the event could not be stored; the caller's thread has more to do
            log.exception("after a jump of the clock")

    def watch(self) -> None:
        """Watch the folders that the known environments have now."""
        self._watcher.watch(folders_of(self._monitor.environments, self._homes()))

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self._wait_and_work()
            except Exception:  # the monitor makes events of errors; this one could not be stored
                log.exception("the monitor")
                self._stopped.wait(REST)

    def _wait_and_work(self) -> None:
        pause = self._paused()
        self._woken.wait(pause if pause is not None else self._monitor.due())
        self._woken.clear()
        if self._stopped.is_set() or self._paused() is not None:
            return
        self._monitor.work()
        self.watch()
