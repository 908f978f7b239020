"""What Windows tells a program that stays: the session ends, the computer woke, please close.

Windows tells it to windows, and of a console's end to whoever asks; signals tell of Ctrl-C and
Ctrl-Break alone. So there is a window that nobody sees, with a tray icon or without.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

WM_CLOSE, WM_QUERYENDSESSION, WM_ENDSESSION = 0x0010, 0x0011, 0x0016
WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC = 0x0218, 0x12
CTRL_CLOSE, CTRL_LOGOFF, CTRL_SHUTDOWN = 2, 5, 6
GRACE = 3.0  # seconds that the end waits for the program's own; Windows gives it five

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answers:
    """What is answered, and what follows."""

    stop: Callable[[], None]  # asks the program to end; returns at once
    over: Callable[[float], bool]  # waits for that
    woke: Callable[[], None]

    def message(self, number: int, word: int) -> int | None:
        """The answer to a window's message; None: whatever is usual."""
        if number == WM_QUERYENDSESSION:
            return 1
        if number == WM_ENDSESSION:
            if word:  # else it was called off
                self._end()
            return 0
        if number == WM_CLOSE:  # taskkill sends it
            self.stop()
            return 0
        if number == WM_POWERBROADCAST:
            if word == PBT_APMRESUMEAUTOMATIC:
                self.woke()
            return 1
        return None

    def console(self, event: int) -> bool:
        """Whether a console's event was dealt with. The program is ended when this returns."""
        if event not in (CTRL_CLOSE, CTRL_LOGOFF, CTRL_SHUTDOWN):
            return False  # a signal
        self._end()
        return True

    def _end(self) -> None:
        self.stop()
        self.over(GRACE)


class Session(Protocol):
    def close(self) -> None:
        """Nothing more is heard."""


class Deaf:
    """Where signals and logind tell everything."""

    def close(self) -> None:
        pass


def listen(answers: Answers) -> Session:
    """Answers from now on, in threads of its own."""
    if sys.platform == "win32":
        from tfgpu_tray.monitor.session_window import SessionWindow

        try:
            return SessionWindow(answers)
        except OSError as error:
            log.warning("the session's end will not be heard: %s", error)
    return Deaf()
