"""The watcher at work on a Windows machine: started, ended, and heard through what it prints."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.tool import PYTHON

__all__ = ["TOOL", "Watching"]

TOOL = (rf"{PYTHON}\python.exe", "-P", "-m", "tfgpu_tray")
SECONDS = 60.0  # of patience: a look takes Wine five seconds, and this machine has other work
T = TypeVar("T")


class Watching:
    """A context manager: the program runs inside it. *options* are those of `run`."""

    def __init__(self, machine: WindowsMachine, *options: str) -> None:
        self.machine = machine
        self.events: list[dict[str, Any]] = []
        self._errors: list[bytes] = []
        self._process = machine.start(*TOOL, "--json", "run", *options)
        for stream, take in (
            (self._process.stdout, self._hear),
            (self._process.stderr, self._errors.append),
        ):
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(self.report())
        self._process.kill()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for_end(self, seconds: float = SECONDS) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end within {seconds:g} s") from None

    def wait_for_event(
        self, kind: str, text: str = "", count: int = 1, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """The *count*-th event of that kind with *text* in it."""

        def look() -> dict[str, Any] | None:
            found = [e for e in self.events if e["kind"] == kind and text in e["text"]]
            return found[count - 1] if len(found) >= count else None

        return self.wait(f"the event {kind!r} with {text!r}", look, seconds)

    def wait(self, what: str, condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
        """The condition's first true value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert self.is_running, f"it ended before {what}"
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
            time.sleep(0.05)
        return value

    def report(self) -> str:
        lines = [f"{e['kind']}: {e['prefix'] or ''} {e['text']}" for e in self.events]
        errors = b"".join(self._errors).decode("utf-8", "replace")
        return "\n".join(["the watcher said", *lines, errors, self._logged()])

    def _logged(self) -> str:
        log = self.data / "logs" / "tfgpu-tray.log"
        return log.read_text("utf-8", "replace") if log.exists() else "and logged nothing"

    @property
    def data(self) -> Path:
        return self.machine.home / "AppData" / "Local" / "tfgpu-tray"

    def _hear(self, line: bytes) -> None:
        self.events.append(json.loads(line))

    @staticmethod
    def _read(stream: Any, take: Callable[[bytes], object]) -> None:
        for line in stream:
            take(line)
