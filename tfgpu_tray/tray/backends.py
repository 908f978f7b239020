"""Chooses what shows the icon. The only place that imports pystray, guarded: its import looks for a
desktop, and raises what its back-ends raise (seen: ImportError, ValueError, Xlib's own errors)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from tfgpu_tray.tray.items import Menu
from tfgpu_tray.tray.loop import LoopThread
from tfgpu_tray.tray.pystray_icon import PystrayIcon

if TYPE_CHECKING:
    from tfgpu_tray.tray.pixmap import Pixmap

if sys.platform == "win32":
    NO_TRAY = "no taskbar takes the icon; it appears when there is one"
else:
    NO_TRAY = (
        "no panel shows tray icons here; on GNOME, install and enable the extension “AppIndicator "
        "and KStatusNotifierItem Support” (Debian, Ubuntu: gnome-shell-extension-appindicator)"
    )

log = logging.getLogger(__name__)


class TrayIcon(Protocol):
    """What the tray needs of an icon; every method may be called from any thread."""

    def show(self, pictures: Sequence[Pixmap], title: str) -> None: ...
    def set_menu(self, menu: Menu) -> None: ...
    def notify(self, message: str, title: str, clicked: Callable[[], None]) -> None:
        """Tell without a notification service, if the icon can; *clicked* is called when that is
        clicked, where the icon learns of it."""
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
    themed: Callable[[], None] = lambda: None,
) -> TrayIcon:
    """The best icon this desktop can show.

    *hosted* is told whether a panel shows it, each time that changes; *themed* is called when the
    panel's colour may have changed, where the back-end learns of it.

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
    if sys.platform == "win32":
        from tfgpu_tray.tray.taskbar import TaskbarIcon
        from tfgpu_tray.tray.windows_shell import WindowsShell, introduce

        introduce()  # before pystray, which makes windows
        shell, pystray = WindowsShell(), _pystray("win32")
        try:
            return TaskbarIcon(pystray, shell, first, title, hosted=hosted, themed=themed)
        except OSError as error:
            raise NoTray(f"Windows gives no icon: {error}") from error
    choices = [forced] if forced else _backends()
    reasons = []
    for name in choices:
        try:
            return PystrayIcon(_pystray(name), first, title)
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

    def notify(self, message: str, title: str, clicked: Callable[[], None]) -> None:
        """Nothing: it would ask the service that has just not answered."""

    def stop(self) -> None:
        self._icon.stop()


def _log_failure(served: Future[None]) -> None:
    if not served.cancelled() and (error := served.exception()) is not None:
        log.error("the icon is gone", exc_info=error)


# ---- pystray -----------------------------------------------------------------------------------


def _backends() -> list[str]:
    """pystray's back-ends that have a menu, the better one first."""
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
