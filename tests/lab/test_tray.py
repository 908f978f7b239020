"""What a person on a desktop sees of the watcher and does with it: XFCE's panel, dunst, a mouse."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.lab.desktop import REPLACED, Colour, Desktop, Notification
from tests.lab.lab import Lab
from tests.lab.machine import REPOSITORY, Machine
from tests.lab.watching import Toys, Watching, hold_tensorflow, suspended
from tests.needs import lacking
from tfgpu_tray.model import Verdict
from tfgpu_tray.store.board import Silence

LOST = "TensorFlow lost its GPU in tf"
REPAIR = "Repair now: Return to the allowed version"


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
    return Watching(machine, environ=desktop.environ)


def entry(desktop: Desktop, start: str) -> str:
    """The menu's entry that begins so."""
    return next(e.label for e in desktop.menu_items() if e.label.startswith(start))


def titles(desktop: Desktop) -> list[str]:
    """Of every notification that there was."""
    return [one.summary for one in desktop.notified()]


def test_a_break_is_told_healed_and_taken_back(
    machine: Machine, prefix: Path, desktop: Desktop
) -> None:
    with watching(machine, desktop) as watcher:
        desktop.wait_for_icon(Colour.GREEN)
        machine.pip(prefix, "install", "tensorflow==2.15.1")
        ended = time.monotonic()
        desktop.wait_for_icon(Colour.RED)
        print("RED", time.monotonic() - ended)
        lost = desktop.wait_for_notification(LOST)
        print("TOLD", time.monotonic() - ended)
        desktop.click_menu(entry(desktop, REPAIR))
        desktop.wait_for_icon(Colour.BLUE)
        desktop.screenshot("repairing")
        desktop.wait_for_icon(Colour.GREEN)
        desktop.wait_for_notification("is repaired")
        desktop.press_notification_action("Undo")
        desktop.wait_for_icon(Colour.BLUE)
        desktop.wait_for_icon(Colour.RED)
        desktop.wait_for_notification("taken back")
        print(titles(desktop), watcher.printed())
