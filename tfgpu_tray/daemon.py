"""Stays alive and watches, with a tray icon or without; stops cleanly when it is told to."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import Timeout

from tfgpu_tray import words
from tfgpu_tray.app import App
from tfgpu_tray.autostart.entry import AutostartError
from tfgpu_tray.model import Depth, Event
from tfgpu_tray.monitor.looking import CommandLooker
from tfgpu_tray.monitor.monitor import Monitor
from tfgpu_tray.monitor.senses import MachineSenses
from tfgpu_tray.monitor.service import Service, Timetable
from tfgpu_tray.monitor.session import Answers, listen
from tfgpu_tray.monitor.stopping import StopSocket, stop_signals
from tfgpu_tray.monitor.watch import Watcher
from tfgpu_tray.observe.environments import homes_of_environments
from tfgpu_tray.store.database import StoreUnusable
from tfgpu_tray.store.locks import take, watcher_lock

if TYPE_CHECKING:
    from tfgpu_tray.autostart.autostart import Autostart
    from tfgpu_tray.face import Face

BEAT = 30.0  # seconds between looks at the clock
SLACK = 30.0  # seconds that a look may take beyond what its probes may
LAST = 1.5  # seconds that what is left of a stopped program gets on Windows

Say = Callable[[dict[str, Any]], None]
log = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """Another watcher serves this data folder."""


def stay(app: App, say: Say, *, headless: bool) -> int:
    """Watch until told to stop; returns the exit code.

    Raises:
        AlreadyRunning: somebody does already.
        StoreUnusable: the data folder cannot be used.
    """
    try:
        lock = watcher_lock(app.data_dir)
        take(lock)
    except Timeout as error:
        raise AlreadyRunning(f"a watcher is running already on {app.data_dir}") from error
    except OSError as error:
        raise StoreUnusable(f"{app.data_dir} cannot be used: {error}") from error
    try:
        _write_logs(app.data_dir)
        threading.excepthook = _log_end  # at login nobody sees what is printed
        with stop_signals() as stopped:
            _watch_logged(app, _unbreakable(say), stopped, headless)
    finally:
        lock.release()
    if sys.platform == "win32":
        _leave()
    return 0


def _watch_logged(app: App, say: Say, stopped: StopSocket, headless: bool) -> None:
    try:
        _watch(app, say, stopped, headless)
    except Exception:
        log.exception("the program ended")
        raise


def _watch(app: App, say: Say, stopped: StopSocket, headless: bool) -> None:
    def tell(event: Event) -> None:
        log.info("%s %s %s", event.kind, event.prefix or "", event.text)
        say(as_data(event))

    def record(kind: str, text: str) -> None:
        event = Event(kind, None, text, time.time())
        app.board.append(event)
        tell(event)

    news = introduce(app, say, record)
    app.board.commit_lazily()  # repairs are journalled by processes of their own
    woken = threading.Event()
    faces: list[Face] = []

    def show() -> None:
        for face in faces:
            face.refresh()

    monitor = Monitor(
        _senses(app),
        app.board,
        time.time,
        met=lambda: service.watch(),
        tell=tell,
        show=show,
        wake=woken.set,
    )
    timetable = Timetable(monitor, app.config.schedule, record)
    service = Service(
        monitor,
        woken,
        Watcher(monitor.touched, lambda text: record("watching", text)),
        timetable,
        lambda: homes_of_environments(app.environ, app.home),
        lambda: _rest_of_pause(app),
    )
    service.start()
    if not headless:
        from tfgpu_tray.face import Face

        faces.append(
            Face(app, monitor, record, stop=stopped.stop, woken=woken.set, resumed=service.resumed)
        )
        if news:
            faces[0].announce("TensorFlow in WSL", news)
    over = threading.Event()  # after the face: it says how its windows count pixels, this makes one
    session = listen(Answers(stopped.stop, over.wait, service.resumed))
    settled = False
    while not stopped.wait(BEAT):
        service.beat()
        show()
        if not settled:
            settled = True
            _give_memory_back()
    survivors = set().union(*(face.stop() for face in faces)) if faces else set()
    service.stop()
    _end_children(survivors)  # a probe at work would hold the exit up
    say({"kind": "stopped", "prefix": None, "text": "stopped", "line": _line("stopped")})
    over.set()
    session.close()


def _senses(app: App) -> MachineSenses:
    limits = app.config.deadlines
    probes = limits.driver + limits.activation + limits.loader + limits.tensorflow
    return MachineSenses(
        look=CommandLooker(app.command, probes + SLACK),
        find=lambda: app.survey().find()[0],
        fingerprint=app.observer.fingerprint,
        repairing=app.at_work_in,
    )


def _rest_of_pause(app: App) -> float | None:
    until = app.board.paused_until
    return None if until is None else max(0.0, until - time.time())


# ---- starting and stopping ---------------------------------------------------------------------


def _write_logs(folder: Path) -> None:
    """To <data>/logs, at most 4 MB; nothing of a library's chatter. Raises StoreUnusable."""
    file = folder / "logs" / "tfgpu-tray.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(file, maxBytes=1_000_000, backupCount=3, encoding="utf-8")
    except OSError as error:
        raise StoreUnusable(f"{file} cannot be written: {error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("tfgpu_tray").setLevel(logging.INFO)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _log_end(thread: threading.ExceptHookArgs) -> None:
    """Of a thread, of this program or of a library."""
    name = thread.thread.name if thread.thread is not None else "?"
    error = thread.exc_value
    log.error("the thread %s ended", name, exc_info=error if error is not None else True)


def _end_children(survivors: set[int]) -> None:
    """Ends every process below this one, except *survivors* and what is below them."""
    children = psutil.Process().children(recursive=True)
    spared = set(survivors)
    for child in children:  # parents come before their children
        try:
            if child.pid in spared or child.ppid() in spared:
                spared.add(child.pid)
            else:
                child.kill()
        except psutil.Error:
            continue


def _leave() -> None:
    """watchdog's threads, which the interpreter waits for, may miss that they are to end."""
    last = threading.Timer(LAST, os._exit, [0])
    last.daemon = True
    last.start()


def _give_memory_back() -> None:
    """A first start compiles every module, which takes 8 MB for a moment; glibc would keep them."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass  # another C library, or Windows


def _unbreakable(say: Say) -> Say:
    """Whoever read it may be gone: a closed terminal, `| head`. That ends no watching.

    The last word is that it stopped: a thread that prints while the interpreter ends aborts it.
    """
    speaking = threading.Lock()
    is_over = False

    def say_on(what: dict[str, Any]) -> None:
        nonlocal is_over
        with speaking:
            if is_over:
                return
            is_over = what.get("kind") == "stopped"
            try:
                say(what)
            except (OSError, ValueError) as error:
                log.debug("nobody reads what is said: %r", error)

    return say_on


# ---- what is said ------------------------------------------------------------------------------


def introduce(app: App, say: Say, record: Callable[[str, str], None]) -> str | None:
    """What was found, in the first seconds, before anything slow.

    Returns what became of WSL, where its installation waited for this login.
    """
    if app.journal.unfinished():
        from tfgpu_tray.repair.transaction import Telling

        for repair in app.workshop(Telling()).recover():
            text = f"an interrupted {repair.command} was put back"
            event = Event("recovered", repair.prefix, text, time.time())
            app.board.append(event)
            say(as_data(event))
    _correct_autostart(app.autostart(), record)
    installer = app.wsl_installer()
    news = installer.take_up() if installer is not None else None
    if news:
        record("wsl", news)
    judged, others = app.survey().find()
    host, driver = app.observer.machine(Depth.STATIC)
    texts = [
        f"machine: {words.host_line(host)}",
        f"driver: {words.driver_line(driver)}",
        f"environments with TensorFlow: {len(judged)} watched; others: {len(others)} left alone",
    ]
    if not judged:
        texts.append("name an environment in config.toml, or create one with `tfgpu-tray install`")
    texts.append("what happens is printed here; Ctrl-C ends it")
    for text in texts:
        say({"kind": "start", "prefix": None, "text": text, "line": _line(text)})
    return news


def _correct_autostart(autostart: Autostart, record: Callable[[str, str], None]) -> None:
    """An entry that starts nothing at login any more is mended, and recorded."""
    try:
        corrected = autostart.refresh()
    except AutostartError as error:
        log.info("starting at login: %s", error)
    else:
        if corrected:
            record(
                "autostart",
                "the entry that starts it at login pointed to a Python that is gone; corrected",
            )


def as_data(event: Event) -> dict[str, Any]:
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
