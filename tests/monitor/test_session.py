"""What is answered when Windows ends the session, wakes up, or asks the program to close."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest

from tfgpu_tray.monitor.session import (
    CTRL_CLOSE,
    CTRL_LOGOFF,
    CTRL_SHUTDOWN,
    GRACE,
    PBT_APMRESUMEAUTOMATIC,
    WM_CLOSE,
    WM_ENDSESSION,
    WM_POWERBROADCAST,
    WM_QUERYENDSESSION,
    Answers,
    Deaf,
    listen,
)

PAINT, CTRL_C, PBT_APMSUSPEND = 0x000F, 0, 4


@dataclass
class Program:
    heard: list[str] = field(default_factory=list)

    def answers(self) -> Answers:
        return Answers(
            lambda: self.heard.append("stop"), self._over, lambda: self.heard.append("woke")
        )

    def _over(self, seconds: float) -> bool:
        self.heard.append(f"ended within {seconds:g}")
        return True


ENDED = ["stop", f"ended within {GRACE:g}"]


@pytest.mark.parametrize(
    ("number", "word", "answer", "heard"),
    [
        (WM_QUERYENDSESSION, 0, 1, []),  # nothing speaks against it
        (WM_ENDSESSION, 1, 0, ENDED),
        (WM_ENDSESSION, 0, 0, []),  # it was called off
        (WM_CLOSE, 0, 0, ["stop"]),
        (WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC, 1, ["woke"]),
        (WM_POWERBROADCAST, PBT_APMSUSPEND, 1, []),
        (PAINT, 0, None, []),
    ],
)
def test_messages_are_answered(
    number: int, word: int, answer: int | None, heard: list[str]
) -> None:
    program = Program()
    assert program.answers().message(number, word) == answer
    assert program.heard == heard


@pytest.mark.parametrize("event", [CTRL_CLOSE, CTRL_LOGOFF, CTRL_SHUTDOWN])
def test_the_end_of_a_console_waits_for_that_of_the_program(event: int) -> None:
    program = Program()
    assert program.answers().console(event)
    assert program.heard == ENDED


def test_ctrl_c_is_left_to_signals() -> None:
    program = Program()
    assert not program.answers().console(CTRL_C)
    assert program.heard == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is listened to")
def test_elsewhere_signals_tell_everything() -> None:
    session = listen(Program().answers())
    assert isinstance(session, Deaf)
    session.close()
