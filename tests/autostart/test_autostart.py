"""One entry at a time, of an installation that is there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest

from tests.autostart.machine import entry_of, headless, installed, link_of, told, unit_of
from tests.fakes import write
from tests.snapshots import FakeObserver, healthy
from tfgpu_tray.app import App
from tfgpu_tray.autostart.autostart import Autostart
from tfgpu_tray.autostart.entry import AutostartError, Method
from tfgpu_tray.autostart.files import template, with_keys
from tfgpu_tray.config import Config
from tfgpu_tray.daemon import introduce
from tfgpu_tray.observe.look import Observer


def test_options_become_full_paths(linux: Autostart, monkeypatch: pytest.MonkeyPatch) -> None:
    linux.home.mkdir()
    monkeypatch.chdir(linux.home)
    monkeypatch.setenv("HOME", "/home/ann")
    app = replace(linux, config=Path("c.toml"), data_dir=Path("~/d"))
    assert app.command()[-4:] == [
        "--config",
        str(linux.home / "c.toml"),
        "--data-dir",
        "/home/ann/d",
    ]


def test_the_real_interpreter_starts_the_real_program(tmp_path: Path) -> None:
    """As a login does: in the home folder, where files with the names of modules may lie."""
    write(tmp_path / "random.py", "raise SystemExit('not the standard library')")
    command = Autostart({}, tmp_path, registry=None).command()
    done = subprocess.run(
        [*command, "--help"], cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--headless" in done.stdout


def test_an_interpreter_that_does_not_know_its_place_is_told(linux: Autostart) -> None:
    with pytest.raises(AutostartError, match="does not know where it is"):
        replace(linux, executable="").enable()


def test_an_installation_that_moved_is_found_again(linux: Autostart) -> None:
    replace(linux, config=Path("/c.toml")).enable()
    moved = replace(linux, executable=installed(linux.home / "new"))
    assert not moved.refresh()
    Path(linux.executable).unlink()
    assert f"{linux.executable} is gone" in told(moved.status())
    assert moved.refresh() and not moved.refresh()
    state = moved.status()
    assert state.notes == ()
    assert state.command == f"{moved.executable} -P -m tfgpu_tray run --config /c.toml"


def test_another_installation_is_told_and_left(linux: Autostart) -> None:
    linux.enable()
    other = replace(linux, executable=installed(linux.home / "other"))
    assert not other.refresh()
    note = f"points to another installation: {linux.executable}; enable rewrites it"
    assert other.status() == replace(linux.status(), notes=(note,))
    assert other.enable().notes == () and other.executable in other.status().command


def test_one_installation_has_several_names(linux: Autostart) -> None:
    linux.enable()
    beside = write(Path(linux.executable).with_name("python3.11"))
    assert replace(linux, executable=str(beside)).status().notes == ()
    (linux.home / "link").symlink_to(beside.parent)
    linked = replace(linux, executable=str(linux.home / "link" / "python"))
    assert linked.status().notes == ()


def test_other_options_are_told_only_to_who_gave_some(linux: Autostart) -> None:
    replace(linux, config=Path("/a.toml")).enable()
    assert linux.status().notes == ()
    assert replace(linux, config=Path("/a.toml")).status().notes == ()
    assert "other options" in told(replace(linux, config=Path("/b.toml")).status())


def test_a_wrapped_command_keeps_its_wrapping(linux: Autostart) -> None:
    linux.enable()
    text = entry_of(linux).read_text()
    entry_of(linux).write_text(text.replace("Exec=", "Exec=env A=1 "))
    Path(linux.executable).unlink()
    moved = replace(linux, executable=installed(linux.home / "new"))
    assert moved.refresh()
    assert moved.status().command == f"env A=1 {moved.executable} -P -m tfgpu_tray run"


@pytest.mark.parametrize(
    ("command", "note"),
    [
        ("/opt/gone/wrapper.sh", "it was changed to start something else; enable rewrites it"),
        ("tfgpu-tray run", ""),
        ("python3 -m tfgpu_tray run", ""),
    ],
)
def test_commands_that_are_not_ours_are_left(linux: Autostart, command: str, note: str) -> None:
    linux.enable()
    text = with_keys(entry_of(linux).read_text(), "Desktop Entry", {"Exec": command})
    entry_of(linux).write_text(text)
    assert told(linux.status()) == note and linux.status().enabled
    assert not linux.refresh() and entry_of(linux).read_text() == text


def test_one_way_replaces_the_other(linux: Autostart) -> None:
    app = headless(linux)
    app.enable()
    app.enable(headless=True)
    assert not entry_of(app).exists() and app.status().method is Method.SYSTEMD
    app.enable()
    assert not unit_of(app).exists() and not link_of(app).is_symlink()
    assert app.status().method is Method.XDG


def test_an_entry_that_the_user_switched_off_is_no_other_way(linux: Autostart) -> None:
    app = headless(linux)
    app.enable()
    text = with_keys(entry_of(app).read_text(), "Desktop Entry", {"Hidden": "true"})
    entry_of(app).write_text(text)
    assert app.enable(headless=True).method is Method.SYSTEMD
    assert entry_of(app).read_text() == text
    assert app.status().notes == ()


def test_two_ways_at_once_are_told(linux: Autostart) -> None:
    app = headless(linux)
    app.enable(headless=True)
    write(entry_of(app), with_keys(template("tfgpu-tray.desktop"), "Desktop Entry", {}))
    state = app.status()
    assert state.method is Method.XDG and f"{unit_of(app)} starts it too" in told(state)
    assert app.disable().method is None
    assert not unit_of(app).exists() and not entry_of(app).exists()


@pytest.mark.parametrize("action", ["enable", "disable", "status", "refresh"])
@pytest.mark.parametrize("obstacle", ["file-for-folder", "folder-for-file"])
def test_a_place_that_cannot_be_used_is_told(linux: Autostart, action: str, obstacle: str) -> None:
    if obstacle == "file-for-folder":
        write(entry_of(linux).parent)
    else:
        entry_of(linux).mkdir(parents=True)
    with pytest.raises(AutostartError, match=r"tfgpu-tray\.desktop cannot be used: \w+"):
        getattr(linux, action)()


# ---- the watcher corrects what it finds when it starts -----------------------------------------


class AppOverNothing(App):
    @cached_property
    def observer(self) -> Observer:
        return FakeObserver({}, seen=(healthy(),))


@pytest.fixture
def app(tmp_path: Path) -> App:
    return AppOverNothing(Config(discover=False), tmp_path / "data", {}, tmp_path / "home")


def test_a_watcher_that_starts_corrects_the_entry(app: App) -> None:
    app.autostart().enable()
    entry = entry_of(app.autostart())
    before = entry.read_text(encoding="utf-8")
    entry.write_text(before.replace(f"Exec={sys.executable} ", "Exec=/gone/python "))
    recorded: list[tuple[str, str]] = []
    for _ in range(2):
        introduce(app, lambda said: None, lambda *event: recorded.append(event))
    assert entry.read_text(encoding="utf-8") == before
    assert [kind for kind, _ in recorded] == ["autostart"]


def test_a_watcher_starts_although_the_entry_cannot_be_read(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    entry_of(app.autostart()).mkdir(parents=True)
    said: list[str] = []
    with caplog.at_level("INFO"):
        introduce(app, lambda line: said.append(line["text"]), lambda *event: pytest.fail(event[1]))
    assert "tfgpu-tray.desktop cannot be used" in caplog.text
    assert said[-1] == "what happens is printed here; Ctrl-C ends it"
