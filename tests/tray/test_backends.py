"""What shows the icon: which back-end is taken, and pystray with its faults kept away."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tray.fake_host import until
from tfgpu_tray.tray import backends
from tfgpu_tray.tray.backends import (
    PBT_APMRESUMEAUTOMATIC,
    WM_ENDSESSION,
    WM_LBUTTONUP,
    WM_NOTIFY,
    WM_POWERBROADCAST,
    WM_QUERYENDSESSION,
    WM_RBUTTONUP,
    NoTray,
    PystrayIcon,
    has_session_bus,
    open_icon,
)
from tfgpu_tray.tray.items import SEPARATOR, MenuItem
from tfgpu_tray.tray.loop import LoopThread

RED = (2, 2, b"\xff\x01\x02\x03" * 4)
SMALL = (1, 1, b"\x00\x00\x00\x00")
linux = pytest.mark.skipif(sys.platform != "linux", reason="how Linux chooses")


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.stop()


def opened(loop: LoopThread, environ: Mapping[str, str]) -> backends.TrayIcon:
    return open_icon(
        environ,
        loop,
        [RED],
        "tfgpu-tray",
        hosted=lambda _: None,
        ended=lambda: None,
        resumed=lambda: None,
    )


# ---- choosing ----------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("asked_for", ["xorg", "dummy", "appindicator", "gtk", "nonsense"])
@pytest.mark.parametrize("before", [None, "win32"])
def test_a_backend_that_cannot_be_used_says_why(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, asked_for: str, before: str | None
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    if before is None:
        monkeypatch.delenv("PYSTRAY_BACKEND", raising=False)
    else:
        monkeypatch.setenv("PYSTRAY_BACKEND", before)
    with pytest.raises(NoTray, match=f"pystray's {asked_for}"):
        opened(loop, {"PYSTRAY_BACKEND": asked_for, "DISPLAY": ":7"})
    assert os.environ.get("PYSTRAY_BACKEND") == before
    assert not [name for name in sys.modules if name.partition(".")[0] == "pystray"]


@linux
def test_a_backend_without_a_menu_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """xorg, on an X server: its icon would have nothing to click."""
    fake = SimpleNamespace(Icon=SimpleNamespace(HAS_MENU=False))
    monkeypatch.setitem(sys.modules, "pystray", fake)
    with pytest.raises(NoTray, match="pystray's xorg shows no menu"):
        backends._pystray("xorg")
    assert "pystray" not in sys.modules  # the next one is asked for anew


@linux
def test_without_a_desktop_nothing_is_tried(loop: LoopThread) -> None:
    with pytest.raises(NoTray, match="no desktop session"):
        opened(loop, {})


@linux
def test_without_a_session_bus_the_others_are_tried_in_turn(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def icon(pystray: str, *_: object) -> str:
        if pystray == "appindicator":
            raise RuntimeError("Gtk could not be initialised")
        return pystray

    monkeypatch.setattr(backends, "_pystray", lambda name: name)
    monkeypatch.setattr(backends, "PystrayIcon", icon)
    assert opened(loop, {"DISPLAY": ":7"}) == "gtk"  # type: ignore[comparison-overlap]
    monkeypatch.setattr(backends, "_backends", lambda: ["appindicator"])
    with pytest.raises(NoTray, match="could not be initialised"):
        opened(loop, {"DISPLAY": ":7"})


def test_a_session_bus_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    assert has_session_bus({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"})
    assert not has_session_bus({}) and not has_session_bus({"XDG_RUNTIME_DIR": ""})
    assert not has_session_bus({"XDG_RUNTIME_DIR": str(tmp_path)})
    (tmp_path / "bus").touch()
    assert has_session_bus({"XDG_RUNTIME_DIR": str(tmp_path)})


# ---- pystray's icon ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Any:
    """pystray itself, of which only the desktop is made up."""
    before = os.environ.get("PYSTRAY_BACKEND")
    os.environ["PYSTRAY_BACKEND"] = "dummy"
    import pystray

    if before is None:
        del os.environ["PYSTRAY_BACKEND"]
    else:
        os.environ["PYSTRAY_BACKEND"] = before
    backends._unload()
    return pystray


class Desktop:
    """pystray with a made-up desktop, and the icon that was opened on it."""

    def __init__(self, real: Any, *, windows: bool) -> None:
        self.ended = self.resumed = 0
        self.opened: list[list[str]] = []  # menus, as they were when they opened
        self.threads: list[str] = []  # in which a menu was built
        self.open: Callable[[], None] = lambda: None  # happens while a menu is open
        self.told: list[tuple[str, str | None]] = []
        desktop = self

        class Icon(real.Icon):  # type: ignore[misc]
            def __init__(self, *words: Any, **options: Any) -> None:
                super().__init__(*words, **options)
                self._over = threading.Event()
                self.built: list[str] = []
                if windows:
                    self._message_handlers = {WM_NOTIFY: self._on_notify}

            def _run(self) -> None:
                self._mark_ready()
                self._over.wait()

            def _stop(self) -> None:
                self._over.set()

            def _show(self) -> None: ...
            def _hide(self) -> None: ...
            def _update_icon(self) -> None: ...
            def _update_title(self) -> None: ...

            def _update_menu(self) -> None:
                desktop.threads.append(threading.current_thread().name)
                self.built = [item.text for item in self.menu or ()]

            def _notify(self, message: str, title: str | None = None) -> None:
                desktop.told.append((message, title))

            def _on_notify(self, w: int, what: int) -> None:
                if what == WM_LBUTTONUP:
                    self()
                elif what == WM_RBUTTONUP:
                    desktop.opened.append(list(self.built))
                    before = len(desktop.threads)
                    desktop.open()
                    assert len(desktop.threads) == before, "taken away while it was open"

        module = SimpleNamespace(Icon=Icon, Menu=real.Menu, MenuItem=real.MenuItem)
        self.icon = PystrayIcon(module, [SMALL, RED], "GPU", self._end, self._resume)
        self.inner: Any = self.icon._icon
        until(lambda: self.inner.visible)

    def send(self, message: int, w: int = 0, what: int = 0) -> int:
        """As pystray's window procedure does."""
        handler = self.inner._message_handlers.get(message, lambda w, what: 0)
        return int(handler(w, what) or 0)

    def _end(self) -> None:
        self.ended += 1

    def _resume(self) -> None:
        self.resumed += 1


@pytest.fixture
def panel(real: Any) -> Iterator[Desktop]:
    desktop = Desktop(real, windows=False)
    yield desktop
    desktop.icon.stop()


@pytest.fixture
def taskbar(real: Any) -> Iterator[Desktop]:
    desktop = Desktop(real, windows=True)
    yield desktop
    desktop.icon.stop()


def test_the_largest_picture_is_taken(panel: Desktop) -> None:
    picture = panel.inner.icon
    assert picture.size == (2, 2) and picture.getpixel((0, 0)) == (1, 2, 3, 255)
    panel.icon.show([SMALL], "new")
    assert panel.inner.icon.size == (1, 1) and panel.inner.title == "new"


def test_texts_are_cut_to_what_windows_holds(taskbar: Desktop) -> None:
    taskbar.icon.show([RED], "😀" * 100)
    assert units(taskbar.inner.title) <= 127 and taskbar.inner.title.endswith("…")
    taskbar.icon.notify("用" * 300, "😀" * 60)
    ((message, title),) = taskbar.told
    assert units(message) == 255 and title is not None and 62 <= units(title) <= 63


def test_a_desktop_without_notifications_is_not_asked_for_one(panel: Desktop) -> None:
    type(panel.inner).HAS_NOTIFICATION = False
    panel.icon.notify("lost", "GPU")
    assert panel.told == []


def test_a_menu_is_given_as_pystray_wants_it(panel: Desktop) -> None:
    clicked: list[object] = []
    panel.icon.set_menu(
        lambda: [
            MenuItem("Status", enabled=False),
            SEPARATOR,
            MenuItem("A & B_c", clicked.append, default=True),
            MenuItem("At login", clicked.append, checked=True),
            MenuItem("Never", checked=False),
            MenuItem("Hidden", visible=False),
            MenuItem("More", submenu=lambda: [MenuItem("Below", clicked.append), SEPARATOR]),
        ]
    )
    menu = list(panel.inner.menu)
    assert [item.text for item in menu] == [
        "Status",
        SEPARATOR.text,
        "A & B_c",
        "At login",
        "Never",
        "More",
    ]
    assert menu[1] is panel.inner.menu.SEPARATOR
    assert [item.enabled for item in menu] == [False, True, True, True, True, True]
    assert [item.checked for item in menu] == [None, None, None, True, False, None]
    assert [item.default for item in menu] == [False, False, True, False, False, False]
    (below,) = menu[-1].submenu
    below(panel.inner)
    panel.inner()  # a click on the icon
    assert clicked == [panel.inner, panel.inner]
    assert panel.inner.built == [item.text for item in menu]


def test_windows_may_end_the_session(taskbar: Desktop) -> None:
    assert taskbar.send(WM_QUERYENDSESSION) == 1
    assert taskbar.send(WM_ENDSESSION, 0) == 0 and taskbar.ended == 0  # called off
    assert taskbar.send(WM_ENDSESSION, 1) == 0 and taskbar.ended == 1


def test_windows_tells_of_waking_up(taskbar: Desktop) -> None:
    assert taskbar.send(WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC) == 1
    assert taskbar.send(WM_POWERBROADCAST, 4) == 1
    assert taskbar.resumed == 1


def test_on_windows_the_menu_is_built_when_it_opens(taskbar: Desktop) -> None:
    ages = iter(["just now", "1 min ago"])
    before = len(taskbar.threads)
    taskbar.icon.set_menu(lambda: [MenuItem(f"checked {next(ages)}")])
    assert len(taskbar.threads) == before
    taskbar.send(WM_NOTIFY, 0, 0x0200)  # the mouse moves over it
    assert len(taskbar.threads) == before
    taskbar.open = lambda: taskbar.icon.set_menu([MenuItem("a & b")])  # something changes
    taskbar.send(WM_NOTIFY, 0, WM_RBUTTONUP)
    taskbar.send(WM_NOTIFY, 0, WM_RBUTTONUP)
    assert taskbar.opened == [["checked just now"], ["a && b"]]


def test_on_windows_a_click_on_the_icon_runs_the_default_item(taskbar: Desktop) -> None:
    clicked: list[object] = []
    taskbar.icon.set_menu([MenuItem("Check now", clicked.append, default=True)])
    taskbar.send(WM_NOTIFY, 0, WM_LBUTTONUP)
    assert clicked == [taskbar.inner]


def test_its_thread_keeps_nobody_from_ending(panel: Desktop) -> None:
    (thread,) = [t for t in threading.enumerate() if t.name == "pystray"]
    assert thread.daemon
    panel.icon.stop()
    thread.join(10)
    assert not thread.is_alive()
