"""Notifications as a freedesktop.org service gets them, and what happens when there is none."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("the session bus is Linux's", allow_module_level=True)

from tests.tray.fake_host import Bus
from tests.tray.fake_notifications import Notifications, Screen
from tests.until import until
from tfgpu_tray.tray.artwork import CannotDraw
from tfgpu_tray.tray.loop import LoopThread
from tfgpu_tray.tray.notices import Notice
from tfgpu_tray.tray.notifier import Notifier
from tfgpu_tray.tray.status import Status
from tfgpu_tray.tray.statusnotifier import BUS, call, close, connect

TF, OTHER = Path("/envs/tf"), Path("/envs/other")
LOST = Notice(
    TF,
    "broken cudnn-missing 1.000",
    "TensorFlow sees no GPU in tf",
    "Missing: <libcudnn.so.8> & more.",
    ("repair", "details"),
    Status.BROKEN,
    urgent=True,
)
QUICK = 0.5  # seconds that a service gets in tests of one that does not answer


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def service(bus: Bus, screen: Screen) -> Iterator[Notifications]:
    service = Notifications(bus.address, screen)
    yield service
    service.close()


class Desk:
    """A notifier on a loop of its own, as the tray has it."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.pressed: list[tuple[Path, str]] = []
        self.complaints: list[dict[str, Any]] = []
        self.notifier = self.notifier_with()
        self.loop.loop.set_exception_handler(lambda _, context: self.complaints.append(context))

    def notifier_with(
        self, seconds: float = 5.0, emblem: Callable[[Status], Path] | None = None
    ) -> Notifier:
        self.notifier = Notifier(
            lambda prefix, button: self.pressed.append((prefix, button)),
            emblem or (lambda status: Path(f"/icons/{status.value}.png")),
            seconds,
        )
        return self.notifier

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.submit(work).result(20)

    def send(self, notice: Notice = LOST) -> bool:
        return bool(self.do(self.notifier.send(notice)))

    def clear(self, prefix: Path = TF) -> None:
        self.do(self.notifier.clear(prefix))


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Ends with a look for what asyncio would have complained of."""
    desk = Desk()
    yield desk
    desk.do(desk.notifier.close())
    desk.loop.stop()
    gc.collect()
    assert desk.complaints == []


# ---- what is sent ------------------------------------------------------------------------------


def test_a_notice_is_sent_with_its_buttons(service: Notifications, desk: Desk) -> None:
    assert desk.send()
    sent = service.screen.only
    assert sent.title == "TensorFlow sees no GPU in tf"
    assert [label for label in sent.actions.values() if label] == ["Repair", "Details"]
    assert sent.hints["urgency"] == 2 and sent.icon == "file:///icons/broken.png"


def test_what_is_not_urgent_goes_away_by_itself(service: Notifications, desk: Desk) -> None:
    assert desk.send(replace(LOST, urgent=False))
    assert service.screen.only.hints["urgency"] == 1


@pytest.mark.parametrize(
    "capabilities, body",
    [
        (("body", "body-markup"), "Missing: &lt;libcudnn.so.8&gt; &amp; more."),
        (("body",), "Missing: <libcudnn.so.8> & more."),
    ],
)
def test_markup_is_written_for_those_who_read_it(
    bus: Bus, screen: Screen, desk: Desk, capabilities: tuple[str, ...], body: str
) -> None:
    service = Notifications(bus.address, screen, capabilities)
    assert desk.send()
    service.close()
    assert screen.only.body == body


def test_a_service_without_buttons_gets_none(bus: Bus, screen: Screen, desk: Desk) -> None:
    service = Notifications(bus.address, screen, ("body",))
    assert desk.send()
    service.close()
    assert not any(screen.only.actions.values())


def test_a_later_notice_takes_the_place_of_the_earlier(service: Notifications, desk: Desk) -> None:
    assert desk.send() and desk.send(replace(LOST, prefix=OTHER, title="other"))
    assert desk.send(replace(LOST, title="again"))
    assert sorted(s.title for s in service.screen.shown.values()) == ["again", "other"]


def test_two_at_once_for_one_environment_do_not_stack(service: Notifications, desk: Desk) -> None:
    async def both() -> list[bool]:
        notices = (replace(LOST, title=str(number)) for number in range(5))
        return await asyncio.gather(*(desk.notifier.send(notice) for notice in notices))

    assert desk.do(both()) == [True] * 5
    assert service.screen.only.title == "4"


def test_what_is_over_is_taken_away(service: Notifications, desk: Desk) -> None:
    desk.send()
    desk.send(replace(LOST, prefix=OTHER))
    desk.clear(OTHER)
    desk.clear(OTHER)
    assert len(service.screen.shown) == 1
    desk.clear()
    assert service.screen.shown == {}


def test_what_the_user_closed_is_not_taken_away_twice(service: Notifications, desk: Desk) -> None:
    desk.send()
    service.user_closes_everything()
    desk.clear()
    assert desk.send() and len(service.screen.shown) == 1


def test_a_notice_goes_out_without_a_picture_rather_than_not_at_all(
    service: Notifications, desk: Desk
) -> None:
    def no_picture(status: Status) -> Path:
        raise CannotDraw("the disk is full")

    desk.notifier_with(emblem=no_picture)
    assert desk.send() and service.screen.only.title == LOST.title


# ---- what is pressed ---------------------------------------------------------------------------


def test_a_button_says_which_environment_it_is_for(service: Notifications, desk: Desk) -> None:
    desk.send()
    desk.send(replace(LOST, prefix=OTHER, buttons=("undo", "details")))
    service.press("Undo")
    until(lambda: desk.pressed == [(OTHER, "undo")])
    service.press("Repair")
    until(lambda: desk.pressed == [(OTHER, "undo"), (TF, "repair")])


def test_a_click_on_the_notification_itself_shows_details(
    service: Notifications, desk: Desk
) -> None:
    desk.send()
    service.press("")  # freedesktop.org's action "default" has no label
    until(lambda: desk.pressed == [(TF, "details")])


# ---- without a service -------------------------------------------------------------------------


def test_without_a_service_it_says_so_at_once(bus: Bus, desk: Desk) -> None:
    start = time.monotonic()
    assert not desk.send()
    desk.clear()
    assert time.monotonic() - start < 2


def test_without_a_bus_it_says_so_at_once(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    start = time.monotonic()
    assert not desk.send()
    assert time.monotonic() - start < 2


def test_a_service_that_ends_is_noticed_and_one_that_comes_back_is_used(
    bus: Bus, screen: Screen, desk: Desk
) -> None:
    first = Notifications(bus.address, screen)
    assert desk.send()
    first.close()
    screen.shown.clear()
    assert not desk.send()
    second = Notifications(bus.address, screen)
    assert desk.send() and len(screen.shown) == 1
    second.press("Repair")
    until(lambda: desk.pressed == [(TF, "repair")])
    second.close()


def test_a_service_that_was_replaced_gets_what_comes_next(
    bus: Bus, screen: Screen, desk: Desk
) -> None:
    first = Notifications(bus.address, screen)
    assert desk.send()
    first.close()
    screen.shown.clear()
    second = Notifications(bus.address, screen)
    assert desk.send() and len(screen.shown) == 1
    second.press("Repair")
    until(lambda: desk.pressed == [(TF, "repair")])
    second.close()


def test_a_new_session_bus_is_found(bus: Bus, screen: Screen, desk: Desk) -> None:
    first = Notifications(bus.address, screen)
    assert desk.send()
    bus.kill()
    first.close()
    assert not desk.send()
    bus.start()
    screen.shown.clear()
    second = Notifications(bus.address, screen)
    assert desk.send() and len(screen.shown) == 1
    second.close()


def test_a_lost_bus_takes_nothing_from_the_one_that_came(
    bus: Bus, screen: Screen, desk: Desk
) -> None:
    first = Notifications(bus.address, screen)
    assert desk.send()
    bus.kill()
    first.close()
    bus.start()
    at_once = time.monotonic()
    connections = [desk.do(connect()) for _ in range(6)]  # one has the lost one's file number now
    desk.clear()
    for connection in connections:
        assert desk.do(call(connection, BUS, "GetId")) is not None
        desk.do(close(connection))
    assert time.monotonic() - at_once < 2


def test_a_refusal_is_no_success(service: Notifications, desk: Desk) -> None:
    service.screen.refuses = True
    assert not desk.send()
    service.screen.refuses = False
    assert desk.send()


def test_a_service_that_hangs_holds_nobody_up(service: Notifications, desk: Desk) -> None:
    desk.notifier_with(QUICK)
    assert desk.send()
    service.hangs = True
    start = time.monotonic()
    assert not desk.send()
    desk.clear()
    assert time.monotonic() - start < 3 * QUICK
    service.hangs = False
    assert desk.send()


def test_a_service_that_hangs_while_it_takes_away_holds_nobody_up(
    service: Notifications, desk: Desk
) -> None:
    desk.notifier_with(QUICK)
    assert desk.send()
    service.hangs = True
    start = time.monotonic()
    desk.clear()
    assert time.monotonic() - start < 2 * QUICK


def test_nothing_is_logged_at_a_user_who_has_no_service(
    bus: Bus, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        desk.send()
    assert [r.levelname for r in caplog.records if r.name.startswith("tfgpu_tray")] == ["INFO"]
    assert not [r for r in caplog.records if r.exc_info]
