"""A notification service on a bus of the test's own, that can be slow, silent, or gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from dbus_fast import Message, MessageType, NameFlag, PropertyAccess, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.annotations import DBusBool, DBusDict, DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tests.tray.fake_host import NOTIFICATIONS, SECONDS
from tfgpu_tray.tray.statusnotifier import close

PATH = "/org/freedesktop/Notifications"
EVERYTHING = ("actions", "body", "body-markup")
Nothing = Annotated[None, DBusSignature("")]
Strings = Annotated[list[str], DBusSignature("as")]


@dataclass(frozen=True)
class Sent:
    title: str
    body: str
    actions: dict[str, str]  # key → label
    hints: dict[str, Any]
    icon: str


@dataclass
class Screen:
    """What the user sees, by number."""

    shown: dict[int, Sent] = field(default_factory=dict)
    count: int = 0
    inhibited: bool = False
    paused: bool = False
    refuses: bool = False

    @property
    def only(self) -> Sent:
        (sent,) = self.shown.values()
        return sent


class Server(ServiceInterface):
    def __init__(self, screen: Screen, capabilities: Sequence[str]) -> None:
        super().__init__(NOTIFICATIONS)
        self._screen, self._capabilities = screen, list(capabilities)

    @dbus_method("GetCapabilities")
    def get_capabilities(self) -> Strings:
        return self._capabilities

    @dbus_method("GetServerInformation")
    def get_server_information(self) -> Annotated[list[str], DBusSignature("ssss")]:
        return ["fake", "tests", "1", "1.2"]

    @dbus_method("Notify")
    def notify(
        self,
        program: DBusStr,
        replaces: DBusUInt32,
        icon: DBusStr,
        title: DBusStr,
        text: DBusStr,
        actions: Strings,
        hints: DBusDict,
        milliseconds: DBusInt32,
    ) -> DBusUInt32:
        if self._screen.refuses:
            raise RuntimeError("not today")
        self._screen.count += 1
        number = replaces or self._screen.count
        pairs = dict(zip(actions[::2], actions[1::2], strict=True))
        values = {name: variant.value for name, variant in hints.items()}
        self._screen.shown[number] = Sent(title, text, pairs, values, icon)
        return number

    @dbus_method("CloseNotification")
    def close_notification(self, number: DBusUInt32) -> Nothing:
        del self._screen.shown[number]
        self.closed(number, 3)

    @dbus_signal("NotificationClosed")
    def closed(self, number: int, reason: int) -> Annotated[list[int], DBusSignature("uu")]:
        return [number, reason]

    @dbus_signal("ActionInvoked")
    def invoked(self, number: int, key: str) -> Annotated[list[Any], DBusSignature("us")]:
        return [number, key]

    @dbus_property(PropertyAccess.READ, "Inhibited")
    def inhibited(self) -> DBusBool:
        return self._screen.inhibited


class Dunst(ServiceInterface):
    def __init__(self, screen: Screen) -> None:
        super().__init__("org.dunstproject.cmd0")
        self._screen = screen

    @dbus_property(PropertyAccess.READ, "paused")
    def paused(self) -> DBusBool:
        return self._screen.paused


class Portal(ServiceInterface):
    """What org.freedesktop.portal.Settings says of colours: 0 nothing, 1 dark, 2 light."""

    def __init__(self, scheme: int) -> None:
        super().__init__("org.freedesktop.portal.Settings")
        self._scheme = scheme

    @dbus_method("Read")
    def read(self, namespace: DBusStr, key: DBusStr) -> Annotated[Variant, DBusSignature("v")]:
        assert (namespace, key) == ("org.freedesktop.appearance", "color-scheme")
        return Variant("v", Variant("u", self._scheme))


class Service:
    """A program with *interfaces* at *path*, under *name*, on a thread of its own."""

    def __init__(
        self, address: str, name: str, path: str, interfaces: Sequence[ServiceInterface]
    ) -> None:
        self.hangs = False
        self._name, self._path, self._interfaces = name, path, interfaces
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._bus: MessageBus = self._do(self._appear(address))

    def close(self) -> None:
        self._do(close(self._bus))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def call(self, work: Any, *arguments: Any) -> None:
        """On its own thread, as all of it must be."""

        async def do() -> None:
            work(*arguments)

        self._do(do())

    async def _appear(self, address: str) -> MessageBus:
        bus = await MessageBus(bus_address=address).connect()
        bus.add_message_handler(self._swallow)
        for interface in self._interfaces:
            bus.export(self._path, interface)
        await bus.request_name(self._name, NameFlag.REPLACE_EXISTING)
        return bus

    def _swallow(self, message: Message) -> bool:
        return self.hangs and message.message_type is MessageType.METHOD_CALL

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)


class Notifications(Service):
    def __init__(
        self, address: str, screen: Screen, capabilities: Sequence[str] = EVERYTHING
    ) -> None:
        self.screen = screen
        self.server = Server(screen, capabilities)
        super().__init__(address, NOTIFICATIONS, PATH, (self.server, Dunst(screen)))

    def press(self, label: str) -> None:
        """The user presses a button; the service closes what it belongs to."""
        for number, sent in list(self.screen.shown.items()):
            for key, text in sent.actions.items():
                if text == label:
                    del self.screen.shown[number]
                    self.call(self.server.invoked, number, key)
                    self.call(self.server.closed, number, 2)

    def user_closes_everything(self) -> None:
        for number in list(self.screen.shown):
            del self.screen.shown[number]
            self.call(self.server.closed, number, 2)


def portal(address: str, scheme: int) -> Service:
    name = "org.freedesktop.portal.Desktop"
    return Service(address, name, "/org/freedesktop/portal/desktop", (Portal(scheme),))
