"""The virtual desktop shows what a person would see, and its mouse and keyboard really act."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageDraw

from tests.lab.desktop import (
    GONE,
    REPLACED,
    Box,
    Colour,
    Desktop,
    DesktopError,
    MenuEntry,
    TrayIcon,
)
from tests.lab.desktop.picture import tray_icons
from tests.lab.machine import REPOSITORY
from tests.needs import lacking
from tests.until import until
from tfgpu_tray.tray.sni import SEPARATOR, Icon, MenuItem

pytestmark = pytest.mark.lab

PAINT = {
    Colour.RED: "#cf222e",
    Colour.AMBER: "#b45309",
    Colour.GREEN: "#1a7f37",
    Colour.BLUE: "#0969da",
    Colour.VIOLET: "#7a45d6",
    Colour.GREY: "#828b96",
}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if reason := Desktop.missing():
        lacking(reason)


@pytest.fixture
def artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pictures of failures go that a test provokes."""
    folder = tmp_path / "screens"
    monkeypatch.setenv("TFGPU_ARTEFACTS", str(folder))
    return folder


@pytest.fixture
def chosen() -> list[str]:
    """The names of the entries whose action ran."""
    return []


@pytest.fixture
def icon(desktop: Desktop, chosen: list[str]) -> Iterator[Icon]:
    """A green icon with a menu."""

    def entry(name: str, **more: Any) -> MenuItem:
        return MenuItem(name, lambda _icon: chosen.append(name), **more)

    menu = (
        entry("Not now", enabled=False),
        entry("Repair now"),
        entry("Hidden", visible=False),
        SEPARATOR,
        MenuItem("Environments", submenu=(entry("base"), entry("tf_gpu"))),
        entry("Watch", checked=True),
        entry("Open", default=True),
    )
    address = desktop.environ["DBUS_SESSION_BUS_ADDRESS"]
    icon = Icon(
        "test", painted(Colour.GREEN), menu=menu, bus_address=address, wait=True, pauses=(0.1,)
    )
    icon.run_detached()
    yield icon
    icon.stop()


def painted(colour: Colour) -> Image.Image:
    """A dark chip with a disc of the colour."""
    picture = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((4, 4, 59, 59), fill="#2b3038")
    draw.ellipse((24, 24, 63, 63), fill=PAINT[colour])
    return picture


def inhabitants(runtime: str) -> list[psutil.Process]:
    """Processes that have this XDG_RUNTIME_DIR."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("XDG_RUNTIME_DIR") == runtime:
                found.append(process)
        except psutil.Error:
            continue
    return found


def notify(desktop: Desktop, *words: str) -> int:
    """The exit code of notify-send."""
    environ = os.environ | desktop.environ
    return subprocess.run(["notify-send", *words], env=environ, timeout=10).returncode


@pytest.mark.parametrize("colour", PAINT)
def test_an_icon_is_seen_in_its_colour(desktop: Desktop, icon: Icon, colour: Colour) -> None:
    assert desktop.wait_for_icon().colour is Colour.GREEN
    icon.icon = painted(colour)
    box = desktop.wait_for_icon(colour).box
    desktop.screenshot("seen")
    assert desktop.icon_colour() is colour
    tray = desktop.tray_area()
    assert tray.left <= box.left < box.right <= tray.right
    assert 24 <= box.right - box.left <= 32


def test_an_icon_that_is_hidden_or_gone_is_not_seen(desktop: Desktop, icon: Icon) -> None:
    desktop.wait_for_icon()
    icon.visible = False
    desktop.wait_for_no_icon()
    icon.visible = True
    desktop.wait_for_icon(Colour.GREEN)
    icon.stop()
    desktop.wait_for_no_icon()
    assert desktop.icon_colour() is None


def test_the_menu_opens_and_an_entry_is_chosen(
    desktop: Desktop, icon: Icon, chosen: list[str]
) -> None:
    desktop.open_menu()
    desktop.screenshot("open")
    assert [entry.label for entry in desktop.menu_items()] == [
        "Not now",
        "Repair now",
        "",
        "Environments",
        "Watch",
        "Open",
    ]
    off, repair, separator, environments, watch, _ = desktop.menu_items()
    assert (off.enabled, repair.enabled, watch.checked) == (False, True, True)
    assert [entry.label for entry in environments.entries] == ["base", "tf_gpu"]
    assert separator == MenuEntry(separator.id, "", True, None, ())
    desktop.close_menu()
    assert chosen == []

    desktop.click_menu("Repair now")
    until(lambda: chosen == ["Repair now"])
    desktop.click_menu("Environments", "tf_gpu")
    until(lambda: chosen == ["Repair now", "tf_gpu"])
    desktop.click_menu("Open")
    until(lambda: chosen == ["Repair now", "tf_gpu", "Open"])


@pytest.mark.parametrize("label", ["Not now", "Hidden", "Nowhere"])
def test_an_entry_that_cannot_be_chosen_is_an_error(
    desktop: Desktop, icon: Icon, label: str
) -> None:
    with pytest.raises(LookupError, match=label):
        desktop.click_menu(label)


def test_a_click_on_the_icon_does_the_default(
    desktop: Desktop, icon: Icon, chosen: list[str]
) -> None:
    desktop.click_icon()
    until(lambda: chosen == ["Open"])


def test_an_icon_comes_back_to_a_new_panel(desktop: Desktop, icon: Icon, chosen: list[str]) -> None:
    desktop.wait_for_icon(Colour.GREEN)
    desktop.stop_panel()
    desktop.screenshot("without-panel")
    until(lambda: not icon.hosted)
    desktop.start_panel()
    desktop.wait_for_icon(Colour.GREEN)
    desktop.click_menu("Repair now")
    until(lambda: chosen == ["Repair now"])


def test_an_icon_comes_back_to_a_new_bus(desktop: Desktop, icon: Icon, chosen: list[str]) -> None:
    desktop.wait_for_icon(Colour.GREEN)
    desktop.restart_bus()
    desktop.wait_for_icon(Colour.GREEN)
    desktop.click_menu("Repair now")
    until(lambda: chosen == ["Repair now"])


@pytest.mark.parametrize(
    ("action", "key"), [("Repair now", "fix"), ("later", "later"), (2, "default")]
)
def test_an_action_of_a_notification_is_pressed(
    desktop: Desktop, action: int | str, key: str
) -> None:
    notify(desktop, "Something else")
    desktop.wait_for_notification("Something else")
    words = ["notify-send", "-a", "doctor", "-u", "critical", "No GPU", "It <b>went</b>"]
    words += ["-A", "fix=Repair now", "-A", "later=Later", "-A", "default=Open"]
    environ = os.environ | desktop.environ
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True) as sender:
        shown = desktop.wait_for_notification("No GPU")
        desktop.screenshot("shown")
        with pytest.raises(LookupError, match="Dance"):
            desktop.press_notification_action("Dance")
        desktop.press_notification_action(action)
        assert sender.communicate(timeout=10)[0] == f"{key}\n"
    assert (shown.app, shown.summary, shown.body) == ("doctor", "No GPU", "It <b>went</b>")
    assert shown.actions == (("fix", "Repair now"), ("later", "Later"), ("default", "Open"))
    assert (shown.urgency, shown.replaces, shown.closed) == (2, 0, None)
    until(lambda: [one.summary for one in desktop.notifications()] == ["Something else"])
    assert [one.invoked for one in desktop.notified()] == [None, key]


def test_a_notification_is_replaced_and_dismissed(desktop: Desktop) -> None:
    notify(desktop, "First")
    first = desktop.wait_for_notification("First")
    notify(desktop, "-r", str(first.id), "Second")
    second = desktop.wait_for_notification("Second")
    assert (second.id, second.replaces) == (first.id, first.id)
    assert desktop.displayed() == 1
    assert [one.closed for one in desktop.notified()] == [REPLACED, None]
    desktop.close_notification()
    assert desktop.notifications() == ()
    assert desktop.notified()[-1].closed == 2  # dismissed by the user


def test_do_not_disturb_holds_notifications_back(desktop: Desktop, artefacts: Path) -> None:
    desktop.pause_notifications()
    notify(desktop, "Quiet")
    desktop.wait_for_notification("Quiet", shown=False)
    assert desktop.displayed() == 0
    with pytest.raises(DesktopError, match="Quiet"):
        desktop.wait_for_notification("Quiet", seconds=0.2)
    desktop.pause_notifications(False)
    desktop.wait_for_notification("Quiet")


def test_dunst_stays_away_until_it_is_started(desktop: Desktop) -> None:
    notify(desktop, "First")
    desktop.wait_for_notification("First")
    desktop.stop_dunst()
    assert [one.closed for one in desktop.notified()] == [GONE]
    assert notify(desktop, "Nobody there") != 0
    desktop.start_dunst()
    notify(desktop, "Again")
    desktop.wait_for_notification("Again")
    desktop.restart_bus()
    assert [(one.summary, one.closed) for one in desktop.notified()] == [
        ("First", GONE),
        ("Again", GONE),
    ]


def test_parts_are_left_out(artefacts: Path) -> None:
    with Desktop(panel=False, notifications=False) as desktop:
        names = {process.name() for process in inhabitants(desktop.environ["XDG_RUNTIME_DIR"])}
        assert {"Xvfb", "openbox", "dbus-daemon"} <= names
        assert names.isdisjoint({"xfce4-panel", "dunst"})
        assert not desktop.bus.owned("org.freedesktop.Notifications")
        with pytest.raises(DesktopError, match=r"panel is shown: not within 0\.1 s"):
            desktop.tray_area(seconds=0.1)


def test_the_given_home_is_used_and_kept(tmp_path: Path) -> None:
    with Desktop(home=tmp_path, panel=False) as desktop:
        assert desktop.environ["HOME"] == str(tmp_path)
    assert (tmp_path / ".config" / "dunst" / "dunstrc").is_file()


def test_nothing_is_left_behind() -> None:
    with Desktop() as desktop:
        left = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env=os.environ | desktop.environ,
            start_new_session=True,
        )
        until(
            lambda: (
                "xfconfd"
                in {process.name() for process in inhabitants(desktop.environ["XDG_RUNTIME_DIR"])}
            )
        )
    assert left.wait(timeout=10) == -9
    assert inhabitants(desktop.environ["XDG_RUNTIME_DIR"]) == []
    assert not desktop.folder.exists()


def test_a_start_that_fails_says_why_and_leaves_nothing_behind(
    artefacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dunst = tmp_path / "dunst"
    dunst.write_text("#!/bin/sh\necho 'the font is missing' >&2\nexit 3\n")
    dunst.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    desktop = Desktop()
    with pytest.raises(DesktopError) as raised, desktop:
        pass
    assert "dunst ended with 3 and printed:\nthe font is missing" in str(raised.value)
    (picture,) = artefacts.iterdir()
    assert str(picture) in str(raised.value)
    assert inhabitants(desktop.environ["XDG_RUNTIME_DIR"]) == []
    assert not desktop.folder.exists()


def test_a_failing_test_leaves_a_picture(artefacts: Path) -> None:
    with pytest.raises(ZeroDivisionError), Desktop(panel=False):
        _ = 1 / 0
    (picture,) = artefacts.iterdir()
    assert picture.name == "test_a_failing_test_leaves_a_picture-failure.png"
    with Image.open(picture) as image:
        assert image.size == (1024, 768)


def test_a_test_run_that_is_killed_leaves_no_process_behind() -> None:
    code = (
        "import time; from tests.lab.desktop import Desktop\n"
        "with Desktop() as desktop: print(desktop.folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder = run.stdout.readline().strip()
        names = {process.name() for process in inhabitants(f"{folder}/run")}
        run.kill()
    assert {"Xvfb", "openbox", "dbus-daemon", "xfce4-panel", "dunst"} <= names
    until(lambda: inhabitants(f"{folder}/run") == [])
    shutil.rmtree(folder)


def test_what_the_machine_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    assert Desktop.missing() == (
        "the desktop needs: apt-get install xvfb openbox xfce4-panel dunst dbus libnotify-bin "
        "xdotool x11-utils util-linux xfconf"
    )


def test_two_icons_are_told_apart() -> None:
    screen = Image.new("RGB", (200, 60), "black")
    draw = ImageDraw.Draw(screen)
    draw.rectangle((10, 10, 159, 49), fill="#f2f2f2")
    draw.rectangle((20, 15, 27, 44), fill=PAINT[Colour.RED])
    draw.rectangle((31, 20, 39, 40), fill=PAINT[Colour.RED])  # three blank columns: the same icon
    draw.rectangle((50, 15, 79, 44), fill=PAINT[Colour.GREY])
    assert tray_icons(screen, Box(10, 10, 160, 50)) == (
        TrayIcon(Box(20, 15, 40, 45), Colour.RED),
        TrayIcon(Box(50, 15, 80, 45), Colour.GREY),
    )
