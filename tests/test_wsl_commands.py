"""`check --wsl` and `install --wsl`: what a person gives, reads and agrees to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.fake_wsl import FAILED, HEALTHY, UBUNTU, Said, fake_wsl, running, wsl_registry
from tests.snapshots import HOST, FakeObserver, healthy
from tfgpu_tray.app import App
from tfgpu_tray.cli import main
from tfgpu_tray.config import Config
from tfgpu_tray.daemon import introduce
from tfgpu_tray.installer.elevation import Elevated
from tfgpu_tray.installer.wsl import WslInstaller
from tfgpu_tray.model import Host
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.observe.wsl import Wsl
from tfgpu_tray.store.awaited import AfterRestart

WINDOWS = Host("windows", "x86_64", windows_build=22631)


@dataclass(frozen=True)
class FakeApp(App):
    host: Host = WINDOWS
    seen: Wsl | None = None
    boot: float = 0.0
    asked: list[Sequence[str]] = field(default_factory=list)
    ended: Elevated = field(default_factory=lambda: Elevated(0))

    @cached_property
    def observer(self) -> Observer:
        return FakeObserver({}, seen=(replace(healthy(), host=self.host),))

    @cached_property
    def wsl(self) -> Wsl | None:
        return self.seen

    def wsl_installer(self) -> WslInstaller | None:
        def elevate(program: str, arguments: Sequence[str], *, deadline: float) -> Elevated:
            self.asked.append(arguments)
            return self.ended

        if self.seen is None:
            return None
        return WslInstaller(self.seen, AfterRestart(self.data_dir, lambda: self.boot), elevate)


@dataclass
class Bench:
    folder: Path
    capsys: pytest.CaptureFixture[str]
    wsl: Wsl | None = None
    host: Host = WINDOWS
    ended: Elevated = field(default_factory=lambda: Elevated(0))
    asked: list[Sequence[str]] = field(default_factory=list)
    boot: float = 0.0

    def start(self, config: Path | None = None, data_dir: Path | None = None) -> App:
        return FakeApp(
            Config(discover=False),
            self.folder / "data",
            {},
            self.folder,
            host=self.host,
            seen=self.wsl,
            asked=self.asked,
            ended=self.ended,
            boot=self.boot,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        try:
            code = main(words, self.start)
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            code = exit_.code
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *words: str) -> tuple[int, Any]:
        code, out, _ = self.run(*words, "--json")
        return code, json.loads(out)


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys, fake_wsl(wsl_registry(service=""))[0])


# ---- check -------------------------------------------------------------------------------------


def test_both_sides_stand_in_one_answer(bench: Bench) -> None:
    answers = {**running(UBUNTU.name), "python3": Said(HEALTHY, inside=True)}
    bench.wsl = fake_wsl(wsl_registry(UBUNTU), answers)[0]
    code, told = bench.json("check", "--wsl", "--depth", "static")
    assert told["wsl"]["distributions"][0]["ready"] is True
    [environment] = told["environments"]
    assert environment["prefix"].endswith(r"Ubuntu-22.04\home\me\tf")
    assert environment["facts"]["environment"]["distribution"] == UBUNTU.name
    assert (code, told["verdict"]) == (3, "unknown"), "its TensorFlow was not asked"


def test_a_check_of_one_environment_asks_nobody_about_wsl(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tf").mkdir()
    (tmp_path / "tf" / "pyvenv.cfg").write_text("version = 3.10.1\n")
    bench.wsl, exe = fake_wsl(wsl_registry(UBUNTU))
    _, told = bench.json("check", "--env", str(tmp_path / "tf"))
    assert told["wsl"] is None and exe.calls == []
    assert told["host"]["wsl_distributions"][0]["name"] == UBUNTU.name, "for the remedies"


def test_elsewhere_there_is_no_wsl_to_look_into(bench: Bench) -> None:
    bench.wsl, bench.host = None, HOST
    for words in (("check", "--wsl"), ("install", "--wsl")):
        code, out, err = bench.run(*words)
        assert (code, out) == (64, "") and "a part of Windows" in err
    assert bench.json("check")[1]["wsl"] is None


def test_an_environment_inside_is_not_changed_from_outside(bench: Bench) -> None:
    for command in ("repair", "check"):
        code, _, err = bench.run(command, "--env", r"\\wsl.localhost\Ubuntu\home\me\tf")
        assert code == 64 and "lies in the WSL distribution Ubuntu" in err


# ---- install -----------------------------------------------------------------------------------


def test_one_thing_at_a_time_is_installed(bench: Bench) -> None:
    assert bench.run("install", "--wsl", "--env", "tf")[0] == 64
    assert bench.run("install")[0] == 64


def test_a_dry_run_says_what_it_would_do(bench: Bench) -> None:
    code, told = bench.json("install", "--wsl", "--dry-run")
    assert (code, told["state"], bench.asked) == (0, "planned", [])
    assert "--install" in told["step"]["commands"][0]


def test_nobody_is_elevated_without_consent(bench: Bench) -> None:
    code, out, err = bench.run("install", "--wsl")
    assert code == 64 and "pass --yes" in err and bench.asked == []
    assert "Install WSL 2 with Ubuntu" in out and "Restart Windows" in out


def test_with_consent_it_is_done_and_the_restart_is_told(bench: Bench) -> None:
    code, told = bench.json("install", "--wsl", "--yes")
    assert (code, told["state"], bench.asked) == (0, "restart-needed", [["--install"]])
    assert bench.json("install", "--wsl", "--yes")[1]["state"] == "restart-needed"
    assert len(bench.asked) == 1, "before the restart it is not done again"


def test_a_no_is_a_no(bench: Bench) -> None:
    bench.ended = Elevated()
    code, out, _ = bench.run("install", "--wsl", "--yes")
    assert code == 3 and "the consent was refused; nothing was changed" in out


def test_an_old_windows_is_refused(bench: Bench) -> None:
    bench.host = replace(WINDOWS, windows_build=18363)
    code, told = bench.json("install", "--wsl", "--yes")
    assert (code, told["state"], bench.asked) == (3, "refused", [])
    assert "18363" in told["note"]


def test_where_wsl_2_is_there_is_nothing_to_do(bench: Bench) -> None:
    answers = {"--running": Said("", FAILED)}
    bench.wsl = fake_wsl(wsl_registry(UBUNTU), answers)[0]
    code, told = bench.json("install", "--wsl", "--yes")
    assert (code, told["state"], bench.asked) == (0, "nothing-to-do", [])


def test_after_the_restart_the_watcher_tells_it_once(bench: Bench) -> None:
    def recorded_at_login() -> list[tuple[str, str]]:
        told: list[tuple[str, str]] = []
        introduce(bench.start(), lambda _: None, lambda kind, text: told.append((kind, text)))
        return told

    bench.run("install", "--wsl", "--yes")
    assert recorded_at_login() == [], "Windows was not restarted yet"
    bench.wsl, bench.boot = fake_wsl(wsl_registry(UBUNTU))[0], 9000.0
    [(kind, text)] = recorded_at_login()
    assert kind == "wsl" and text.startswith("WSL 2 is there now, with Ubuntu-22.04")
    assert recorded_at_login() == []
