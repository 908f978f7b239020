"""pystray's icon on a made-up panel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tray.real_pystray import pystray
from tests.until import until
from tfgpu_tray.tray.items import SEPARATOR, MenuItem
from tfgpu_tray.tray.pystray_icon import PystrayIcon

RED = (2, 2, b"\xff\x01\x02\x03" * 4)
SMALL = (1, 1, b"\x00\x00\x00\x00")


class Panel:
    """pystray with a made-up desktop, and the icon that was opened on it."""

    def __init__(self) -> None:
        real = pystray()
        self.told: list[tuple[str, str | None]] = []
        panel = self

        class Icon(real.Icon):  # type: ignore[misc, name-defined]
            def __init__(self, *words: Any, **options: Any) -> None:
                super().__init__(*words, **options)
                self._over = threading.Event()
                self.built: list[str] = []

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
                self.built = [item.text for item in self.menu or ()]

            def _notify(self, message: str, title: str | None = None) -> None:
                panel.told.append((message, title))

        module = SimpleNamespace(Icon=Icon, Menu=real.Menu, MenuItem=real.MenuItem)
        self.icon = PystrayIcon(module, [SMALL, RED], "GPU")
        self.inner: Any = self.icon._icon
        until(lambda: self.inner.visible)


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = Panel()
    yield panel
    panel.icon.stop()


def test_the_largest_picture_is_taken(panel: Panel) -> None:
    picture = panel.inner.icon
    assert picture.size == (2, 2) and picture.getpixel((0, 0)) == (1, 2, 3, 255)
    panel.icon.show([SMALL], "new")
    assert panel.inner.icon.size == (1, 1) and panel.inner.title == "new"


def test_what_is_told_is_told(panel: Panel) -> None:
    panel.icon.notify("no GPU", "tf", lambda: None)
    assert panel.told == [("no GPU", "tf")]


def test_a_desktop_without_notifications_is_not_asked_for_one(panel: Panel) -> None:
    type(panel.inner).HAS_NOTIFICATION = False
    panel.icon.notify("lost", "GPU", lambda: None)
    assert panel.told == []


def test_a_menu_is_given_as_pystray_wants_it(panel: Panel) -> None:
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


def test_its_thread_keeps_nobody_from_ending(panel: Panel) -> None:
    (thread,) = [t for t in threading.enumerate() if t.name == "pystray"]
    assert thread.daemon
    panel.icon.stop()
    thread.join(10)
    assert not thread.is_alive()
