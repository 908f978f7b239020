"""The command line: arguments, exit codes, and what is printed where."""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import conda_prefix, distribution, hook, site_of
from tests.snapshots import BLIND, FakeObserver, healthy, libraries
from tests.tray.conditions import LEFTOVERS, NO_CUDNN, NO_DRIVER, OFFER, SILENT, TF, WELL, holds
from tfgpu_tray import __version__, daemon
from tfgpu_tray.app import App
from tfgpu_tray.cli import main
from tfgpu_tray.config import Config, load
from tfgpu_tray.model import Judgement, Library, LibraryState, Snapshot
from tfgpu_tray.observe import environments
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.store.board import Silence
from tfgpu_tray.store.locks import prefix_lock, watcher_lock

BROKEN = healthy(
    tensorflow=BLIND, libraries=libraries(Library("libcudnn.so.8", LibraryState.MISSING))
)
DEGRADED = healthy(packages=replace(healthy().packages, leftovers=("~umpy",)))
UNKNOWN = healthy(tensorflow=None)
STAYED = 99  # what `run` answers here instead of staying


@dataclass(frozen=True)
class FakeApp(App):
    """The program over environments that always look the same."""

    snapshot: Snapshot = field(default_factory=healthy)

    @cached_property
    def observer(self) -> Observer:
        return FakeObserver({}, seen=(self.snapshot,))


@dataclass
class Bench:
    """Runs the command line; keeps its exit code and what it printed."""

    home: Path
    capsys: pytest.CaptureFixture[str]
    snapshot: Snapshot = field(default_factory=healthy)
    out: str = ""
    err: str = ""
    started: tuple[Path | None, Path | None] = (None, None)

    def start(self, config: Path | None, data_dir: Path | None) -> App:
        self.started = (config, data_dir)
        known = load(config) if config else Config()
        environ = {"CONDA_ENVS_DIRS": str(self.home / "envs"), "PATH": ""}
        folder = data_dir or self.home / "data"
        return FakeApp(known, folder, environ, self.home, snapshot=self.snapshot)

    def run(self, *words: str | Path) -> int:
        try:
            code = main([str(word) for word in words], self.start)
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            code = exit_.code
        self.out, self.err = self.capsys.readouterr()
        return code

    def hold(self, judged: Judgement, prefix: Path = TF) -> None:
        """The watcher saw *judged*."""
        self.start(None, None).board.hold(holds(judged, prefix))

    def json(self) -> Any:
        return json.loads(self.out)

    def add(self, name: str = "tf") -> Path:
        prefix = conda_prefix(self.home / "envs" / name)
        distribution(site_of(prefix), "tensorflow", "2.10.1")
        return prefix


@pytest.fixture
def bench(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.setattr(environments, "CONDA_ROOTS", ())
    monkeypatch.setattr(environments, "CONDARC", ())
    monkeypatch.setattr(daemon, "stay", lambda app, say, *, headless: STAYED + headless)
    return Bench(tmp_path, capsys)


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-option"],
        ["no-such-command"],
        ["check", "--depth", "bottomless"],
        ["check", "--no-such-option"],
        ["check", "extra"],
        ["repair"],
        ["install", "--yes"],
        ["repair", "--env"],
        ["undo", "--dry-run"],
        ["check", "--config"],
        ["autostart"],
        ["autostart", "perhaps"],
        ["status", "--env", "/x"],
    ],
)
def test_a_mistake_in_the_arguments_is_a_usage_error(bench: Bench, words: list[str]) -> None:
    assert bench.run(*words) == 64
    assert bench.out == "" and "usage: tfgpu-tray" in bench.err


def test_help_and_version_are_no_mistakes(bench: Bench) -> None:
    assert bench.run("--version") == 0
    assert bench.out == f"tfgpu-tray {__version__}\n"
    assert bench.run("--help") == 0 and bench.run("repair", "--help") == 0


@pytest.mark.parametrize(
    "words", [["--json", "check"], ["check", "--json"], ["--json", "check", "--json"]]
)
def test_json_may_stand_before_and_after_the_command(bench: Bench, words: list[str]) -> None:
    bench.add()
    assert bench.run(*words) == 0
    content = bench.json()
    assert (content["schema"], content["verdict"]) == (1, "ok")
    assert [e["verdict"] for e in content["environments"]] == ["ok"]
    assert bench.err == ""


def test_options_before_the_command_reach_it(bench: Bench, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    bench.run("--config", config, "--data-dir", tmp_path / "d", "check", "--json")
    assert bench.started == (config, tmp_path / "d")
    bench.run("check", "--config", config, "--json", "--data-dir", tmp_path / "e")
    assert bench.started == (config, tmp_path / "e")


@pytest.mark.parametrize(
    "words, headless",
    [([], False), (["--json"], False), (["run"], False), (["run", "--headless"], True)],
)
def test_without_a_command_it_stays(bench: Bench, words: list[str], headless: bool) -> None:
    assert bench.run(*words) == STAYED + headless


# ---- check -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "snapshot, code", [(healthy(), 0), (DEGRADED, 1), (BROKEN, 2), (UNKNOWN, 3)]
)
def test_the_exit_code_is_the_verdict(bench: Bench, snapshot: Snapshot, code: int) -> None:
    prefix = bench.add()
    bench.snapshot = snapshot
    assert bench.run("check") == code
    assert str(prefix) in bench.out
    assert bench.run("check", "--json", "--env", prefix) == code


def test_without_environments_nothing_is_claimed(bench: Bench) -> None:
    assert bench.run("check") == 3
    assert "No environment with TensorFlow was found." in bench.out


def test_a_prefix_that_is_no_environment_is_a_usage_error(bench: Bench, tmp_path: Path) -> None:
    for command in ("check", "repair"):
        assert bench.run(command, "--env", tmp_path / "absent") == 64
        assert bench.err == f"tfgpu-tray: {tmp_path}/absent is not a Python environment\n"


def test_an_error_as_json_is_json(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("check", "--json", "--env", tmp_path / "absent") == 64
    assert bench.json() == {
        "schema": 1,
        "error": [f"{tmp_path}/absent is not a Python environment"],
    }


def test_markup_in_names_is_printed_as_it_is(bench: Bench) -> None:
    prefix = bench.add("[red]it's 用户[bold]")
    bench.run("check")
    assert str(prefix) in bench.out


def test_the_variables_of_the_session_do_not_leave_the_machine(bench: Bench) -> None:
    bench.add()
    hooks = healthy().hooks
    assert hooks.activation is not None
    secret = {**hooks.activation.environ, "API_TOKEN": "hunter2"}
    activation = replace(hooks.activation, environ=secret, base=secret)
    bench.snapshot = healthy(hooks=replace(hooks, activation=activation))
    bench.run("check", "--json")
    assert "hunter2" not in bench.out and "LD_LIBRARY_PATH" in bench.out


def test_variables_of_the_environment_do_not_leave_the_machine(bench: Bench) -> None:
    """`conda env config vars` is where keys are kept."""
    bench.add()
    hooks = replace(healthy().hooks, variables={"WANDB_API_KEY": "hunter2"})
    bench.snapshot = healthy(hooks=hooks)
    bench.run("check", "--json")
    assert "hunter2" not in bench.out


def test_a_plan_comes_with_the_check_where_something_is_wrong(bench: Bench) -> None:
    bench.add()
    for snapshot, planned in ((healthy(), False), (BROKEN, True), (UNKNOWN, False)):
        bench.snapshot = snapshot
        bench.run("check", "--plan", "--json")
        (entry,) = bench.json()["environments"]
        assert ("plan" in entry) is planned
    bench.snapshot = BROKEN
    assert bench.run("check", "--json") == 2
    assert "plan" not in bench.json()["environments"][0]
    assert bench.run("check", "--plan") == 2
    assert "Plan for" in bench.out or "What you can do" in bench.out


# ---- staying -----------------------------------------------------------------------------------


def test_what_happens_is_printed_as_text_and_as_json(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"kind": "found", "prefix": None, "text": "ok → broken", "line": "14:02  ok → broken"}

    def stay(app: App, say: daemon.Say, *, headless: bool) -> int:
        say(event)
        return 0

    monkeypatch.setattr(daemon, "stay", stay)
    assert bench.run("run") == 0 and bench.out == "14:02  ok → broken\n"
    assert bench.run("--json") == 0 and bench.json() == {"schema": 1, **event}


def test_a_second_start_shows_the_status_and_is_no_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stay(app: App, say: daemon.Say, *, headless: bool) -> int:
        raise daemon.AlreadyRunning

    monkeypatch.setattr(daemon, "stay", stay)
    bench.hold(NO_CUDNN)
    assert bench.run() == 0 and "libcudnn.so.8 is missing" in bench.out and bench.err == ""
    assert bench.run("run", "--json") == 0 and bench.json()["verdict"] == "broken"


def test_a_program_without_standard_streams_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pythonw, at login."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["status", "--json"], bench.start) == 3
    assert main(["check", "--env", "/none"], bench.start) == 64
    sys.stdout.close()
    sys.stderr.close()


def test_a_terminal_that_lacks_a_character_shows_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "cp1252"))
    bench.hold(NO_CUDNN)
    assert main(["status"], bench.start) == 2
    sys.stdout.flush()
    assert b"x broken" in shown.getvalue()


# ---- status ------------------------------------------------------------------------------------


def test_without_a_watcher_the_status_says_so(bench: Bench) -> None:
    assert bench.run("status") == 3
    assert bench.out.startswith("No watcher is running;")
    assert "No environment with TensorFlow has been seen yet." in bench.out


@pytest.mark.parametrize("judged, code", [(WELL, 0), (LEFTOVERS, 1), (NO_CUDNN, 2), (SILENT, 3)])
def test_the_status_is_what_was_last_seen(bench: Bench, judged: Judgement, code: int) -> None:
    bench.hold(WELL, bench.home / "other")
    bench.hold(judged)
    assert bench.run("status") == code
    assert judged.headline in bench.out and str(TF) in bench.out
    assert bench.run("status", "--json") == code
    content = bench.json()
    assert (content["verdict"], content["running"]) == (judged.verdict.value, False)
    assert [e["asked"] for e in content["environments"]] == [True, True]


def test_the_status_tells_what_a_repair_would_do(bench: Bench) -> None:
    bench.hold(NO_CUDNN)
    bench.run("status")
    assert "A repair would: Install cuDNN" in bench.out
    assert f"tfgpu-tray repair --env {TF}" in bench.out and "by hand" not in bench.out
    bench.hold(replace(NO_CUDNN, offer=replace(OFFER, instead=("Move to WSL2: a restart",))))
    bench.run("status")
    assert "  Or by hand: Move to WSL2: a restart\n" in bench.out
    bench.hold(NO_DRIVER)
    bench.run("status")
    assert "What you can do: Restart the computer." in bench.out


def test_what_the_user_said_of_it_is_in_the_status(bench: Bench) -> None:
    bench.hold(NO_CUDNN)
    assert NO_CUDNN.cause is not None
    board = bench.start(None, None).board
    board.silence(TF, NO_CUDNN.cause, Silence.ACKNOWLEDGED)
    assert bench.run("status") == 2 and f"✗ broken, acknowledged  {TF}" in bench.out
    board.silence(TF, NO_CUDNN.cause, Silence.IGNORED)
    assert bench.run("status") == 0 and f"✗ broken, ignored  {TF}" in bench.out
    assert bench.run("status", "--json") == 0
    assert [e["silence"] for e in bench.json()["environments"]] == ["ignored"]


def test_the_status_knows_of_a_watcher_its_pause_and_a_repair(bench: Bench) -> None:
    app = bench.start(None, None)
    watcher, repairer = watcher_lock(app.data_dir), prefix_lock(app.data_dir, TF)
    number = app.journal.begin(TF, "repair", "broken", ["install cuDNN"])
    app.journal.progress(number, "downloading", 0.25)
    with watcher, repairer:
        bench.run("status", "--json")
        assert bench.json()["running"] is True
        (repair,) = bench.json()["repairs"]
        assert repair == {"prefix": str(TF), "phase": "downloading", "fraction": 0.25}
        bench.run("status")
        assert bench.out.startswith("The watcher is running.")
        assert f"A repair of {TF} is at work: downloading" in bench.out
        app.board.pause(time.time() + 3600)
        bench.run("status")
        assert bench.out.startswith("The watcher is paused until ")
    bench.run("status", "--json")
    assert bench.json()["repairs"] == []  # whoever did it is gone


def test_markup_in_what_was_seen_is_printed_as_it_is(bench: Bench) -> None:
    bench.hold(replace(NO_CUDNN, headline="[red]lost[/]"), Path("/envs/[bold]it's"))
    bench.run("status")
    assert "[red]lost[/]" in bench.out and "/envs/[bold]it's" in bench.out
    assert """repair --env '/envs/[bold]it'"'"'s'""" in bench.out


def test_the_status_of_a_data_folder_that_cannot_be_used(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert bench.run("status", "--data-dir", tmp_path / "file") == 3
    assert "cannot be used" in bench.err


# ---- autostart ---------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="an entry of Linux's desktops")
def test_starting_at_login_is_turned_on_and_off(bench: Bench) -> None:
    entry = bench.home / ".config" / "autostart" / "tfgpu-tray.desktop"
    assert bench.run("autostart", "status") == 0
    assert bench.out.startswith("Does not start at login.") and not entry.exists()
    assert bench.run("autostart", "enable") == 0
    assert bench.out.startswith("Starts at login: ") and str(entry) in bench.out
    assert f"--data-dir {bench.home}/data" in entry.read_text()
    assert bench.run("autostart", "status", "--json") == 0
    assert (bench.json()["enabled"], bench.json()["place"]) == (True, str(entry))
    assert bench.run("autostart", "disable") == 0
    assert bench.out.startswith("No longer starts at login.") and not entry.exists()
    assert bench.run("autostart", "disable", "--json") == 0
    assert bench.json()["enabled"] is False


@pytest.mark.skipif(sys.platform != "linux", reason="an entry of Linux's desktops")
def test_an_entry_that_cannot_be_written_is_said(bench: Bench) -> None:
    (bench.home / ".config").write_text("a file")
    assert bench.run("autostart", "enable") == 3
    assert "cannot be used" in bench.err and "Traceback" not in bench.err


# ---- the configuration -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["repair", "--env", "/x"],
        ["undo"],
        ["run"],
        [],
        ["status"],
        ["autostart", "status"],
    ],
)
def test_mistakes_in_the_configuration_are_all_listed(
    bench: Bench, tmp_path: Path, words: list[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[install]\ncuda = "apt"\n[deadlines]\ndriver = 0\nsurprise = 1\n')
    assert bench.run("--config", config, *words) == 64
    lines = bench.err.splitlines()
    assert [line.split(": ")[2] for line in lines] == [
        "install.cuda",
        "deadlines.driver",
        "deadlines.surprise",
    ]
    assert bench.out == ""


def test_mistakes_as_json_are_one_object(bench: Bench, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("a = 1\nb = 2\n")
    assert bench.run("check", "--json", "--config", config) == 64
    assert len(bench.json()["error"]) == 2


def test_a_configuration_named_and_not_there_is_a_mistake(tmp_path: Path) -> None:
    """Not quietly the defaults: a typing error would go unnoticed."""
    words = ["check", "--config", str(tmp_path / "typo.toml"), "--data-dir", str(tmp_path)]
    assert (
        main([*words, "--depth", "fingerprint", "--env", str(conda_prefix(tmp_path / "x"))]) == 64
    )


# ---- repair, install, undo ---------------------------------------------------------------------


def test_a_plan_can_be_looked_at_without_consent(bench: Bench) -> None:
    prefix = bench.add()
    bench.snapshot = BROKEN
    before = sorted(p for p in prefix.rglob("*"))
    assert bench.run("repair", "--env", prefix, "--dry-run", "--json") == 2
    content = bench.json()
    assert content["state"] in ("planned", "nothing-to-do")
    assert content["before"]["verdict"] == "broken"
    assert sorted(p for p in prefix.rglob("*")) == before


def test_what_is_healthy_needs_no_repair(bench: Bench) -> None:
    prefix = bench.add()
    assert bench.run("repair", "--env", prefix) == 0
    assert "nothing is wrong" in bench.out


def test_without_a_terminal_consent_must_be_given_beforehand(bench: Bench) -> None:
    prefix = bench.add()
    hook(prefix, "a.sh", "export LD_LIBRARY_PATH=/x\n")
    bench.snapshot = BROKEN
    assert bench.run("repair", "--env", prefix) == 64
    assert "--yes" in bench.err


@pytest.mark.parametrize("words", [["undo"], ["undo", "--json"], ["undo", "--env", "/x"]])
def test_without_a_repair_there_is_nothing_to_take_back(bench: Bench, words: list[str]) -> None:
    assert bench.run(*words) == 3
    assert "there is no repair to take back" in bench.err


def test_a_file_is_no_place_for_an_environment(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert bench.run("install", "--env", path, "--dry-run") == 64
    assert str(path) in bench.err and path.read_text() == "mine"


def test_a_folder_that_holds_something_else_is_no_place_for_one(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    assert bench.run("install", "--env", tmp_path / "photos", "--yes") == 64
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"


def test_a_data_folder_that_cannot_be_used_is_said(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench.add()
    assert bench.run("check", "--data-dir", tmp_path / "file") == 3
    assert "cannot be used" in bench.err


def test_an_interruption_is_no_traceback(bench: Bench) -> None:
    def interrupted(config: Path | None, data_dir: Path | None) -> App:
        raise KeyboardInterrupt

    assert main(["check"], interrupted) == 3
    assert bench.capsys.readouterr().err == "tfgpu-tray: stopped\n"
