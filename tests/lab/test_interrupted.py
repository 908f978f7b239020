"""A repair that is killed in the middle of pip, and what the next command makes of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.lab.lab import Lab
from tests.lab.machine import REPOSITORY, Machine, tree
from tests.until import until


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    return Machine(lab, tmp_path)


def pip_of(prefix: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[:1] == [str(prefix / "bin" / "python")] and "install" in words:
            found.append(process)
    return found


@pytest.mark.long
def test_a_killed_repair_is_put_back_once_pip_is_gone(machine: Machine, tmp_path: Path) -> None:
    prefix = machine.lab.article(tmp_path / "tf")
    machine.pip(prefix, "uninstall", "-y", "tensorflow")
    machine.pip(prefix, "install", "--no-deps", "tensorflow-cpu==2.10.1")
    before = tree(prefix)
    repair = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.tool", machine.root, "repair", "--env", prefix, "--yes"],
        cwd=REPOSITORY,
        env=machine.environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: removed(machine) and bool(pip_of(prefix)), 60)
    repair.kill()
    repair.wait()

    refused = machine.tool("repair", "--env", prefix, "--yes")
    assert refused.code == 3
    assert "is changing this environment" in refused.stderr
    for process in pip_of(prefix):
        process.kill()
    until(lambda: not pip_of(prefix), 60)

    nothing = machine.tool("undo", "--yes")
    assert "was put back" in nothing.stderr
    assert tree(prefix) == before
    healed = machine.tool("repair", "--env", prefix, "--yes")
    assert (healed.code, healed.json["state"]) == (0, "done")


def removed(machine: Machine) -> bool:
    """Whether the repair's first step, the removal of the CPU build, is done."""
    try:
        with sqlite3.connect(machine.data / "tfgpu.db") as database:
            states = [s for (s,) in database.execute("SELECT state FROM steps ORDER BY number")]
    except sqlite3.Error:
        return False
    return states[:2] == ["done", "applying"]
