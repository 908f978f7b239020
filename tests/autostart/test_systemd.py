"""A user unit starts the program, and `systemctl --user disable` is respected."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.autostart.machine import (
    AWKWARD,
    headless,
    installed,
    link_of,
    told,
    unit_of,
    with_runner,
)
from tests.fakes import FailingRunner, FakeRunner, completed, failed, timed_out, write
from tests.needs import tool
from tfgpu_tray.autostart.autostart import Autostart, State
from tfgpu_tray.autostart.entry import AutostartError, Method
from tfgpu_tray.observe.child import run


def test_a_server_gets_a_unit(linux: Autostart) -> None:
    app = headless(linux)
    state = app.enable(headless=True)
    command = f"{linux.executable} -P -m tfgpu_tray run --headless"
    assert state == State(True, Method.SYSTEMD, str(unit_of(app)), command)
    assert isinstance(app.runner, FakeRunner)
    program = os.path.join(app.environ["PATH"], "systemctl")
    assert app.runner.calls == [
        [program, "--user", "daemon-reload"],
        [program, "--user", "enable", "tfgpu-tray.service"],
    ]
    assert app.runner.environs == [app.environ] * 2  # the bus is found by XDG_RUNTIME_DIR
    assert app.disable().method is None
    assert not unit_of(app).exists() and not link_of(app).is_symlink()
    assert app.runner.calls[2:] == [[program, "--user", "daemon-reload"]]


def test_the_real_systemctl_enables_the_unit(linux: Autostart) -> None:
    folder = os.path.dirname(tool("systemctl"))
    # Offline it changes files only, so that no user manager is needed.
    environ = {"PATH": folder, "SYSTEMD_OFFLINE": "1", "HOME": str(linux.home)}
    app = replace(linux, environ=environ, runner=run)
    assert app.enable(headless=True).enabled
    assert os.path.realpath(link_of(app)) == str(unit_of(app))
    assert app.enable(headless=True).enabled
    assert app.disable().method is None and not link_of(app).is_symlink()


@pytest.mark.parametrize("name", ["plain", re.sub(r"['\"\\]", "", AWKWARD)])
def test_systemd_finds_no_fault_with_the_unit(linux: Autostart, tmp_path: Path, name: str) -> None:
    analyze = tool("systemd-analyze")
    app = headless(replace(linux, executable=installed(tmp_path / name)))
    app.enable(headless=True)
    environ = {"HOME": str(app.home), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]}

    def verify() -> str:
        command = [analyze, "--user", "--man=no", "verify", str(unit_of(app))]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        return done.stderr + done.stdout + ("" if done.returncode == 0 else "failed")

    assert verify() == ""
    Path(app.executable).unlink()
    assert "is not executable" in verify()  # so it did look at the right file


@pytest.mark.parametrize("character", "'\"\\")
def test_a_program_that_systemd_never_starts_is_refused(
    linux: Autostart, tmp_path: Path, character: str
) -> None:
    app = headless(replace(linux, executable=installed(tmp_path / f"a{character}b")))
    with pytest.raises(AutostartError, match="quotes or backslashes"):
        app.enable(headless=True)
    assert not app.home.exists()


def test_without_systemctl_nothing_is_written(linux: Autostart) -> None:
    app = replace(linux, environ={"PATH": "/nowhere"})
    with pytest.raises(AutostartError, match=r"no systemctl.*@reboot .*--headless"):
        app.enable(headless=True)
    assert not app.home.exists()


@pytest.mark.parametrize("before", [None, "[Service]\nExecStart=/bin/true\n"])
@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            {"daemon-reload": failed(1, "", "Failed to connect to bus: No medium found\n")},
            "`systemctl --user daemon-reload` failed: Failed to connect to bus: No medium found. "
            "Log in as this user directly",
        ),
        (
            {"daemon-reload": completed(), "enable": failed(1, "", "Access denied\n")},
            "`systemctl --user enable tfgpu-tray.service` failed: Access denied",
        ),
        ({"daemon-reload": timed_out()}, "did not answer within 5 s"),
    ],
)
def test_a_unit_that_systemd_refuses_is_taken_back(
    linux: Autostart, before: str | None, answers: dict[str, Any], why: str
) -> None:
    if before:
        write(unit_of(linux), before)
    with pytest.raises(AutostartError, match=re.escape(why)):
        with_runner(linux, FakeRunner(answers)).enable(headless=True)
    assert (unit_of(linux).read_text() if before else unit_of(linux).exists()) == (before or False)


def test_a_refused_unit_leaves_the_desktop_entry(linux: Autostart) -> None:
    linux.enable()
    with pytest.raises(AutostartError):
        with_runner(linux, FailingRunner()).enable(headless=True)
    assert linux.status().enabled and linux.status().method is Method.XDG


def test_a_disabled_unit_stays_disabled(linux: Autostart) -> None:
    app = headless(linux)
    app.enable(headless=True)
    link_of(app).unlink()
    Path(app.executable).unlink()
    moved = headless(replace(app, executable=installed(app.home / "new")))
    assert "switched off (systemctl --user disable)" in told(moved.status())
    assert not moved.status().enabled and not moved.refresh()


def test_a_masked_unit_stays_masked_until_it_is_wanted(
    linux: Autostart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for /dev/null: a mistake in what is tested here must not reach the real one.
    nothing = tmp_path / "null"
    subprocess.run([tool("mkfifo"), nothing], check=True)
    monkeypatch.setattr(os, "devnull", str(nothing))
    app = headless(linux)
    unit_of(app).parent.mkdir(parents=True)
    unit_of(app).symlink_to(nothing)
    assert app.status().notes == ("switched off (systemctl --user mask)",)
    assert not app.refresh()
    assert app.enable(headless=True).enabled
    assert not unit_of(app).is_symlink() and nothing.is_fifo()


def test_a_moved_installation_is_corrected_in_the_unit_alone(linux: Autostart) -> None:
    app = headless(linux)
    app.enable(headless=True)
    text = unit_of(app).read_text().replace("RestartSec=10", "RestartSec=99\nNice=10")
    unit_of(app).write_text(text)
    Path(app.executable).unlink()
    moved = headless(replace(app, executable=installed(app.home / "new")))
    assert moved.refresh()
    assert unit_of(app).read_text() == text.replace(app.executable, moved.executable)
    assert isinstance(moved.runner, FakeRunner)
    assert [call[-1] for call in moved.runner.calls] == ["daemon-reload"]


def test_an_unreadable_unit_is_told(linux: Autostart) -> None:
    write(unit_of(linux), "[Service]\n")
    assert "ExecStart cannot be read" in told(linux.status()) and not linux.status().enabled


def test_without_lingering_a_server_is_told_about_it(linux: Autostart) -> None:
    app = headless(replace(linux, root=linux.home))
    assert "loginctl enable-linger" in told(app.enable(headless=True))
