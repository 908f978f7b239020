"""The programs that make a desktop, each in a process group of its own."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

KILL = signal.Signals(9)  # Windows, where this file is only read, has no name for it
TERM_SECONDS = 2  # a desktop program that has not ended by then is killed


class Part:
    """One running program and what it printed."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        logs: Path,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = command[0]
        self._log = logs / f"{self.name}.log"
        with self._log.open("wb") as log:
            # a test run that is killed must not leave an X server behind
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Waits for its end; False when it is still running then."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Ends the program and whatever it started."""
        if self.alive:
            self._signal(signal.SIGTERM)
            self.wait(TERM_SECONDS)
        self._signal(KILL)
        self._process.wait()

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def said(self) -> str:
        """How it stands, and the end of what it printed."""
        code = self._process.poll()
        state = "is running" if code is None else f"ended with {code}"
        text = self.printed().strip()[-2000:]
        return f"{self.name} {state}" + (f" and printed:\n{text}" if text else "")

    def _signal(self, number: signal.Signals) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("the desktop is an X11 desktop")
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass


def start_display(environ: Mapping[str, str], logs: Path, size: str) -> tuple[Part, str]:
    """An X server on a free display, which it names itself: `(server, ":7")`.

    Raises RuntimeError when it does not come up within ten seconds.
    """
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", size]
    try:
        try:
            server = Part([*command, "-nolisten", "tcp", "-noreset"], environ, logs, [writing])
        finally:
            os.close(writing)
        number = b""
        while not number.endswith(b"\n"):
            ready, _, _ = select.select([reading], [], [], 10)
            more = os.read(reading, 16) if ready else b""
            if not more:
                server.stop()
                raise RuntimeError(f"no X server: {server.said()}")
            number += more
    finally:
        os.close(reading)
    return server, f":{int(number)}"


def start_window_manager(environ: Mapping[str, str], logs: Path) -> Part:
    """openbox, at work: what is shown while it starts may never be seen, or get no focus.

    It says that it is there (_NET_SUPPORTING_WM_CHECK) long before. Raises RuntimeError when it
    is not at work within ten seconds.
    """
    works = logs / "openbox.works"
    command = ["openbox", "--sm-disable", "--startup", shlex.join(["touch", str(works)])]
    manager = Part(command, environ, logs)
    end = time.monotonic() + 10
    while not works.exists():
        if not manager.alive or time.monotonic() > end:
            manager.stop()
            raise RuntimeError(f"no window manager: {manager.said()}")
        time.sleep(0.01)
    return manager


def end_strays(variable: str, value: str) -> None:
    """Kills what still runs with this environment variable: what left its group, what a test left.

    The value must be unique to the desktop. This process and those above it are spared.
    """
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    strays = []
    for process in psutil.process_iter():
        try:
            if process.pid not in own and process.environ().get(variable) == value:
                process.kill()
                strays.append(process)
        except psutil.Error:
            continue  # it ended, or belongs to someone else
    end = time.monotonic() + TERM_SECONDS
    while any(map(_runs, strays)) and time.monotonic() < end:
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    # psutil's own wait would take the exit code away from whoever started the process
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
