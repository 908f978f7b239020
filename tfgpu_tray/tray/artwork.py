"""The icon's pictures, drawn once by a child process and kept as files.

Pillow takes a fifth of the memory that a program in the tray should take, and is needed for a
moment in its life: a child draws, this process reads 35 kB when the icon changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.tray.pixmap import SIZES, Pixmap, argb
from tfgpu_tray.tray.status import Status

RING = 24  # pictures of a full turn of the progress ring
EMBLEM = 128  # pixels, for notifications
SECONDS = 30.0  # for drawing everything, which takes half a second
SCANNED = 2.0  # seconds in which Windows' virus scanner lets go of new files


class CannotDraw(Exception):
    """The pictures could not be drawn; the text says why."""


@dataclass(frozen=True)
class Artwork:
    """Pictures in *folder*, for a panel that is light, or *dark*."""

    folder: Path
    dark: bool = False
    runner: Runner = run

    @cached_property
    def place(self) -> Path:
        """Another one for each version of the drawing."""
        source = Path(__file__).with_name("drawing.py").read_bytes()
        digest = hashlib.blake2b(source, digest_size=4).hexdigest()
        return self.folder / f"{digest}-{'dark' if self.dark else 'light'}"

    def pictures(self, status: Status, progress: float | None = None) -> list[Pixmap]:
        """One for each of `SIZES`.

        Raises:
            CannotDraw: there are none.
        """
        data = self._read(_name(status, progress))
        found, at = [], 0
        for size in SIZES:
            found.append((size, size, data[at : at + 4 * size * size]))
            at += 4 * size * size
        return found

    def emblem(self, status: Status) -> Path:
        """A PNG file of the product's icon in that state; raises CannotDraw."""
        path = self.place / f"{status.value}.png"
        if not path.exists():
            self._draw()
        return path

    def _read(self, name: str) -> bytes:
        path = self.place / name
        wanted = sum(4 * size * size for size in SIZES)
        for last in (False, True):
            try:
                data = path.read_bytes()
            except OSError:
                data = b""
            if len(data) == wanted:
                return data
            if not last:
                self._draw()
        raise CannotDraw(f"{path} cannot be read")

    def _draw(self) -> None:
        """Into a folder of its own first, so that no half of it is ever read."""
        place = self.place
        draft = place.with_name(f"{place.name}.{os.getpid()}")
        theme = "dark" if self.dark else "light"
        shutil.rmtree(draft, ignore_errors=True)  # of one that was ended, whose number came again
        words = [sys.executable, "-P", "-m", "tfgpu_tray.tray.artwork", str(draft), theme]
        done = self.runner(words, deadline=SECONDS)
        if done.outcome is not Outcome.COMPLETED:
            shutil.rmtree(draft, ignore_errors=True)
            said = done.stderr.strip().splitlines()
            why = said[-1] if said else done.how_it_ended
            raise CannotDraw(f"the pictures cannot be drawn: {why}")
        shutil.rmtree(place, ignore_errors=True)
        try:
            _rename(draft, place)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if not place.exists():  # else another process was faster
                raise CannotDraw(f"{place} cannot be written: {error.strerror}") from error


def _rename(draft: Path, place: Path) -> None:
    """On Windows no folder moves while a virus scanner reads one of its files."""
    end = time.monotonic() + SCANNED
    while True:
        try:
            draft.rename(place)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() >= end:
                raise
            time.sleep(0.05)


def stepped(progress: float | None) -> float | None:
    """*progress* as there is a picture of it."""
    return None if progress is None else round(min(max(progress, 0.0), 1.0) * RING) / RING


def _name(status: Status, progress: float | None) -> str:
    shown = stepped(progress) if status is Status.REPAIRING else None
    step = None if shown is None else round(shown * RING)
    return f"{status.value}.argb" if step is None else f"{status.value}-{step:02}.argb"


def draw_all(folder: Path, *, dark: bool) -> None:
    """In the child: every picture that the tray may show."""
    from tfgpu_tray.tray.drawing import draw, emblem

    folder.mkdir(parents=True)
    shown: list[tuple[Status, float | None]] = [(status, None) for status in Status]
    shown += [(Status.REPAIRING, step / RING) for step in range(RING + 1)]
    for status, progress in shown:
        images = (draw(status, size, dark=dark, progress=progress) for size in SIZES)
        (folder / _name(status, progress)).write_bytes(b"".join(map(argb, images)))
    for status in Status:
        emblem(EMBLEM, status).save(folder / f"{status.value}.png")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]), dark=sys.argv[2] == "dark")
