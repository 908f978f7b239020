"""A tray icon for Linux over D-Bus alone, with the interface of pystray's Icon.

KDE, XFCE, Cinnamon, LXQt, waybar and, with its AppIndicator extension, GNOME show it. It needs no
GTK and no X11, and works wherever the session bus does.
"""

from __future__ import annotations

import asyncio
import html
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, repeat
from queue import SimpleQueue
from typing import Any

from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.service import ServiceInterface

from tfgpu_tray.tray.dbusmenu import DBusMenu
from tfgpu_tray.tray.items import SEPARATOR, Item, Menu, MenuItem
from tfgpu_tray.tray.statusnotifier import (
    CALL_SECONDS,
    ITEM_PATH,
    MENU_PATH,
    NOTIFICATIONS,
    NoBus,
    Picture,
    StatusNotifierItem,
    call,
    connect,
    enrol,
    host_present,
    pixmaps,
    tray_host_present,
)

__all__ = [
    "SEPARATOR",
    "Icon",
    "Item",
    "Menu",
    "MenuItem",
    "NoBus",
    "host_present",
    "tray_host_present",
]

log = logging.getLogger("tfgpu_tray.tray.sni")

PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)  # seconds between attempts to reach a lost bus
STOP_SECONDS = 5.0  # for a thread to end

Setup = Callable[["Icon"], object]


class Worker:
    """Runs jobs one after another on a thread of its own, which starts with the first of them."""

    def __init__(self, name: str) -> None:
        self.thread: threading.Thread | None = None
        self._name = name
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._closed = threading.Event()

    def submit(self, job: Callable[[], object]) -> None:
        self._jobs.put(job)
        if self.thread is None and not self._closed.is_set():
            # A daemon: a job that hangs must not keep the program from ending.
            self.thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self.thread.start()

    def close(self) -> None:
        """The job at work is the last."""
        self._closed.set()
        self._jobs.put(lambda: None)

    def _run(self) -> None:
        while not self._closed.is_set():
            job = self._jobs.get()
            try:
                if not self._closed.is_set():
                    job()
            except BaseException:  # not even sys.exit in a job ends the clicks to come
                log.exception("what a click on the tray icon started has failed")


class Icon:
    """pystray's Icon, with more: pictures of several sizes, and word of whether a panel shows it.

    Every method may be called from any thread. What the user clicks runs one after another on a
    thread of its own, and so does *on_hosted*: it is told True when a panel shows the icon, False
    when none does, each once until that changes. *wait* is for a program that has other faces: with
    it, a session bus that is missing or refuses is tried again, after *pauses* (in seconds).
    """

    HAS_MENU = True
    HAS_DEFAULT_ACTION = True
    HAS_MENU_RADIO = True
    HAS_NOTIFICATION = True

    def __init__(
        self,
        name: str,
        icon: Picture | None = None,
        title: str | None = None,
        menu: Menu | None = None,
        *,
        bus_address: str | None = None,  # None: the session's
        on_hosted: Callable[[bool], object] | None = None,
        wait: bool = False,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._name = name
        self._address = bus_address
        self._on_hosted = on_hosted
        self._wait = wait
        self._pauses = pauses
        self._item = StatusNotifierItem(name, self._activated)
        self._item.text = title or ""
        self._item.pixmaps = pixmaps(icon)
        self._icon = icon
        self._menu = DBusMenu(menu, self._clicked)
        self._hosted: bool | None = None  # None: not known yet
        self._notification = 0  # the server's number of the one shown last
        self._notifying = asyncio.Lock()
        self._bus: MessageBus | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], object] = bool
        self._stopped = threading.Event()
        self._begun: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._worker = Worker(f"{name} clicks")
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, setup: Setup | None = None) -> None:
        """Show the icon until `stop`. *setup*, on a thread of its own, must set `visible`.

        Raises NoBus where there is no session bus, unless the icon is to wait for one.
        """
        try:
            asyncio.run(self.serve(setup))
        finally:
            if self._worker.thread:
                self._worker.thread.join(STOP_SECONDS)

    def run_detached(self, setup: Setup | None = None) -> None:
        """As run, but on a thread of its own; returns, or raises NoBus, once the bus answered."""

        def run() -> None:
            try:
                self.run(setup)
            except NoBus:
                pass  # told by _begun

        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()
        self._begun.result(2 * CALL_SECONDS)

    async def serve(self, setup: Setup | None = None) -> None:
        """As run, on the running loop; cancelling it takes the icon away as well."""
        keeping = asyncio.ensure_future(self._keep(setup))
        self._loop, self._end = asyncio.get_running_loop(), keeping.cancel
        if self._stopped.is_set():
            keeping.cancel()
        try:
            await keeping
        except asyncio.CancelledError:
            if not self._stopped.is_set():
                raise
        except NoBus as error:
            self._begun.set_exception(error)
            raise
        finally:
            self._loop = self._hosted = None
            self._worker.close()
            if not self._begun.done():
                self._begun.set_result(None)

    def stop(self) -> None:
        """Take the icon away, for good: one that was stopped does not run again."""
        self._stopped.set()
        self._post(self._end)
        own = threading.current_thread()
        if self._thread and own not in (self._thread, self._worker.thread):
            self._thread.join(STOP_SECONDS)

    @property
    def name(self) -> str:
        return self._name

    @property
    def hosted(self) -> bool:
        """Whether a panel took the icon."""
        return bool(self._hosted)

    @property
    def icon(self) -> Picture | None:
        return self._icon

    @icon.setter
    def icon(self, picture: Picture | None) -> None:
        self._icon = picture
        if not picture:
            self.visible = False
        elif (now := pixmaps(picture)) != self._item.pixmaps:
            self._item.pixmaps = now
            self._post(self._item.new_icon)

    @property
    def title(self) -> str:
        return self._item.text

    @title.setter
    def title(self, text: str | None) -> None:
        if (text or "") != self._item.text:
            self._item.text = text or ""
            self._post(self._item.new_title)
            self._post(self._item.new_tool_tip)

    @property
    def visible(self) -> bool:
        return self._item.is_shown

    @visible.setter
    def visible(self, is_shown: bool) -> None:
        """Raises ValueError if there is no picture to show."""
        if is_shown and not self._icon:
            raise ValueError("cannot show an icon without a picture")
        if is_shown != self._item.is_shown:
            self._item.is_shown = is_shown
            self._post(self._item.new_status)

    @property
    def menu(self) -> Menu | None:
        return self._menu.menu

    @menu.setter
    def menu(self, menu: Menu | None) -> None:
        self._menu.menu = menu
        self.update_menu()

    def update_menu(self) -> None:
        """Read the menu anew; an open one stays open unless items came or went."""
        self._post(self._menu.update)

    def notify(self, message: str, title: str | None = None) -> None:
        """A later one takes the place of an earlier one that is still shown."""
        heading = title or self._item.title
        self._post(lambda: self._spawn(self._notify(message, heading)))

    def remove_notification(self) -> None:
        self._post(lambda: self._spawn(self._close_notification()))

    async def _keep(self, setup: Setup | None) -> None:
        """Be on the bus, and come back to it whenever it was lost."""
        bus: MessageBus | None = None
        try:
            bus = await connect(self._address)
        except NoBus:
            if not self._wait:
                raise
        self._menu.update()
        self._begin(setup)
        pauses = self._all_pauses()
        while True:
            if bus is not None:
                await self._attend(bus)
                pauses = self._all_pauses()
            self._set_hosted(False)
            await asyncio.sleep(next(pauses))
            try:
                bus = await connect(self._address)
            except NoBus as error:
                log.debug("%s", error)
                bus = None

    async def _attend(self, bus: MessageBus) -> None:
        bus.export(ITEM_PATH, self._item)
        bus.export(MENU_PATH, self._menu)
        self._bus = bus
        try:
            await enrol(bus, self._set_hosted)
        finally:
            self._bus = None
            self._notification = 0
            for interface in (self._item, self._menu):
                # `unexport` does nothing on a dead bus, and a signal that cannot be sent there
                # would not be sent on the next one either.
                with suppress(Exception):
                    ServiceInterface._remove_bus(interface, bus)

    def _all_pauses(self) -> Iterator[float]:
        return chain(self._pauses, repeat(self._pauses[-1]))

    def _begin(self, setup: Setup | None) -> None:
        self._begun.set_result(None)
        if setup is None:
            self.visible = bool(self._icon)
        else:
            name = f"{self._name} setup"
            threading.Thread(target=self._set_up, args=(setup,), name=name, daemon=True).start()

    def _set_up(self, setup: Setup) -> None:
        try:
            setup(self)
        except Exception:
            log.exception("setting up the tray icon has failed")

    def _set_hosted(self, hosted: bool) -> None:
        if hosted is not self._hosted:
            self._hosted = hosted
            if tell := self._on_hosted:
                self._worker.submit(lambda: tell(hosted))

    def _activated(self) -> None:
        if item := self._menu.default():
            self._clicked(item)

    def _clicked(self, item: Item) -> None:
        def act() -> None:
            try:
                item(self)
            finally:
                self.update_menu()

        self._worker.submit(act)

    async def _notify(self, message: str, title: str) -> None:
        text = html.escape(message, quote=False)
        signature = "susssasa{sv}i"  # actions, hints and time are left to the desktop
        async with self._notifying:  # the number of the one before must be known
            start: list[object] = [self._name, self._notification, "", title, text]
            if bus := self._bus:
                answer = await call(bus, NOTIFICATIONS, "Notify", signature, *start, [], {}, -1)
                self._notification = answer[0] if answer else 0

    async def _close_notification(self) -> None:
        async with self._notifying:
            number, self._notification = self._notification, 0
            if number and (bus := self._bus):
                await call(bus, NOTIFICATIONS, "CloseNotification", "u", number)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _post(self, change: Callable[[], object]) -> None:
        """Have it done on the loop, if there is one; what is not told now is read at the start."""
        if loop := self._loop:
            try:
                loop.call_soon_threadsafe(change)
            except RuntimeError:
                pass  # closed since
