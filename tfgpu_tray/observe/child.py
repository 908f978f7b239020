"""Child processes with a deadline: the only way anything that may hang or crash is run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from tfgpu_tray.model import Outcome

OUTPUT_LIMIT = 2_000_000  # bytes kept of each stream, from its end


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    code: int | None  # exit status; None when it never started or was stopped at its deadline
    stdout: str
    stderr: str
    seconds: float

    @property
    def how_it_ended(self) -> str:
        """One clause for evidence lines: "ended with exit status 3"."""
        if self.outcome is Outcome.TIMED_OUT:
            return f"did not answer within {self.seconds:.0f} s and was stopped"
        if self.outcome is Outcome.NOT_STARTED:
            return f"could not be started ({self.stderr.strip()})"
        if self.code is not None and self.code < 0:
            return f"was ended by {_signal_name(-self.code)}"
        return f"ended with exit status {self.code}"


class Runner(Protocol):
    """Runs one command to its end or its deadline; never raises for what the command does."""

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float,
        environ: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Result: ...


def run(
    command: Sequence[str | Path],
    *,
    deadline: float,
    environ: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
    watch: Callable[[str], None] | None = None,
) -> Result:
    """Run *command* for at most *deadline* seconds, then stop it with everything it started.

    *watch* is given new standard output as it comes (not on Windows), a few times a second.
    Output goes through files, not pipes, so that a grandchild that keeps a stream open cannot hold
    us up after its parent is gone.
    """
    started = time.monotonic()
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as source,
    ):
        if stdin is not None:
            source.write(stdin.encode())
            source.seek(0)
        try:
            process = _start(command, source if stdin is not None else None, out, err, environ, cwd)
        except OSError as error:
            reason = error.strerror or str(error)
            return Result(Outcome.NOT_STARTED, None, "", reason, time.monotonic() - started)
        timed_out = False
        try:
            code: int | None = _wait(process, deadline, out, watch)
        except subprocess.TimeoutExpired:
            timed_out, code = True, None
        finally:
            stop_tree(process)
        seconds = time.monotonic() - started
        stdout, stderr = _tail(out), _tail(err)
    if timed_out:
        return Result(Outcome.TIMED_OUT, None, stdout, stderr, seconds)
    return Result(_outcome(code), code, stdout, stderr, seconds)


def _start(
    command: Sequence[str | Path],
    stdin: IO[bytes] | None,
    stdout: IO[bytes],
    stderr: IO[bytes],
    environ: Mapping[str, str] | None,
    cwd: Path | None,
) -> subprocess.Popen[bytes]:
    words = [os.fspath(word) for word in command]
    source = subprocess.DEVNULL if stdin is None else stdin
    if sys.platform == "win32":
        return subprocess.Popen(
            words,
            stdin=source,
            stdout=stdout,
            stderr=stderr,
            env=environ,
            cwd=cwd,
            creationflags=subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    return subprocess.Popen(
        words,
        stdin=source,
        stdout=stdout,
        stderr=stderr,
        env=environ,
        cwd=cwd,
        start_new_session=True,
    )


def _wait(
    process: subprocess.Popen[bytes],
    deadline: float,
    out: IO[bytes],
    watch: Callable[[str], None] | None,
) -> int:
    if watch is None or sys.platform == "win32":
        return process.wait(deadline)
    end, seen = time.monotonic() + deadline, 0
    while True:
        remaining = end - time.monotonic()
        try:
            code: int | None = process.wait(max(0.0, min(0.3, remaining)))
        except subprocess.TimeoutExpired:
            if remaining <= 0:
                raise
            code = None
        while fresh := os.pread(out.fileno(), 65536, seen):  # leaves the child's position alone
            seen += len(fresh)
            watch(fresh.decode("utf-8", "replace"))
        if code is not None:
            return code


def stop_tree(process: subprocess.Popen[bytes]) -> None:
    """End *process* and whatever it left running; harmless when all are gone already."""
    if sys.platform == "win32":
        if process.poll() is None:
            import psutil

            try:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            except psutil.Error:
                pass
            process.kill()
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass  # stuck in the kernel (a wedged driver does that); the child is abandoned


def _outcome(code: int | None) -> Outcome:
    if code == 0:
        return Outcome.COMPLETED
    if code is None or code < 0 or code > 0x80000000 or code in (134, 139):
        return Outcome.CRASHED  # a signal, or a Windows exception code
    return Outcome.FAILED


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - OUTPUT_LIMIT))
    return stream.read().decode("utf-8", "replace")
