"""An XDG autostart entry starts the program, and the switch of a desktop is respected."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.autostart.machine import AWKWARD, entry_of, installed, told
from tests.autostart.readers import by_the_specification
from tests.fakes import write
from tests.needs import lacking
from tfgpu_tray.autostart.autostart import Autostart, State
from tfgpu_tray.autostart.command_lines import split_exec_start
from tfgpu_tray.autostart.entry import AutostartError, Method
from tfgpu_tray.autostart.files import get_key, with_keys

GENERATOR = Path("/usr/lib/systemd/user-generators/systemd-xdg-autostart-generator")


def test_nothing_is_on_at_first(linux: Autostart) -> None:
    assert linux.status() == State(False, None, str(entry_of(linux)), "")
    assert linux.disable() == linux.status()
    assert not linux.refresh()
    assert not linux.home.exists()


def test_a_desktop_gets_an_autostart_entry(linux: Autostart) -> None:
    state = linux.enable()
    command = f"{linux.executable} -P -m tfgpu_tray run"
    assert state == State(True, Method.XDG, str(entry_of(linux)), command)
    assert linux.status() == state
    assert os.listdir(entry_of(linux).parent) == [entry_of(linux).name]
    assert linux.enable() == state
    assert linux.disable().method is None and not entry_of(linux).exists()


def test_the_configuration_folder_is_where_xdg_says(linux: Autostart, tmp_path: Path) -> None:
    elsewhere = {**linux.environ, "XDG_CONFIG_HOME": str(tmp_path / "conf")}
    state = replace(linux, environ=elsewhere).enable()
    assert state.place == str(tmp_path / "conf" / "autostart" / "tfgpu-tray.desktop")
    relative = replace(linux, environ={**linux.environ, "XDG_CONFIG_HOME": "conf"})
    assert relative.status().place == str(entry_of(linux))  # to be ignored, says the specification


def test_what_was_written_starts_the_program(linux: Autostart, tmp_path: Path) -> None:
    python = installed(tmp_path / AWKWARD)
    app = replace(
        linux, executable=python, config=tmp_path / "a b.toml", data_dir=tmp_path / AWKWARD
    )
    app.enable()
    value = get_key(entry_of(app).read_text(encoding="utf-8"), "Desktop Entry", "Exec")
    assert value is not None
    subprocess.run(by_the_specification(value), check=True, env={})
    started = json.loads(Path(f"{python}.started").read_text())
    options = ["--config", str(app.config), "--data-dir", str(app.data_dir)]
    assert started == [python, "-P", "-m", "tfgpu_tray", "run", *options]


def test_systemd_takes_the_entry_over(linux: Autostart, tmp_path: Path) -> None:
    """GNOME and KDE sessions leave autostart entries to systemd's generator."""
    if not GENERATOR.exists():
        lacking("systemd's generator for autostart entries is not installed")
    python = installed(tmp_path / "a (é) & #1; =~")
    app = replace(linux, executable=python, config=tmp_path / 'it\'s 100% "odd"')
    assert app.enable().notes == ()
    out = tmp_path / "units"
    out.mkdir()
    environ = {"XDG_CONFIG_HOME": str(app.home / ".config"), "HOME": str(app.home), "PATH": ""}
    said = subprocess.run([GENERATOR, out, out, out], env=environ, capture_output=True, text=True)
    units = list(out.glob("app-tfgpu*tray@autostart.service"))
    assert units, said.stderr
    line = get_key(units[0].read_text(encoding="utf-8"), "Service", "ExecStart") or ""
    octal = re.sub(  # it writes other bytes as \303\251
        r"(?:\\[0-3][0-7]{2})+",
        lambda m: bytes(int(o, 8) for o in m[0].split("\\")[1:]).decode(),
        line,
    )
    assert list(split_exec_start(octal)) == app.command()


@pytest.mark.parametrize(
    "switch", ["Hidden=true", "X-GNOME-Autostart-enabled=false", "X-MATE-Autostart-enabled=false"]
)
def test_the_switch_of_a_desktop_is_respected(linux: Autostart, switch: str) -> None:
    linux.enable()
    text = entry_of(linux).read_text()
    key, _, value = switch.partition("=")
    gone = replace(linux, executable=installed(linux.home / "new"))
    Path(linux.executable).unlink()
    entry_of(linux).write_text(off := with_keys(text, "Desktop Entry", {key: value}))

    state = gone.status()
    assert not state.enabled and state.method is Method.XDG
    assert f"switched off by the desktop's own settings ({switch})" in told(state)
    assert not gone.refresh() and entry_of(linux).read_text() == off
    assert gone.enable() == State(True, Method.XDG, state.place, gone.enable().command)


def test_what_the_user_added_is_kept(linux: Autostart) -> None:
    linux.enable()
    text = entry_of(linux).read_text().replace("X-GNOME-Autostart-Delay=10\n", "")
    text = f"# mine\n{text}OnlyShowIn=KDE;\nName[de]=Wächter\n\n[Desktop Action a]\nExec=b\n"
    entry_of(linux).write_bytes(text.encode() + b"# \xff\n")
    moved = replace(linux, executable=installed(linux.home / "new"))
    moved.enable()
    assert entry_of(linux).read_bytes() == (
        text.replace(linux.executable, moved.executable).encode() + b"# \xff\n"
    )


@pytest.mark.parametrize("content", ["", "garbage", "[Desktop Entry]\nType=Link\nName=x\nExec=y\n"])
def test_a_broken_entry_is_told_and_written_anew(linux: Autostart, content: str) -> None:
    write(entry_of(linux), content)
    state = linux.status()
    assert not state.enabled and "not a usable desktop entry" in told(state)
    assert not linux.refresh()
    assert linux.enable().enabled


def test_sessions_that_will_start_nothing_are_told(linux: Autostart) -> None:
    def note(**environ: str) -> str:
        return told(replace(linux, environ={"PATH": "", **environ}).enable())

    assert "autostart enable --headless" in note()
    assert note(WAYLAND_DISPLAY="wayland-0", XDG_CURRENT_DESKTOP="ubuntu:GNOME") == ""
    assert "GNOME and Plasma may misread" in told(replace(linux, data_dir=Path("/a$b")).enable())
    assert "GNOME and Plasma may misread" not in told(
        replace(linux, data_dir=Path("/it's")).enable()
    )
    assert "sway by itself starts no such entries" in note(XDG_CURRENT_DESKTOP="sway:wlroots")


def test_a_full_disk_leaves_the_entry_as_it_was(
    linux: Autostart, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux.enable()
    before = entry_of(linux).read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AutostartError, match="No space left on device"):
        replace(linux, executable=installed(linux.home / "new")).enable()
    assert entry_of(linux).read_text() == before
    assert os.listdir(entry_of(linux).parent) == [entry_of(linux).name]
