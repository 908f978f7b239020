"""Puts the tray together: the icon of this desktop, notifications, and what a click does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tfgpu_tray.app import App
from tfgpu_tray.config import default_text
from tfgpu_tray.monitor.monitor import Monitor
from tfgpu_tray.monitor.resume import watch_for_sleep
from tfgpu_tray.tray.artwork import Artwork, CannotDraw
from tfgpu_tray.tray.backends import NO_TRAY, NoTray, open_icon
from tfgpu_tray.tray.healer import Healer
from tfgpu_tray.tray.loop import LoopThread
from tfgpu_tray.tray.notifier import SECONDS, Notifier
from tfgpu_tray.tray.opener import open_file
from tfgpu_tray.tray.panel import panel_is_dark
from tfgpu_tray.tray.quiet import LONGEST, quiet
from tfgpu_tray.tray.tray import Hands, Tray
from tfgpu_tray.tray.view import View, read_view
from tfgpu_tray.words import details_text

PATIENCE = 20.0  # seconds that a panel may take to come up
T = TypeVar("T")
log = logging.getLogger(__name__)


class Face:
    def __init__(
        self,
        app: App,
        monitor: Monitor,
        record: Callable[[str, str], None],
        *,
        stop: Callable[[], None],
        woken: Callable[[], None],
        resumed: Callable[[], None],
        patience: float = PATIENCE,
    ):
        """*record* stores an event; *stop* ends the program; *woken* tells that a pause changed;
        *resumed* that the computer woke up; *patience* is what a panel gets to come up."""
        self._app, self._monitor, self._record = app, monitor, record
        self._loop = LoopThread()
        self._patience = patience
        self._is_hosted = False
        self._told_hosted: bool | None = None
        self._healer = Healer(app.command, app.data_dir / "logs", lambda o: self._tray.ended(o))
        self._loop.submit(watch_for_sleep(resumed))
        artwork = self._artwork()
        self._notifier = Notifier(lambda *what: self._tray.pressed(*what), artwork.emblem)
        self._tray = Tray(
            app.config,
            app.board,
            self._view,
            self._hands(monitor, stop, woken),
            send=lambda notice: self._answer(self._notifier.send(notice), False),
            withdraw=lambda prefix: self._answer(self._notifier.clear(prefix), None),
            quiet=lambda: self._answer(quiet(app.environ), None),
            artwork=artwork,
            held_back_for=LONGEST,
        )
        self._open()

    def refresh(self) -> None:
        self._tray.refresh()

    def announce(self, title: str, text: str) -> None:
        """Notify of something that is of no environment."""
        self._tray.announce(title, text)

    def stop(self) -> set[int]:
        """Take the icon away; returns the processes of repairs, which go on."""
        self._tray.stop()
        self._answer(self._notifier.close(), None)
        self._loop.stop()
        return self._healer.processes

    def _artwork(self) -> Artwork:
        dark = self._app.config.panel == "dark"
        if self._app.config.panel is None:
            dark = self._answer(panel_is_dark(self._app.environ), False)
        return Artwork(self._app.data_dir / "artwork", dark)

    def _open(self) -> None:
        try:
            icon = open_icon(
                self._app.environ,
                self._loop,
                self._tray.first_pictures(),
                "tfgpu-tray",
                hosted=self._hosted,
                themed=lambda: self._tray.repaint(self._artwork()),
            )
        except (NoTray, CannotDraw) as error:
            self._record("tray", f"watching without an icon: {error}")
        else:
            self._tray.attach(icon)

    def _hosted(self, hosted: bool) -> None:
        """A panel that goes and comes back is told once, each. At login it may come after us."""

        def heed() -> None:
            self._is_hosted = hosted
            if hosted or self._told_hosted:
                self._tell_hosted()
            else:
                self._loop.loop.call_later(self._patience, self._tell_hosted)

        self._loop.soon(heed)

    def _tell_hosted(self) -> None:
        hosted, told = self._is_hosted, self._told_hosted
        if hosted is told:
            return
        self._told_hosted = hosted
        if hosted:
            self._record("tray", "the icon is in the panel")
        elif told is None:
            self._record("tray", f"watching without an icon: {NO_TRAY}")
        else:
            self._record("tray", "the panel is gone; the icon comes back with it")

    def _hands(
        self, monitor: Monitor, stop: Callable[[], None], woken: Callable[[], None]
    ) -> Hands:
        autostart = self._app.autostart()

        def set_autostart(wanted: bool) -> bool:
            return (autostart.enable() if wanted else autostart.disable()).enabled

        return Hands(
            ask=monitor.ask,
            healer=self._healer,
            autostart=set_autostart,
            starts_at_login=lambda: autostart.status().enabled,
            write_details=self._write_details,
            write_configuration=self._write_configuration,
            open_file=open_file,
            quit=stop,
            woken=woken,
        )

    def _view(self) -> View:
        app = self._app
        return read_view(
            app.board,
            app.journal,
            app.repairs_at_work(),
            time.time(),
            starting=self._healer.active,
            checking=self._monitor.checking,
        )

    def _write_details(self, prefix: Path | None) -> Path:
        view = self._view()
        conditions = [c for c in view.conditions if prefix in (None, c.prefix)]
        events = [e for e in self._app.board.events(2000) if prefix in (None, e.prefix)]
        lines = details_text(conditions, view.silence, events)
        path = self._app.data_dir / "details.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _write_configuration(self) -> Path:
        path = self._app.config_file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(default_text(), encoding="utf-8")
        return path

    def _answer(self, work: Coroutine[Any, Any, T], otherwise: T) -> T:
        """What a coroutine on the loop brings, within its time; never raises."""
        try:
            future = self._loop.submit(work)
        except RuntimeError:  # it has stopped
            return otherwise
        try:
            return future.result(2 * SECONDS)
        except Exception as error:
            future.cancel()
            log.info("the desktop did not answer: %r", error)
            return otherwise
