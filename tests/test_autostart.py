"""Starting at login: what is written is what gets started, and a user's switch is respected."""

from __future__ import annotations

import ctypes.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.fakes import FailingRunner, FakeRunner, completed, failed, timed_out, write
from tests.needs import lacking, tool
from tfgpu_tray import autostart
from tfgpu_tray.autostart import (
    APPROVED_KEY,
    RUN_KEY,
    Autostart,
    AutostartError,
    Method,
    State,
    get_key,
    join_exec,
    join_exec_start,
    join_windows,
    split_exec,
    split_exec_start,
    split_windows,
    template,
    with_keys,
    write_file,
)
from tfgpu_tray.observe.child import Runner

AWKWARD = 'it\'s 100% "odd" `x` $HOME ${A} \\ & (é) #1; =%f~'
GENERATOR = Path("/usr/lib/systemd/user-generators/systemd-xdg-autostart-generator")

# What a path may hold and an entry can: no control characters, nothing that UTF-8 lacks.
words_of = st.lists(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1), min_size=1, max_size=5
)
awkward_words = st.lists(st.text("ab \\\"'`$%;#=~&{}", min_size=1), min_size=1, max_size=5)


@dataclass
class FakeRegistry:
    values: dict[tuple[str, str], str | bytes] = field(default_factory=dict)

    def read(self, key: str, name: str) -> str | bytes | None:
        return self.values.get((key, name))

    def write(self, key: str, name: str, value: str) -> None:
        self.values[key, name] = value

    def delete(self, key: str, name: str) -> None:
        self.values.pop((key, name), None)


class FailingRegistry(FakeRegistry):
    def write(self, key: str, name: str, value: str) -> None:
        raise PermissionError(13, "Access is denied")

    def read(self, key: str, name: str) -> str | bytes | None:
        raise PermissionError(13, "Access is denied")


def installed(folder: Path) -> str:
    """An interpreter that notes what it was started with, in `started` beside it."""
    script = f"#!{sys.executable} -I\nimport json, sys\n"
    script += "open(sys.argv[0] + '.started', 'w').write(json.dumps(sys.argv))\n"
    python = write(folder / "bin" / "python", script)
    python.chmod(0o755)
    return str(python)


def systemctl(tmp_path: Path) -> str:
    """A PATH that has a systemctl, for the look whether there is one."""
    program = write(tmp_path / "tools" / "systemctl", "#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return str(program.parent)


@pytest.fixture
def linux(tmp_path: Path) -> Autostart:
    return Autostart(
        {"PATH": systemctl(tmp_path), "DISPLAY": ":0", "USER": "ann"},
        tmp_path / "home",
        executable=installed(tmp_path / "app"),
        windows=False,
        runner=FakeRunner({}),
        root=write(tmp_path / "root/var/lib/systemd/linger/ann").parents[4],
    )


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def windows(tmp_path: Path, registry: FakeRegistry) -> Autostart:
    write(tmp_path / "env" / "pythonw.exe")
    python = write(tmp_path / "env" / "python.exe")
    return Autostart({}, tmp_path, executable=str(python), windows=True, registry=registry)


def entry_of(app: Autostart) -> Path:
    return app.home / ".config" / "autostart" / "tfgpu-tray.desktop"


def unit_of(app: Autostart) -> Path:
    return app.home / ".config" / "systemd" / "user" / "tfgpu-tray.service"


def link_of(app: Autostart) -> Path:
    return unit_of(app).parent / "default.target.wants" / unit_of(app).name


def with_runner(app: Autostart, runner: Runner) -> Autostart:
    return replace(app, runner=runner)


@dataclass
class Systemctl(FakeRunner):
    """Does what `systemctl --user enable` does to files."""

    app: Autostart | None = None

    def __call__(self, command: Sequence[str | Path], **options: Any) -> Any:
        if "enable" in command and self.app:
            link_of(self.app).parent.mkdir(exist_ok=True)
            link_of(self.app).symlink_to(unit_of(self.app))
        return super().__call__(command, **options)


def headless(app: Autostart) -> Autostart:
    """*app* with a systemctl that works."""
    return with_runner(app, Systemctl({"systemctl": completed()}, app=app))


# ---- what others make of the lines -------------------------------------------------------------


def by_the_specification(value: str) -> list[str]:
    """An Exec value read character by character, as the Desktop Entry Specification 1.5 says."""
    line, characters = "", iter(value)
    for c in characters:
        line += (
            {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}[next(characters)]
            if (c == "\\")
            else c
        )
    words, word, quoted, begun = [], "", False, False
    characters = iter(line)
    for c in characters:
        if quoted:
            if c == '"':
                quoted = False
            else:
                word += next(characters) if c == "\\" else c
                assert c not in "`$", "these must be escaped between quotes"
        elif c == '"':
            quoted = begun = True
        elif c == " ":
            words += [word] if begun else []
            word, begun = "", False
        else:
            assert c not in "\t\n\"'\\><~|&;$*?#()`", f"the reserved {c} must be quoted"
            word, begun = word + c, True
    assert not quoted
    words += [word] if begun else []
    assert not any(re.search(r"%(?!%)", word.replace("%%", "")) for word in words), "a field code"
    return [word.replace("%%", "%") for word in words]


def by_glib(value: str) -> list[str]:
    """As GNOME, XFCE, Cinnamon and MATE read it: GKeyFile, then g_shell_parse_argv."""
    name = ctypes.util.find_library("glib-2.0") or lacking("GLib is not installed")
    glib = ctypes.CDLL(name)
    glib.g_key_file_new.restype = ctypes.c_void_p
    glib.g_key_file_get_string.restype = ctypes.c_void_p
    keys = ctypes.c_void_p(glib.g_key_file_new())
    text = f"[Desktop Entry]\nExec={value}\n".encode()
    assert glib.g_key_file_load_from_data(keys, text, ctypes.c_size_t(len(text)), 0, None)
    pointer = glib.g_key_file_get_string(keys, b"Desktop Entry", b"Exec", None)
    line = ctypes.string_at(pointer).replace(b"%%", b"%")  # gdesktopappinfo.c, expand_macro
    count, argv = ctypes.c_int(), ctypes.POINTER(ctypes.c_char_p)()
    assert glib.g_shell_parse_argv(line, ctypes.byref(count), ctypes.byref(argv), None)
    words = [(argv[i] or b"").decode() for i in range(count.value)]
    glib.g_strfreev(argv)
    glib.g_free(ctypes.c_void_p(pointer))
    glib.g_key_file_free(keys)
    return words


def by_windows(line: str) -> list[str]:
    """CommandLineToArgvW, as documented: the first word by its quotes, the others with escapes."""
    first = re.match(r'"([^"]*)"(?:\s|$)', line)
    assert first, "the program stands in quotes"
    words, word, quoted, begun, slashes = [first[1]], "", False, False, 0
    for c in line[first.end() :] + " ":
        if c == "\\":
            slashes, begun = slashes + 1, True
            continue
        if c == '"':
            word += "\\" * (slashes // 2)
            assert slashes % 2 == 0, "an escaped quote"
            quoted, begun = not quoted, True
        elif c in " \t" and not quoted:
            words += [word + "\\" * slashes] if begun else []
            word, begun = "", False
        else:
            word, begun = word + "\\" * slashes + c, True
        slashes = 0
    assert not quoted
    return words


@given(words_of | awkward_words)
def test_an_exec_line_means_the_same_to_everybody(words: list[str]) -> None:
    value = join_exec(words)
    assert by_the_specification(value) == words
    assert split_exec(value) == tuple(words)


@given(words_of | awkward_words)
def test_an_exec_line_means_the_same_to_glib(words: list[str]) -> None:
    assert by_glib(join_exec(words)) == words


@given(words_of | awkward_words)
def test_an_exec_start_line_reads_back(words: list[str]) -> None:
    assert split_exec_start(join_exec_start(["/bin/x", *words])) == ("/bin/x", *words)


@given(st.lists(st.text("ab \\c:.é%$", min_size=1), min_size=1, max_size=5))
def test_a_windows_command_line_reads_back(words: list[str]) -> None:
    assume(not words[0].endswith("\\") and words[0].strip())  # a program, no folder
    line = join_windows(words)
    assert by_windows(line) == words
    assert split_windows(line) == tuple(words)


@pytest.mark.parametrize("join", [join_exec, join_exec_start, join_windows])
@pytest.mark.parametrize("word", ["/a\nb", "/a\x00", "/a\x7f", "/\udcff/python"])
def test_what_no_entry_can_hold_is_refused(join: Any, word: str) -> None:
    with pytest.raises(AutostartError, match="rename the folder"):
        join([word])


def test_dollars_are_literal_in_units_and_only_they_need_the_newer_prefix() -> None:
    assert join_exec_start(["/a b/python", "50%"]) == '"/a b/python" "50%%"'
    assert join_exec_start(["/$a"]) == ':"/$a"'
    assert split_exec_start("-/bin/x $$a") == ("/bin/x", "$a")


def test_field_codes_and_broken_lines_are_read_as_such() -> None:
    assert split_exec("python -m tfgpu_tray %U") == ("python", "-m", "tfgpu_tray")
    assert split_exec('"python') == () and split_exec("") == ()


# ---- keys --------------------------------------------------------------------------------------

ENTRY = """# mine
[Desktop Entry]
Exec = old
Name=x
Hidden=true
Hidden=false

[Desktop Action a]
Exec=other
"""


def test_keys_are_set_in_their_group_and_the_rest_stays() -> None:
    text = with_keys(ENTRY, "Desktop Entry", {"Exec": "new", "Hidden": None, "Added": "1"})
    assert text == (
        "# mine\n[Desktop Entry]\nExec=new\nName=x\nAdded=1\n\n[Desktop Action a]\nExec=other\n"
    )
    assert get_key(ENTRY, "Desktop Entry", "Hidden") == "false"  # GKeyFile: the last one counts
    assert get_key(ENTRY, "Desktop Action a", "Exec") == "other"
    assert get_key(ENTRY, "Desktop Entry", "exec") is None


# ---- XDG autostart -----------------------------------------------------------------------------


def test_nothing_is_on_at_first(linux: Autostart) -> None:
    assert linux.status() == State(False, None, str(entry_of(linux)), "", "")
    assert linux.disable() == linux.status()
    assert not linux.refresh()
    assert not linux.home.exists()


def test_a_desktop_gets_an_autostart_entry(linux: Autostart) -> None:
    state = linux.enable()
    command = f"{linux.executable} -P -m tfgpu_tray run"
    assert state == State(True, Method.XDG, str(entry_of(linux)), command, "")
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


def test_the_real_interpreter_starts_the_real_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a login does: in the home folder, where files with the names of modules may lie."""
    write(tmp_path / "random.py", "raise SystemExit('not the standard library')")
    command = Autostart({}, tmp_path, windows=False).command()
    done = subprocess.run(
        [*command, "--help"], cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--headless" in done.stdout


def test_systemd_takes_the_entry_over(linux: Autostart, tmp_path: Path) -> None:
    """GNOME and KDE sessions leave autostart entries to systemd's generator."""
    if not GENERATOR.exists():
        lacking("systemd's generator for autostart entries is not installed")
    python = installed(tmp_path / "a (é) & #1; =~")
    app = replace(linux, executable=python, config=tmp_path / 'it\'s 100% "odd"')
    assert app.enable().note == ""
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
    assert f"switched off by the desktop's own settings ({switch})" in state.note
    assert not gone.refresh() and entry_of(linux).read_text() == off
    assert gone.enable() == State(True, Method.XDG, state.place, gone.enable().command, "")


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
    assert not state.enabled and "not a usable desktop entry" in state.note
    assert not linux.refresh()
    assert linux.enable().enabled


def test_sessions_that_will_start_nothing_are_told(linux: Autostart) -> None:
    def note(**environ: str) -> str:
        return replace(linux, environ={"PATH": "", **environ}).enable().note

    assert "autostart enable --headless" in note()
    assert note(WAYLAND_DISPLAY="wayland-0", XDG_CURRENT_DESKTOP="ubuntu:GNOME") == ""
    assert "GNOME and Plasma may not" in replace(linux, data_dir=Path("/a$b")).enable().note
    assert "GNOME and Plasma may not" not in replace(linux, data_dir=Path("/it's")).enable().note
    assert "sway by itself starts no such entries" in note(XDG_CURRENT_DESKTOP="sway:wlroots")


# ---- moved and other installations -------------------------------------------------------------


def test_an_installation_that_moved_is_found_again(linux: Autostart) -> None:
    replace(linux, config=Path("/c.toml")).enable()
    moved = replace(linux, executable=installed(linux.home / "new"))
    assert not moved.refresh()
    Path(linux.executable).unlink()
    assert f"{linux.executable} is gone" in moved.status().note
    assert moved.refresh() and not moved.refresh()
    state = moved.status()
    assert state.note == ""
    assert state.command == f"{moved.executable} -P -m tfgpu_tray run --config /c.toml"


def test_another_installation_is_told_and_left(linux: Autostart) -> None:
    linux.enable()
    other = replace(linux, executable=installed(linux.home / "other"))
    assert not other.refresh()
    note = f"points to another installation: {linux.executable}; enable rewrites it"
    assert other.status() == replace(linux.status(), note=note)
    assert other.enable().note == "" and other.executable in other.status().command


def test_one_installation_has_several_names(linux: Autostart) -> None:
    linux.enable()
    beside = write(Path(linux.executable).with_name("python3.11"))
    assert replace(linux, executable=str(beside)).status().note == ""
    (linux.home / "link").symlink_to(beside.parent)
    linked = replace(linux, executable=str(linux.home / "link" / "python"))
    assert linked.status().note == ""


def test_other_options_are_told_only_to_who_gave_some(linux: Autostart) -> None:
    replace(linux, config=Path("/a.toml")).enable()
    assert linux.status().note == ""
    assert replace(linux, config=Path("/a.toml")).status().note == ""
    assert "other options" in replace(linux, config=Path("/b.toml")).status().note


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
    assert linux.status().note == note and linux.status().enabled
    assert not linux.refresh() and entry_of(linux).read_text() == text


# ---- systemd -----------------------------------------------------------------------------------


def test_a_server_gets_a_unit(linux: Autostart) -> None:
    app = headless(linux)
    state = app.enable(headless=True)
    command = f"{linux.executable} -P -m tfgpu_tray run --headless"
    assert state == State(True, Method.SYSTEMD, str(unit_of(app)), command, "")
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
    from tfgpu_tray.observe.child import run

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
    assert "switched off (systemctl --user disable)" in moved.status().note
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
    assert app.status().note == "switched off (systemctl --user mask)"
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
    assert "ExecStart cannot be read" in linux.status().note and not linux.status().enabled


def test_without_lingering_a_server_is_told_about_it(linux: Autostart) -> None:
    app = headless(replace(linux, root=linux.home))
    assert "loginctl enable-linger" in app.enable(headless=True).note


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
    assert app.status().note == ""


def test_two_ways_at_once_are_told(linux: Autostart) -> None:
    app = headless(linux)
    app.enable(headless=True)
    write(entry_of(app), with_keys(template("tfgpu-tray.desktop"), "Desktop Entry", {}))
    state = app.status()
    assert state.method is Method.XDG and f"{unit_of(app)} starts it too" in state.note
    assert app.disable().method is None
    assert not unit_of(app).exists() and not entry_of(app).exists()


# ---- Windows -----------------------------------------------------------------------------------


def test_windows_gets_a_run_value(windows: Autostart, registry: FakeRegistry) -> None:
    python = windows.executable.replace("python.exe", "pythonw.exe")  # without a console
    state = windows.enable()
    assert registry.values == {(RUN_KEY, "tfgpu-tray"): f'"{python}" -P -m tfgpu_tray run'}
    place = rf"HKEY_CURRENT_USER\{RUN_KEY}\tfgpu-tray"
    assert state == State(True, Method.REGISTRY, place, f"{python} -P -m tfgpu_tray run", "")
    assert windows.enable(headless=True).command.endswith("run --headless")
    assert windows.status().note == ""
    assert windows.disable() == State(False, None, place, "", "") and not registry.values


def test_python_without_a_pythonw_is_used_as_it_is(windows: Autostart) -> None:
    Path(windows.executable).with_name("pythonw.exe").unlink()
    assert windows.command()[0] == windows.executable


@pytest.mark.parametrize(
    ("switch", "on"), [(b"\2" + bytes(11), True), (b"\6", True), (b"\3", False), (b"\7", False)]
)
def test_the_switch_of_task_manager_is_respected(
    windows: Autostart, registry: FakeRegistry, switch: bytes, on: bool
) -> None:
    windows.enable()
    registry.values[APPROVED_KEY, "tfgpu-tray"] = switch
    state = windows.status()
    assert (state.enabled, state.note) == (on, "" if on else "disabled in Task Manager")
    Path(windows.executable).with_name("pythonw.exe").unlink()
    assert windows.refresh() is on
    assert registry.values[APPROVED_KEY, "tfgpu-tray"] == switch
    assert windows.enable().enabled and (APPROVED_KEY, "tfgpu-tray") not in registry.values


def test_removing_the_run_value_removes_its_switch(
    windows: Autostart, registry: FakeRegistry
) -> None:
    windows.enable()
    registry.values[APPROVED_KEY, "tfgpu-tray"] = b"\3"
    windows.disable()
    assert not registry.values


def test_a_command_too_long_for_windows_is_refused(
    windows: Autostart, registry: FakeRegistry
) -> None:
    rest = len(join_windows([*windows.command(), "--config", "/"]))
    fits = replace(windows, config=Path("/" + "x" * (260 - rest)))
    assert fits.enable().enabled
    assert len(str(registry.values[RUN_KEY, "tfgpu-tray"])) == 260
    before = dict(registry.values)
    with pytest.raises(AutostartError, match=r"at most 260 characters.* has 261.*shorter path"):
        replace(windows, config=Path("/" + "x" * (261 - rest))).enable()
    assert registry.values == before


def test_a_moved_installation_is_corrected_in_the_registry(
    windows: Autostart, registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.write(
        RUN_KEY, "tfgpu-tray", r'"/gone/pythonw.exe" -P -m tfgpu_tray run --config "a b"'
    )
    assert windows.refresh()
    assert split_windows(str(registry.values[RUN_KEY, "tfgpu-tray"]))[1:] == (
        *("-P", "-m", "tfgpu_tray", "run", "--config", "a b"),
    )
    assert windows.status().note == "" and not windows.refresh()


def test_a_value_that_is_no_command_line_is_told(
    windows: Autostart, registry: FakeRegistry
) -> None:
    registry.values[RUN_KEY, "tfgpu-tray"] = b"\0"
    assert "not a command line" in windows.status().note and not windows.status().enabled
    assert windows.enable().enabled


@pytest.mark.parametrize("action", ["enable", "disable", "status", "refresh"])
def test_a_registry_that_refuses_is_told(windows: Autostart, action: str) -> None:
    with pytest.raises(AutostartError, match="Access is denied"):
        getattr(replace(windows, registry=FailingRegistry()), action)()


def test_the_real_registry_is_used_as_documented(
    windows: Autostart, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[tuple[str, str], tuple[object, int]] = {}

    class Key(str):
        def __enter__(self) -> str:
            return self

        def __exit__(self, *_: object) -> None: ...

    def open_key(root: str, key: str, reserved: int = 0, access: str = "read") -> Key:
        if not any(k == key for k, _ in values):
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return Key(key)

    def query(key: str, name: str) -> tuple[object, int]:
        if (key, name) not in values:
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return values[key, name]

    def delete(key: str, name: str) -> None:
        query(key, name)
        del values[key, name]

    winreg = SimpleNamespace(
        HKEY_CURRENT_USER="HKCU",
        KEY_SET_VALUE="write",
        REG_SZ=1,
        REG_EXPAND_SZ=2,
        REG_BINARY=3,
        OpenKey=open_key,
        CreateKey=lambda root, key: Key(key),
        QueryValueEx=query,
        SetValueEx=lambda key, name, _, kind, value: values.__setitem__((key, name), (value, kind)),
        DeleteValue=delete,
    )
    monkeypatch.setitem(sys.modules, "winreg", winreg)
    app = replace(windows, registry=None)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        assert app.status().method is None
        assert app.enable().enabled
        assert values[RUN_KEY, "tfgpu-tray"][1] == winreg.REG_SZ
        values[APPROVED_KEY, "tfgpu-tray"] = (b"\3" + bytes(11), winreg.REG_BINARY)
        assert app.status().note == "disabled in Task Manager"
        assert app.enable().enabled and len(values) == 1
        values[RUN_KEY, "tfgpu-tray"] = (7, 4)  # a REG_DWORD
        assert "not a command line" in app.status().note
        assert app.disable().method is None and not values


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a registry")
def test_elsewhere_there_is_no_registry(windows: Autostart) -> None:
    with pytest.raises(AutostartError, match="no Windows registry"):
        replace(windows, registry=None).status()


# ---- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["enable", "disable", "status", "refresh"])
@pytest.mark.parametrize("obstacle", ["file-for-folder", "folder-for-file"])
def test_a_place_that_cannot_be_used_is_told(linux: Autostart, action: str, obstacle: str) -> None:
    if obstacle == "file-for-folder":
        write(entry_of(linux).parent)
    else:
        entry_of(linux).mkdir(parents=True)
    with pytest.raises(AutostartError, match=r"tfgpu-tray\.desktop cannot be used: \w+"):
        getattr(linux, action)()


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


def test_an_interpreter_that_does_not_know_its_place_is_told(linux: Autostart) -> None:
    with pytest.raises(AutostartError, match="does not know where it is"):
        replace(linux, executable="").enable()


def test_a_file_is_replaced_through_its_link_and_keeps_its_mode(tmp_path: Path) -> None:
    kept = write(tmp_path / "dotfiles" / "x.desktop", "old")
    kept.chmod(0o600)
    (tmp_path / "x.desktop").symlink_to(kept)
    write_file(tmp_path / "x.desktop", "new")
    assert (tmp_path / "x.desktop").is_symlink() and kept.read_text() == "new"
    assert kept.stat().st_mode & 0o777 == 0o600


# ---- templates ---------------------------------------------------------------------------------


def test_templates_are_found_installed_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ExecStart=" in template("tfgpu-tray.service")
    with pytest.raises(AutostartError, match=r"no-such\.file is missing.*install tfgpu-tray again"):
        template("no-such.file")
    write(tmp_path / "service" / "no-such.file", "found")
    monkeypatch.setattr(autostart, "files", lambda package: tmp_path)
    assert template("no-such.file") == "found"


def test_the_scheduled_task_avoids_the_defaults_that_end_daemons() -> None:
    task = ElementTree.fromstring(template("tfgpu-tray.xml"))
    space = {"": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    settings = task.find("Settings", space)
    principal = task.find("Principals/Principal", space)
    assert settings is not None and principal is not None
    told = {child.tag.partition("}")[2]: child.text for child in settings}
    assert told["ExecutionTimeLimit"] == "PT0S"
    assert told["DisallowStartIfOnBatteries"] == told["StopIfGoingOnBatteries"] == "false"
    assert told["Priority"] == "5" and told["MultipleInstancesPolicy"] == "IgnoreNew"
    assert settings.find("RestartOnFailure/Count", space) is not None
    assert settings.find("RestartOnFailure/Interval", space) is not None
    assert principal.findtext("LogonType", None, space) == "InteractiveToken"
    assert principal.findtext("RunLevel", None, space) == "LeastPrivilege"
    assert principal.findtext("UserId", None, space) == task.findtext(
        "Triggers/LogonTrigger/UserId", None, space
    )
