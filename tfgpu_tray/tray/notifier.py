"""Sends notices through desktop-notifier; a later one of an environment replaces the earlier."""

from __future__ import annotations

import asyncio
import html
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tfgpu_tray.tray.notices import Notice
from tfgpu_tray.tray.status import Status

if TYPE_CHECKING:
    from desktop_notifier import DesktopNotifier

NAME = "TfGpu.Tray" if sys.platform == "win32" else "tfgpu-tray"  # there: an AppUserModelID
SECONDS = 5.0  # that the notification service gets for an answer
LABELS = {"repair": "Repair", "undo": "Undo", "details": "Details"}

log = logging.getLogger(__name__)


class Notifier:
    """All of it runs on one loop, which must keep running; what is pressed comes from there."""

    def __init__(self, pressed: Callable[[Path, str], None], emblem: Callable[[Status], Path]):
        """*pressed* gets the environment and one of "repair", "undo", "details"; *emblem* is the
        picture file for a state."""
        self._pressed, self._emblem = pressed, emblem
        self._service: DesktopNotifier | None = None
        self._shown: dict[Path, str] = {}  # environment → the identifier of what is shown of it

    async def send(self, notice: Notice) -> bool:
        """Whether the desktop took it; False where there is no notification service."""
        for _ in range(2):  # a service that was restarted, or a new session bus, takes the second
            try:
                await asyncio.wait_for(self._send(notice), SECONDS)
                return True
            except Exception as error:
                log.info("no notification could be sent: %s", error)
                self._service = None
                self._shown.clear()
        return False

    async def clear(self, prefix: Path) -> None:
        """Take away what is shown of *prefix*; it is not true any more."""
        identifier = self._shown.pop(prefix, None)
        if identifier is None or self._service is None:
            return
        try:
            await asyncio.wait_for(self._service.clear(identifier), SECONDS)
        except Exception as error:  # the user may have closed it, or the service be gone
            log.debug("a notification could not be cleared: %s", error)

    async def _send(self, notice: Notice) -> None:
        from desktop_notifier import Button, DesktopNotifier, Icon, Urgency

        if self._service is None:
            # Its own words on a missing service would be a traceback for each notification.
            logging.getLogger("desktop_notifier").setLevel(logging.CRITICAL)
            self._service = DesktopNotifier(NAME, Icon(path=self._emblem(Status.OK)))
        capabilities = await self._service.get_capabilities()  # unlike `send` it tells of failure
        await self.clear(notice.prefix)
        names = {c.name for c in capabilities}
        buttons = [
            Button(LABELS[name], on_pressed=self._press(notice.prefix, name))
            for name in notice.buttons
            if "BUTTONS" in names
        ]
        markup = sys.platform == "linux"
        self._shown[notice.prefix] = await self._service.send(
            notice.title,
            html.escape(notice.body, quote=False) if markup else notice.body,
            icon=Icon(path=self._emblem(notice.status)),
            urgency=Urgency.Critical if notice.urgent else Urgency.Normal,
            buttons=buttons,
            on_clicked=self._press(notice.prefix, "details"),
        )

    def _press(self, prefix: Path, name: str) -> Callable[[], None]:
        return lambda: self._pressed(prefix, name)
