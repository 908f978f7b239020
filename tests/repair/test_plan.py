"""From a report to the smallest plan."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import (
    conda_prefix,
    described,
    distribution,
    elf_like,
    hook,
    record,
    site_of,
    venv_prefix,
    write,
)
from tests.snapshots import BLIND, CONDA, DRIVER, HOST, SONAMES, activation, healthy
from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.installer.conda import CondaCreate
from tfgpu_tray.installer.environment import CreateVenv
from tfgpu_tray.installer.target import CudaSource, NoTarget, Wishes
from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.model import Depth, Hooks, Host, Report, TensorFlow, Verdict
from tfgpu_tray.observe import libraries
from tfgpu_tray.observe.conda import observe_conda
from tfgpu_tray.observe.hooks import observe_hooks
from tfgpu_tray.observe.libraries import Wheel
from tfgpu_tray.observe.look import needed
from tfgpu_tray.observe.packages import observe_packages
from tfgpu_tray.observe.shell_text import predicted_loader_path
from tfgpu_tray.repair.plan import Plan, plan_creation, plan_install, plan_repair
from tfgpu_tray.repair.setup import blank_report, with_creation

NO_WISHES = Wishes()


@pytest.fixture(autouse=True)
def _machine_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "SYSTEM_CUDA", ())
    monkeypatch.setattr(libraries, "loader_cache", dict)


@dataclass
class Bench:
    prefix: Path
    wishes: Wishes

    @property
    def site(self) -> Path:
        return site_of(self.prefix)

    def tensorflow(self, version: str = "2.10.1", name: str = "tensorflow", **facts: Any) -> Bench:
        distribution(self.site, name, version, files=["tensorflow/__init__.py"], **facts)
        return self

    def libraries(self, folder: str = "lib") -> Bench:
        for soname in SONAMES:
            elf_like(self.prefix / folder / soname)
        record(self.prefix, "cudatoolkit", "11.2.2", "h_0")
        record(self.prefix, "cudnn", "8.1.0.77", "h_0")
        return self

    def report(self, answer: TensorFlow | None = BLIND, **changes: Any) -> Report:
        """The environment as it stands on disk; TensorFlow said *answer*."""
        environment = described(self.prefix)
        packages = observe_packages(environment, providers())
        hooks = observe_hooks(environment)
        path = predicted_loader_path(hooks, environment, {})
        predicted = libraries.predict(environment, needed(packages), Wheel(), path, hooks.preload)
        version = packages.effective.version if packages.effective else None
        facts: dict[str, Any] = {
            "environment": environment,
            "packages": packages,
            "hooks": replace(hooks, activation=activation()),
            "conda": observe_conda(self.prefix),
            "libraries": predicted if needed(packages) else None,
            "tensorflow": replace(answer, version=version, file=None) if answer else None,
        }
        return diagnose(healthy(**(facts | changes)))

    def plan(self, report: Report | None = None) -> Plan:
        return plan_repair(report or self.report(), self.wishes, "conda-forge")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(conda_prefix(tmp_path / "envs" / "tf"), Wishes(conda=Path("/opt/conda/bin/conda")))


@pytest.fixture
def venv(tmp_path: Path) -> Bench:
    return Bench(venv_prefix(tmp_path / "venv"), NO_WISHES)


def titles(plan: Plan) -> list[str]:
    return [step.describe().title for step in plan.steps]


def chapters(plan: Plan) -> list[str]:
    return [step.chapter for step in plan.steps]


# ---- nothing to do -----------------------------------------------------------------------------


def test_what_is_healthy_is_left_alone(bench: Bench) -> None:
    report = diagnose(healthy())
    assert report.verdict is Verdict.OK
    plan = bench.plan(report)
    assert (plan.steps, plan.reason) == ((), "nothing is wrong")


def test_what_only_a_person_can_mend_is_guidance(bench: Bench) -> None:
    driver = replace(DRIVER, nvml_error=12, nvml_error_text="no NVML", gpus=None, version=None)
    plan = bench.plan(bench.tensorflow().libraries().report(driver=driver))
    assert plan.steps == () and plan.reason.endswith("no step of ours can mend that")
    assert "ubuntu-drivers" in plan.guidance[0]


def test_guidance_for_a_driver_knows_the_place(bench: Bench) -> None:
    driver = replace(DRIVER, nvml_error=18, nvml_error_text="mismatch", gpus=None)
    plan = bench.plan(bench.tensorflow().libraries().report(driver=driver))
    assert plan.steps == () and any("estart" in line or "eboot" in line for line in plan.guidance)


def test_nothing_that_anybody_knows_promises_nothing(bench: Bench) -> None:
    snapshot = healthy(tensorflow=BLIND)
    plan = bench.plan(diagnose(snapshot))
    assert plan.steps == () and plan.guidance


# ---- one thing ---------------------------------------------------------------------------------


def test_missing_libraries_are_installed_with_conda(bench: Bench) -> None:
    plan = bench.plan(bench.tensorflow().report())
    assert titles(plan)[0] == "Install cudatoolkit=11.2, cudnn=8.1.0 with conda"
    assert chapters(plan) == ["cuda", "hooks", "hooks"]
    (command,) = plan.steps[0].describe().commands
    assert command.startswith("conda install -p ") and "-c conda-forge" in command
    assert plan.healed == ("cuda-runtime-missing",)
    assert plan.target is not None and plan.target.cuda is CudaSource.CONDA


def test_missing_libraries_of_a_venv_come_as_wheels(venv: Bench) -> None:
    plan = venv.plan(venv.tensorflow().report())
    assert chapters(plan) == ["cuda", "hooks"]
    assert "nvidia-cudnn-cu11==8.6.0.163" in plan.steps[0].describe().commands[0]
    assert plan.download_mb is not None and plan.download_mb > 1000


def test_libraries_that_nobody_points_to_only_need_the_hook(bench: Bench) -> None:
    plan = bench.plan(bench.tensorflow().libraries().report())
    assert titles(plan) == ["Write the activation hook", "Write the preload"]
    assert plan.download_mb == 0


def test_a_cpu_build_is_replaced_and_the_rest_is_kept(bench: Bench) -> None:
    bench.tensorflow(name="tensorflow-cpu").libraries()
    plan = bench.plan(bench.report(replace(BLIND, cuda_build=False)))
    assert titles(plan)[:2] == ["Remove tensorflow-cpu", "Install TensorFlow 2.10.1"]
    assert "cuda" not in chapters(plan)


def test_condas_own_cpu_build_is_replaced_by_conda(bench: Bench) -> None:
    bench.tensorflow("2.10.0", installer="conda")
    record(bench.prefix, "tensorflow-base", "2.10.0", "cpu_py310h1_0")
    plan = bench.plan(bench.report(replace(BLIND, cuda_build=False)))
    assert titles(plan)[0] == "Install tensorflow=*=cuda* with conda"
    assert not any("pip" in c for s in plan.steps for c in s.describe().commands)
    assert chapters(plan) == ["tensorflow"], "conda's build brings its own libraries along"


def test_an_upgrade_past_condas_cuda_goes_back(bench: Bench) -> None:
    plan = bench.plan(bench.tensorflow("2.16.1").libraries().report())
    assert titles(plan)[0] == "Install TensorFlow 2.10.1"
    assert "cuda" not in chapters(plan)


def test_damaged_files_are_written_anew_without_touching_others(venv: Bench) -> None:
    venv.tensorflow(lost=["tensorflow/python/x.so"]).libraries()
    answer = TensorFlow(
        BLIND.outcome,
        stage="import",
        error_type="ImportError",
        error="No module named 'tensorflow.p'",
    )
    report = venv.report(None, tensorflow=answer)
    plan = venv.plan(report)
    (command,) = plan.steps[0].describe().commands
    assert "--force-reinstall --no-deps" in command and "tensorflow==2.10.1" in command


def test_a_copy_in_the_user_site_is_removed_there(bench: Bench, tmp_path: Path) -> None:
    user = tmp_path / "user" / "site-packages"
    distribution(user, "tensorflow", "2.15.1")
    bench.tensorflow().libraries()
    environment = replace(described(bench.prefix), user_site=user)
    packages = observe_packages(environment, providers())
    snapshot = healthy(environment=environment, packages=packages, tensorflow=BLIND, conda=CONDA)
    plan = bench.plan(diagnose(snapshot))
    assert titles(plan)[0] == "Remove tensorflow from the user site"
    assert user in plan.steps[0].touches()


def test_leftovers_are_cleared(bench: Bench) -> None:
    bench.tensorflow().libraries()
    (bench.site / "~ensorflow").mkdir()
    plan = bench.plan(bench.report())
    assert "Clear leftovers of an interrupted installation" in titles(plan)


def test_a_mask_is_lifted_where_it_was_set(bench: Bench) -> None:
    bench.tensorflow().libraries()
    path = hook(bench.prefix, "a.sh", "export CUDA_VISIBLE_DEVICES=-1\n")
    write(bench.prefix / "conda-meta/state", '{"env_vars": {"CUDA_VISIBLE_DEVICES": "-1"}}')
    hooks = replace(
        observe_hooks(described(bench.prefix)), activation=activation(CUDA_VISIBLE_DEVICES="-1")
    )
    plan = bench.plan(bench.report(hooks=hooks))
    assert titles(plan)[:2] == [
        "Unset CUDA_VISIBLE_DEVICES for this environment",
        "Stop a.sh from hiding the GPU",
    ]
    assert plan.steps[1].touches() == (path,)


def test_a_mask_of_the_session_is_the_users_own(bench: Bench) -> None:
    hooks = Hooks(activation=activation(CUDA_VISIBLE_DEVICES="-1"))
    environment = described(bench.tensorflow().libraries().prefix)
    report = diagnose(healthy(hooks=hooks, tensorflow=replace(BLIND, file=None)))
    plan = bench.plan(replace(report, snapshot=replace(report.snapshot, environment=environment)))
    assert not any("CUDA_VISIBLE_DEVICES" in title for title in titles(plan))
    assert any("CUDA_VISIBLE_DEVICES" in line for line in plan.guidance)


def test_a_harmful_hook_is_set_aside_and_a_packages_is_not(bench: Bench, tmp_path: Path) -> None:
    bench.tensorflow().libraries()
    bad = tmp_path / "bad"
    write(bad / "libcudnn.so.8")
    mine = hook(bench.prefix, "a.sh", f"export LD_LIBRARY_PATH={bad}:$LD_LIBRARY_PATH\n")
    hook(bench.prefix, "packaged.sh", f"export LD_LIBRARY_PATH={bad}:$LD_LIBRARY_PATH\n")
    record(bench.prefix, "x", "1", "0", files=["etc/conda/activate.d/packaged.sh"])
    plan = bench.plan(bench.report())
    assert "activate-hook-harmful" in plan.healed
    aside = [s for s in plan.steps if s.describe().title.startswith("Set the hook")]
    assert [s.touches() for s in aside] == [(mine,)]


def test_every_step_says_what_it_does_and_touches(bench: Bench, venv: Bench) -> None:
    for one in (bench, venv):
        one.tensorflow(name="tensorflow-cpu")
        (one.site / "~ensorflow").mkdir()
        plan = one.plan(one.report(replace(BLIND, cuda_build=False)))
        assert len(plan.steps) > 3
        for step in plan.steps:
            told = step.describe()
            assert told.title and told.why and told.commands
            assert step.touches()
            inside = [p for p in step.touches() if p.is_relative_to(one.prefix)]
            assert len(inside) == len(step.touches())


def test_a_plan_carries_no_step_that_is_done(bench: Bench) -> None:
    bench.tensorflow().libraries()
    for step in bench.plan().steps:
        step.apply(None)  # type: ignore[arg-type]
    again = bench.plan(bench.report())
    assert again.steps == () and again.reason


def test_where_no_tensorflow_fits_the_plan_says_so(bench: Bench) -> None:
    report = bench.tensorflow().report(host=replace(HOST, architecture="aarch64"))
    plan = bench.plan(report)
    assert plan.steps == () and "aarch64" in plan.reason


# ---- installing --------------------------------------------------------------------------------


def test_an_empty_environment_gets_the_whole_set_up(bench: Bench) -> None:
    report = bench.report(None)
    assert report.primary is not None and report.primary.cause == "tensorflow-missing"
    wishes = replace(bench.wishes, fresh=True)
    plan = plan_install(report, wishes, "conda-forge")
    assert chapters(plan) == ["tensorflow", "cuda", "hooks", "hooks"]
    assert plan.download_mb is not None and plan.download_mb > 500


def test_installing_over_what_is_whole_changes_nothing(bench: Bench) -> None:
    bench.tensorflow().libraries()
    for step in bench.plan().steps:
        step.apply(None)  # type: ignore[arg-type]
    plan = plan_install(bench.report(), replace(bench.wishes, fresh=True), "conda-forge")
    assert plan.steps == ()


def creation(tmp_path: Path, wishes: Wishes, pin: str | None = None, **search: str) -> Any:
    host: Host = HOST
    return plan_creation(
        tmp_path / "new", host, wishes, pin, "conda-forge", search, tmp_path / "home"
    )


def test_a_new_environment_is_made_with_conda(tmp_path: Path, bench: Bench) -> None:
    environment, step = creation(tmp_path, bench.wishes)
    assert isinstance(step, CondaCreate) and step.python_version == "3.10"
    assert environment.prefix == tmp_path / "new" and not step.check()
    plan = plan_install(
        blank_report(environment, (HOST, DRIVER)), replace(bench.wishes, fresh=True), "conda-forge"
    )
    whole = with_creation(step, plan)
    assert chapters(whole)[:3] == ["environment", "tensorflow", "cuda"]


def test_without_conda_a_python_that_is_there_is_used(tmp_path: Path) -> None:
    python = write(tmp_path / "home/.pyenv/versions/3.9.18/bin/python", "#!/bin/sh\n")
    python.chmod(0o755)
    environment, step = creation(tmp_path, NO_WISHES, PATH="")
    assert isinstance(step, CreateVenv) and step.command[0] == str(python)
    assert environment.python_version == "3.9"


def test_without_anything_a_sentence_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NoTarget, match=r"needs Python 3\.10 or 3\.9.*install one of them"):
        creation(tmp_path, NO_WISHES, PATH="")


def test_a_pin_that_nothing_fits_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoTarget, match=r"no TensorFlow fits tensorflow==1\.15"):
        creation(tmp_path, NO_WISHES, pin="==1.15.*", PATH=os.environ["PATH"])


def test_a_plan_without_steps_creates_nothing(tmp_path: Path, bench: Bench) -> None:
    environment, step = creation(tmp_path, bench.wishes)
    empty = Plan(environment, reason="nothing fits")
    assert with_creation(step, empty).steps == ()


def test_the_report_on_what_is_still_to_be_made_lacks_tensorflow(tmp_path: Path) -> None:
    environment = described(venv_prefix(tmp_path / "x"))
    report = blank_report(environment, (HOST, DRIVER))
    assert report.snapshot.depth is Depth.STATIC
    assert report.primary is not None and report.primary.cause == "tensorflow-missing"


# ---- hands off ---------------------------------------------------------------------------------


def test_a_frozen_environment_is_left_alone(bench: Bench) -> None:
    bench.tensorflow()
    write(bench.prefix / "conda-meta/frozen", "{}")
    plan = bench.plan()
    assert plan.steps == () and "frozen" in plan.reason


def test_a_checkout_of_tensorflow_is_not_replaced(bench: Bench) -> None:
    bench.tensorflow("2.15.1").libraries()
    (info,) = bench.site.glob("tensorflow-*.dist-info")
    write(info / "direct_url.json", '{"url": "file:///home/me/tensorflow"}')
    plan = bench.plan()
    assert plan.steps == () and "not replaced" in plan.reason


def test_the_hooks_around_a_checkout_are_mended(bench: Bench) -> None:
    bench.tensorflow().libraries()
    (info,) = bench.site.glob("tensorflow-*.dist-info")
    write(info / "direct_url.json", '{"url": "file:///home/me/tensorflow"}')
    assert chapters(bench.plan()) == ["hooks", "hooks"]
