"""Programs on Windows: those of others are noticed, and ours are followed to their end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.stubs import build_dll
from tests.lab.windows.tool import PYTHON as TOOL


@pytest.fixture(scope="module")
def machine(lab: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsMachine]:
    with WindowsMachine(lab, tmp_path_factory.mktemp("windows") / "machine") as machine:
        yield machine


@pytest.fixture(scope="module")
def prefix(machine: WindowsMachine) -> Path:
    return machine.conda_environment("王 小明", "bare")


WAITING = "import ctypes, sys; {load}; print('ready', flush=True); sys.stdin.read()"


def asked(machine: WindowsMachine, code: str, *arguments: str | Path) -> Any:
    done = machine.run(rf"{TOOL}\python.exe", "-c", f"import json, sys; {code}", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_who_has_tensorflow_loaded_is_named(machine: WindowsMachine, prefix: Path) -> None:
    library = (
        prefix
        / "Lib"
        / "site-packages"
        / "tensorflow"
        / "python"
        / "_pywrap_tensorflow_internal.pyd"
    )
    build_dll(library)
    code = (
        "from pathlib import Path; from tfgpu_tray.observe.processes import users_of_tensorflow;"
        "print(json.dumps([str(x) for x in users_of_tensorflow(Path(sys.argv[1]))]))"
    )
    assert asked(machine, code, prefix) == []
    load = f"ctypes.WinDLL({machine.to_windows(library)!r})"
    process = machine.start(machine.python(prefix), "-c", WAITING.format(load=load), "train.py")
    assert process.stdout is not None and process.stdout.readline().strip() == b"ready"
    [user] = asked(machine, code, prefix)
    assert user.startswith(machine.python(prefix)) and "(process " in user
    process.communicate(timeout=30)


def test_a_package_manager_at_work_is_noticed(machine: WindowsMachine, prefix: Path) -> None:
    """As pip.exe starts it: the environment's Python with the path of the launcher."""
    code = (
        "from pathlib import Path; from tfgpu_tray.observe.processes import installers_at_work;"
        "print(json.dumps([x.command for x in installers_at_work(Path(sys.argv[1].upper()))]))"
    )
    launcher = prefix / "Scripts" / "pip.exe"
    launcher.unlink()  # it may be one file with the lab's
    launcher.write_text(WAITING.format(load="0"), encoding="utf-8")
    process = machine.start(machine.python(prefix), launcher, "install", "keras")
    assert process.stdout is not None and process.stdout.readline().strip() == b"ready"
    [command] = asked(machine, code, prefix)
    assert command.endswith(r"\Scripts\pip.exe install keras")
    process.communicate(timeout=30)
    assert asked(machine, code, prefix) == []


CHILDREN = r"""
import json, subprocess, sys
from tfgpu_tray.observe.child import run
import psutil
python, told = sys.executable, []
def started(script, deadline, **more):
    return run([python, "-X", "utf8", "-c", script], deadline=deadline, **more)
counting = "import time\nfor n in range(4): print('用户', n, flush=True); time.sleep(0.4)"
counted = started(counting, 30, watch=told.append)
leaving = (
    "import subprocess, sys; sleeper = [sys.executable, '-c', 'import sys; input()'];"
    "print(subprocess.Popen(sleeper, stdin=subprocess.PIPE).pid, flush=True); {end}"
)
left = started(leaving.format(end="import os; os._exit(0)"), 30)
hung = started(leaving.format(end="import time; time.sleep(99)"), 4)
crashed = started("import ctypes; ctypes.windll.kernel32.ExitProcess(0xC0000005)", 30)
print(json.dumps({
    "counted": counted.stdout, "told": told,
    "left": [left.outcome, psutil.pid_exists(int(left.stdout))],
    "hung": [hung.outcome, psutil.pid_exists(int(hung.stdout))],
    "crashed": [crashed.outcome, crashed.how_it_ended],
}))
"""


def test_children_are_followed_and_end_with_all_they_started(machine: WindowsMachine) -> None:
    done = machine.run(rf"{TOOL}\python.exe", "-X", "utf8", "-c", CHILDREN)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["counted"] == "用户 0\n用户 1\n用户 2\n用户 3\n"
    assert "".join(said["told"]).split() == said["counted"].split() and len(said["told"]) > 1
    assert said["left"] == ["completed", False]
    assert said["hung"] == ["timed-out", False]
    assert said["crashed"] == ["crashed", "was ended by exception 0xC0000005 (access violation)"]
