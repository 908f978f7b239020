"""The session bus of a virtual desktop, with everything that is said on it about notifications."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

__all__ = ["GONE", "REPLACED", "Notification", "SessionBus"]

T = TypeVar("T")

NOTIFICATIONS = "org.freedesktop.Notifications"
MENU = "com.canonical.dbusmenu"
BUS = "org.freedesktop.DBus"
PATIENCE = 5  # seconds for one answer

# Why a notification is no longer to be seen, besides the protocol's own reasons 1 to 4:
GONE = 0  #: its server left the bus
REPLACED = -1  #: a later one took its place

# What the monitor hears: notifications, the answers to them, and clicks in tray menus.
RULES = (
    f"interface='{NOTIFICATIONS}'",
    f"type='method_return',sender='{NOTIFICATIONS}'",
    f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{NOTIFICATIONS}'",
    f"type='method_call',interface='{MENU}',member='Event'",
    f"type='method_call',interface='{MENU}',member='EventGroup'",
)


@dataclass(frozen=True, slots=True)
class Notification:
    """One call of Notify that the server has answered."""

    id: int
    app: str
    replaces: int
    summary: str
    body: str
    actions: tuple[tuple[str, str], ...]  #: (key, label) in the order sent
    urgency: int | None  #: 0 low, 1 normal, 2 critical; None when the sender gave none
    timeout: int  #: milliseconds; -1 leaves it to the server, 0 is never
    closed: int | None = None  #: reason: 1 expired, 2 dismissed, 3 withdrawn…; None while open
    invoked: str | None = None  #: key of the action that was chosen


class SessionBus:
    """A connection to ask with, and a second one that listens to what others say.

    Both live in a thread of their own, so that tests need no event loop. Calls raise DBusError with
    the peer's answer, TimeoutError after 5 s, and an OSError or EOFError when there is no bus.
    """

    def __init__(self, address: str) -> None:
        self._heard: list[Message] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._caller = self._wait(_connect(address))
            self._monitor = self._wait(self._listen(address))
        except BaseException:
            self._end()
            raise

    def call(
        self, name: str, path: str, member: str, signature: str = "", *arguments: Any
    ) -> list[Any]:
        """Calls `interface.method` of a peer and returns the values of its answer."""
        interface, _, method = member.rpartition(".")
        message = Message(
            destination=name,
            path=path,
            interface=interface,
            member=method,
            signature=signature,
            body=list(arguments),
        )
        answer = self._wait(self._caller.call(message))
        if answer is None:
            raise EOFError(f"the bus closed before {name} answered {member}")
        if answer.message_type is MessageType.ERROR:
            text = "; ".join(str(value) for value in answer.body)
            raise DBusError(answer.error_name or "", f"{member}: {text}", answer)
        return answer.body

    def get(self, name: str, path: str, member: str) -> Any:
        """The value of `interface.property`."""
        interface, _, attribute = member.rpartition(".")
        getter = f"{BUS}.Properties.Get"
        value: Variant = self.call(name, path, getter, "ss", interface, attribute)[0]
        return value.value

    def set(self, name: str, path: str, member: str, value: Variant) -> None:
        interface, _, attribute = member.rpartition(".")
        setter = f"{BUS}.Properties.Set"
        self.call(name, path, setter, "ssv", interface, attribute, value)

    def owned(self, name: str) -> bool:
        answer: bool = self.call(BUS, "/org/freedesktop/DBus", f"{BUS}.NameHasOwner", "s", name)[0]
        return answer

    def notifications(self) -> tuple[Notification, ...]:
        """Every notification since this connection was made, oldest first, as it stands now."""
        return _notifications(tuple(self._heard))

    def clicks(self) -> tuple[int, ...]:
        """The number of every entry chosen in a tray menu since this connection was made."""
        events = [event for message in tuple(self._heard) for event in _menu_events(message)]
        return tuple(entry for entry, kind, *_ in events if kind == "clicked")

    def close(self) -> None:
        try:
            for bus in (self._caller, self._monitor):
                self._wait(_hang_up(bus))
        finally:
            self._end()

    async def _listen(self, address: str) -> MessageBus:
        bus = await _connect(address)
        bus.add_message_handler(lambda message: self._hear(message, bus.unique_name))
        become = Message(
            destination=BUS,
            path="/org/freedesktop/DBus",
            interface=f"{BUS}.Monitoring",
            member="BecomeMonitor",
            signature="asu",
            body=[list(RULES), 0],
        )
        answer = await bus.call(become)
        if answer is None or answer.message_type is MessageType.ERROR:
            raise ConnectionError(f"the bus cannot be monitored: {answer and answer.body}")
        return bus

    def _hear(self, message: Message, own: str | None) -> bool:
        if message.destination == own:  # the bus answers the wish to become a monitor
            return False
        self._heard.append(message)
        return True  # a monitor that answers what it overhears is thrown off the bus

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            future.cancel()
            raise

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


async def _connect(address: str) -> MessageBus:
    return await MessageBus(bus_address=address).connect()


async def _hang_up(bus: MessageBus) -> None:
    bus.disconnect()
    try:
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    except (OSError, EOFError):
        pass  # the bus was faster


def _menu_events(message: Message) -> list[list[Any]]:
    """(entry, kind, data, time) of each."""
    if message.interface != MENU:
        return []
    events: list[list[Any]] = message.body[0] if message.member == "EventGroup" else [message.body]
    return events


def _notifications(heard: Iterable[Message]) -> tuple[Notification, ...]:
    asked: dict[tuple[str | None, int], Message] = {}
    known: list[Notification] = []

    def close(reason: int, number: int | None = None) -> None:
        for place, one in enumerate(known):
            if one.closed is None and number in (None, one.id):
                known[place] = replace(one, closed=reason)

    for message in heard:
        match message.message_type, message.member:
            case MessageType.METHOD_CALL, "Notify":
                asked[message.sender, message.serial] = message
            case MessageType.METHOD_RETURN, _:
                if call := asked.pop((message.destination, message.reply_serial), None):
                    close(REPLACED, message.body[0])
                    known.append(_notification(message.body[0], call.body))
            case MessageType.SIGNAL, "NotificationClosed":
                close(message.body[1], message.body[0])
            case MessageType.SIGNAL, "ActionInvoked":
                # servers differ in whether they say first that it closed
                last = max(i for i, one in enumerate(known) if one.id == message.body[0])
                known[last] = replace(known[last], invoked=message.body[1])
            case MessageType.SIGNAL, "NameOwnerChanged" if not message.body[2]:
                close(GONE)
    return tuple(known)


def _notification(number: int, body: list[Any]) -> Notification:
    app, replaces, _icon, summary, text, actions, hints, timeout = body
    pairs = tuple(zip(actions[::2], actions[1::2], strict=True))
    urgency = hints["urgency"].value if "urgency" in hints else None
    return Notification(number, app, replaces, summary, text, pairs, urgency, timeout)
