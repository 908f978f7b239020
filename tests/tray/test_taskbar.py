"""pystray's icon in a made-up taskbar: what it is asked, and what it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tray.real_pystray import pystray
from tests.until import until
from tfgpu_tray.tray import taskbar
from tfgpu_tray.tray.items import MenuItem
from tfgpu_tray.tray.pixmap import Pixmap, icon_resource, nearest
from tfgpu_tray.tray.taskbar import ILL, NIM_ADD, NIM_MODIFY, WELL, TaskbarIcon

RED = (2, 2, b"\xff\x01\x02\x03" * 4)
SMALL = (1, 1, b"\x00\x00\x00\x00")
WINDOW = 7
TASKBAR_CREATED, STOP = 0xC001, 0x040A


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def deliver(icon: Any, message: int, word: int = 0, long: int = 0) -> int:
    """As pystray's window procedure does."""
    handler = icon._message_handlers.get(message, lambda _word, _long: 0)
    return int(handler(word, long) or 0)


class Taskbar:
    """The shell, which counts what it is asked, and the thread whose messages it delivers."""

    def __init__(self, *, ready: bool = True) -> None:
        self.ready = ready  # takes icons
        self.has_icon = False
        self.hosted: list[bool] = []
        self.themed = 0
        self.icons: list[tuple[Pixmap, ...]] = []  # that were made
        self.asked: list[tuple[int, dict[str, Any], str]] = []  # what, fields, thread
        self.timer = 0.0
        self.messages: SimpleQueue[int] = SimpleQueue()
        self.opened: list[list[str]] = []  # menus, as they were when they opened
        self.threads: list[str] = []  # in which a menu was built
        self.open: Callable[[], None] = lambda: None  # happens while a menu is open
        self.icon = TaskbarIcon(
            self._module(),
            self,
            [SMALL, RED],
            "GPU",
            hosted=self.hosted.append,
            themed=self._theme,
        )
        self.inner: Any = self.icon._icon

    # as the shell

    def make_icon(self, pictures: Sequence[Pixmap]) -> int:
        self.icons.append(tuple(pictures))
        return len(self.icons)

    def notify_icon(self, what: int, window: int, **fields: Any) -> bool:
        assert window == WINDOW
        self.asked.append((what, fields, threading.current_thread().name))
        if what == NIM_ADD:
            self.has_icon = self.ready
        return self.has_icon

    def post(self, window: int, message: int) -> None:
        self.messages.put(message)

    def set_timer(self, window: int, seconds: float) -> None:
        self.timer = seconds

    # as Windows

    def send(self, message: int, word: int = 0, long: int = 0) -> int:
        return deliver(self.inner, message, word, long)

    def click(self, what: int) -> None:
        self.send(taskbar.WM_NOTIFY, 0, what)

    def _theme(self) -> None:
        self.themed += 1

    def _module(self) -> Any:
        real, bar = pystray(), self

        class Icon(real.Icon):  # type: ignore[misc, name-defined]
            """What pystray's own for Windows does, but for Windows."""

            def __init__(self, *words: Any, **options: Any) -> None:
                super().__init__(*words, **options)
                self._icon_handle: int | None = None
                self._hwnd: int | None = None
                self.built: list[str] = []
                self._message_handlers = {
                    taskbar.WM_NOTIFY: self._on_notify,
                    TASKBAR_CREATED: lambda _word, _long: self._show(),
                }

            def _run(self) -> None:
                self._hwnd = WINDOW
                self._mark_ready()
                while (message := bar.messages.get()) != STOP:
                    deliver(self, message)

            def _stop(self) -> None:
                bar.messages.put(STOP)

            def _mainloop(self) -> None:
                raise PermissionError("no such window")

            def _show(self) -> None:
                self._assert_icon_handle()
                self._message(NIM_ADD, 7, hIcon=self._icon_handle, szTip=self.title)

            def _hide(self) -> None: ...

            def _update_icon(self) -> None:
                self._icon_handle = None
                self._assert_icon_handle()
                self._message(NIM_MODIFY, 2, hIcon=self._icon_handle)

            def _update_title(self) -> None:
                self._message(NIM_MODIFY, 4, szTip=self.title)

            def _update_menu(self) -> None:
                bar.threads.append(threading.current_thread().name)
                self.built = [item.text for item in self.menu or ()]

            def _on_notify(self, word: int, what: int) -> None:
                if what == taskbar.WM_LBUTTONUP:
                    self()
                elif what == taskbar.WM_RBUTTONUP:
                    bar.opened.append(list(self.built))
                    before = len(bar.threads)
                    bar.open()
                    assert len(bar.threads) == before, "taken away while it was open"

        return SimpleNamespace(Icon=Icon, Menu=real.Menu, MenuItem=real.MenuItem)


@pytest.fixture
def bar() -> Iterator[Taskbar]:
    bar = Taskbar()
    until(lambda: bar.hosted == [True])
    yield bar
    bar.icon.stop()


# ---- showing -----------------------------------------------------------------------------------


def test_everything_is_asked_in_the_icons_own_thread(bar: Taskbar) -> None:
    bar.icon.show([RED], "new")
    bar.icon.notify("no GPU", "tf", lambda: None)
    until(lambda: len(bar.asked) >= 5)
    assert {thread for _, _, thread in bar.asked} == {"pystray"}
    assert bar.icons[-1] == (RED,) and bar.inner.title == "new"


def test_what_is_shown_before_there_is_a_window_is_shown_with_it() -> None:
    bar = Taskbar()
    bar.icon.show([RED], "broken")
    until(lambda: bar.hosted == [True])
    until(lambda: bar.inner.title == "broken")
    assert bar.icons[-1] == (RED,)
    bar.icon.stop()


def test_texts_are_cut_to_what_windows_holds(bar: Taskbar) -> None:
    bar.icon.show([RED], "😀" * 100)
    bar.icon.notify("用" * 300, "😀" * 60, lambda: None)
    until(lambda: "szInfo" in bar.asked[-1][1])
    said = bar.asked[-1][1]
    assert units(bar.inner.title) <= 127 and bar.inner.title.endswith("…")
    assert units(said["szInfo"]) == 255 and 62 <= units(said["szInfoTitle"]) <= 63


def test_a_balloon_without_words_shows_its_title(bar: Taskbar) -> None:
    """No text would take away the one that is shown."""
    bar.icon.notify("", "tf is repaired", lambda: None)
    until(lambda: "szInfo" in bar.asked[-1][1])
    assert bar.asked[-1][1]["szInfo"] == "tf is repaired"


def test_a_click_on_a_balloon_leads_to_what_it_is_about(bar: Taskbar) -> None:
    clicked: list[str] = []
    bar.icon.notify("first", "tf", lambda: clicked.append("first"))
    bar.icon.notify("second", "tf", lambda: clicked.append("second"))
    until(lambda: bar.asked[-1][1].get("szInfo") == "second")
    bar.click(taskbar.NIN_BALLOONUSERCLICK)
    assert clicked == ["second"]


def test_what_fails_is_not_the_end(bar: Taskbar, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no icon")

    bar.icon._do(fail)
    bar.icon.show([SMALL], "well")
    until(lambda: bar.inner.title == "well")
    assert "no icon" in caplog.text


# ---- whether it is there -----------------------------------------------------------------------


def test_a_taskbar_that_is_not_there_yet_is_asked_again() -> None:
    """As right after login."""
    bar = Taskbar(ready=False)
    until(lambda: bar.hosted == [False])
    assert bar.timer == ILL
    bar.send(taskbar.WM_TIMER)
    assert bar.hosted == [False]
    bar.ready = True
    bar.send(taskbar.WM_TIMER)
    assert bar.hosted == [False, True] and bar.timer == WELL
    bar.icon.stop()


def test_an_icon_that_got_lost_is_added_again(bar: Taskbar) -> None:
    bar.send(taskbar.WM_TIMER)
    assert bar.asked[-1][0] == NIM_MODIFY and bar.hosted == [True]
    bar.has_icon = False
    bar.send(taskbar.WM_TIMER)
    assert bar.has_icon and bar.hosted == [True, False, True]


def test_a_taskbar_that_starts_anew_gets_the_icon(bar: Taskbar) -> None:
    bar.has_icon = False
    bar.send(TASKBAR_CREATED)
    assert bar.has_icon


@pytest.mark.parametrize("message", [taskbar.WM_DISPLAYCHANGE, taskbar.WM_DPICHANGED])
def test_another_resolution_gets_other_pictures(bar: Taskbar, message: int) -> None:
    made = len(bar.icons)
    bar.send(message)
    assert len(bar.icons) == made + 1


# ---- menu and messages -------------------------------------------------------------------------


def test_the_menu_is_built_when_it_opens(bar: Taskbar) -> None:
    ages = iter(["just now", "1 min ago"])
    before = len(bar.threads)
    bar.icon.set_menu(lambda: [MenuItem(f"checked {next(ages)}")])
    assert len(bar.threads) == before
    bar.click(0x0200)  # the mouse moves over it
    assert len(bar.threads) == before
    bar.open = lambda: bar.icon.set_menu([MenuItem("a & b")])  # something changes
    bar.click(taskbar.WM_RBUTTONUP)
    bar.click(taskbar.WM_RBUTTONUP)
    assert bar.opened == [["checked just now"], ["a && b"]]


def test_a_click_on_the_icon_runs_the_default_item(bar: Taskbar) -> None:
    clicked: list[object] = []
    bar.icon.set_menu([MenuItem("Check now", clicked.append, default=True)])
    bar.click(taskbar.WM_LBUTTONUP)
    assert clicked == [bar.inner]


def test_nothing_keeps_the_session_from_ending(bar: Taskbar) -> None:
    """What follows from it is the session window's."""
    assert bar.send(taskbar.WM_QUERYENDSESSION) == 1
    assert bar.send(taskbar.WM_POWERBROADCAST, 4) == 1


def test_another_theme_is_told(bar: Taskbar) -> None:
    assert bar.send(taskbar.WM_SETTINGCHANGE) == 0
    assert bar.themed == 1


def test_it_is_gone_when_stop_returns() -> None:
    bar = Taskbar()
    until(lambda: bar.hosted == [True])
    bar.icon.stop()
    assert not [t for t in threading.enumerate() if t.name == "pystray"]


def test_windows_that_were_closed_already_are_no_trouble(bar: Taskbar) -> None:
    """taskkill closes pystray's second one; the first does not let itself be closed."""
    bar.inner._mainloop()


# ---- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "taken"), [(16, 16), (17, 20), (20, 20), (64, 64), (96, 64)])
def test_a_picture_is_made_smaller_rather_than_larger(wanted: int, taken: int) -> None:
    pixmaps = [(size, size, b"") for size in (64, 16, 20)]
    assert nearest(pixmaps, wanted)[0] == taken


def test_an_icon_is_written_as_windows_keeps_it() -> None:
    """Read back by Pillow, which reads a file of icons: 6 and 16 bytes of table, then this."""
    import io
    import struct

    from PIL import Image

    colours = [(255, 1, 2, 3), (128, 4, 5, 6), (0, 0, 0, 0), (255, 7, 8, 9)]
    resource = icon_resource((2, 2, b"".join(map(bytes, colours))))
    table = struct.pack("<HHHBBBBHHII", 0, 1, 1, 2, 2, 0, 0, 1, 32, len(resource), 22)
    with Image.open(io.BytesIO(table + resource)) as picture:
        read = picture.convert("RGBA")
    places = [(0, 0), (1, 0), (0, 1), (1, 1)]
    found = [read.getpixel(place) for place in places]
    assert found == [(*colour[1:], colour[0]) for colour in colours]
