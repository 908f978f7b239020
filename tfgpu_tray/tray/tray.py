"""The tray: shows what the store says, and does what the user clicks.

It has a thread for what it shows, one for what it tells and one for what it does, so that neither a
slow desktop nor a slow action holds up the others or the monitor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from tfgpu_tray.config import Config
from tfgpu_tray.model import Depth, Event
from tfgpu_tray.store.board import Board, Silence
from tfgpu_tray.tray import notices
from tfgpu_tray.tray.artwork import Artwork, stepped
from tfgpu_tray.tray.backends import TrayIcon
from tfgpu_tray.tray.healer import ActionOutcome, Healer
from tfgpu_tray.tray.items import MenuItem
from tfgpu_tray.tray.menu import build
from tfgpu_tray.tray.notices import Notice
from tfgpu_tray.tray.pixmap import Pixmap
from tfgpu_tray.tray.status import Status
from tfgpu_tray.tray.view import Shown, View, clock, icon

WORKING = 0.5  # seconds between two pictures of a repair at work
BREATH = 0.1  # seconds after a picture in which what changes is gathered for the next
BALLOON = 255  # UTF-16 units of a message that the icon itself shows; Windows' limit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hands:
    """What the tray can do on this machine."""

    ask: Callable[..., None]  # Monitor.ask
    healer: Healer
    autostart: Callable[[bool], bool]  # set it; returns what it is now
    starts_at_login: Callable[[], bool]
    write_details: Callable[[Path | None], Path]  # a text file on one environment, or on all
    write_configuration: Callable[[], Path]  # the configuration file, written if there was none
    open_file: Callable[[Path], None]
    quit: Callable[[], None]
    woken: Callable[[], None]  # the pause was changed


class Tray:
    def __init__(
        self,
        config: Config,
        board: Board,
        view: Callable[[], View],
        hands: Hands,
        send: Callable[[Notice], bool],
        withdraw: Callable[[Path], None],
        quiet: Callable[[], str | None],
        artwork: Artwork,
        clock: Callable[[], float] = time.time,
        *,
        held_back_for: float | None = None,
        steady: Callable[[], float] = time.monotonic,
    ):
        """*send* brings a notice to the desktop, False where it cannot; *withdraw* takes back what
        is shown of an environment; *quiet* says why a notice would disturb now. It is heard for at
        most *held_back_for* seconds; None: for as long as it says so."""
        self._config, self._board, self._view, self._hands = config, board, view, hands
        self._send, self._withdraw, self._quiet = send, withdraw, quiet
        self._artwork, self._clock, self._steady = artwork, clock, steady
        self._held_back_for = held_back_for
        self._held_back_since: float | None = None
        self._icon: TrayIcon | None = None
        self._shown: tuple[Artwork, Shown] | None = None
        self._listed: tuple[View, bool] | None = None  # what the menu was made from
        self._at_login = False
        self._undelivered = False
        self._held_back = ""
        self._stopped = threading.Event()
        self._stale = threading.Event()
        self._untold = threading.Event()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.threads = [
            threading.Thread(target=self._show_all, name="tray shows", daemon=True),
            threading.Thread(target=self._tell_all, name="tray tells", daemon=True),
            threading.Thread(target=self._do_all, name="tray does", daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def attach(self, shown: TrayIcon) -> None:
        """From now on *shown* is kept up to date."""
        self._icon, self._shown, self._listed = shown, None, None
        self._do(self._read_autostart)
        self.refresh()

    def first_pictures(self) -> list[Pixmap]:
        return self._artwork.pictures(Status.UNKNOWN)

    def repaint(self, artwork: Artwork) -> None:
        """From now on with *artwork*: the panel has another colour."""
        self._artwork = artwork
        self.refresh()

    def refresh(self) -> None:
        """Something may have changed. Returns at once; many calls are one picture."""
        self._stale.set()

    def stop(self) -> None:
        self._stopped.set()
        self._stale.set()
        self._untold.set()
        self._jobs.put(lambda: None)
        if self._icon is not None:
            self._icon.stop()

    # ---- showing -------------------------------------------------------------------------------

    def _show_all(self) -> None:
        working = False
        while not self._stopped.is_set():
            self._stale.wait(WORKING if working else None)
            self._stale.clear()
            if self._stopped.is_set():
                return
            try:
                view = self._view()
            except Exception:
                log.exception("the store could not be read")
                continue
            working = view.is_repairing
            self._untold.set()
            for part in (self._draw, self._list):  # neither holds up the other
                try:
                    part(view)
                except Exception:
                    log.exception("the tray could not be brought up to date")
            self._stopped.wait(BREATH)

    def _tell_all(self) -> None:
        while not self._stopped.is_set():
            self._untold.wait()
            self._untold.clear()
            if self._stopped.is_set():
                return
            try:
                self._notify(self._view())
            except Exception:
                log.exception("what holds could not be told")

    def _draw(self, view: View) -> None:
        now = icon(view)
        now = replace(now, progress=stepped(now.progress))
        artwork = self._artwork
        if self._icon is not None and (artwork, now) != self._shown:
            self._icon.show(artwork.pictures(now.status, now.progress), now.tooltip)
            self._shown = artwork, now

    def _list(self, view: View) -> None:
        if self._icon is None:
            return
        state = (replace(view, now=0.0, told={}), self._at_login)
        if state != self._listed:  # most desktops close an open menu that is given anew
            self._listed = state
            # Read anew when it opens, where the desktop asks, so that its ages are right.
            self._icon.set_menu(self._items)

    def _items(self) -> list[MenuItem]:
        return build(self._view(), self, at_login=self._at_login)

    def _notify(self, view: View) -> None:
        for prefix in notices.outdated(view):
            self._board.tell(prefix, "")
            self._withdraw(prefix)
        for prefix, cause in notices.lapsed(view):
            self._board.silence(prefix, cause, None)
        waiting = list(notices.due(view, self._config.notifications))
        reason = self._quiet() if waiting else None
        if reason is None:
            self._held_back, self._held_back_since = "", None
        elif not self._has_waited():
            self._hold_back(reason)
            return
        for notice in waiting:
            # Written down first: a program that dies in between says too little, never twice.
            self._board.tell(notice.prefix, notice.what)
            self._deliver(notice)

    def _has_waited(self) -> bool:
        """Whether what is due was held back long enough."""
        now = self._steady()
        if self._held_back_since is None:
            self._held_back_since = now
        waited = now - self._held_back_since
        return self._held_back_for is not None and waited >= self._held_back_for

    def _hold_back(self, reason: str) -> None:
        if self._held_back != reason:
            self._held_back = reason
            self._event("quiet", f"a notification waits: {reason}")

    def _deliver(self, notice: Notice) -> None:
        if self._send(notice):
            self._undelivered = False
            return
        if self._icon is not None:
            body = notices.without_buttons(notice, BALLOON)
            self._icon.notify(body, notice.title, lambda: self.details(notice.prefix))
        if not self._undelivered:
            self._undelivered = True
            self._event("quiet", "no notification service answers; the icon and the log tell")

    def announce(self, title: str, text: str) -> None:
        """Notify of something that is of no environment."""
        if self._config.notifications.enabled:
            self._do(lambda: self._deliver(Notice(notices.OF_NONE, "", title, text)))

    # ---- what the user does --------------------------------------------------------------------

    def check_now(self) -> None:
        self._do(self._check_now)

    def repair(self, prefix: Path) -> None:
        self._do(lambda: self._start("repair", prefix))

    def undo(self, prefix: Path) -> None:
        self._do(lambda: self._start("undo", prefix))

    def details(self, prefix: Path | None) -> None:
        prefix = None if prefix == notices.OF_NONE else prefix
        self._do(lambda: self._hands.open_file(self._hands.write_details(prefix)))

    def silence(self, prefix: Path, cause: str, kind: Silence | None) -> None:
        def silence() -> None:
            self._board.silence(prefix, cause, kind)
            if kind is not None:
                self._withdraw(prefix)
            word = kind.value if kind else "no longer silenced"
            self._event("silenced", f"{cause}: {word}", prefix)

        self._do(silence)

    def pause(self, seconds: float | None) -> None:
        self._do(lambda: self._pause(self._clock() + seconds if seconds else None))

    def pause_until_tomorrow(self) -> None:
        self._do(lambda: self._pause(tomorrow(self._clock())))

    def autostart(self, wanted: bool) -> None:
        def change() -> None:
            self._at_login = self._hands.autostart(wanted)

        self._do(change)

    def open_configuration(self) -> None:
        self._do(lambda: self._hands.open_file(self._hands.write_configuration()))

    def quit(self) -> None:
        self._do(self._hands.quit)

    def pressed(self, prefix: Path, button: str) -> None:
        """A button of a notification."""
        {"repair": self.repair, "undo": self.undo, "details": self.details}[button](prefix)

    def ended(self, outcome: ActionOutcome) -> None:
        """A repair or an undo has ended; the healer counts it as active until this returns."""
        told = {"done": notices.MENDED, "undone": notices.TAKEN_BACK}.get(outcome.state)
        if told is not None:
            # At once: what holds is from before, and nobody is to be told of it now.
            self._board.tell(outcome.prefix, told)
        self._do(lambda: self._tell_outcome(outcome))

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def _do_all(self) -> None:
        while not self._stopped.is_set():
            job = self._jobs.get()
            if self._stopped.is_set():
                return
            try:
                job()
            except Exception as error:
                log.exception("what was clicked failed")
                try:
                    self._event("failed", f"that did not work: {error}")
                except Exception:
                    log.exception("nor could that be stored")
            self.refresh()

    def _check_now(self) -> None:
        if self._board.paused_until is not None:
            self._pause(None)
        self._hands.ask(Depth.TENSORFLOW, forced=True)

    def _start(self, command: str, prefix: Path) -> None:
        if self._hands.healer.start(command, prefix):
            self.refresh()
            self._event(command, f"{command} started from the tray", prefix)
            self._withdraw(prefix)  # last: the desktop may be slow

    def _pause(self, until: float | None) -> None:
        self._board.pause(until)
        self._hands.woken()
        text = f"paused until {clock(until, self._clock())}" if until else "watching again"
        self._event("paused" if until else "resumed", text)

    def _tell_outcome(self, outcome: ActionOutcome) -> None:
        """One line after a repair, quiet when it went well; always with what it came to."""
        self._event(outcome.command, _sentence(outcome), outcome.prefix)
        self._hands.ask(Depth.STATIC, [outcome.prefix])
        if not self._config.notifications.enabled:
            return
        name = self._view().name(outcome.prefix)
        failed = {
            "repair": f"{name} could not be repaired",
            "undo": f"The repair of {name} could not be taken back",
        }[outcome.command]
        title = {
            "done": f"{name} is repaired",
            "undone": f"The repair of {name} is taken back",
            "nothing-to-do": f"Nothing to repair in {name}",
        }.get(outcome.state, failed)
        buttons = ("undo", "details") if outcome.state == "done" else ("details",)
        status = Status.OK if outcome.verdict == "ok" else Status.UNKNOWN
        self._deliver(Notice(outcome.prefix, "", title, outcome.text, buttons, status))

    def _read_autostart(self) -> None:
        self._at_login = self._hands.starts_at_login()

    def _event(self, kind: str, text: str, prefix: Path | None = None) -> None:
        self._board.append(Event(kind, prefix, text, self._clock()))


def _sentence(outcome: ActionOutcome) -> str:
    said = {
        "done": f"{outcome.command} done",
        "undone": "the repair was taken back",
        "nothing-to-do": "nothing to do",
        "rolled-back": "put back, nothing was changed in the end",
        "stuck": "not everything could be put back",
    }.get(outcome.state, f"{outcome.command} failed")
    return f"{said}: {outcome.text}" if outcome.text else said


def tomorrow(now: float) -> float:
    """Six in the morning of the next day, local time."""
    today = time.localtime(now)
    return time.mktime((today.tm_year, today.tm_mon, today.tm_mday + 1, 6, 0, 0, 0, 0, -1))
