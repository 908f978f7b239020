"""Stays alive and looks on a schedule, without a desktop; stops cleanly on SIGTERM and SIGINT."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psutil
from apscheduler.schedulers.background import BackgroundScheduler

from tfgpu_tray import words
from tfgpu_tray.app import App
from tfgpu_tray.model import Depth
from tfgpu_tray.monitor.monitor import Event, Monitor
from tfgpu_tray.repair.transaction import Telling

# A run that is late, after sleep or under load, is run late, once; the library's default drops it.
JOBS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}


def stay(app: App, say: Callable[[dict[str, Any]], None]) -> int:
    """Watch until told to stop; returns the exit code."""
    logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def tell(event: Event) -> None:
        say(_as_data(event))
        app.looks.event(event.kind, event.text, event.prefix)

    monitor = Monitor(app.survey, tell)
    scheduler = _scheduler(app, monitor)
    with _stop_signals() as stopped:
        _introduce(app, say)
        scheduler.start()
        stopped.recv(1)
        monitor.close()
        scheduler.shutdown(wait=False)
        _end_children()  # a probe at work would hold the exit up
        say({"kind": "stopped", "prefix": None, "text": "stopped", "line": _line("stopped")})
    return 0


@contextmanager
def _stop_signals() -> Iterator[socket.socket]:
    """A socket that becomes readable with the first SIGTERM or SIGINT.

    The interpreter itself writes to it. Handlers written in Python would not do: signals come in
    bursts, a handler interrupts itself, and an Event that it sets was seen to wait for itself.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(before)


def _scheduler(app: App, monitor: Monitor) -> BackgroundScheduler:
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults=JOBS)
    schedule = app.config.schedule
    for depth, seconds, at_once in (
        (Depth.FINGERPRINT, schedule.fingerprint, True),
        (Depth.STATIC, schedule.static, False),
        (Depth.TENSORFLOW, schedule.tensorflow, False),
    ):
        first = {"next_run_time": datetime.now(UTC)} if at_once else {}
        scheduler.add_job(
            monitor.look,
            "interval",
            args=[depth],
            seconds=seconds,
            id=depth.word,
            jitter=seconds * 0.05,
            **first,
        )
    return scheduler


def _end_children() -> None:
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.Error:
            continue


def _introduce(app: App, say: Callable[[dict[str, Any]], None]) -> None:
    """What was found, in the first seconds, before anything slow."""
    for repair in app.workshop(Telling()).recover():
        text = f"an interrupted {repair.command} of {repair.prefix} was put back"
        say({"kind": "recovered", "prefix": str(repair.prefix), "text": text, "line": _line(text)})
    judged, others = app.survey().find()
    host, driver = app.observer.machine(Depth.STATIC)
    texts = [
        "watching without a tray icon; what happens is printed here, Ctrl-C ends it",
        f"machine: {words.host_line(host)}",
        f"driver: {words.driver_line(driver)}",
        f"environments with TensorFlow: {len(judged)} watched; others: {len(others)} left alone",
    ]
    if not judged:
        texts.append("name an environment in config.toml, or create one with `tfgpu-tray install`")
    for text in texts:
        say({"kind": "start", "prefix": None, "text": text, "line": _line(text)})


def _as_data(event: Event) -> dict[str, Any]:
    prefix = str(event.prefix) if event.prefix else None
    where = f"{prefix}: " if prefix else ""
    return {
        "kind": event.kind,
        "prefix": prefix,
        "text": event.text,
        "at": event.at,
        "line": _line(f"{where}{event.text}"),
    }


def _line(text: str) -> str:
    return f"{time.strftime('%H:%M:%S')}  {text}"
