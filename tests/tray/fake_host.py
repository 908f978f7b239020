"""A session bus of the test's own, and on it a panel that shows what icons say of themselves."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dbus_fast import Message, MessageFlag, MessageType, NameFlag, PropertyAccess, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.annotations import DBusBool, DBusDict, DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tests.needs import tool
from tests.until import until
from tfgpu_tray.tray.statusnotifier import close

SECONDS = 10.0
WATCHER = "org.kde.StatusNotifierWatcher"
ITEM = "org.kde.StatusNotifierItem"
MENU = "com.canonical.dbusmenu"
NOTIFICATIONS = "org.freedesktop.Notifications"
PROPERTIES = "org.freedesktop.DBus.Properties"
Nothing = Annotated[None, DBusSignature("")]


class Bus:
    """A dbus-daemon that can die and come back at the same address."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:path={folder / 'bus'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--session", "--nofork", "--print-address", f"--address={self.address}"]
        program = tool("dbus-daemon")
        self._process = subprocess.Popen([program, *words], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"unix:")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            Path(self.address.removeprefix("unix:path=")).unlink(missing_ok=True)


class Watcher(ServiceInterface):
    def __init__(self, has_panel: bool) -> None:
        super().__init__(WATCHER)
        self.items: list[str] = []
        self.has_panel = has_panel

    @dbus_method("RegisterStatusNotifierItem")
    def register(self, service: DBusStr) -> Nothing:
        self.items.append(service)

    @dbus_signal("StatusNotifierHostRegistered")
    def panel_came(self) -> Nothing: ...

    @dbus_property(PropertyAccess.READ, "IsStatusNotifierHostRegistered")
    def is_hosted(self) -> DBusBool:
        return self.has_panel


class Notifications(ServiceInterface):
    """What is on the screen: by number, title and text."""

    def __init__(self) -> None:
        super().__init__(NOTIFICATIONS)
        self.shown: dict[int, tuple[str, str]] = {}

    @dbus_method("Notify")
    def notify(
        self,
        program: DBusStr,
        replaces: DBusUInt32,
        icon: DBusStr,
        title: DBusStr,
        text: DBusStr,
        actions: Annotated[list[str], DBusSignature("as")],
        hints: DBusDict,
        milliseconds: DBusInt32,
    ) -> DBusUInt32:
        number = replaces or len(self.shown) + 1
        self.shown[number] = (title, text)
        return number

    @dbus_method("CloseNotification")
    def close(self, number: DBusUInt32) -> Nothing:
        del self.shown[number]


@dataclass(frozen=True, slots=True)
class Row:
    """One item of the menu, as the panel got it."""

    id: int
    properties: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        return str(self.properties.get("label", self.properties.get("type", "")))

    def find(self, label: str) -> Row:
        return next(row for row in self.all() if row.label == label)

    def all(self) -> list[Row]:
        return [self, *(below for row in self.rows for below in row.all())]


class Panel:
    """Watcher, host and notification server on a thread of their own, for the latest icon."""

    def __init__(self, address: str, *, has_panel: bool = True) -> None:
        self.address = address
        self.watcher = Watcher(has_panel)
        self.notifications = Notifications()
        self.signals: list[tuple[str, list[Any]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._bus: MessageBus = self._do(self._connect(address))

    def close(self) -> None:
        self._do(close(self._bus))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def wait(self) -> Panel:
        """Until an icon is there."""
        until(lambda: self.watcher.items)
        return self

    def appear(self) -> None:
        """The panel of a watcher that had none."""
        self.watcher.has_panel = True
        self._loop.call_soon_threadsafe(self.watcher.panel_came)

    def heard(self, member: str) -> list[list[Any]]:
        return [body for name, body in self.signals if name == member]

    def quiet(self) -> list[str]:
        """What was signalled before an answer that was asked for now: signals keep their order."""
        self.get("Id")
        return [name for name, _ in self.signals]

    def get(self, name: str) -> Any:
        return self.ask("/StatusNotifierItem", PROPERTIES, "Get", "ss", ITEM, name)[0].value

    def get_all(self, interface: str, path: str) -> dict[str, Any]:
        found = self.ask(path, PROPERTIES, "GetAll", "s", interface)[0]
        return {name: variant.value for name, variant in found.items()}

    def menu(self, parent: int = 0, depth: int = -1) -> Row:
        return _row(self.on_menu("GetLayout", "iias", parent, depth, [])[1])

    def click(self, label: str) -> None:
        self.event(self.menu().find(label).id)

    def event(self, id: int, kind: str = "clicked") -> None:
        self.on_menu("Event", "isvu", id, kind, Variant("i", 0), 0)

    def on_item(self, member: str, signature: str = "", *body: object) -> list[Any]:
        return self.ask("/StatusNotifierItem", ITEM, member, signature, *body)

    def on_menu(self, member: str, signature: str = "", *body: object) -> list[Any]:
        return self.ask(str(self.get("Menu")), MENU, member, signature, *body)

    def ask(
        self, path: str, interface: str, member: str, signature: str = "", *body: object
    ) -> list[Any]:
        answer: Message = self._do(
            self._bus.call(self._message(path, interface, member, signature, *body))
        )
        assert answer.message_type is MessageType.METHOD_RETURN, answer.body
        return answer.body

    def send(self, path: str, interface: str, member: str, signature: str, *body: object) -> None:
        """As many panels do: they want no answer, and what fails is not heard."""
        message = self._message(path, interface, member, signature, *body)
        message.flags = MessageFlag.NO_REPLY_EXPECTED
        self._loop.call_soon_threadsafe(self._bus.send, message)

    def _message(
        self, path: str, interface: str, member: str, signature: str, *body: object
    ) -> Message:
        return Message(
            destination=self.watcher.items[-1],
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )

    async def _connect(self, address: str) -> MessageBus:
        bus = await MessageBus(bus_address=address).connect()
        bus.add_message_handler(self._note)
        for interface in (ITEM, MENU):
            await bus.call(
                Message(
                    destination="org.freedesktop.DBus",
                    path="/org/freedesktop/DBus",
                    interface="org.freedesktop.DBus",
                    member="AddMatch",
                    signature="s",
                    body=[f"type='signal',interface='{interface}'"],
                )
            )
        bus.export("/StatusNotifierWatcher", self.watcher)
        bus.export("/org/freedesktop/Notifications", self.notifications)
        for name in (NOTIFICATIONS, WATCHER):
            await bus.request_name(name, NameFlag.ALLOW_REPLACEMENT | NameFlag.REPLACE_EXISTING)
        return bus

    def _note(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.interface in (ITEM, MENU):
            self.signals.append((message.member or "", message.body))

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)


def _row(node: list[Any]) -> Row:
    id, properties, children = node
    values = {name: variant.value for name, variant in properties.items()}
    return Row(id, values, tuple(_row(child.value) for child in children))
