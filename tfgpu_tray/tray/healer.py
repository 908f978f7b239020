"""Runs `repair` and `undo` as processes of their own: neither takes the other along.

The tray may end while a repair works, and it finds it again when it starts: what a repair does
stands in the journal, and its lock says whether it still lives.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import IO, Any


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """How it ended."""

    prefix: Path
    command: str  # "repair" or "undo"
    state: str  # as the journal calls it; "nothing-to-do", or "failed" when it did not start
    text: str  # one sentence
    verdict: str | None = None  # of the environment afterwards


class Healer:
    def __init__(
        self, command: tuple[str, ...], folder: Path, ended: Callable[[ActionOutcome], None]
    ):
        """*ended* is called, in a thread of its own, when a repair or an undo has ended; until it
        returns, that counts as active."""
        self._command, self._folder, self._ended = command, folder, ended
        self._lock = threading.Lock()
        self._active: set[Path] = set()
        self._processes: set[int] = set()

    @property
    def active(self) -> frozenset[Path]:
        """Environments in which it started something that has not ended."""
        with self._lock:
            return frozenset(self._active)

    @property
    def processes(self) -> set[int]:
        """The numbers of the processes at work: they outlive this one."""
        with self._lock:
            return set(self._processes)

    def start(self, command: str, prefix: Path) -> bool:
        """Start a repair or an undo; False when one is at work there already."""
        with self._lock:
            if prefix in self._active:
                return False
            self._active.add(prefix)
        name = f"{command} {prefix.name}"
        threading.Thread(target=self._run, args=(command, prefix), name=name, daemon=True).start()
        return True

    def _run(self, command: str, prefix: Path) -> None:
        try:
            self._ended(self._carry_out(command, prefix))
        finally:
            with self._lock:
                self._active.discard(prefix)

    def _carry_out(self, command: str, prefix: Path) -> ActionOutcome:
        words = [*self._command, command, "--env", str(prefix), "--yes", "--json"]
        out, err = self._files(prefix)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("wb") as stdout, err.open("wb") as stderr:
                # To files: with a pipe, the end of this process would end the repair.
                process = _start_apart(words, stdout, stderr)
        except OSError as error:
            reason = error.strerror or str(error)
            return ActionOutcome(
                prefix, command, "failed", f"{command} could not be started: {reason}"
            )
        with self._lock:
            self._processes.add(process.pid)
        process.wait()
        with self._lock:
            self._processes.discard(process.pid)
        return read_outcome(command, prefix, out.read_bytes(), err.read_bytes())

    def _files(self, prefix: Path) -> tuple[Path, Path]:
        """For what the last repair of *prefix* prints; another one may work elsewhere meanwhile."""
        key = hashlib.blake2b(os.fsencode(prefix), digest_size=4).hexdigest()
        name = f"repair-{prefix.name[:40]}-{key}"
        return self._folder / f"{name}.json", self._folder / f"{name}.log"


def read_outcome(command: str, prefix: Path, stdout: bytes, stderr: bytes) -> ActionOutcome:
    """What the command line said."""
    try:
        content = json.loads(stdout)
    except ValueError:
        content = None
    said: dict[str, Any] = content if isinstance(content, dict) else {}
    if "state" not in said:
        problems = said.get("error") or stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        why = "; ".join(problems) or "it ended without a word"
        return ActionOutcome(prefix, command, "failed", why.removeprefix("tfgpu-tray: "))
    state, note = said["state"], said.get("note") or ""
    after = said.get("after") or {}
    if state == "nothing-to-do":
        reason = said.get("plan", {}).get("reason") or "nothing to do"
        return ActionOutcome(prefix, command, state, reason, said.get("before", {}).get("verdict"))
    text = after.get("headline", "") if state in ("done", "undone") else note
    return ActionOutcome(prefix, command, state, text, after.get("verdict"))


def _start_apart(words: Sequence[str], stdout: IO[bytes], stderr: IO[bytes]) -> Popen[bytes]:
    """A process that does not end with this one."""

    def start(flags: int) -> Popen[bytes]:
        return Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=sys.platform != "win32",
            creationflags=flags,
        )

    if sys.platform != "win32":
        return start(0)
    apart = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    try:  # out of the job that ends what an editor's terminal or a task started
        return start(apart | subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:  # that job lets nobody out
        return start(apart)
