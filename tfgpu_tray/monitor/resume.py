"""Hears from logind that the computer woke up (org.freedesktop.login1.Manager, PrepareForSleep)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


async def watch_for_sleep(woke: Callable[[], None], address: str | None = None) -> None:
    """Calls *woke* after each sleep, as long as the system bus lives; returns where there is none.

    *address* is another bus than the system's, for tests.
    """
    try:
        from dbus_fast import BusType, Message, MessageType
        from dbus_fast.aio import MessageBus
    except ImportError:
        return  # not on Linux
    rule = "type='signal',interface='org.freedesktop.login1.Manager',member='PrepareForSleep'"

    def heard(message: Message) -> None:
        if (
            message.message_type is MessageType.SIGNAL
            and message.member == "PrepareForSleep"
            and message.body == [False]
        ):
            woke()

    try:
        kind = BusType.SYSTEM
        bus = await asyncio.wait_for(MessageBus(address, bus_type=kind).connect(), 5)
        bus.add_message_handler(heard)
        asked = Message(
            destination="org.freedesktop.DBus",
            path="/org/freedesktop/DBus",
            interface="org.freedesktop.DBus",
            member="AddMatch",
            signature="s",
            body=[rule],
        )
        await asyncio.wait_for(bus.call(asked), 5)
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    except Exception as error:  # the pulse notices sleep as well, half a minute later
        log.info("logind does not tell of sleep: %s", error)
