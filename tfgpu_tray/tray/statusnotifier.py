"""The icon as Linux panels read it: org.kde.StatusNotifierItem, and its enrolment with them.

freedesktop.org's StatusNotifierItem specification, as KDE's frameworks implement it: a *watcher*
keeps the list of items, *hosts* (panels) show them.
"""

from __future__ import annotations

import asyncio
import html
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

from dbus_fast import Message, MessageType, NameFlag, PropertyAccess, RequestNameReply
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.annotations import DBusBool, DBusInt32, DBusObjectPath, DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tfgpu_tray.tray.pixmap import SIZES, Pixmap, argb

if TYPE_CHECKING:  # Pillow takes 9 MB, which a program that brings pixmaps does not need
    from PIL.Image import Image

log = logging.getLogger("tfgpu_tray.tray.sni")

ITEM_PATH = "/StatusNotifierItem"
MENU_PATH = "/MenuBar"
CALL_SECONDS = 5.0  # for one answer over the bus

# dbus-fast cannot read `-> None` where annotations are strings.
Nothing = Annotated[None, DBusSignature("")]
Picture: TypeAlias = "Image | Sequence[Image] | Sequence[Pixmap]"
Pixmaps = Annotated[list[Pixmap], DBusSignature("a(iiay)")]
ToolTip = Annotated[tuple[str, list[Pixmap], str, str], DBusSignature("(sa(iiay)ss)")]


class Peer(NamedTuple):
    name: str
    path: str
    interface: str


BUS = Peer("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
NOTIFICATIONS = Peer(
    "org.freedesktop.Notifications",
    "/org/freedesktop/Notifications",
    "org.freedesktop.Notifications",
)
WATCHER_NAME = "org.kde.StatusNotifierWatcher"
WATCHER = Peer(WATCHER_NAME, "/StatusNotifierWatcher", WATCHER_NAME)
WATCHER_PROPERTIES = WATCHER._replace(interface="org.freedesktop.DBus.Properties")

# What is heard of a watcher: that it came or went, and that a panel did.
NEWS = ("NameOwnerChanged", "StatusNotifierHostRegistered", "StatusNotifierHostUnregistered")
RULES = (
    f"type='signal',sender='{BUS.name}',member='{NEWS[0]}',arg0='{WATCHER_NAME}'",
    f"type='signal',sender='{WATCHER_NAME}',member='{NEWS[1]}'",
    f"type='signal',sender='{WATCHER_NAME}',member='{NEWS[2]}'",
)

_numbers = count(1)


class NoBus(RuntimeError):
    """There is no session bus to show an icon through."""


def pixmaps(picture: Picture | None) -> list[Pixmap]:
    """One for each size. A single picture is scaled; pixmaps are taken as they are."""
    if not picture:
        return []
    if not isinstance(picture, Sequence):
        return _converted(_scaled(picture))
    images = [item for item in picture if not isinstance(item, tuple)]
    return _converted(images) or [item for item in picture if isinstance(item, tuple)]


def _scaled(picture: Image) -> list[Image]:
    from PIL import ImageOps

    whole, largest = picture.convert("RGBA"), max(picture.size)
    sizes = {size for size in SIZES if size < largest} | {min(largest, SIZES[-1])}
    return [ImageOps.contain(whole, (size, size)) for size in sorted(sizes)]


def _converted(pictures: Iterable[Image]) -> list[Pixmap]:
    return [(p.width, p.height, argb(p.convert("RGBA"))) for p in pictures]


class StatusNotifierItem(ServiceInterface):
    """What the panel reads of the icon; freedesktop.org's StatusNotifierItem specification."""

    def __init__(self, id: str, activated: Callable[[], None]) -> None:
        super().__init__("org.kde.StatusNotifierItem")
        self.text = ""  # the first line is the title
        self.pixmaps: list[Pixmap] = []
        self.is_shown = False
        self._id = id
        self._activated = activated

    @dbus_method("Activate")
    def activate(self, x: DBusInt32, y: DBusInt32) -> Nothing:
        self._activated()

    @dbus_method("SecondaryActivate")
    def secondary_activate(self, x: DBusInt32, y: DBusInt32) -> Nothing:
        """The middle button does nothing."""

    @dbus_method("ContextMenu")
    def context_menu(self, x: DBusInt32, y: DBusInt32) -> Nothing:
        """The panel draws the menu itself, from the Menu property."""

    @dbus_method("Scroll")
    def scroll(self, delta: DBusInt32, orientation: DBusStr) -> Nothing:
        """The wheel does nothing."""

    @dbus_signal("NewTitle")
    def new_title(self) -> Nothing: ...

    @dbus_signal("NewIcon")
    def new_icon(self) -> Nothing: ...

    @dbus_signal("NewToolTip")
    def new_tool_tip(self) -> Nothing: ...

    @dbus_signal("NewStatus")
    def new_status(self) -> DBusStr:
        return "Active" if self.is_shown else "Passive"

    @dbus_property(PropertyAccess.READ, "Category")
    def category(self) -> DBusStr:
        return "Hardware"

    @dbus_property(PropertyAccess.READ, "Id")
    def id(self) -> DBusStr:
        return self._id

    @dbus_property(PropertyAccess.READ, "Title")
    def title(self) -> DBusStr:
        return self.text.partition("\n")[0] or self._id

    @dbus_property(PropertyAccess.READ, "Status")
    def status(self) -> DBusStr:
        return "Active" if self.is_shown else "Passive"

    @dbus_property(PropertyAccess.READ, "WindowId")
    def window_id(self) -> DBusInt32:
        return 0

    @dbus_property(PropertyAccess.READ, "IconName")
    def icon_name(self) -> DBusStr:
        return ""  # a name would be preferred to the pixels

    @dbus_property(PropertyAccess.READ, "IconPixmap")
    def icon_pixmap(self) -> Pixmaps:
        return self.pixmaps

    @dbus_property(PropertyAccess.READ, "ToolTip")
    def tool_tip(self) -> ToolTip:
        """The first line is plain text, the others are markup."""
        title, _, text = self.text.partition("\n")
        return "", [], title, html.escape(text, quote=False)

    @dbus_property(PropertyAccess.READ, "ItemIsMenu")
    def item_is_menu(self) -> DBusBool:
        return False

    @dbus_property(PropertyAccess.READ, "Menu")
    def menu(self) -> DBusObjectPath:
        return MENU_PATH


def session_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where the session bus is; None leaves the search to dbus-fast (X11 sessions without systemd).

    A program started by cron or over ssh lacks the variable, though systemd's bus is there.
    """
    if address := environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    place = Path(environ.get("XDG_RUNTIME_DIR") or "/nonexistent", "bus")
    return f"unix:path={place}" if place.is_socket() else None


async def connect(address: str | None = None) -> MessageBus:
    """Raises NoBus."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return await MessageBus(bus_address=address or session_address()).connect()
    except Exception as error:  # KeyError, FileNotFoundError and others, before it even connects
        reason = f"{type(error).__name__}: {error}"
        raise NoBus(f"the desktop's session bus cannot be reached ({reason})") from error


async def close(bus: MessageBus) -> None:
    """Returns when its socket is closed, which it is only once the loop saw its end."""
    if bus.connected:
        bus.disconnect()
    await _end_of(bus)


async def _end_of(bus: MessageBus) -> None:
    with suppress(Exception):  # why it went does not matter here
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


async def call(
    bus: MessageBus, peer: Peer, member: str, signature: str = "", *body: object
) -> list[Any] | None:
    """The answer's values; None if there was none: an error, no such peer, or no answer in time."""
    if not bus.connected:  # writing would take the reader from whoever has its file number now
        return None
    message = Message(
        destination=peer.name,
        path=peer.path,
        interface=peer.interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    try:
        async with asyncio.timeout(CALL_SECONDS):
            answer: Message | None = await bus.call(message)
    except Exception as error:  # whatever ended the connection
        log.debug("%s of %s was not answered: %r", member, peer.name, error)
        return None
    if answer is None or answer.message_type is not MessageType.METHOD_RETURN:
        log.debug("%s of %s: %s", member, peer.name, answer and answer.body)
        return None
    return answer.body


async def host_present(bus: MessageBus) -> bool:
    """Whether a panel shows icons of this kind. Never starts one."""
    if await call(bus, BUS, "GetNameOwner", "s", WATCHER_NAME) is None:
        return False
    names = (WATCHER_NAME, "IsStatusNotifierHostRegistered")
    answer = await call(bus, WATCHER_PROPERTIES, "Get", "ss", *names)
    return answer is not None and answer[0].value is True


def tray_host_present(address: str | None = None, timeout: float = 1.0) -> bool:
    """host_present for programs without an event loop; False where there is no bus either."""

    async def ask() -> bool:
        async with asyncio.timeout(timeout):
            bus = await connect(address)
            try:
                return await host_present(bus)
            finally:
                await close(bus)

    try:
        return asyncio.run(ask())
    except (NoBus, TimeoutError):
        return False


async def enrol(bus: MessageBus, hosted: Callable[[bool], None]) -> None:
    """Keep the icon with whatever watcher there is until the bus goes; *hosted* hears of panels."""
    news = asyncio.Event()

    def heard(message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.member in NEWS:
            news.set()

    bus.add_message_handler(heard)
    gone = asyncio.ensure_future(_end_of(bus))
    gone.add_done_callback(lambda _: news.set())
    try:
        for rule in RULES:
            await call(bus, BUS, "AddMatch", "s", rule)
        name = await _own_name(bus)
        taken_by = None
        while not gone.done():
            owner = await call(bus, BUS, "GetNameOwner", "s", WATCHER_NAME)
            if owner and owner != taken_by:
                await call(bus, WATCHER, "RegisterStatusNotifierItem", "s", name)
            taken_by = owner
            hosted(owner is not None and await host_present(bus))
            await news.wait()
            news.clear()
    finally:
        await close(bus)
        await gone


async def _own_name(bus: MessageBus) -> str:
    """The specification's name; a sandbox may refuse it, and watchers take the unique one too."""
    name = f"org.kde.StatusNotifierItem-{os.getpid()}-{next(_numbers)}"
    answer = await call(bus, BUS, "RequestName", "su", name, NameFlag.DO_NOT_QUEUE.value)
    is_ours = answer is not None and answer[0] == RequestNameReply.PRIMARY_OWNER.value
    return name if is_ours or bus.unique_name is None else bus.unique_name
