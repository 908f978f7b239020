"""From a report on native Windows to a plan; the environments are laid out in a folder of this
system."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import distribution, hook, record, write
from tests.observe.windows_prefix import conda, dll, seen, venv
from tests.windows_snapshots import NAMES, SEES_NONE, healthy
from tfgpu_tray.answers import plan_json
from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.installer.hook_texts import preload_module
from tfgpu_tray.installer.target import CudaSource, Wishes
from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.knowledge.shells import typed
from tfgpu_tray.model import (
    Activation,
    Environment,
    Hooks,
    Kind,
    Outcome,
    Packages,
    Report,
    Role,
    TensorFlow,
)
from tfgpu_tray.observe import dlls
from tfgpu_tray.observe.conda import observe_conda
from tfgpu_tray.observe.hooks import observe_hooks
from tfgpu_tray.observe.packages import observe_packages
from tfgpu_tray.repair.plan import Plan, plan_install, plan_repair
from tfgpu_tray.words import plan_text, report_text

BIN = "Library/bin"


@dataclass
class Bench:
    """An environment on disk, and the report on it."""

    prefix: Path
    wishes: Wishes

    @property
    def environment(self) -> Environment:
        return replace(seen(self.prefix), user_site=None)

    @property
    def site(self) -> Path:
        return self.prefix / "Lib" / "site-packages"

    def tensorflow(self, version: str = "2.10.1", name: str = "tensorflow", **facts: Any) -> Bench:
        distribution(self.site, name, version, files=["tensorflow/__init__.py"], **facts)
        return self

    def upgraded(self, version: str = "2.12.0") -> Bench:
        self.tensorflow(version, requested=True)
        return self.tensorflow(version, "tensorflow-intel")

    def cuda(self, folder: str = BIN, cudnn: str = "8.1.0.77") -> Bench:
        for name in NAMES:
            dll(self.prefix / folder / name)
        if folder == BIN:
            record(self.prefix, "cudatoolkit", "11.2.2", "h_0")
            record(self.prefix, "cudnn", cudnn, "h_0")
        return self

    def report(self, answer: TensorFlow | None = SEES_NONE, **changes: Any) -> Report:
        environment = self.environment
        packages = observe_packages(environment, providers())
        version = packages.effective.version if packages.effective else None
        path = ""
        if environment.kind is Kind.CONDA:
            path = str(self.prefix / "Library" / "bin")
        needed = version is not None and version.startswith("2.10")
        preloaded = (self.site / "tfgpu_tray_preload.pth").exists()
        facts: dict[str, Any] = {
            "environment": environment,
            "packages": packages,
            "conda": observe_conda(self.prefix),
            "hooks": Hooks(
                activation=Activation(Outcome.COMPLETED, environ={"PATH": path}), preload=preloaded
            ),
            "libraries": dlls.predict(environment, NAMES, path, {}, preloaded) if needed else None,
            "tensorflow": replace(answer, version=version, file=None) if answer else None,
        }
        return diagnose(healthy(**(facts | changes)))

    def plan(self, report: Report | None = None) -> Plan:
        return plan_repair(report or self.report(), self.wishes, "conda-forge")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    command = write(tmp_path / "miniconda3" / "Scripts" / "conda.exe")
    prefix = conda(tmp_path / "miniconda3" / "envs" / "my tf")
    return Bench(prefix, Wishes(conda=command))


@pytest.fixture
def bare(tmp_path: Path) -> Bench:
    return Bench(venv(tmp_path / "venv"), Wishes())


def titles(plan: Plan) -> list[str]:
    return [step.describe().title for step in plan.steps]


def commands(plan: Plan) -> str:
    return "\n".join(c for step in plan.steps for c in step.describe().commands)


def apply(plan: Plan) -> None:
    """The steps that only write files."""
    for step in plan.steps:
        if step.chapter == "hooks":
            step.apply(None)  # type: ignore[arg-type]


# ---- back from a newer TensorFlow --------------------------------------------------------------


def test_after_an_upgrade_it_goes_back_and_nothing_else_is_fetched(bench: Bench) -> None:
    plan = bench.plan(bench.upgraded().cuda().report())
    assert titles(plan) == [
        "Remove tensorflow, tensorflow-intel",
        "Install TensorFlow 2.10.1",
        "Write the preload",
    ]
    assert plan.download_mb is not None and plan.download_mb < 600, "TensorFlow alone"
    assert plan.healed == ("windows-native-tf-ge-2.11",)


def test_the_other_way_stands_beside_the_plan(bench: Bench) -> None:
    report = bench.upgraded().cuda().report()
    plan = bench.plan(report)
    (inside,) = plan.instead
    assert "WSL 2" in inside.title
    assert plan_json(plan)["instead"][0]["title"] == inside.title
    text = "\n".join(plan_text(plan))
    assert "[bold]Instead[/] " + inside.title in text and inside.costs in text
    told = "\n".join(report_text(report))
    assert "1. Back to TensorFlow 2.10.1: Python 3.7" in told
    assert "2. " + inside.title in told


def test_what_was_noted_of_an_environment_is_told(bench: Bench) -> None:
    text = "\n".join(report_text(bench.tensorflow().report(notes=("its paths are too long",))))
    assert "Note[/]: its paths are too long" in text


def test_without_cuda_it_is_installed_too(bench: Bench) -> None:
    plan = bench.plan(bench.upgraded().report())
    assert "Install cudatoolkit=11.2, cudnn=8.1.0 with conda" in titles(plan)
    assert "conda install -p " in commands(plan)


def test_a_python_that_is_too_new_is_led_elsewhere(tmp_path: Path) -> None:
    prefix = conda(tmp_path / "miniconda3" / "envs" / "tf", "3.11.4")
    bench = Bench(prefix, Wishes(conda=tmp_path / "conda.exe")).upgraded()
    plan = bench.plan()
    assert plan.steps == ()
    assert plan.reason == (
        "there is no TensorFlow for Python 3.11 with a GPU on Windows; create an environment with "
        "Python 3.10 or 3.9 and install there"
    )
    assert any("tfgpu-tray install --env" in line for line in plan.guidance)
    assert plan.instead and "WSL 2" in plan.instead[0].title


def test_condas_own_cpu_build_makes_room_for_pips(bench: Bench) -> None:
    bench.tensorflow("2.10.0", installer="conda").cuda()
    record(bench.prefix, "tensorflow", "2.10.0", "mkl_py310h_0")
    record(bench.prefix, "tensorflow-base", "2.10.0", "mkl_py310h_0")
    plan = bench.plan(bench.report(replace(SEES_NONE, cuda_build=False)))
    assert titles(plan)[:2] == [
        "Remove conda's tensorflow, tensorflow-base",
        "Install TensorFlow 2.10.0",
    ]
    assert "conda remove -p" in commands(plan) and "--force tensorflow" in commands(plan)
    assert "cuda*" not in commands(plan)
    assert plan.steps[0].touches() == (bench.prefix,)
    for name in ("tensorflow", "tensorflow-base"):
        (bench.prefix / "conda-meta" / f"{name}-2.10.0-mkl_py310h_0.json").unlink()
    assert plan.steps[0].check(), "done when conda has no record of it"


# ---- DLLs --------------------------------------------------------------------------------------


def test_missing_dlls_come_with_conda(bench: Bench) -> None:
    plan = bench.plan(bench.tensorflow().report())
    assert titles(plan) == ["Install cudatoolkit=11.2, cudnn=8.1.0 with conda", "Write the preload"]
    assert plan.target is not None and plan.target.cuda is CudaSource.CONDA


def test_missing_dlls_of_a_venv_come_as_wheels(bare: Bench) -> None:
    plan = bare.plan(bare.tensorflow().report())
    assert [step.chapter for step in plan.steps] == ["cuda", "hooks"]
    assert "nvidia-cudnn-cu11==8.9.5.29" in commands(plan), "8.6 has no wheel for Windows"
    assert plan.target is not None and plan.target.cuda is CudaSource.WHEELS


def test_a_toolkit_that_nobody_put_on_path_is_of_no_use(bench: Bench, tmp_path: Path) -> None:
    """Its folder may go any day; the environment gets its own."""
    for name in NAMES:
        dll(tmp_path / "CUDA" / "v11.2" / "bin" / name)
    session = {"CUDA_PATH": str(tmp_path / "CUDA" / "v11.2")}
    bench.tensorflow()
    found = dlls.predict(bench.environment, NAMES, "", session, False)
    assert {x.state.value for x in found.libraries if x.soname in NAMES} == {"unreachable"}
    report = bench.report(libraries=found)
    assert report.primary is not None and report.primary.cause == "windows-dll-dir-not-searched"
    assert titles(bench.plan(report))[0].startswith("Install cudatoolkit")


def test_wheels_only_need_the_preload(bare: Bench) -> None:
    bare.tensorflow().cuda("Lib/site-packages/nvidia/all/bin")
    plan = bare.plan()
    assert titles(plan) == ["Write the preload"]
    apply(plan)
    assert "nvidia" in (bare.site / "_tfgpu_tray_preload.py").read_text()
    again = bare.plan(bare.report())
    assert again.steps == ()


def test_no_hook_is_written_and_what_is_whole_stays(bench: Bench) -> None:
    bench.tensorflow().cuda()
    plan = plan_install(bench.report(), replace(bench.wishes, fresh=True), "conda-forge")
    assert titles(plan) == ["Write the preload"]
    apply(plan)
    assert not (bench.prefix / "etc").exists()
    again = plan_install(bench.report(), replace(bench.wishes, fresh=True), "conda-forge")
    assert again.steps == ()


def test_an_empty_environment_gets_the_whole_set_up(bench: Bench) -> None:
    report = bench.report(None, packages=Packages(), libraries=None, tensorflow=None)
    plan = plan_install(report, replace(bench.wishes, fresh=True), "conda-forge")
    assert [step.chapter for step in plan.steps] == ["tensorflow", "cuda", "hooks"]
    assert 'tensorflow==2.10.1 "numpy<2"' in typed(["tensorflow==2.10.1", "numpy<2"], "windows")


def test_a_foreign_cudnn_is_overcome_by_the_preload(bench: Bench, tmp_path: Path) -> None:
    bench.tensorflow().cuda()
    foreign = dll(tmp_path / "CUDA" / NAMES[-1])
    found = dlls.predict(
        bench.environment, NAMES, f"{foreign.parent};{bench.prefix / BIN}", {}, False
    )
    sees = replace(SEES_NONE, gpus=("/physical_device:GPU:0",))
    report = bench.report(sees, libraries=found)
    assert [d.cause for d in report.diagnoses if d.role is Role.CONTRIBUTING] == [
        "cudnn-version-mismatch"
    ]
    assert titles(bench.plan(report)) == ["Write the preload"]


def test_a_cudnn_that_needs_a_helper_is_replaced(bench: Bench) -> None:
    bench.tensorflow().cuda(cudnn="8.9.2.26")
    sees = replace(SEES_NONE, gpus=("/physical_device:GPU:0",))
    report = bench.report(sees)
    assert "zlibwapi-missing" in [d.cause for d in report.diagnoses]
    plan = bench.plan(report)
    assert titles(plan) == ["Install cudatoolkit=11.2, cudnn=8.1.0 with conda"]
    dll(bench.prefix / BIN / "zlibwapi.dll")
    assert plan.steps[0].check()


def test_where_no_step_of_ours_is_left_a_person_is_told_what_to_do(bare: Bench) -> None:
    """The cuDNN of the wheels needs a helper that no wheel brings."""
    bare.tensorflow().cuda("Lib/site-packages/nvidia/cudnn/bin")
    distribution(bare.site, "nvidia-cudnn-cu11", "8.9.5.29")
    apply(plan_install(bare.report(), replace(bare.wishes, fresh=True), "conda-forge"))
    sees = replace(SEES_NONE, gpus=("/physical_device:GPU:0",))
    report = bare.report(sees)
    assert [d.cause for d in report.diagnoses] == ["zlibwapi-missing"]
    plan = bare.plan(report)
    assert plan.steps == () and any("zlibwapi.dll" in line for line in plan.guidance)


# ---- hooks -------------------------------------------------------------------------------------


def with_hook(bench: Bench, activation: Activation, **changes: Any) -> Report:
    hooks = replace(observe_hooks(bench.environment), activation=activation)
    return bench.report(hooks=hooks, **changes)


def test_a_hook_that_fails_is_set_aside(bench: Bench) -> None:
    bench.tensorflow().cuda()
    path = hook(bench.prefix, "mine.bat", "@exit /b 1\r\n")
    hook(bench.prefix, "env_vars.sh", "export X=1\n")
    failed = Activation(
        Outcome.COMPLETED,
        environ={"PATH": str(bench.prefix / BIN)},
        failed_script=str(path),
        messages=("no such file",),
    )
    sees = replace(SEES_NONE, gpus=("/physical_device:GPU:0",))
    plan = bench.plan(with_hook(bench, failed, answer=sees))
    assert titles(plan)[0] == "Set the hook mine.bat aside"
    assert plan.steps[0].touches() == (path,)
    plan.steps[0].apply(None)  # type: ignore[arg-type]
    assert plan.steps[0].check()


def test_a_hook_that_replaces_path_is_set_aside(bench: Bench) -> None:
    bench.tensorflow().cuda()
    path = hook(bench.prefix, "mine.bat", "@set PATH=C:\\tools\r\n")
    other = hook(bench.prefix, "fine.bat", "@set OTHER=1\r\n")
    environment = bench.environment
    report = with_hook(
        bench,
        Activation(Outcome.COMPLETED, environ={"PATH": "C:\\tools"}),
        libraries=dlls.predict(environment, NAMES, "C:\\tools", {}, False),
    )
    assert report.primary is not None and report.primary.cause == "activate-hook-harmful"
    plan = bench.plan(report)
    aside = [s for s in plan.steps if s.describe().title.startswith("Set the hook")]
    assert [s.touches() for s in aside] == [(path,)] and other.exists()


def test_a_mask_in_a_batch_file_is_lifted(bench: Bench) -> None:
    bench.tensorflow().cuda()
    text = "@echo off\r\nrem 你好\r\nset CUDA_VISIBLE_DEVICES=-1\r\nset OTHER=1\r\n".encode("gbk")
    path = hook(bench.prefix, "mine.bat", text)
    masked = Activation(
        Outcome.COMPLETED,
        environ={"PATH": str(bench.prefix / BIN), "CUDA_VISIBLE_DEVICES": "-1"},
    )
    found = observe_hooks(bench.environment)
    scripts = tuple(replace(s, masks_gpu=True) for s in found.scripts)
    plan = bench.plan(bench.report(hooks=Hooks(scripts=scripts, activation=masked)))
    step = next(s for s in plan.steps if "from hiding the GPU" in s.describe().title)
    assert not step.check()
    step.apply(None)  # type: ignore[arg-type]
    assert step.check()
    assert path.read_bytes() == text.replace(b"set CUDA", b"rem tfgpu-tray: set CUDA")


# ---- words and texts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, line",
    [
        (["python.exe", "-m", "pip"], "python.exe -m pip"),
        ([r"C:\my env\python.exe", "numpy<2"], r'"C:\my env\python.exe" "numpy<2"'),
        ([r"C:\R&D\python.exe", "a=b"], r'"C:\R&D\python.exe" a=b'),
        (["", 'say "hi"'], r'"" "say \"hi\""'),
    ],
)
def test_commands_are_typed_as_windows_reads_them(words: list[str], line: str) -> None:
    assert typed(words, "windows") == line


def test_elsewhere_they_are_typed_as_a_shell_reads_them() -> None:
    assert typed(["a b", "numpy<2"], "linux") == "'a b' 'numpy<2'"


def test_the_preload_loads_by_full_path_and_leads_path_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text for Windows, run here with ctypes' WinDLL acted out."""
    folder = tmp_path / "Library" / "bin"
    for name in ("cudart64_110.dll", "cudnn64_8.dll"):
        dll(folder / name)
    text = preload_module(["cudart64_110.dll", "absent.dll", "cudnn64_8.dll"], [BIN], "windows")
    opened: list[str] = []
    named: list[str] = []

    def load(path: str) -> None:
        assert os.environ["PATH"].split(os.pathsep)[0] == str(folder), "before the first is opened"
        opened.append(path)
        if "cudart" in path:
            raise OSError("[WinError 126]")

    monkeypatch.setattr(ctypes, "WinDLL", load, raising=False)
    monkeypatch.setattr(os, "add_dll_directory", named.append, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", str(folder), "/bin"]))
    scope: dict[str, Any] = {}
    monkeypatch.setattr(sys, "meta_path", [])
    exec(text, scope)
    preload: Any = sys.meta_path[0]
    assert preload.find_spec("numpy") is None and opened == []
    assert preload.find_spec("tensorflow") is None and sys.meta_path == []
    assert opened == [str(folder / "cudart64_110.dll"), str(folder / "cudnn64_8.dll")]
    assert os.environ["PATH"].split(os.pathsep) == [str(folder), "/usr/bin", "/bin"]
    assert named == [str(folder)]


def test_the_preload_is_python_that_old_environments_read() -> None:
    text = preload_module(["a.dll"], ["Library\\bin"], "windows")
    subprocess.run([sys.executable, "-c", f"compile({text!r}, 'x', 'exec')"], check=True)
    assert "'Library\\\\bin'" in text and "LD_LIBRARY_PATH" not in text
