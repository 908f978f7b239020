"""The tray put together, on a session bus of the test's own with a made-up panel."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

if sys.platform != "linux":
    pytest.skip("the session bus is Linux's", allow_module_level=True)

from tests.tray.conditions import NO_CUDNN, TF, WELL, holds
from tests.tray.fake_host import Bus, Panel
from tests.tray.fake_notifications import Notifications, Screen
from tests.until import until
from tfgpu_tray.app import App
from tfgpu_tray.config import Config, default_text, load
from tfgpu_tray.face import Face
from tfgpu_tray.model import Depth, Event
from tfgpu_tray.monitor.monitor import Monitor
from tfgpu_tray.tray.backends import NO_TRAY

HERE, GONE = "the icon is in the panel", "the panel is gone; the icon comes back with it"
NOWHERE = f"watching without an icon: {NO_TRAY}"
SOON = 0.2  # seconds that a panel gets to come up
NEVER = 600.0
OURS = ("loop", "tray shows", "tray does", "tfgpu-tray clicks")


@dataclass
class FakeMonitor:
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    checking: Path | None = None

    def ask(self, *words: Any, **options: Any) -> None:
        self.asked.append((*words, options))


@pytest.fixture(scope="module")
def artwork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artwork")


class Desk:
    def __init__(self, folder: Path, artwork: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "artwork").symlink_to(artwork)  # drawn once
        self.app = App(
            Config(),
            folder / "data",
            {"XDG_CONFIG_HOME": str(folder / "config")},
            folder / "home",
            config_file=folder / "config" / "tfgpu-tray" / "config.toml",
            command=(sys.executable, "-c", "print('{}')"),
        )
        self.monitor = FakeMonitor()
        self.records: list[str] = []
        self.ended = 0
        self.faces: list[Face] = []

    def start(self, bus: Bus | None = None, patience: float = NEVER, **environ: str) -> Face:
        if bus is not None:
            environ["DBUS_SESSION_BUS_ADDRESS"] = bus.address
        self.app = replace(self.app, environ={**self.app.environ, **environ})
        face = Face(
            self.app,
            cast(Monitor, self.monitor),
            lambda kind, text: self.records.append(text),
            stop=self._stop,
            woken=lambda: None,
            resumed=lambda: None,
            patience=patience,
        )
        self.faces.append(face)
        return face

    def _stop(self) -> None:
        self.ended += 1


@pytest.fixture
def desk(tmp_path: Path, artwork: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, artwork)
    yield desk
    for face in desk.faces:
        face.stop()
    until(lambda: not [t.name for t in threading.enumerate() if t.name in OURS])


class Panels:
    """Each is closed when the test ends."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._open: list[Panel] = []

    def __call__(self, **options: Any) -> Panel:
        self._open.append(Panel(self._bus.address, **options))
        return self._open[-1]

    def close(self) -> None:
        while self._open:
            self._open.pop().close()


@pytest.fixture
def panel(bus: Bus) -> Iterator[Panels]:
    panels = Panels(bus)
    yield panels
    panels.close()


# ---- is there a panel --------------------------------------------------------------------------


def test_without_a_desktop_it_watches_without_an_icon(desk: Desk) -> None:
    desk.start()
    (record,) = desk.records
    assert record.startswith("watching without an icon: no desktop session here")


def test_a_panel_that_is_there_has_the_icon(bus: Bus, panel: Panels, desk: Desk) -> None:
    shown = panel()
    desk.app.board.hold(holds(WELL))
    desk.start(bus)
    until(lambda: desk.records == [HERE])
    until(lambda: shown.wait().get("Title") == "tfgpu-tray: GPU visible")


def test_a_panel_that_comes_up_after_login_is_waited_for(
    bus: Bus, panel: Panels, desk: Desk
) -> None:
    shown = panel(has_panel=False)
    desk.start(bus)
    shown.wait()
    assert desk.records == []
    shown.appear()
    until(lambda: desk.records == [HERE])


def test_where_no_panel_comes_it_is_told_once_with_what_would_help(
    bus: Bus, panel: Panels, desk: Desk
) -> None:
    shown = panel(has_panel=False)
    desk.start(bus, SOON)
    until(lambda: desk.records == [NOWHERE])
    shown.appear()
    until(lambda: desk.records == [NOWHERE, HERE])
    panel.close()
    until(lambda: desk.records == [NOWHERE, HERE, GONE])
    panel()
    until(lambda: desk.records == [NOWHERE, HERE, GONE, HERE])


def test_a_session_bus_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = Bus(tmp_path)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    desk.start(bus)
    bus.start()
    shown = Panel(bus.address)
    until(lambda: desk.records == [HERE])
    shown.close()
    bus.kill()


def test_an_x_server_alone_does_not_end_the_program(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    desk.start(DISPLAY=":987")
    (record,) = desk.records
    assert record.startswith("watching without an icon: pystray's appindicator")


def test_without_pictures_it_watches_without_an_icon(bus: Bus, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "data" / "artwork").unlink()
    (tmp_path / "data" / "artwork").write_text("a file where a folder should be")
    desk.start(bus)
    (record,) = desk.records
    assert record.startswith("watching without an icon: the pictures cannot be drawn")


# ---- what it does ------------------------------------------------------------------------------


def test_a_click_reaches_the_monitor_and_the_program(bus: Bus, panel: Panels, desk: Desk) -> None:
    shown = panel()
    desk.start(bus)
    until(lambda: any(row.label == "Quit" for row in shown.wait().menu().all()))
    shown.click("Check now")
    until(lambda: desk.monitor.asked == [(Depth.TENSORFLOW, {"forced": True})])
    shown.click("Quit")
    until(lambda: desk.ended == 1)


def test_a_loss_is_notified_and_its_button_starts_the_repair(bus: Bus, desk: Desk) -> None:
    service = Notifications(bus.address, Screen())
    face = desk.start(bus)
    desk.app.board.hold(holds(NO_CUDNN))
    face.refresh()
    until(lambda: service.screen.shown)
    assert service.screen.only.title == "TensorFlow sees no GPU in tf"
    service.press("Repair")
    until(lambda: "repair started from the tray" in [e.text for e in desk.app.board.events()])
    until(lambda: any("repair failed" in e.text for e in desk.app.board.events()))
    until(lambda: service.screen.shown)
    assert service.screen.only.title == "tf could not be repaired"
    face.stop()
    service.close()


def test_starting_at_login_is_what_the_entry_says(bus: Bus, panel: Panels, desk: Desk) -> None:
    shown = panel()
    desk.start(bus)
    until(lambda: any(row.label == "Quit" for row in shown.wait().menu().all()))
    shown.click("Start at login")
    until(lambda: shown.menu().find("Start at login").properties["toggle-state"] == 1)
    assert desk.app.autostart().status().enabled
    shown.click("Start at login")
    until(lambda: shown.menu().find("Start at login").properties["toggle-state"] == 0)
    assert not desk.app.autostart().status().enabled


def test_details_are_a_text_file(desk: Desk) -> None:
    desk.app.board.hold(holds(NO_CUDNN), Event("transition", TF, "broken: no cuDNN", 1.0))
    desk.app.board.hold(holds(WELL, Path("/envs/other")))
    face = desk.start()
    text = face._write_details(TF).read_text(encoding="utf-8")
    assert "libcudnn.so.8 is missing" in text and "broken: no cuDNN" in text
    assert "/envs/other" not in text
    assert "/envs/other" in face._write_details(None).read_text(encoding="utf-8")


def test_the_configuration_is_written_once(desk: Desk) -> None:
    face = desk.start()
    path = face._write_configuration()
    assert path == desk.app.config_file and path.read_text(encoding="utf-8") == default_text()
    assert load(path) == Config()
    path.write_text("# mine\n")
    assert face._write_configuration().read_text() == "# mine\n"


@pytest.mark.parametrize("chosen", ["dark", "light"])
def test_the_configuration_says_what_the_panel_is(
    desk: Desk, artwork: Path, bus: Bus, chosen: str
) -> None:
    desk.app = replace(desk.app, config=Config(panel=chosen))
    desk.start(bus, XDG_CURRENT_DESKTOP="GNOME" if chosen == "light" else "KDE")
    assert [place for place in artwork.iterdir() if place.name.endswith(f"-{chosen}")]


def test_it_ends_at_once_and_names_the_repairs_that_go_on(desk: Desk) -> None:
    import psutil

    desk.app = replace(desk.app, command=(sys.executable, "-c", "import time; time.sleep(60)"))
    face = desk.start()
    face._tray.repair(TF)
    until(lambda: face._healer.processes)
    (number,) = face.stop()
    repair = psutil.Process(number)
    assert repair.is_running()
    repair.kill()
    until(lambda: not face._healer.active)
    assert face._answer(_never(), "otherwise") == "otherwise"  # nobody is left to answer


async def _never() -> str:
    return "answer"
