"""The program that stays: how it starts, what it says, and that it ends when told to."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes import conda_prefix, distribution, site_of
from tests.tray.conditions import NO_CUDNN, holds
from tests.tray.fake_host import SECONDS
from tests.until import until
from tfgpu_tray import daemon
from tfgpu_tray.app import App
from tfgpu_tray.config import Config
from tfgpu_tray.model import Event
from tfgpu_tray.monitor.stopping import StopSocket, stop_signals
from tfgpu_tray.store.locks import is_held, watcher_lock

AT_ONCE = 2.0  # seconds in which it ends
READY = "what happens is printed here"
KILLED = 9  # SIGKILL, a name that Windows lacks
posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


class Home:
    """A machine that is empty but for what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.environ = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "TFGPU_DATA_DIR": str(self.data),
            "LANG": "C.UTF-8",
        }
        self.words = [sys.executable, "-P", "-m", "tfgpu_tray"]

    def app(self) -> App:
        return App(Config(), self.data, self.environ, self.folder)

    @contextmanager
    def run(self, *words: str, until_ready: bool = True) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [*self.words, *(words or ("run", "--headless"))],
            env=self.environ,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                if until_ready:
                    assert process.stdout is not None
                    self.said = []
                    for line in process.stdout:
                        self.said.append(line)
                        if READY in line:
                            break
                yield process
            finally:
                process.kill()

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
        """What it said until its end, which comes at once."""
        start = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
        assert time.monotonic() - start < AT_ONCE
        assert (process.returncode, err) == (0, "")
        return out

    def logged(self) -> str:
        return (self.data / "logs" / "tfgpu-tray.log").read_text(encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# ---- a process ---------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_found_and_ends_when_told_to(home: Home, number: int) -> None:
    with home.run() as process:
        rest = home.end(process, number)
    texts = [line.split("  ", 1)[1].strip() for line in home.said]
    assert [text.split(":")[0] for text in texts] == [
        "machine",
        "driver",
        "environments with TensorFlow",
        "name an environment in config.toml, or create one with `tfgpu-tray install`",
        "what happens is printed here; Ctrl-C ends it",
    ]
    assert rest.splitlines()[-1].endswith("  stopped")
    assert not is_held(watcher_lock(home.data))


@posix
def test_it_ends_even_before_it_is_ready(home: Home) -> None:
    with home.run(until_ready=False) as process:
        until(lambda: is_held(watcher_lock(home.data)))
        until(lambda: (home.data / "logs").exists())
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
    # Between the lock and the handler a signal is just a signal.
    assert process.returncode in (0, -signal.SIGTERM), err
    assert process.returncode or out.splitlines()[-1].endswith("stopped")


@posix
def test_as_json_each_line_is_an_object(home: Home) -> None:
    with home.run("--json", "run", "--headless", until_ready=False) as process:
        until(lambda: (home.data / "logs" / "tfgpu-tray.log").exists())
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["schema"] == 1 and first["text"].startswith("machine: ")
        rest = [json.loads(line) for line in home.end(process).splitlines()]
    assert rest[-1]["kind"] == "stopped"


@posix
def test_a_second_start_shows_what_the_first_one_sees_and_ends(home: Home) -> None:
    home.app().board.hold(holds(NO_CUDNN))
    with home.run() as first:
        second = subprocess.run(
            [*home.words, "run", "--headless"],
            env=home.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (second.returncode, second.stderr) == (0, "")
        assert second.stdout.startswith("The watcher is running.")
        assert first.poll() is None
        third = subprocess.run(
            [*home.words, "--json"], env=home.environ, capture_output=True, text=True, timeout=60
        )
        assert third.returncode == 0 and json.loads(third.stdout)["running"] is True
        home.end(first)


@posix
def test_whoever_reads_may_go_away(home: Home) -> None:
    prefix = conda_prefix(home.folder / "envs" / "tf")
    distribution(site_of(prefix), "tensorflow", "2.10.1")
    home.environ["CONDA_ENVS_DIRS"] = str(home.folder / "envs")
    board = home.app().board
    with home.run() as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        until(lambda: [e for e in board.events() if e.prefix == prefix], 60)
        assert process.poll() is None
        process.terminate()
        err = process.stderr.read()
        process.wait(SECONDS)
    assert "Traceback" not in err
    assert str(prefix) in home.logged() and "ERROR" not in home.logged()


@posix
def test_without_standard_streams_it_runs_as_well(home: Home) -> None:
    """As under pythonw at login."""
    program = (
        "import sys; sys.stdout = sys.stderr = None\n"
        "from tfgpu_tray.cli import main\n"
        f"sys.exit(main({['run', '--headless', '--json']!r}))"
    )
    words = [sys.executable, "-P", "-c", program]
    with subprocess.Popen(words, env=home.environ, cwd=home.folder) as process:
        until(lambda: is_held(watcher_lock(home.data)))
        assert subprocess.run(words, env=home.environ, timeout=60).returncode == 0  # a second one
        until(lambda: (home.data / "logs" / "tfgpu-tray.log").exists())
        process.terminate()
        assert process.wait(SECONDS) in (0, -signal.SIGTERM)


def test_a_data_folder_that_cannot_be_used_is_said(home: Home) -> None:
    home.data.write_text("a file")
    done = subprocess.run(
        [*home.words, "run", "--headless"],
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert str(home.data) in done.stderr


# ---- logs --------------------------------------------------------------------------------------


@pytest.fixture
def loggers() -> Iterator[None]:
    """Whatever is changed is put back."""
    root = logging.getLogger()
    names = ("", "tfgpu_tray", "apscheduler")
    before = [*root.handlers], [logging.getLogger(name).level for name in names]
    yield
    for handler in [h for h in root.handlers if h not in before[0]]:
        root.removeHandler(handler)
        handler.close()
    for name, level in zip(names, before[1], strict=True):
        logging.getLogger(name).setLevel(level)


def test_the_log_does_not_grow_without_end(tmp_path: Path, loggers: None) -> None:
    daemon._write_logs(tmp_path)
    log = logging.getLogger("tfgpu_tray.test")
    for _ in range(60):
        log.info("x" * 100_000)
    logging.getLogger("some.library").info("chatter")
    files = list((tmp_path / "logs").iterdir())
    assert len(files) == 4 and sum(file.stat().st_size for file in files) < 4_400_000
    assert not any("chatter" in file.read_text() for file in files)


# ---- parts -------------------------------------------------------------------------------------


@posix
def test_repairs_go_on_when_everything_else_is_ended() -> None:
    child = "import os, sys; print(os.getpid(), flush=True); input()"
    for _ in range(2):  # children's children count as well
        child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    with start() as repair, start() as probe:
        assert repair.stdout is not None and probe.stdout is not None
        of_repair = psutil.Process(int(repair.stdout.readline()))
        of_probe = psutil.Process(int(probe.stdout.readline()))
        daemon._end_children({repair.pid})
        assert probe.wait(SECONDS) == -KILLED
        until(lambda: not of_probe.is_running() or of_probe.status() == psutil.STATUS_ZOMBIE)
        assert repair.poll() is None and of_repair.is_running()
        daemon._end_children(set())
        assert repair.wait(SECONDS) == -KILLED


def stop_often(stopped: StopSocket) -> None:
    for _ in range(100_000):
        stopped.stop()


def test_stopping_is_noticed_at_once_and_may_be_asked_for_often() -> None:
    with stop_signals() as stopped:
        assert not stopped.wait(0.01)
        threading.Timer(0.05, stop_often, [stopped]).start()
        start = time.monotonic()
        assert stopped.wait(SECONDS)
        assert time.monotonic() - start < 5
        assert stopped.wait(0.01)
    stopped.stop()  # too late, and harmless


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_what_nobody_hears_ends_no_watching(error: Exception) -> None:
    def say(_: dict[str, Any]) -> None:
        raise error

    daemon._unbreakable(say)({"line": "x"})


def test_nothing_is_said_after_the_last_word() -> None:
    """A look that was cut short would tell so while the interpreter ends."""
    said: list[str] = []
    say = daemon._unbreakable(lambda what: said.append(what["kind"]))
    for kind in ("start", "stopped", "failed"):
        say({"kind": kind})
    assert said == ["start", "stopped"]


@pytest.mark.parametrize(
    "event, line",
    [
        (Event("tray", None, "here", 1.0), "here"),
        (Event("changed", Path("/envs/tf"), "by pip", 1.0), "/envs/tf: by pip"),
    ],
)
def test_an_event_is_one_line(event: Event, line: str) -> None:
    said = daemon.as_data(event)
    assert said["line"].endswith(f"  {line}") and said["text"] == event.text
    assert said["prefix"] == (str(event.prefix) if event.prefix else None)


def test_who_holds_the_lock_is_alone(home: Home) -> None:
    lock = watcher_lock(home.data)
    lock.acquire()
    try:
        with pytest.raises(daemon.AlreadyRunning):
            daemon.stay(home.app(), lambda _: None, headless=True)
        assert not (home.data / "logs").exists()
    finally:
        lock.release()
