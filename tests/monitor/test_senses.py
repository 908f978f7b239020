"""The end of a package manager is heard of, however it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.monitor.simulation import Clock, Machine
from tfgpu_tray.monitor import senses
from tfgpu_tray.monitor.senses import MachineSenses
from tfgpu_tray.observe.processes import Manager

WAIT = "import sys; sys.stdin.readline()"
# A parent that never asks how its child ended, as the first process of a container may be.
CARELESS = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WAIT!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.close()
sys.stdin.readline()
"""


@pytest.fixture
def sensed(tmp_path: Path) -> MachineSenses:
    machine = Machine(tmp_path, Clock())
    return MachineSenses(machine.look, machine.find, machine.fingerprint, machine.repairing)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WAIT], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def manager(pid: int, started: float | None = None) -> Manager:
    return Manager(pid, "pip install x", (), started or psutil.Process(pid).create_time())


def test_the_end_is_told_when_all_have_ended(
    sensed: MachineSenses, process: subprocess.Popen[bytes]
) -> None:
    ended = threading.Event()
    gone = manager(2**22 + 1, 5.0)
    sensed.await_exit([gone, manager(process.pid)], ended.set)
    assert not ended.wait(0.2)
    process.communicate(b"\n")
    assert ended.wait(10)


def test_a_number_that_another_process_has_now_is_not_waited_for(
    sensed: MachineSenses, process: subprocess.Popen[bytes]
) -> None:
    ended = threading.Event()
    sensed.await_exit([manager(process.pid, 1000.0)], ended.set)
    assert ended.wait(10)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no zombies")
def test_a_zombie_has_ended(sensed: MachineSenses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senses, "ZOMBIES", 0.05)
    parent = subprocess.Popen(
        [sys.executable, "-c", CARELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None and parent.stdin is not None
    child = manager(int(parent.stdout.readline()))
    ended = threading.Event()
    sensed.await_exit([child], ended.set)
    assert not ended.wait(0.2)
    parent.stdin.write(b"\n")
    parent.stdin.flush()
    assert ended.wait(10)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    parent.kill()
    parent.communicate()
