"""The tray with a made-up desktop: what it shows, does, tells, and survives."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.tray.conditions import LEFTOVERS, NO_CUDNN, NOW, TF, WELL, at_work, holds
from tests.until import until
from tfgpu_tray.config import Config, Notifications
from tfgpu_tray.model import Condition, Depth
from tfgpu_tray.store.board import Board, Silence
from tfgpu_tray.store.database import open_database
from tfgpu_tray.store.journal import Repair
from tfgpu_tray.tray import notices
from tfgpu_tray.tray.artwork import RING, Artwork, CannotDraw
from tfgpu_tray.tray.healer import ActionOutcome
from tfgpu_tray.tray.items import Item, Menu
from tfgpu_tray.tray.notices import Notice
from tfgpu_tray.tray.pixmap import Pixmap
from tfgpu_tray.tray.status import Status
from tfgpu_tray.tray.tray import BREATH, Hands, Tray, tomorrow
from tfgpu_tray.tray.view import View


@dataclass
class FakeIcon:
    """What the desktop shows."""

    titles: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    menus: list[Menu] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    clicked: Callable[[], None] = lambda: None  # on what was told last
    stopped: bool = False
    error: Exception | None = None

    def show(self, pictures: Sequence[Pixmap], title: str) -> None:
        if self.error is not None:
            raise self.error
        self.pictures.append(pictures[0][2])
        self.titles.append(title)

    def set_menu(self, menu: Menu) -> None:
        self.menus.append(menu)

    def notify(self, message: str, title: str, clicked: Callable[[], None]) -> None:
        self.told.append((title, message))
        self.clicked = clicked

    def stop(self) -> None:
        self.stopped = True


class FakeArtwork(Artwork):
    """A picture is its name."""

    error: str = ""

    def pictures(self, status: Status, progress: float | None = None) -> list[Pixmap]:
        if FakeArtwork.error:
            raise CannotDraw(FakeArtwork.error)
        return [(1, 1, f"{status} {progress}".encode())]


class FakeHealer:
    def __init__(self) -> None:
        self.started: list[tuple[str, Path]] = []
        self.busy = False

    def start(self, command: str, prefix: Path) -> bool:
        if not self.busy:
            self.started.append((command, prefix))
        return not self.busy


class Desk:
    """A tray, everything it was given, and everything it did."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.now = NOW
        self.board = Board(database, lambda: self.now)
        self.repairs: tuple[Repair, ...] = ()
        self.icon = FakeIcon()
        self.healer = FakeHealer()
        self.sent: list[Notice] = []
        self.withdrawn: list[Path] = []
        self.asked: list[tuple[Any, ...]] = []
        self.opened: list[Path] = []
        self.at_login = False
        self.ended = self.woken = self.views = 0
        self.reason: str | None = None  # not to disturb
        self.held_back_for: float | None = None
        self.steady = 0.0
        self.service = True
        self.error: Exception | None = None  # of the store
        self.slow: threading.Event | None = None  # what a click waits for
        self.trays: list[Tray] = []

    def start(self, config: Config | None = None, *, attach: bool = True) -> Tray:
        hands = Hands(
            ask=lambda *words, **options: self.asked.append((*words, options)),
            healer=self.healer,  # type: ignore[arg-type]
            autostart=self._autostart,
            starts_at_login=lambda: self.at_login,
            write_details=lambda prefix: Path(f"/details of {prefix and prefix.name}"),
            write_configuration=lambda: Path("/config.toml"),
            open_file=self._open,
            quit=self._quit,
            woken=self._woken,
        )
        tray = Tray(
            config or Config(),
            self.board,
            self.view,
            hands,
            self._send,
            self.withdrawn.append,
            lambda: self.reason,
            FakeArtwork(Path("/")),
            lambda: self.now,
            held_back_for=self.held_back_for,
            steady=lambda: self.steady,
        )
        self.trays.append(tray)
        if attach:
            tray.attach(self.icon)
        return tray

    def view(self) -> View:
        self.views += 1
        if self.error is not None:
            raise self.error
        return View(
            self.now,
            tuple(self.board.conditions()),
            self.repairs,
            paused_until=self.board.paused_until,
            silenced=self.board.silenced(),
            told=self.board.told(),
            events=tuple(self.board.events(12)),
        )

    def hold(self, condition: Condition) -> None:
        self.board.hold(condition)
        for tray in self.trays:
            tray.refresh()

    @property
    def events(self) -> list[str]:
        return [event.text for event in reversed(self.board.events())]

    @property
    def menu(self) -> list[Item]:
        menu = self.icon.menus[-1]
        return list(menu() if callable(menu) else menu)

    def click(self, *way: str) -> None:
        items: Sequence[Item] = self.menu
        for text in way[:-1]:
            below = next(i for i in items if text in i.text).submenu
            assert below is not None and not callable(below)
            items = list(below)
        next(i for i in items if i.text.startswith(way[-1]))(None)

    def settle(self, tray: Tray) -> None:
        """Until everything clicked so far was done, and shown."""
        done = threading.Event()
        tray._do(done.set)
        assert done.wait(10)
        seen = self.views
        tray.refresh()
        until(lambda: self.views > seen)

    def _send(self, notice: Notice) -> bool:
        if self.service:
            self.sent.append(notice)
        return self.service

    def _open(self, path: Path) -> None:
        if self.slow is not None:
            assert self.slow.wait(10)
        self.opened.append(path)

    def _autostart(self, wanted: bool) -> bool:
        self.at_login = wanted
        return wanted

    def _quit(self) -> None:
        self.ended += 1

    def _woken(self) -> None:
        self.woken += 1


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    database = open_database(tmp_path)
    FakeArtwork.error = ""
    desk = Desk(database)
    yield desk
    for tray in desk.trays:
        tray.stop()
        for thread in tray.threads:
            thread.join(10)
            assert not thread.is_alive()
    database.close()


LOST = holds(NO_CUDNN, since=NOW - 5, seen=NOW - 5)


# ---- showing -----------------------------------------------------------------------------------


def test_it_shows_what_holds(desk: Desk) -> None:
    desk.start()
    until(lambda: desk.icon.titles == ["tfgpu-tray: no environment with TensorFlow found yet"])
    desk.hold(holds(WELL))
    until(lambda: desk.icon.titles[-1:] == ["tfgpu-tray: GPU visible"])
    assert desk.icon.pictures[-1:] == [b"ok None"]
    until(lambda: any("✓ tf: ok" in item.text for item in desk.menu))


def test_what_does_not_change_is_not_shown_again(desk: Desk) -> None:
    desk.board.hold(holds(WELL))
    tray = desk.start()
    until(lambda: desk.icon.menus)
    for _ in range(3):
        desk.now += 60
        desk.settle(tray)
    assert len(desk.icon.titles) == 1 and len(desk.icon.menus) == 1
    assert "checked 6 min ago" in desk.menu[0].text  # read anew when it opens


def test_a_thousand_changes_are_a_few_pictures(desk: Desk) -> None:
    gate = threading.Event()
    desk.slow = gate
    tray = desk.start()
    until(lambda: desk.icon.titles)
    before = desk.views
    for _ in range(1000):
        tray.refresh()
    desk.settle(tray)
    assert desk.views - before < 100
    gate.set()


def test_a_stream_of_changes_is_shown_now_and_then(desk: Desk) -> None:
    """A scan of 200 environments is 200 changes in seconds, and needs the processor itself."""
    tray = desk.start()
    until(lambda: desk.icon.titles)
    before, start = desk.views, time.monotonic()
    while time.monotonic() - start < 5 * BREATH:
        tray.refresh()
        time.sleep(BREATH / 50)
    passed = time.monotonic() - start
    assert 1 <= desk.views - before <= 3 * (passed / BREATH + 1)  # shown, told, and listed


def test_a_repair_at_work_is_followed_without_being_told(desk: Desk) -> None:
    desk.start()
    desk.repairs = (at_work(fraction=0.0),)
    desk.hold(LOST)
    until(lambda: desk.icon.pictures[-1:] == [b"repairing 0.0"])
    desk.repairs = (at_work(fraction=0.501),)  # another process writes that
    until(lambda: desk.icon.pictures[-1:] == [b"repairing 0.5"])
    desk.repairs = (at_work(fraction=0.5 + 0.2 / RING),)
    shown = len(desk.icon.pictures)
    seen = desk.views
    until(lambda: desk.views > seen + 1)
    assert len(desk.icon.pictures) == shown, "the same picture was sent again"
    desk.repairs = ()
    until(lambda: desk.icon.pictures[-1:] == [b"broken None"])


def test_before_there_is_an_icon_it_notifies_all_the_same(desk: Desk) -> None:
    tray = desk.start(attach=False)
    desk.hold(LOST)
    until(lambda: desk.sent)
    tray.attach(desk.icon)
    until(lambda: desk.icon.pictures == [b"broken None"])


# ---- what may go wrong -------------------------------------------------------------------------


def test_a_slow_action_does_not_hold_up_what_is_shown(desk: Desk) -> None:
    desk.slow = threading.Event()
    tray = desk.start()
    until(lambda: desk.icon.menus)
    tray.details(None)
    desk.hold(LOST)
    until(lambda: desk.icon.pictures[-1:] == [b"broken None"] and desk.sent)
    assert desk.opened == []
    desk.slow.set()
    until(lambda: desk.opened == [Path("/details of None")])


def test_an_action_that_fails_is_told_and_the_next_one_is_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tray = desk.start()
    until(lambda: desk.icon.menus)
    desk.slow = threading.Event()
    monkeypatch.setattr(desk.slow, "wait", lambda _: 1 / 0)
    tray.open_configuration()
    tray.quit()
    until(lambda: desk.ended == 1)
    assert desk.events == ["that did not work: division by zero"]


def test_even_a_store_that_takes_nothing_does_not_end_the_clicks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tray = desk.start()

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(desk.board, "append", full)
    tray.pause(60)
    tray.quit()
    until(lambda: desk.ended == 1)


def test_a_store_that_cannot_be_read_for_a_while_is_survived(desk: Desk) -> None:
    desk.error = sqlite3.OperationalError("disk I/O error")
    tray = desk.start()
    until(lambda: desk.views)
    desk.error = None
    tray.refresh()
    until(lambda: desk.icon.titles)


def test_without_pictures_there_is_still_a_menu_and_what_is_to_be_told(desk: Desk) -> None:
    FakeArtwork.error = "the disk is full"
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.sent and desk.icon.menus)
    assert desk.icon.titles == []
    FakeArtwork.error = ""
    tray.refresh()
    until(lambda: desk.icon.pictures == [b"broken None"])


def test_an_icon_that_refuses_holds_up_nothing(desk: Desk) -> None:
    desk.icon.error = OSError("the taskbar is gone")
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.sent)
    desk.icon.error = None
    tray.refresh()
    until(lambda: desk.icon.titles)


def test_what_is_clicked_after_the_end_is_not_done(desk: Desk) -> None:
    tray = desk.start()
    tray.stop()
    assert desk.icon.stopped
    tray.quit()
    tray.refresh()
    for thread in tray.threads:
        thread.join(10)
    assert desk.ended == 0


# ---- telling -----------------------------------------------------------------------------------


def test_a_loss_is_told_once_even_after_a_restart(desk: Desk) -> None:
    first = desk.start()
    desk.hold(LOST)
    until(lambda: desk.sent)
    desk.settle(first)
    first.stop()
    second = desk.start()
    desk.settle(second)
    assert [notice.title for notice in desk.sent] == ["TensorFlow sees no GPU in tf"]


def test_it_is_written_down_before_it_is_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[Path, tuple[str, float]]] = []
    send = desk._send

    def look_and_send(notice: Notice) -> bool:
        told.append(desk.board.told())
        return send(notice)

    monkeypatch.setattr(desk, "_send", look_and_send)
    desk.start()
    desk.hold(LOST)
    until(lambda: desk.sent)
    assert told == [{TF: (desk.sent[0].what, NOW)}]


def test_what_is_over_is_withdrawn_without_a_word(desk: Desk) -> None:
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.sent)
    desk.hold(holds(WELL, seen=NOW))
    until(lambda: desk.withdrawn == [TF])
    desk.settle(tray)
    assert len(desk.sent) == 1 and desk.withdrawn == [TF]
    desk.hold(replace(LOST, since=NOW + 60, seen=NOW + 60))
    until(lambda: len(desk.sent) == 2)


def test_what_would_disturb_waits_and_comes_once(desk: Desk) -> None:
    desk.reason = "a program fills the screen"
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.events)
    desk.settle(tray)
    assert desk.sent == [] and desk.events == ["a notification waits: a program fills the screen"]
    desk.reason = None
    tray.refresh()
    until(lambda: desk.sent)
    desk.settle(tray)
    assert len(desk.sent) == 1 and len(desk.events) == 1


def test_what_waits_comes_in_the_end_where_a_reason_may_last_for_ever(desk: Desk) -> None:
    """Windows calls some programs busy as long as they run."""
    desk.reason, desk.held_back_for = "a program fills the screen", 1800.0
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.events)
    desk.steady = 1799.0
    desk.settle(tray)
    assert desk.sent == []
    desk.steady = 1800.0
    tray.refresh()
    until(lambda: desk.sent)
    desk.settle(tray)
    assert len(desk.sent) == 1 and len(desk.events) == 1
    desk.hold(holds(LEFTOVERS, Path("/envs/other")))  # another one waits anew
    desk.settle(tray)
    desk.steady = 3599.0
    desk.settle(tray)
    assert len(desk.sent) == 1


def test_what_was_mended_meanwhile_does_not_come(desk: Desk) -> None:
    desk.reason = "a program fills the screen"
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.events)
    desk.hold(holds(WELL))
    desk.reason = None
    desk.settle(tray)
    assert desk.sent == []
    desk.reason = "a program fills the screen"
    desk.hold(replace(LOST, since=NOW + 60))
    until(lambda: len(desk.events) == 2)  # told anew: it is another one that waits


def test_without_a_service_the_icon_tells_and_that_is_told_once(desk: Desk) -> None:
    desk.service = False
    tray = desk.start()
    until(lambda: desk.icon.menus)
    desk.hold(LOST)
    desk.hold(holds(LEFTOVERS, Path("/envs/other")))
    until(lambda: len(desk.icon.told) == 2)
    assert "TensorFlow sees no GPU in tf" in [title for title, _ in desk.icon.told]
    desk.settle(tray)
    assert desk.events == ["no notification service answers; the icon and the log tell"]
    assert "The icon's menu repairs it." in dict(desk.icon.told)["TensorFlow sees no GPU in tf"]
    desk.icon.clicked()
    until(lambda: desk.opened)


def test_what_was_acknowledged_is_forgotten_when_it_is_over(desk: Desk) -> None:
    desk.board.silence(TF, "cudnn-missing", Silence.ACKNOWLEDGED)
    tray = desk.start()
    desk.hold(LOST)
    desk.settle(tray)
    assert desk.sent == []
    desk.hold(holds(WELL))
    until(lambda: desk.board.silenced() == {})
    desk.hold(replace(LOST, since=NOW + 60))
    until(lambda: desk.sent)


# ---- clicking ----------------------------------------------------------------------------------


def test_a_click_on_check_now_asks_tensorflow_whatever_speaks_against_it(desk: Desk) -> None:
    desk.start()
    until(lambda: desk.icon.menus)
    desk.click("Check now")
    until(lambda: desk.asked == [(Depth.TENSORFLOW, {"forced": True})])
    assert desk.woken == 0


def test_checking_ends_a_pause(desk: Desk) -> None:
    desk.board.pause(NOW + 3600)
    desk.start()
    until(lambda: desk.icon.titles)
    assert desk.icon.titles[0].startswith("tfgpu-tray: paused until")
    desk.click("Check now")
    until(lambda: desk.asked and desk.woken == 1)
    assert desk.board.paused_until is None and desk.events == ["watching again"]


def test_a_repair_is_started_and_its_notification_taken_away(desk: Desk) -> None:
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.sent and any("✗" in item.text for item in desk.menu))
    desk.click("Repair now")
    until(lambda: desk.withdrawn == [TF])
    assert desk.healer.started == [("repair", TF)]
    assert desk.events == ["repair started from the tray"]
    desk.healer.busy = True
    tray.pressed(TF, "repair")
    desk.settle(tray)
    assert len(desk.events) == 1 and desk.withdrawn == [TF]


@pytest.mark.parametrize("button", ["repair", "undo"])
def test_a_button_starts_what_it_says(desk: Desk, button: str) -> None:
    desk.start().pressed(TF, button)
    until(lambda: desk.healer.started == [(button, TF)])


def test_another_panel_gets_other_pictures(desk: Desk) -> None:
    tray = desk.start()
    desk.hold(holds(WELL))
    until(lambda: desk.icon.titles and "GPU visible" in desk.icon.titles[-1])
    desk.settle(tray)
    shown = len(desk.icon.pictures)
    tray.repaint(FakeArtwork(Path("/")))  # the same
    desk.settle(tray)
    assert len(desk.icon.pictures) == shown
    tray.repaint(FakeArtwork(Path("/"), dark=True))
    until(lambda: len(desk.icon.pictures) == shown + 1)


def test_details_are_opened(desk: Desk) -> None:
    tray = desk.start()
    tray.pressed(TF, "details")
    tray.details(None)
    tray.open_configuration()
    until(lambda: len(desk.opened) == 3)
    assert [path.name for path in desk.opened] == [
        "details of tf",
        "details of None",
        "config.toml",
    ]


def test_a_cause_is_silenced_and_heard_again(desk: Desk) -> None:
    desk.start()
    desk.hold(LOST)
    until(lambda: desk.icon.pictures[-1:] == [b"broken None"] and desk.sent)
    until(lambda: any("✗" in item.text for item in desk.menu))
    desk.click("✗ tf", "Ignore this here")
    until(lambda: desk.icon.pictures[-1:] == [b"ok None"])
    assert desk.withdrawn == [TF]
    until(lambda: any("– tf" in item.text for item in desk.menu))
    desk.click("– tf", "Ignore this here")
    until(lambda: desk.icon.pictures[-1:] == [b"broken None"])
    assert desk.events == ["cudnn-missing: ignored", "cudnn-missing: no longer silenced"]
    assert len(desk.sent) == 1


def test_a_pause_holds_back_and_says_how_long(desk: Desk) -> None:
    tray = desk.start()
    until(lambda: desk.icon.menus)
    desk.click("Pause", "for 1 hour")
    until(lambda: desk.icon.pictures[-1:] == [b"paused None"])
    assert desk.board.paused_until == NOW + 3600 and desk.woken == 1
    desk.hold(LOST)
    desk.settle(tray)
    assert desk.sent == []
    desk.now += 3601
    tray.refresh()
    until(lambda: desk.sent)


def test_until_tomorrow_is_six_in_the_morning(desk: Desk) -> None:
    tray = desk.start()
    tray.pause_until_tomorrow()
    until(lambda: desk.board.paused_until)
    then = time.localtime(desk.board.paused_until)
    assert (then.tm_hour, then.tm_min) == (6, 0)
    for now in (NOW + hours * 3600 for hours in range(0, 24 * 400, 7)):
        assert 6 * 3600 - 3601 <= tomorrow(now) - now <= 30 * 3600 + 3601
        assert time.localtime(tomorrow(now)).tm_hour == 6


def test_starting_at_login_is_turned_over(desk: Desk) -> None:
    desk.at_login = True
    desk.start()
    until(lambda: desk.icon.menus and next(i for i in desk.menu if "login" in i.text).checked)
    desk.click("Start at login")
    until(lambda: not next(i for i in desk.menu if "login" in i.text).checked)
    assert not desk.at_login


def test_what_is_of_no_environment_is_told_and_leads_to_all_details(desk: Desk) -> None:
    tray = desk.start()
    tray.announce("TensorFlow in WSL", "WSL 2 is there now, with Ubuntu")
    until(lambda: desk.sent)
    [notice] = desk.sent
    assert (notice.title, notice.buttons) == ("TensorFlow in WSL", ())
    tray.pressed(notice.prefix, "details")
    until(lambda: desk.opened == [Path("/details of None")])


# ---- how a repair ended ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome, title, buttons, event, told",
    [
        (
            ActionOutcome(TF, "repair", "done", "TensorFlow sees a GPU", "ok"),
            "tf is repaired",
            ("undo", "details"),
            "repair done: TensorFlow sees a GPU",
            notices.MENDED,
        ),
        (
            ActionOutcome(TF, "undo", "undone", "libcudnn.so.8 is missing", "broken"),
            "The repair of tf is taken back",
            ("details",),
            "the repair was taken back: libcudnn.so.8 is missing",
            notices.TAKEN_BACK,
        ),
        (
            ActionOutcome(TF, "repair", "nothing-to-do", "nothing is wrong", "ok"),
            "Nothing to repair in tf",
            ("details",),
            "nothing to do: nothing is wrong",
            None,
        ),
        (
            ActionOutcome(TF, "repair", "rolled-back", "no better than before"),
            "tf could not be repaired",
            ("details",),
            "put back, nothing was changed in the end: no better than before",
            None,
        ),
        (
            ActionOutcome(TF, "repair", "stuck", "a file is locked"),
            "tf could not be repaired",
            ("details",),
            "not everything could be put back: a file is locked",
            None,
        ),
        (
            ActionOutcome(TF, "undo", "failed", "pip is at work there"),
            "The repair of tf could not be taken back",
            ("details",),
            "undo failed: pip is at work there",
            None,
        ),
        (
            ActionOutcome(TF, "repair", "failed", ""),
            "tf could not be repaired",
            ("details",),
            "repair failed",
            None,
        ),
    ],
)
def test_how_it_ended_is_told_once(
    desk: Desk,
    outcome: ActionOutcome,
    title: str,
    buttons: tuple[str, ...],
    event: str,
    told: str | None,
) -> None:
    tray = desk.start()
    tray.ended(outcome)
    assert desk.board.told() == ({TF: (told, NOW)} if told else {})  # at once
    until(lambda: desk.sent)
    notice = desk.sent[0]
    assert (notice.title, notice.buttons, notice.urgent) == (title, buttons, False)
    assert notice.body == outcome.text and desk.events == [event]
    assert desk.asked == [(Depth.STATIC, [TF], {})]


def test_what_held_before_the_repair_is_not_told_after_it(desk: Desk) -> None:
    """The notification waited; the repair was quicker; the monitor has not looked yet."""
    desk.reason = "a program fills the screen"
    tray = desk.start()
    desk.hold(LOST)
    until(lambda: desk.events)
    desk.repairs = (at_work(),)
    desk.settle(tray)
    desk.reason = None
    tray.ended(ActionOutcome(TF, "repair", "done", "TensorFlow sees a GPU", "ok"))
    desk.repairs = ()
    until(lambda: desk.sent)
    desk.settle(tray)
    assert [notice.title for notice in desk.sent] == ["tf is repaired"]
    desk.now += 10
    desk.hold(holds(WELL, seen=desk.now))
    desk.settle(tray)
    assert len(desk.sent) == 1


def test_without_notifications_how_it_ended_is_in_the_history_only(desk: Desk) -> None:
    tray = desk.start(Config(notifications=Notifications(enabled=False)))
    desk.hold(LOST)
    tray.ended(ActionOutcome(TF, "repair", "failed", "pip is at work"))
    until(lambda: desk.events)
    desk.settle(tray)
    assert desk.sent == [] and desk.events == ["repair failed: pip is at work"]
