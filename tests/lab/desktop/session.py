"""The life of a desktop: its folders, its programs, its bus, its screen."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from dbus_fast import DBusError
from PIL import Image

from tests.lab.desktop.bus import GONE, NOTIFICATIONS, Notification, SessionBus
from tests.lab.desktop.menu import host_registered
from tests.lab.desktop.parts import Part, end_strays, start_display, start_window_manager
from tests.lab.desktop.picture import keep
from tests.lab.desktop.screen import SIZE, Screen

T = TypeVar("T")

HERE = Path(__file__).parent
SECONDS = 10  # of patience
PACKAGES = {
    "Xvfb": "xvfb",
    "openbox": "openbox",
    "xfce4-panel": "xfce4-panel",
    "dunst": "dunst",
    "dbus-daemon": "dbus",
    "notify-send": "libnotify-bin",
    "xdotool": "xdotool",
    "xprop": "x11-utils",
    "setpriv": "util-linux",
}


class DesktopError(AssertionError):
    """The desktop did not come to what was waited for; says what its programs printed."""


class Session:
    """A context manager: everything runs inside it and nothing is left behind.

    Start it in a thread that lives as long: its programs are killed when that thread ends.

    `home` is used as the user's home folder and kept; otherwise there is a new one each time.
    """

    def __init__(
        self, *, panel: bool = True, notifications: bool = True, home: Path | None = None
    ) -> None:
        self._home = home
        self._wanted = (panel, notifications)
        self._parts: dict[str, Part] = {}
        self._bus: SessionBus | None = None
        self._screen: Screen | None = None
        self._past: tuple[Notification, ...] = ()  # of former buses
        self.folder = Path()
        #: What a program needs to run on this desktop, to be laid over what it needs besides.
        self.environ: dict[str, str] = {}

    @staticmethod
    def missing() -> str | None:
        """Why this machine cannot show a desktop, in one line; None when it can."""
        lacking = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
        if _xfconf() is None:
            lacking.append("xfconf")
        return f"the desktop needs: apt-get install {' '.join(lacking)}" if lacking else None

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="desktop-"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None and not isinstance(error, DesktopError):  # which took its own
                self.screenshot("failure")
        except OSError:
            pass  # the X server went, too: the error that is on its way says more
        finally:
            self._end()

    def _start(self) -> None:
        home, runtime = self._home or self.folder / "home", self.folder / "run"
        shutil.copytree(HERE / "config", home / ".config", dirs_exist_ok=True)
        shutil.copy(HERE / "session.conf", self.folder)
        (self.folder / "services").mkdir()
        (self.folder / "services" / "xfconf.service").symlink_to(_xfconf() or "")
        runtime.mkdir(mode=0o700)
        self.environ = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_DATA_HOME": str(home / ".local" / "share"),
            "XDG_STATE_HOME": str(home / ".local" / "state"),
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CURRENT_DESKTOP": "XFCE",
            "XDG_SESSION_TYPE": "x11",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime / 'bus'}",
        }
        self._parts["Xvfb"], display = start_display(
            self._own_environ(), self.folder, f"{SIZE[0]}x{SIZE[1]}x24"
        )
        self.environ["DISPLAY"] = display
        self._screen = Screen(display, self._own_environ())
        self._parts["openbox"] = start_window_manager(self._own_environ(), self.folder)
        self.start_bus()
        panel, notifications = self._wanted
        if panel:
            self.start_panel()
        if notifications:
            self.start_dunst()

    def _end(self) -> None:
        try:
            if self._bus is not None:
                self._bus.close()
        finally:
            self._bus = None
            for part in reversed(self._parts.values()):
                part.stop()
            if runtime := self.environ.get("XDG_RUNTIME_DIR"):
                end_strays("XDG_RUNTIME_DIR", runtime)
            shutil.rmtree(self.folder, ignore_errors=True)

    def pixels(self) -> Image.Image:
        return self.screen.pixels()

    def screenshot(self, name: str) -> Path:
        """Keeps a picture of the screen (`picture.keep`)."""
        return keep(self.pixels(), name)

    # parts that come and go

    def start_panel(self) -> None:
        self._launch("xfce4-panel", "--disable-wm-check")
        self._wait("the panel is there", self._panel_ready)

    def stop_panel(self) -> None:
        self._stop("xfce4-panel")

    def restart_panel(self) -> None:
        self.stop_panel()
        self.start_panel()

    def start_dunst(self) -> None:
        config = Path(self.environ["XDG_CONFIG_HOME"]) / "dunst" / "dunstrc"
        self._launch("dunst", "-config", str(config))
        self._wait("dunst is there", lambda: self.bus.owned(NOTIFICATIONS))

    def stop_dunst(self) -> None:
        self._stop("dunst")
        self._wait("dunst is gone", lambda: not self.bus.owned(NOTIFICATIONS))

    def start_bus(self) -> None:
        """At the same address as before."""
        config = self.folder / "session.conf"
        address = self.environ["DBUS_SESSION_BUS_ADDRESS"]
        options = (f"--config-file={config}", f"--address={address}", "--print-address=1")
        daemon = self._launch("dbus-daemon", "--nofork", *options)
        self._wait("the session bus listens", lambda: address in daemon.printed())
        self._bus = SessionBus(address)

    def stop_bus(self) -> None:
        """What needs a bus ends with it: the panel and dunst, as when a session breaks."""
        self._forget_bus()
        self._stop("dbus-daemon")
        Path(self.environ["XDG_RUNTIME_DIR"], "bus").unlink(missing_ok=True)
        for name in ("xfce4-panel", "dunst"):
            if name in self._parts:
                self._parts[name].wait(2)
                self._stop(name)

    def restart_bus(self) -> None:
        """A new bus, and on it whatever of the panel and dunst ran on the old one."""
        panel, dunst = ("xfce4-panel" in self._parts), ("dunst" in self._parts)
        self.stop_bus()
        self.start_bus()
        if panel:
            self.start_panel()
        if dunst:
            self.start_dunst()

    @property
    def screen(self) -> Screen:
        if self._screen is None:
            raise DesktopError("the desktop has not started")
        return self._screen

    @property
    def bus(self) -> SessionBus:
        if self._bus is None:
            raise DesktopError("the session bus is stopped")
        return self._bus

    def notified(self) -> tuple[Notification, ...]:
        """Every notification since the start, oldest first, as it stands now."""
        return self._past + (self._bus.notifications() if self._bus is not None else ())

    def _panel_ready(self) -> bool:
        return host_registered(self.bus) and bool(self.screen.panels())

    def _forget_bus(self) -> None:
        if self._bus is not None:
            ended = self._bus.notifications()
            self._past += tuple(
                replace(one, closed=GONE) if one.closed is None else one for one in ended
            )
            self._bus.close()
            self._bus = None

    # programs

    def _own_environ(self) -> dict[str, str]:
        """For the desktop's programs: nothing of this test run's own session."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        plain = {"LC_ALL": "C.UTF-8", "NO_AT_BRIDGE": "1", "GSETTINGS_BACKEND": "memory"}
        return kept | plain | self.environ

    def _launch(self, *command: str) -> Part:
        self._stop(command[0])
        part = Part(command, self._own_environ(), self.folder)
        self._parts[command[0]] = part
        return part

    def _stop(self, name: str) -> None:
        if part := self._parts.pop(name, None):
            part.stop()

    def _wait(self, what: str, condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
        """The condition's first true value. A peer that does not answer yet is no failure yet."""
        end = time.monotonic() + seconds
        trouble = ""
        while True:
            try:
                if value := condition():
                    return value
            except (DBusError, OSError, EOFError, TimeoutError) as error:
                trouble = f" ({error})"
            dead = [part.name for part in self._parts.values() if not part.alive]
            if dead or time.monotonic() > end:
                why = f"{', '.join(dead)} ended" if dead else f"not within {seconds:g} s"
                raise DesktopError(self._report(f"{what}: {why}{trouble}"))
            time.sleep(0.02)

    def _report(self, problem: str) -> str:
        said = "\n".join(part.said() for part in self._parts.values())
        try:
            picture = f"\nscreen: {self.screenshot('failure')}"
        except (DesktopError, OSError) as error:
            picture = f"\nno picture of the screen: {error}"
        return f"{problem}\n{said}{picture}"


def _xfconf() -> Path | None:
    """The file by which a session bus starts xfconfd, from which the panel reads its settings."""
    folders = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    files = (
        Path(folder, "dbus-1/services/org.xfce.Xfconf.service") for folder in folders.split(":")
    )
    return next((file for file in files if file.is_file()), None)
