"""Sends notices through desktop-notifier; a later one of an environment replaces the earlier.

What desktop-notifier keeps to itself is asked beside it: whether the service is there at all, and
whether it reads markup. It logs a failure to send, and tells nobody.
"""

from __future__ import annotations

import asyncio
import html
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tfgpu_tray.tray.artwork import CannotDraw
from tfgpu_tray.tray.notices import Notice
from tfgpu_tray.tray.status import Status

if TYPE_CHECKING:
    from dbus_fast.aio.message_bus import MessageBus
    from desktop_notifier import DesktopNotifier, Icon

# On Windows an AppUserModelID, by which it groups windows and notifications.
NAME = "TfGpu.Tray" if sys.platform == "win32" else "tfgpu-tray"
SECONDS = 5.0  # that the notification service gets for an answer
LABELS = {"repair": "Repair", "undo": "Undo", "details": "Details"}

log = logging.getLogger(__name__)


class NoService(Exception):
    """Nothing takes notifications; the text says why."""


class Notifier:
    """All of it runs on one loop, which must keep running; what is pressed comes from there."""

    def __init__(
        self,
        pressed: Callable[[Path, str], None],
        emblem: Callable[[Status], Path],
        seconds: float = SECONDS,
    ):
        """*pressed* gets the environment and one of "repair", "undo", "details"; *emblem* is the
        picture file for a state, and may raise CannotDraw."""
        self._pressed, self._emblem, self._seconds = pressed, emblem, seconds
        self._service: DesktopNotifier | None = None
        self._shown: dict[Path, str] = {}  # environment → the identifier of what is shown of it
        self._at_work = asyncio.Lock()

    async def send(self, notice: Notice) -> bool:
        """Whether the desktop took it; False where there is no notification service."""
        try:
            async with asyncio.timeout(self._seconds), self._at_work:
                await self._forget_lost_bus()
                await self._send(notice)
        except Exception as error:
            log.info("no notification could be sent: %r", error)
            await self.close()
            return False
        return True

    async def clear(self, prefix: Path) -> None:
        """Take away what is shown of *prefix*; it is not true any more."""
        try:
            async with asyncio.timeout(self._seconds), self._at_work:
                await self._forget_lost_bus()
                await self._clear(prefix)
        except TimeoutError:
            log.info("a notification could not be taken away: no answer")

    async def close(self) -> None:
        """Leave the desktop; what is shown stays, and its buttons do nothing any more."""
        bus = self._bus
        self._service = None
        self._shown.clear()
        if bus is not None:  # else its connection stays as long as this process
            from tfgpu_tray.tray.statusnotifier import close

            await close(bus)

    @property
    def _bus(self) -> MessageBus | None:
        """The service's, where it speaks D-Bus."""
        bus: MessageBus | None = getattr(getattr(self._service, "_backend", None), "bus", None)
        return bus

    async def _forget_lost_bus(self) -> None:
        """Writing to one would take dbus-fast's reader from whoever has its file number now."""
        if self._bus is not None and not self._bus.connected:
            await self.close()

    async def _send(self, notice: Notice) -> None:
        from desktop_notifier import Button, DesktopNotifier, Urgency

        can = await _abilities()
        if self._service is None:
            # Its own words on a missing service would be a traceback for each notification.
            logging.getLogger("desktop_notifier").setLevel(logging.CRITICAL)
            icon = self._icon(Status.OK)
            self._service = DesktopNotifier(NAME, icon)
            if sys.platform == "win32":
                from tfgpu_tray.tray.windows_shell import sign_notifications

                sign_notifications(icon.path if icon is not None else None)
                await self._service.clear_all()  # buttons of an earlier start do nothing any more
        await self._clear(notice.prefix)
        taken = asyncio.Event()
        names = notice.buttons if "actions" in can else ()
        self._shown[notice.prefix] = await self._service.send(
            notice.title,
            html.escape(notice.body, quote=False) if "body-markup" in can else notice.body,
            icon=self._icon(notice.status),
            urgency=Urgency.Critical if notice.urgent else Urgency.Normal,
            buttons=[Button(LABELS[n], on_pressed=self._press(notice.prefix, n)) for n in names],
            on_dispatched=taken.set,
            on_clicked=self._press(notice.prefix, "details"),
        )
        if not taken.is_set():
            raise NoService("the notification service refused it")

    async def _clear(self, prefix: Path) -> None:
        identifier = self._shown.pop(prefix, None)
        if identifier is None or self._service is None:
            return
        try:
            await self._service.clear(identifier)
        except Exception as error:  # the user may have closed it, or the service be gone
            log.debug("a notification could not be taken away: %r", error)

    def _icon(self, status: Status) -> Icon | None:
        from desktop_notifier import Icon

        try:
            return Icon(path=self._emblem(status))
        except CannotDraw as error:  # what happened is in the words
            log.info("a notification without a picture: %s", error)
            return None

    def _press(self, prefix: Path, name: str) -> Callable[[], None]:
        return lambda: self._pressed(prefix, name)


async def _abilities() -> frozenset[str]:
    """What the service can do, in the words of the freedesktop.org specification.

    Raises NoService.
    """
    if sys.platform != "linux":
        return frozenset({"actions"})
    from tfgpu_tray.tray.statusnotifier import NOTIFICATIONS, NoBus, call, close, connect

    try:
        bus = await connect()
    except NoBus as error:
        raise NoService(str(error)) from error
    try:
        answer = await call(bus, NOTIFICATIONS, "GetCapabilities")
    finally:
        await close(bus)
    if answer is None:
        raise NoService("no notification service answers")
    return frozenset(answer[0])
