"""Both sides in one answer: Windows, its distributions, and the environments inside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fake_wsl import (
    CUDA,
    DEBIAN,
    ENCODINGS,
    ENVIRONMENT,
    FAILED,
    GPU,
    HEALTHY,
    SEES_GPU,
    SYSTEM,
    UBUNTU,
    FakeWslExe,
    Said,
    fake_wsl,
    recorded,
    running,
    wsl_registry,
)
from tests.fakes import FailingRunner, facts
from tests.observe.fake_windows import FailingRegistry
from tests.snapshots import DRIVER
from tfgpu_tray import answers, words
from tfgpu_tray.model import Depth, Environment, Host, Kind, Verdict, WslDistribution
from tfgpu_tray.observe.wsl import Wsl
from tfgpu_tray.subsystem import Looker, Subsystem
from tfgpu_tray.survey import Overview

WINDOWS = Host("windows", "x86_64", windows_build=22631)
BARRED = {
    "no GPU": (
        facts(SYSTEM, {**GPU, "device": False, "driver": False}, {"libcuda": ""}),
        "wsl-gpu-not-passed-on",
    ),
    "a driver for Linux": (
        facts(
            SYSTEM,
            {**GPU, "linux_driver": ["libnvidia-compute-535"]},
            {**CUDA, "libcuda": "/usr/lib/x86_64-linux-gnu/libcuda.so.1"},
            {"cuinit": 100},
        ),
        "wsl-linux-driver-installed",
    ),
}


def look(
    *distributions: WslDistribution,
    answers: dict[str, Said] | None = None,
    encoding: str = "utf-8",
    everywhere: bool = True,
    depth: Depth = Depth.TENSORFLOW,
) -> tuple[Subsystem, FakeWslExe]:
    registry = wsl_registry(*distributions, service="WSLService" if distributions else "")
    wsl, exe = fake_wsl(registry, answers, encoding)
    return Looker(wsl, everywhere=everywhere).look(WINDOWS, DRIVER, depth), exe


def asked(text: str) -> dict[str, Said]:
    """The look says *text*; TensorFlow is asked with one word more."""
    look_ = {f"-d {UBUNTU.name} python3": Said(text, inside=True)}
    return {**running(UBUNTU.name), **look_}


def causes(found: Subsystem) -> list[str]:
    return [d.cause for judged in found.distributions for d in judged.diagnoses]


# ---- the five cases ----------------------------------------------------------------------------


def test_no_wsl() -> None:
    found, exe = look()
    assert [d.cause for d in found.diagnoses] == ["wsl-not-installed"]
    assert found.host.wsl_installed is False and found.host.wsl_distributions == ()
    assert exe.calls == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("language", ["none-en", "none-zh"])
def test_wsl_without_a_distribution(language: str, encoding: str) -> None:
    closed = FailingRegistry(denied="HK")
    wsl, _ = fake_wsl(closed, {"-l -v": Said(recorded(language), FAILED)}, encoding)
    found = Looker(wsl, everywhere=True).look(WINDOWS, DRIVER, Depth.STATIC)
    assert found.host.wsl_installed is True
    assert [d.cause for d in found.diagnoses] == ["wsl-not-installed"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_wsl_1(encoding: str) -> None:
    found, exe = look(replace(DEBIAN, default=True), answers=running("Debian"), encoding=encoding)
    assert causes(found) == ["wsl1-not-wsl2"]
    assert found.distributions[0].ready is False
    assert all("-d" not in call for call in exe.calls), "there is nothing to see inside"


@pytest.mark.parametrize("case", BARRED)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_wsl_2_into_which_the_gpu_does_not_come(case: str, encoding: str) -> None:
    text, cause = BARRED[case]
    found, _ = look(UBUNTU, answers=asked(text), encoding=encoding)
    assert causes(found) == [cause]
    assert found.distributions[0].ready is False


def test_wsl_2_in_good_health_with_a_tensorflow() -> None:
    registry = wsl_registry(UBUNTU)
    wsl, exe = fake_wsl(registry, asked(HEALTHY))
    told: list[str] = []

    def telling(environment: Environment) -> None:
        told.append(str(environment.prefix))
        if environment.kind is Kind.VENV:  # its TensorFlow is asked next
            exe.answers = asked(SEES_GPU)

    looker = Looker(wsl, everywhere=True, telling=telling)
    found = looker.look(WINDOWS, DRIVER, Depth.TENSORFLOW)
    [judged], [report] = found.distributions, found.reports
    assert judged.ready is True and judged.diagnoses == ()
    assert report.verdict is Verdict.OK, report.diagnoses
    assert report.headline == "TensorFlow 2.15.1 sees a GPU"
    assert str(report.prefix) == r"\\wsl.localhost\Ubuntu-22.04\home\me\tf"
    assert told == ["\\\\wsl.localhost\\Ubuntu-22.04\\", str(report.prefix)]


def test_one_that_does_not_start() -> None:
    answers = {**running(), "-d": Said(recorded("no-virtualization-zh"), FAILED)}
    found, _ = look(UBUNTU, answers=answers, encoding="utf-16-le")
    assert causes(found) == ["wsl-does-not-start"]
    assert found.distributions[0].ready is None
    assert "HCS_E_HYPERV_NOT_INSTALLED" in found.distributions[0].diagnoses[0].evidence[0]


# ---- when nothing is started -------------------------------------------------------------------


def test_what_does_not_run_is_left_alone_unless_it_was_asked_for() -> None:
    found, exe = look(UBUNTU, answers=running(), everywhere=False)
    assert exe.calls == [["-l", "--running", "-q"]]
    assert found.distributions[0].ready is None and found.reports == ()
    assert found.distributions[0].headline == "it does not run and was not looked into"


def test_one_that_runs_is_looked_into_but_no_tensorflow_is_asked() -> None:
    found, exe = look(UBUNTU, answers=asked(HEALTHY), everywhere=False)
    assert [call[0] for call in exe.calls] == ["-l", "-d"]
    assert found.distributions[0].ready is True and found.reports == ()


def test_at_the_fingerprint_depth_nothing_is_looked_into() -> None:
    _, exe = look(UBUNTU, answers=asked(HEALTHY), everywhere=False, depth=Depth.FINGERPRINT)
    assert exe.calls == [["-l", "--running", "-q"]]


def test_distributions_of_programs_are_left_out() -> None:
    docker = WslDistribution("docker-desktop", 2, default=True)
    found, exe = look(docker, answers=running("docker-desktop"))
    assert found.distributions == () and len(exe.calls) == 1


def test_where_nobody_answers_nothing_is_claimed() -> None:
    wsl = Wsl({}, FailingRegistry(denied="HK"), FailingRunner())
    found = Looker(wsl, everywhere=True).look(WINDOWS, DRIVER, Depth.STATIC)
    assert found.host == WINDOWS and found.diagnoses == () and found.distributions == ()


# ---- in words ----------------------------------------------------------------------------------


def overview(found: Subsystem) -> Overview:
    return Overview(found.host, DRIVER, found.reports, wsl=found)


def test_the_json_holds_every_distribution_and_its_causes() -> None:
    found, _ = look(UBUNTU, DEBIAN, answers=asked(BARRED["no GPU"][0]))
    told = answers.overview_json(overview(found))
    ubuntu, debian = told["wsl"]["distributions"]
    assert (ubuntu["name"], ubuntu["version"], ubuntu["default"]) == ("Ubuntu-22.04", 2, True)
    assert (ubuntu["ready"], ubuntu["gpu"]["device"]) == (False, False)
    assert ubuntu["diagnoses"][0]["cause"] == "wsl-gpu-not-passed-on"
    assert debian["diagnoses"][0]["cause"] == "wsl1-not-wsl2"
    assert told["wsl"]["installed"] is True and told["wsl"]["diagnoses"] == []
    assert [d["name"] for d in told["host"]["wsl_distributions"]] == ["Ubuntu-22.04", "Debian"]


def test_without_wsl_a_machine_is_no_worse() -> None:
    found, _ = look(everywhere=False)
    assert overview(found).verdict is Verdict.UNKNOWN, "no environment at all"
    assert not any("WSL" in line for line in words.overview_text(overview(found)))


def test_whoever_asks_for_wsl_reads_what_to_do() -> None:
    lines = "\n".join(words.overview_text(overview(look()[0])))
    assert "there is no WSL on this Windows" in lines and "tfgpu-tray install --wsl" in lines


def test_an_environment_inside_is_mended_from_inside() -> None:
    old = {**ENVIRONMENT, "packages": [["tensorflow_cpu", "2.15.1"]]}
    text = facts(SYSTEM, GPU, {"environment": old}, CUDA, {"cuinit": 0})
    found, _ = look(UBUNTU, answers=asked(text), depth=Depth.STATIC)
    [report] = found.reports
    assert report.primary is not None and report.primary.cause == "cpu-only-build"
    lines = "\n".join(words.report_text(report))
    assert "tfgpu-tray repair" not in lines
    assert "`wsl -d Ubuntu-22.04`" in lines and "/home/me/tf/bin/python -m pip" in lines
