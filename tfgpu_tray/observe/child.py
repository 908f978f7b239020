"""Child processes with a deadline: the only way anything that may hang or crash is run."""

from __future__ import annotations

import codecs
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.layout import OEM

if sys.platform == "win32":
    from tfgpu_tray.observe.windows_job import CREATE_SUSPENDED, Job, without_dialogs

OUTPUT_LIMIT = 2_000_000  # bytes kept of each stream, from its end
# NTSTATUS codes that a Windows process ends with when an exception ends it (ntstatus.h).
_EXCEPTIONS = {
    0x40000015: "fatal application exit",
    0x80000003: "breakpoint",
    0xC0000005: "access violation",
    0xC0000006: "in-page error",
    0xC0000017: "no memory",
    0xC000001D: "illegal instruction",
    0xC00000FD: "stack overflow",
    0xC0000135: "DLL not found",
    0xC0000138: "ordinal not found",
    0xC0000139: "entry point not found",
    0xC000013A: "Ctrl-C",
    0xC0000142: "DLL initialization failed",
    0xC0000374: "heap corruption",
    0xC0000409: "fail fast",
    0xC06D007E: "delay-loaded DLL not found",
    0xC06D007F: "delay-loaded function not found",
}


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
        if self.code is not None and _is_exception(self.code):
            name = _EXCEPTIONS.get(self.code)
            return f"was ended by exception 0x{self.code:08X}{f' ({name})' if name else ''}"
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

    *watch* is given new standard output as it comes, a few times a second. Output goes through
    files, not pipes, so that a grandchild that keeps a stream open cannot hold us up after its
    parent is gone.
    """
    started = time.monotonic()
    with ExitStack() as files:
        out, err, source = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        if stdin is not None:
            source.write(stdin.encode())
            source.seek(0)
        try:
            child = _Child(command, source if stdin is not None else None, out, err, environ, cwd)
        except OSError as error:
            reason = error.strerror or str(error)
            return Result(Outcome.NOT_STARTED, None, "", reason, time.monotonic() - started)
        timed_out = False
        try:
            code: int | None = _wait(child.process, deadline, out, watch)
        except subprocess.TimeoutExpired:
            timed_out, code = True, None
        finally:
            child.end()
        seconds = time.monotonic() - started
        stdout, stderr = _tail(out), _tail(err)
    if timed_out:
        return Result(Outcome.TIMED_OUT, None, stdout, stderr, seconds)
    return Result(_outcome(code), code, stdout, stderr, seconds)


class _Child:
    """A process that is ended with everything that it started."""

    def __init__(
        self,
        command: Sequence[str | Path],
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        stderr: IO[bytes],
        environ: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> None:
        words = [os.fspath(word) for word in command]
        source = subprocess.DEVNULL if stdin is None else stdin
        if sys.platform == "win32":
            without_dialogs()
            self.process = subprocess.Popen(
                words,
                stdin=source,
                stdout=stdout,
                stderr=stderr,
                env=environ,
                cwd=cwd,
                creationflags=subprocess.CREATE_NO_WINDOW
                | subprocess.CREATE_NEW_PROCESS_GROUP
                | CREATE_SUSPENDED,  # until the job holds it
            )
            self._job = Job(self.process)
        else:
            self.process = subprocess.Popen(
                words,
                stdin=source,
                stdout=stdout,
                stderr=stderr,
                env=environ,
                cwd=cwd,
                start_new_session=True,
            )

    def end(self) -> None:
        """Harmless when all are gone already."""
        if sys.platform == "win32":
            self._job.end()
            self.process.kill()
        else:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass  # stuck in the kernel (a wedged driver does that); the child is abandoned


def _wait(
    process: subprocess.Popen[bytes],
    deadline: float,
    out: IO[bytes],
    watch: Callable[[str], None] | None,
) -> int:
    if watch is None:
        return process.wait(deadline)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    end = time.monotonic() + deadline
    with _Follower(out) as follower:
        while True:
            remaining = end - time.monotonic()
            try:
                code: int | None = process.wait(max(0.0, min(0.3, remaining)))
            except subprocess.TimeoutExpired:
                if remaining <= 0:
                    raise
                code = None
            while fresh := follower.read():
                watch(decoder.decode(fresh))
            if code is not None:
                return code


class _Follower:
    """Reads what a child writes, and leaves the position alone at which the child writes it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._seen, self._own = out, 0, -1
        if sys.platform == "win32":
            # Our first handle shares its position with the child's. The second one has to say, as
            # the first did, that the file goes with its last handle.
            self._own = os.open(out.name, os.O_RDONLY | os.O_BINARY | os.O_TEMPORARY)

    def read(self) -> bytes:
        if sys.platform == "win32":
            os.lseek(self._own, self._seen, os.SEEK_SET)  # or an end once seen is the end for ever
            fresh = os.read(self._own, 65536)
        else:
            fresh = os.pread(self._out.fileno(), 65536, self._seen)
        self._seen += len(fresh)
        return fresh

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own >= 0:
            os.close(self._own)


def _outcome(code: int | None) -> Outcome:
    if code == 0:
        return Outcome.COMPLETED
    if code is None or code < 0 or code in (134, 139) or _is_exception(code):
        return Outcome.CRASHED
    return Outcome.FAILED


def _is_exception(code: int) -> bool:
    """Whether it is an NTSTATUS of an error. Programs that end with -1 give 0xFFFFFFFF."""
    return code in _EXCEPTIONS or 0xC0000000 <= code < 0xD0000000


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - OUTPUT_LIMIT))
    raw = stream.read()
    if size > OUTPUT_LIMIT:
        raw = raw.lstrip(bytes(range(0x80, 0xC0)))  # of a character that was cut in two
    text = decoded(raw)
    return text.replace("\r\n", "\n") if sys.platform == "win32" else text


def decoded(raw: bytes) -> str:
    """What a program printed: UTF-8 if it can be, UTF-16 as wsl.exe writes it, else in the code
    page of Windows' console."""
    if b"\r\0\n\0" in raw:
        return raw.decode("utf-16-le", "replace").removeprefix("\ufeff")
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(raw)  # may end within a character
    except UnicodeDecodeError:
        return raw.decode(OEM, "replace")
