"""Repairs as processes of their own: how they end, and that they outlive whoever started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.until import until
from tfgpu_tray.tray.healer import ActionOutcome, Healer, read_outcome

TF, OTHER = Path("/envs/tf"), Path("/envs/other")


class Ward:
    """A healer whose program is *source*, and what it was told."""

    def __init__(self, folder: Path, source: str) -> None:
        self.outcomes: list[ActionOutcome] = []
        self.active: list[frozenset[Path]] = []  # when it was told
        program = folder / "program.py"
        program.write_text(source)
        self.healer = Healer((sys.executable, str(program)), folder / "logs", self._ended)

    def _ended(self, outcome: ActionOutcome) -> None:
        self.active.append(self.healer.active)
        self.outcomes.append(outcome)

    def run(self, command: str = "repair", prefix: Path = TF) -> ActionOutcome:
        assert self.healer.start(command, prefix)
        until(lambda: self.outcomes and not self.healer.active)
        return self.outcomes[-1]


SAYS_ITS_ARGUMENTS = """
import json, sys
print(json.dumps({"state": "done", "after": {"headline": " ".join(sys.argv[1:])}}))
"""
WAITS = """
import pathlib, sys, time
here = pathlib.Path(__file__).parent
name = pathlib.Path(sys.argv[3]).name
(here / f"{name}.started").touch()
end = time.monotonic() + 60
while not (here / "go").exists() and time.monotonic() < end:
    time.sleep(0.01)
print('{"state": "done", "after": {"headline": "%s sees a GPU", "verdict": "ok"}}' % name)
"""


# ---- how it ends -------------------------------------------------------------------------------


def said(content: object, stderr: str = "", command: str = "repair") -> ActionOutcome:
    return read_outcome(command, TF, json.dumps(content).encode(), stderr.encode())


AFTER = {"headline": "TensorFlow sees a GPU", "verdict": "ok"}


@pytest.mark.parametrize(
    "content, state, text, verdict",
    [
        ({"state": "done", "after": AFTER}, "done", "TensorFlow sees a GPU", "ok"),
        ({"state": "undone", "after": None}, "undone", "", None),
        (
            {"state": "rolled-back", "note": "no better than before", "after": None},
            "rolled-back",
            "no better than before",
            None,
        ),
        (
            {"state": "stuck", "note": "a file cannot be put back", "after": AFTER},
            "stuck",
            "a file cannot be put back",
            "ok",
        ),
        (
            {
                "state": "nothing-to-do",
                "before": {"verdict": "broken"},
                "plan": {"reason": "the driver is not loaded"},
            },
            "nothing-to-do",
            "the driver is not loaded",
            "broken",
        ),
        ({"state": "nothing-to-do"}, "nothing-to-do", "nothing to do", None),
        (
            {"schema": 1, "error": ["a repair is at work there", "wait for it"]},
            "failed",
            "a repair is at work there; wait for it",
            None,
        ),
        ([1, 2], "failed", "it ended without a word", None),
        (None, "failed", "it ended without a word", None),
    ],
)
def test_what_the_program_said(content: object, state: str, text: str, verdict: str | None) -> None:
    assert said(content) == ActionOutcome(TF, "repair", state, text, verdict)


@pytest.mark.parametrize(
    "stderr, text",
    [
        ("Traceback\n  File x\nValueError: two\n", "ValueError: two"),
        ("tfgpu-tray: stopped", "stopped"),
        ("\n\n", "it ended without a word"),
        ("caf\udce9", "caf\ufffd"),
    ],
)
def test_a_crash_is_told_by_its_last_line(stderr: str, text: str) -> None:
    told = stderr.encode("utf-8", "surrogateescape")
    assert read_outcome("undo", TF, b"", told) == ActionOutcome(TF, "undo", "failed", text)
    assert read_outcome("undo", TF, b'{"state": "do', told).text == text


# ---- the process -------------------------------------------------------------------------------


def test_the_program_is_told_what_to_do(tmp_path: Path) -> None:
    ward = Ward(tmp_path, SAYS_ITS_ARGUMENTS)
    prefix = tmp_path / "it's 用户"
    assert ward.run("undo", prefix).text == f"undo --env {prefix} --yes --json"
    assert ward.run("repair", prefix).command == "repair"


def test_a_refusal_is_told(tmp_path: Path) -> None:
    ward = Ward(tmp_path, """import sys; print('{"error": ["pip is at work"]}'); sys.exit(3)""")
    assert ward.run() == ActionOutcome(TF, "repair", "failed", "pip is at work")


def test_a_program_that_dies_is_told(tmp_path: Path) -> None:
    ward = Ward(tmp_path, "import os, sys; print('{', file=sys.stderr); os.abort()")
    assert ward.run().state == "failed"
    assert not ward.healer.processes


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    outcomes: list[ActionOutcome] = []
    healer = Healer((str(tmp_path / "none"),), tmp_path / "logs", outcomes.append)
    assert healer.start("repair", TF)
    until(lambda: outcomes)
    assert outcomes[0].state == "failed" and "could not be started" in outcomes[0].text
    until(lambda: not healer.active)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    assert "could not be started" in Ward(tmp_path, "").run().text


def test_one_at_a_time_for_an_environment(tmp_path: Path) -> None:
    ward = Ward(tmp_path, WAITS)
    starts: list[bool] = []
    threads = [
        threading.Thread(target=lambda: starts.append(ward.healer.start("repair", TF)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(starts) == [False] * 7 + [True]
    assert not ward.healer.start("undo", TF)
    (tmp_path / "go").touch()
    until(lambda: not ward.healer.active)
    assert len(ward.outcomes) == 1 and ward.run().state == "done"


def test_two_environments_do_not_mix_up_what_they_say(tmp_path: Path) -> None:
    ward = Ward(tmp_path, WAITS)
    prefixes = [TF, OTHER, Path("/elsewhere/tf")]
    for prefix in prefixes:
        assert ward.healer.start("repair", prefix)
    until(lambda: (tmp_path / "tf.started").exists() and (tmp_path / "other.started").exists())
    until(lambda: len(ward.healer.processes) == 3)
    assert ward.healer.active == frozenset(prefixes)
    (tmp_path / "go").touch()
    until(lambda: len(ward.outcomes) == 3 and not ward.healer.active)
    assert {o.prefix: o.text for o in ward.outcomes} == {
        TF: "tf sees a GPU",
        OTHER: "other sees a GPU",
        Path("/elsewhere/tf"): "tf sees a GPU",
    }


def test_it_counts_as_active_until_its_end_was_told(tmp_path: Path) -> None:
    ward = Ward(tmp_path, SAYS_ITS_ARGUMENTS)
    ward.run()
    assert ward.active == [frozenset({TF})]


def test_whoever_is_told_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def fail(outcome: ActionOutcome) -> None:
        told.set()
        raise RuntimeError("full")

    healer = Healer((sys.executable, "-c", ""), tmp_path, fail)
    healer.start("repair", TF)
    assert told.wait(10)
    until(lambda: not healer.active)


PARENT = """
import pathlib, sys, time
from tfgpu_tray.tray.healer import Healer
here = pathlib.Path(sys.argv[1])
healer = Healer((sys.executable, str(here / "program.py")), here / "logs", print)
healer.start("repair", pathlib.Path("/envs/tf"))
while not healer.processes:
    time.sleep(0.01)
print(*healer.processes, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [9, 15], ids=["SIGKILL", "SIGTERM"])
def test_a_repair_outlives_the_program_that_started_it(tmp_path: Path, number: int) -> None:
    if sys.platform == "win32":
        pytest.skip("sessions and signals are POSIX's")
    (tmp_path / "program.py").write_text(WAITS)
    words = [sys.executable, "-c", PARENT, str(tmp_path)]
    with ExitStack() as stack:
        parent = stack.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        )
        stack.callback(parent.kill)
        assert parent.stdout is not None
        repair = psutil.Process(int(parent.stdout.readline()))
        until(lambda: (tmp_path / "tf.started").exists())
        assert os.getsid(repair.pid) == repair.pid != os.getsid(parent.pid)
        os.killpg(parent.pid, number)  # as a terminal that closes, or a session that ends, does
        parent.wait(10)
    assert repair.is_running()
    (tmp_path / "go").touch()
    until(lambda: not repair.is_running() or repair.status() == psutil.STATUS_ZOMBIE)
    (said_,) = (tmp_path / "logs").glob("repair-tf-*.json")
    content: dict[str, Any] = json.loads(said_.read_text())
    assert content["state"] == "done"
