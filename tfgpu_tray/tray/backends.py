"""Chooses what shows the icon. The only place that imports pystray, guarded: its import looks for a
desktop, and raises what its back-ends raise (seen: ImportError, ValueError, Xlib's own errors)."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from tfgpu_tray.tray.items import SEPARATOR, Item, Menu
from tfgpu_tray.tray.loop import LoopThread
from tfgpu_tray.tray.view import cut

if TYPE_CHECKING:
    from PIL.Image import Image

    from tfgpu_tray.tray.pixmap import Pixmap

TITLE, MESSAGE, MESSAGE_TITLE = 127, 255, 63  # UTF-16 units that Windows' structures hold
WM_QUERYENDSESSION, WM_ENDSESSION, WM_POWERBROADCAST = 0x0011, 0x0016, 0x0218
WM_NOTIFY = 0x040B  # pystray's own, for what happens to the icon
WM_LBUTTONUP, WM_RBUTTONUP = 0x0202, 0x0205
PBT_APMRESUMEAUTOMATIC = 0x12
NO_TRAY = (
    "no panel shows tray icons here; on GNOME, install and enable the extension “AppIndicator and "
    "KStatusNotifierItem Support” (Debian, Ubuntu: gnome-shell-extension-appindicator)"
)

log = logging.getLogger(__name__)


class TrayIcon(Protocol):
    """What the tray needs of an icon; every method may be called from any thread."""

    def show(self, pictures: Sequence[Pixmap], title: str) -> None: ...
    def set_menu(self, menu: Menu) -> None: ...
    def notify(self, message: str, title: str) -> None:
        """Tell without a notification service, if the icon can."""
        ...

    def stop(self) -> None: ...


class NoTray(Exception):
    """No icon can be shown; the text says why and what would help."""


def open_icon(
    environ: Mapping[str, str],
    loop: LoopThread,
    first: Sequence[Pixmap],
    title: str,
    *,
    hosted: Callable[[bool], None],
    ended: Callable[[], None],
    resumed: Callable[[], None],
) -> TrayIcon:
    """The best icon this desktop can show.

    *hosted* is told whether a panel shows it, each time that changes; *ended* when the session
    ends; *resumed* when the computer wakes, where the back-end learns of it.

    Raises:
        NoTray: there is none.
    """
    forced = environ.get("PYSTRAY_BACKEND")
    if sys.platform == "linux" and forced is None:
        if has_session_bus(environ):
            return StatusNotifierIcon(loop, first, title, hosted)
        if not environ.get("DISPLAY") and not environ.get("WAYLAND_DISPLAY"):
            raise NoTray(
                "no desktop session here (neither D-Bus, nor DISPLAY, nor WAYLAND_DISPLAY)"
            )
    choices = [forced] if forced else _backends()
    reasons = []
    for name in choices:
        try:
            return PystrayIcon(_pystray(name), first, title, ended, resumed)
        except NoTray as error:
            reasons.append(str(error))
        except Exception as error:  # as with its import: whatever the toolkit raises
            log.debug("pystray's %s", name, exc_info=True)
            reasons.append(f"pystray's {name}: {error!r}")
    raise NoTray("; ".join(reasons))


def has_session_bus(environ: Mapping[str, str]) -> bool:
    if environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and os.path.exists(os.path.join(runtime or "", "bus"))


class StatusNotifierIcon:
    """Over D-Bus; waits for a panel that takes it, and for a bus that was lost."""

    def __init__(
        self,
        loop: LoopThread,
        first: Sequence[Pixmap],
        title: str,
        hosted: Callable[[bool], None],
    ):
        from tfgpu_tray.tray.sni import Icon

        self._icon = Icon("tfgpu-tray", list(first), title, on_hosted=hosted, wait=True)
        loop.submit(self._icon.serve()).add_done_callback(_log_failure)

    def show(self, pictures: Sequence[Pixmap], title: str) -> None:
        self._icon.icon, self._icon.title = list(pictures), title

    def set_menu(self, menu: Menu) -> None:
        self._icon.menu = menu

    def notify(self, message: str, title: str) -> None:
        """Nothing: it would ask the service that has just not answered."""

    def stop(self) -> None:
        self._icon.stop()


def _log_failure(served: Future[None]) -> None:
    if not served.cancelled() and (error := served.exception()) is not None:
        log.error("the icon is gone", exc_info=error)


# ---- pystray -----------------------------------------------------------------------------------


def _backends() -> list[str]:
    """pystray's back-ends that have a menu, the better one first."""
    if sys.platform == "win32":
        return ["win32"]
    return ["darwin"] if sys.platform == "darwin" else ["appindicator", "gtk"]


def _pystray(backend: str) -> Any:
    """The module pystray with *backend*.

    Raises:
        NoTray: it cannot be loaded, or has no menu.
    """
    before = os.environ.get("PYSTRAY_BACKEND")
    os.environ["PYSTRAY_BACKEND"] = backend
    try:
        import pystray
    except Exception as error:
        _unload()
        raise NoTray(f"pystray's {backend}: {error}") from error
    finally:
        if before is None:
            del os.environ["PYSTRAY_BACKEND"]
        else:
            os.environ["PYSTRAY_BACKEND"] = before
    if not pystray.Icon.HAS_MENU or backend == "dummy":
        _unload()
        raise NoTray(f"pystray's {backend} shows no menu")
    return pystray


def _unload() -> None:
    """It chose its back-end when it was imported; the next one is chosen by another import."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "pystray"]:
        del sys.modules[name]


class PystrayIcon:
    """pystray's icon on a thread of its own, with its known faults kept away from the caller."""

    def __init__(
        self,
        pystray: Any,
        first: Sequence[Pixmap],
        title: str,
        ended: Callable[[], None],
        resumed: Callable[[], None],
    ):
        self._pystray = pystray
        self._menu: Menu = ()
        self._icon = pystray.Icon("tfgpu-tray", _best(first), cut(title, TITLE))
        self._is_windows = self._handle_windows_messages(ended, resumed)
        # Its run_detached would leave GTK without a loop, and Windows with a thread that stays.
        run, words = self._icon.run, (self._setup,)
        threading.Thread(target=run, args=words, name="pystray", daemon=True).start()

    def show(self, pictures: Sequence[Pixmap], title: str) -> None:
        self._icon.icon, self._icon.title = _best(pictures), cut(title, TITLE)

    def set_menu(self, menu: Menu) -> None:
        self._menu = menu
        if not self._is_windows:
            self._build_menu()

    def _build_menu(self) -> None:
        items = list(self._menu() if callable(self._menu) else self._menu)
        self._icon._menu = self._pystray.Menu(*(self._item(i) for i in items))
        self._icon.update_menu()

    def notify(self, message: str, title: str) -> None:
        if self._icon.HAS_NOTIFICATION:
            self._icon.notify(cut(message, MESSAGE), cut(title, MESSAGE_TITLE))

    def stop(self) -> None:
        self._icon.stop()

    @staticmethod
    def _setup(icon: Any) -> None:
        icon.visible = True

    def _item(self, item: Item) -> Any:
        if item.text == SEPARATOR.text:
            return self._pystray.Menu.SEPARATOR
        children = item.submenu
        action: Any = lambda icon: item(icon)  # noqa: E731 - pystray counts its arguments
        if children is not None:
            below = children() if callable(children) else children
            action = self._pystray.Menu(*(self._item(child) for child in below))
        checked = None if item.checked is None else (lambda _, value=item.checked: value)
        return self._pystray.MenuItem(
            item.text.replace("&", "&&") if self._is_windows else item.text,
            action,
            checked=checked,
            default=item.default,
            enabled=item.enabled,
            visible=item.visible,
        )

    def _handle_windows_messages(
        self, ended: Callable[[], None], resumed: Callable[[], None]
    ) -> bool:
        """Whether this is Windows.

        pystray answers 0 to messages that it does not know; to WM_QUERYENDSESSION that is a veto
        against shutting down. And the menu is built when it opens, never while it is open, which
        would take it away under the mouse (pystray#60).
        """
        handlers = getattr(self._icon, "_message_handlers", None)
        if not isinstance(handlers, dict):
            return False
        noticed = handlers.get(WM_NOTIFY, lambda _w, _l: 0)

        def end(w: int, _: int) -> int:
            if w:
                ended()
            return 0

        def power(w: int, _: int) -> int:
            if w == PBT_APMRESUMEAUTOMATIC:
                resumed()
            return 1

        def notice(w: int, what: int) -> int:
            if what in (WM_LBUTTONUP, WM_RBUTTONUP):
                self._build_menu()
            return int(noticed(w, what) or 0)

        handlers[WM_QUERYENDSESSION] = lambda w, _: 1
        handlers[WM_ENDSESSION] = end
        handlers[WM_POWERBROADCAST] = power
        handlers[WM_NOTIFY] = notice
        return True


def _best(pixmaps: Sequence[Pixmap]) -> Image:
    """The largest one, in Pillow's form, which pystray wants."""
    from PIL import Image

    width, height, argb = max(pixmaps, key=lambda pixmap: pixmap[0])
    alpha, red, green, blue = Image.frombytes("RGBA", (width, height), argb).split()
    return Image.merge("RGBA", (red, green, blue, alpha))
