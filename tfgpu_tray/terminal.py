"""What a person at a terminal sees: lines, a spinner, a progress bar. rich, imported when used."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


# How what we print looks where the code page lacks it; GBK has most of it, cp1252 some.
PLAIN = dict(zip("✓✗●○·–—‘’“”█━≥≤", "+x*o---''\"\"#-><", strict=True), **{"→": "->", "…": "..."})


def prepare_streams() -> None:
    """No print may fail: under pythonw there are no streams, and where they are redirected on
    Windows they may not know every character."""
    codecs.register_error("tfgpu-plain", _plainly)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tfgpu-plain")


def speak_utf8() -> None:
    """From now on, for programs that read: JSON is UTF-8, whatever the code page is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN.get(c, "?") for c in unknown), error.end


def console() -> Console:
    """Standard output, with long lines left to the terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line)


def waiting(quiet: bool, text: str) -> AbstractContextManager[object]:
    """A spinner on standard error with *text*, only where a person looks at it."""
    from rich.console import Console

    console = Console(stderr=True)
    return nullcontext() if quiet or not console.is_terminal else console.status(text)


class Progress:
    """One line of progress on standard error, only where a person looks at it."""

    def __init__(self, *, quiet: bool):
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        from tfgpu_tray.repair.transaction import Telling

        console = Console(stderr=True)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("Preparing", total=None, amount="")
        self.telling = Telling(step=self._step, output=self._output, phase=self._phase)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _step(self, number: int, count: int, title: str) -> None:
        self._phase(f"{number}/{count} {title}")

    def _phase(self, text: str) -> None:
        self._bar.update(self._task, description=text, total=None, completed=0, amount="")

    def _output(self, text: str) -> None:
        """What pip downloads becomes the bar."""
        from tfgpu_tray.installer.pip import downloads

        for done, total in downloads(text):
            amount = f"{done >> 20} of {total >> 20} MB" if total else f"{done >> 20} MB"
            self._bar.update(self._task, completed=done, total=total, amount=amount)
        for line in text.splitlines():
            if line.startswith(("Collecting", "Installing", "Downloading")):
                self._bar.update(self._task, total=None, amount=line[:40])
