"""What a person on a desktop sees of the watcher and does with it: XFCE's panel, dunst, a mouse."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.lab.desktop import Colour, Desktop
from tests.lab.lab import Lab
from tests.lab.machine import REPOSITORY, Machine
from tests.lab.watching import Toys, Watching, hold_tensorflow, suspended
from tests.needs import lacking
from tfgpu_tray.model import Verdict
from tfgpu_tray.store.board import Silence

LOST = "TensorFlow sees no GPU in tf"
REPAIRED = "tf is repaired"
TAKEN_BACK = "The repair of tf is taken back"
REPLACED = r"`pip install tensorflow==2\.15\.1` replaced tensorflow 2\.10\.1 with 2\.15\.1 at \d"
SOON = 5.0  # seconds from the end of pip to another icon, with other tests beside it
LATE = 45  # seconds in which what the program waits with for half a minute must have happened


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    return Machine(lab, tmp_path)


@pytest.fixture
def desktop_home(machine: Machine) -> Path:
    return machine.home


@pytest.fixture
def prefix(toys: Toys, machine: Machine) -> Path:
    return toys.environment(machine)


def watching(machine: Machine, desktop: Desktop) -> Watching:
    return Watching(machine, desktop=desktop)


def break_it(machine: Machine, prefix: Path) -> None:
    machine.pip(prefix, "install", "tensorflow==2.15.1")


def entry(desktop: Desktop, start: str, seconds: float = 10) -> str:
    """The menu's entry that begins so, once there is one."""
    end = time.monotonic() + seconds
    while True:
        labels = [entry.label for entry in desktop.menu_items()]
        if found := [label for label in labels if label.startswith(start)]:
            return found[0]
        assert time.monotonic() < end, f"nothing begins with {start!r} among {labels}"
        time.sleep(0.05)


def repair_by_menu(desktop: Desktop) -> None:
    desktop.click_menu(entry(desktop, "Repair now: "))


def titles(desktop: Desktop) -> list[str]:
    """Of every notification that there was."""
    return [one.summary for one in desktop.notified()]


# ---- the whole story ----------------------------------------------------------------------------


@pytest.mark.long
def test_the_real_tensorflow_is_broken_healed_and_broken_again(
    machine: Machine, desktop: Desktop
) -> None:
    prefix = machine.lab.article(machine.home / ".conda" / "envs" / "tf")
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN, 40)
        desktop.screenshot("1-green")

        python = str(prefix / "bin" / "python")
        pip = [python, "-m", "pip", "install", "-q", "tensorflow==2.15.1"]
        with subprocess.Popen(pip, env=machine.environ()) as working:
            while working.poll() is None:
                assert desktop.icon_colour() is Colour.GREEN  # nothing is judged half-way
        ended = time.monotonic()
        desktop.wait_for_icon(Colour.RED)
        took = time.monotonic() - ended
        assert took <= SOON
        lost = desktop.wait_for_notification(LOST, 30)
        desktop.screenshot("2-told")
        assert re.search(REPLACED, lost.body)
        assert [label for _, label in lost.actions] == ["", "Repair", "Details"]

        desktop.open_menu()
        desktop.screenshot("3-menu")
        repair_by_menu(desktop)
        desktop.wait_for_icon(Colour.BLUE)
        desktop.screenshot("4-repairing")
        assert desktop.notifications() == ()  # the complaint is withdrawn
        desktop.wait_for_icon(Colour.GREEN, 120)
        done = desktop.wait_for_notification(REPAIRED)
        desktop.screenshot("5-healed")
        assert [label for _, label in done.actions] == ["", "Undo", "Details"]

        desktop.press_notification_action("Undo")
        desktop.wait_for_icon(Colour.BLUE)
        desktop.wait_for_icon(Colour.RED, 60)
        desktop.wait_for_notification(TAKEN_BACK)
        broken = watcher.wait_for_verdict(prefix, Verdict.BROKEN, 40)
        desktop.screenshot("6-taken-back")
        desktop.click_menu("Check now")
        watcher.wait("it looks again", lambda: seen_after(watcher, prefix, broken.seen), 40)
    assert titles(desktop) == [LOST, REPAIRED, TAKEN_BACK]


def seen_after(watcher: Watching, prefix: Path, moment: float) -> bool:
    held = watcher.condition(prefix)
    return held is not None and held.seen > moment


def test_a_hook_deleted_by_hand_is_written_again_from_the_notification(
    machine: Machine, desktop: Desktop
) -> None:
    prefix = machine.lab.article(machine.home / ".conda" / "envs" / "tf")
    hook = prefix / "etc" / "conda" / "activate.d" / "env_vars.sh"
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN, 40)
        watcher.wait_for_watch(hook.parent)
        hook.unlink()
        desktop.wait_for_icon(Colour.RED)
        lost = desktop.wait_for_notification(LOST, 30)
        desktop.screenshot("told")
        held = watcher.condition(prefix)
        assert held is not None
        assert held.shown.who.startswith("the hook env_vars.sh was deleted at ")
        assert held.shown.who.endswith(", not by a package manager")
        assert held.shown.who[1:] in lost.body

        desktop.press_notification_action("Repair")
        desktop.wait_for_icon(Colour.BLUE)
        desktop.wait_for_icon(Colour.GREEN, 60)
        desktop.wait_for_notification(REPAIRED)
    assert titles(desktop) == [LOST, REPAIRED]


# ---- a desktop that lacks something -------------------------------------------------------------


def test_a_tray_that_comes_later_shows_the_icon(machine: Machine, prefix: Path) -> None:
    needs_a_desktop()
    with (
        Desktop(home=machine.home, panel=False) as desktop,
        watching(machine, desktop) as watcher,
    ):
        watcher.wait_for_verdict(prefix, Verdict.OK)
        said = watcher.wait_for_event("tray", seconds=LATE)
        assert "watching without an icon: no panel shows tray icons here" in said.text
        assert "gnome-shell-extension-appindicator" in said.text  # how to get one
        break_it(machine, prefix)
        desktop.wait_for_notification(LOST)
        assert len(watcher.events("tray")) == 1
        desktop.start_panel()
        desktop.wait_for_icon(Colour.RED)
        desktop.screenshot("panel-came")
        watcher.wait_for_event("tray", "the icon is in the panel")
        watcher.stop(seconds=2)
        desktop.wait_for_no_icon()


def test_panel_and_bus_are_restarted(machine: Machine, prefix: Path, desktop: Desktop) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        desktop.restart_panel()
        desktop.wait_for_icon(Colour.GREEN)
        break_it(machine, prefix)
        desktop.wait_for_icon(Colour.RED)
        desktop.wait_for_notification(LOST)

        desktop.restart_bus()
        desktop.wait_for_icon(Colour.RED, 30)
        repair_by_menu(desktop)
        desktop.wait_for_icon(Colour.GREEN)
        desktop.wait_for_notification(REPAIRED)
        desktop.press_notification_action("Undo")
        desktop.wait_for_icon(Colour.RED)
        desktop.wait_for_notification(TAKEN_BACK)
        said = [event.text for event in watcher.events("tray")]
    gone, there = "the panel is gone; the icon comes back with it", "the icon is in the panel"
    assert said == [there, gone, there, gone, there]


def test_a_notification_service_that_comes_later_is_used(machine: Machine, prefix: Path) -> None:
    needs_a_desktop()
    with (
        Desktop(home=machine.home, notifications=False) as desktop,
        watching(machine, desktop) as watcher,
    ):
        desktop.wait_for_icon(Colour.GREEN)
        break_it(machine, prefix)
        desktop.wait_for_icon(Colour.RED)
        watcher.wait_for_event("quiet", "no notification service answers")
        repair_by_menu(desktop)
        watcher.wait_for_event("repair", "repair done")
        desktop.wait_for_icon(Colour.GREEN)

        desktop.start_dunst()
        name = entry(desktop, "✓ tf")
        about = next(e for e in desktop.menu_items() if e.label == name)
        undo = next(e.label for e in about.entries if e.label.startswith("Undo the repair"))
        desktop.click_menu(name, undo)
        desktop.wait_for_notification(TAKEN_BACK)
        assert len(watcher.events("quiet")) == 1
        assert titles(desktop) == [TAKEN_BACK]


def test_without_any_desktop_it_watches_all_the_same(machine: Machine, prefix: Path) -> None:
    with Watching(machine) as watcher:
        watcher.wait_for_verdict(prefix, Verdict.OK)
        break_it(machine, prefix)
        watcher.wait_for_verdict(prefix, Verdict.BROKEN)
        (said,) = watcher.events("tray")
        watcher.stop()
    assert said.text.startswith("watching without an icon: no desktop session here")


def needs_a_desktop() -> None:
    if reason := Desktop.missing():
        lacking(reason)


# ---- notifications: once, and not while they disturb --------------------------------------------


def test_do_not_disturb_holds_a_notification_back(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        desktop.pause_notifications()
        break_it(machine, prefix)
        desktop.wait_for_icon(Colour.RED)
        watcher.wait_for_event("quiet", "a notification waits: the desktop is set to not disturb")
        assert titles(desktop) == []
        desktop.pause_notifications(False)
        desktop.wait_for_notification(LOST, LATE)
        repair_by_menu(desktop)
        desktop.wait_for_notification(REPAIRED)
    assert titles(desktop) == [LOST, REPAIRED]


def test_a_killed_watcher_does_not_tell_twice(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        break_it(machine, prefix)
        desktop.wait_for_notification(LOST)
        before = watcher.condition(prefix)
        watcher.kill()
        desktop.wait_for_no_icon()
        watcher.start()
        desktop.wait_for_icon(Colour.RED)
        after = watcher.condition(prefix)
        repair_by_menu(desktop)
        desktop.wait_for_notification(REPAIRED, shown=False)
    assert titles(desktop) == [LOST, REPAIRED]
    assert before is not None and after is not None
    assert (after.settled, after.since) == (before.settled, before.since)


def test_a_watcher_killed_before_it_told_tells_when_it_is_back(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        release = hold_tensorflow(prefix)  # red is shown at once, and told when TensorFlow said so
        break_it(machine, prefix)
        desktop.wait_for_icon(Colour.RED)
        watcher.kill()
        desktop.wait_for_no_icon()
        release()
        assert titles(desktop) == []
        watcher.start()
        desktop.wait_for_icon(Colour.RED)
        lost = desktop.wait_for_notification(LOST)
        assert re.search(REPLACED, lost.body)
        repair_by_menu(desktop)
        desktop.wait_for_notification(REPAIRED)
    assert titles(desktop) == [LOST, REPAIRED]


# ---- starting and ending ------------------------------------------------------------------------


def test_a_second_instance_says_what_the_first_one_knows(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        second = subprocess.run(
            watcher.command, cwd=REPOSITORY, env=watcher.environ, capture_output=True, timeout=5
        )
        assert len(desktop.icons()) == 1
        assert watcher.is_running
    assert (second.returncode, second.stderr) == (0, b"")
    assert "TensorFlow 2.10.1 sees a GPU" in second.stdout.decode()


def idle(machine: Machine, prefix: Path, desktop: Desktop, watcher: Watching) -> None:
    watcher.wait_for_verdict(prefix, Verdict.OK)


def ask_tensorflow(machine: Machine, prefix: Path, desktop: Desktop, watcher: Watching) -> None:
    hold_tensorflow(prefix)
    desktop.click_menu("Check now")

    probe = prefix / "bin" / "python"
    watcher.wait("TensorFlow is asked", lambda: str(probe) in programs(processes_below(watcher)))


def processes_below(watcher: Watching) -> list[psutil.Process]:
    return psutil.Process(watcher.pid).children(recursive=True)


def programs(processes: list[psutil.Process]) -> set[str]:
    """The first words of their command lines."""
    found = set()
    for process in processes:
        try:
            found.update(process.cmdline()[:1])
        except psutil.Error:
            continue  # it has just ended
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [idle, ask_tensorflow])
def test_a_signal_ends_it(
    machine: Machine,
    prefix: Path,
    desktop: Desktop,
    busy: Callable[[Machine, Path, Desktop, Watching], None],
    number: signal.Signals,
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        busy(machine, prefix, desktop, watcher)
        children = processes_below(watcher)
        watcher.stop(number, seconds=2)
        watcher.wait("no probe is left", lambda: not any(c.is_running() for c in children))
        desktop.wait_for_no_icon()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_repair_outlives_the_watcher(
    machine: Machine, prefix: Path, desktop: Desktop, number: signal.Signals
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        break_it(machine, prefix)
        desktop.wait_for_notification(LOST)
        repair_by_menu(desktop)
        pip = suspended(machine, str(prefix / "bin" / "python"), "install")
        watcher.stop(number, seconds=2)
        desktop.wait_for_no_icon()
        watcher.start()
        desktop.wait_for_icon()
        assert entry(desktop, "Repairing tf: Install TensorFlow 2.10.1")
        desktop.screenshot("still-repairing")
        pip.resume()
        desktop.wait_for_icon(Colour.GREEN)
        healed = watcher.wait_for_verdict(prefix, Verdict.OK)
        assert healed.shown.headline.startswith("TensorFlow 2.10.1 sees a GPU")


def test_it_starts_at_login_if_it_is_told_to(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    place = machine.home / ".config" / "autostart" / "tfgpu-tray.desktop"
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        desktop.click_menu("Start at login")
        watcher.wait("the entry is written", place.is_file)
        watcher.wait("it is checked", lambda: is_checked(desktop, "Start at login"))
        desktop.open_menu()
        desktop.screenshot("checked")
        desktop.close_menu()
        watcher.stop()
        desktop.wait_for_no_icon()

        lines = place.read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if line.startswith("Exec="))
        watcher.start(shlex.split(line.removeprefix("Exec=")))
        desktop.wait_for_icon()
        watcher.wait("it is checked", lambda: is_checked(desktop, "Start at login"))
        desktop.click_menu("Start at login")
        watcher.wait("the entry is removed", lambda: not place.exists())
        watcher.wait("it is not checked", lambda: not is_checked(desktop, "Start at login"))


def is_checked(desktop: Desktop, label: str) -> bool:
    return next(e.checked for e in desktop.menu_items() if e.label == label) is True


# ---- pausing and silencing ----------------------------------------------------------------------


def test_a_pause_is_a_pause(machine: Machine, prefix: Path, desktop: Desktop) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        desktop.click_menu("Pause", "for 1 hour")
        desktop.wait_for_icon(Colour.GREY)
        assert entry(desktop, "Paused until ")
        break_it(machine, prefix)
        desktop.screenshot("paused")
        clicked = time.time()
        desktop.click_menu("Go on watching")
        desktop.wait_for_icon(Colour.RED)
        desktop.wait_for_notification(LOST)
        broken = watcher.wait_for_verdict(prefix, Verdict.BROKEN)
        (changed,) = watcher.events("changed")
    assert clicked < changed.at < broken.since < clicked + 10
    assert titles(desktop) == [LOST]


def test_a_fault_is_acknowledged_and_ignored(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        break_it(machine, prefix)
        desktop.wait_for_notification(LOST)

        def silence() -> Silence | None:
            return watcher.board.silenced().get((prefix, "tensorflow-outside-pin"))

        desktop.click_menu("✗ tf: broken", "Acknowledge (no reminders)")
        watcher.wait("it is written down", lambda: silence() is Silence.ACKNOWLEDGED)
        watcher.wait("the notification goes", lambda: not desktop.notifications())
        assert desktop.icon_colour() is Colour.RED

        desktop.click_menu("✗ tf: broken", "Ignore this here")
        desktop.wait_for_icon(Colour.GREEN)
        desktop.screenshot("ignored")
        assert silence() is Silence.IGNORED

        desktop.click_menu("– tf: broken, ignored", "Ignore this here")
        desktop.wait_for_icon(Colour.RED)
        assert silence() is None
    assert titles(desktop) == [LOST]
