"""What goes on after a restart of the computer, kept in a file of the data folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tfgpu_tray.store.database import StoreUnusable

FILE = "after-restart.json"
SLACK = 120.0  # seconds by which the time of one and the same start is told differently


@dataclass(frozen=True, slots=True)
class Awaited:
    what: str  # "wsl"
    since: float  # seconds since the epoch
    started: float  # when the computer had been started by then


@dataclass(frozen=True, slots=True)
class AfterRestart:
    folder: Path
    boot_time: Callable[[], float] = psutil.boot_time

    def remember(self, what: str, now: float) -> None:
        """Raises StoreUnusable when it cannot be written down."""
        text = json.dumps(asdict(Awaited(what, now, self.boot_time())))
        part = self._path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8")
            os.replace(part, self._path)
        except OSError as error:
            raise StoreUnusable(f"{self._path} cannot be written: {error}") from error

    def recall(self) -> Awaited | None:
        try:
            return Awaited(**json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def restarted(self, awaited: Awaited) -> bool:
        """Whether the computer was started anew since then."""
        return self.boot_time() > awaited.started + SLACK

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.folder / FILE
