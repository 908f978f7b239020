"""How the program that stays is told to end: by a signal, or by a part of its own."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Ctrl-Break is what ends a program that was started in a process group of its own.
if sys.platform == "win32":
    STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGBREAK)
else:
    STOPS = (signal.SIGTERM, signal.SIGINT)


class StopSocket:
    """Becomes readable with the first of `STOPS`, or with `stop`.

    The interpreter itself writes to it. Handlers written in Python would not do: signals come in
    bursts, a handler interrupts itself, and an Event that it sets was seen to wait for itself.
    """

    def __init__(self, ours: socket.socket, theirs: socket.socket):
        self._ours, self._theirs = ours, theirs

    def stop(self) -> None:
        try:
            self._theirs.send(b"\0")
        except OSError:
            pass  # full, or closed: it is stopping already

    def wait(self, seconds: float) -> bool:
        """Whether it is time to stop; waits for at most *seconds*."""
        self._ours.settimeout(seconds)
        try:
            self._ours.recv(1)
        except TimeoutError:
            return False
        return True


@contextmanager
def stop_signals() -> Iterator[StopSocket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in STOPS:
            signal.signal(number, lambda *_: None)
        try:
            yield StopSocket(ours, theirs)
        finally:
            signal.set_wakeup_fd(before)
