"""Real TensorFlow on a simulated driver: broken as people break it, named, healed, and undone.

What is simulated is the driver and the CUDA libraries; they serve discovery, not computation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.machine import Machine, tree
from tests.lab.wheels import stub_wheel
from tfgpu_tray.knowledge.cuda import cuda11_wheels

GPU = ["/physical_device:GPU:0"]


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    return Machine(lab, tmp_path)


# ---- what people do to an environment ----------------------------------------------------------


def upgrade_past_the_pin(machine: Machine, prefix: Path) -> None:
    machine.pip(prefix, "install", "-U", "tensorflow==2.15.*")


def remove_cudatoolkit(machine: Machine, prefix: Path) -> None:
    machine.conda(prefix, "remove", "cudatoolkit")


def remove_cudnn(machine: Machine, prefix: Path) -> None:
    machine.conda(prefix, "remove", "cudnn")


def delete_a_library(machine: Machine, prefix: Path) -> None:
    (prefix / "lib" / "libcufft.so.10").unlink()


def truncate_a_library(machine: Machine, prefix: Path) -> None:
    library = prefix / "lib" / "libcusolver.so.11"
    library.unlink()
    library.write_bytes(b"\x7fELF")


def delete_the_hook(machine: Machine, prefix: Path) -> None:
    (prefix / "etc/conda/activate.d/env_vars.sh").unlink()


def overwrite_the_loader_path(machine: Machine, prefix: Path) -> None:
    hook = prefix / "etc/conda/activate.d/my_project.sh"
    hook.write_text("export LD_LIBRARY_PATH=/opt/project/lib\n")


def let_the_hook_fail(machine: Machine, prefix: Path) -> None:
    hook = prefix / "etc/conda/activate.d/env_vars.sh"
    hook.write_bytes(hook.read_text().encode("utf-16"))


def install_the_cpu_build(machine: Machine, prefix: Path) -> None:
    machine.pip(prefix, "uninstall", "-y", "tensorflow")
    machine.pip(prefix, "install", "--no-deps", "tensorflow-cpu==2.10.1")


def mask_with_a_variable(machine: Machine, prefix: Path) -> None:
    state = {"env_vars": {"CUDA_VISIBLE_DEVICES": "-1", "MINE": "kept"}}
    (prefix / "conda-meta" / "state").write_text(json.dumps(state))


def mask_in_a_hook(machine: Machine, prefix: Path) -> None:
    hook = prefix / "etc/conda/activate.d/quiet.sh"
    hook.write_text("export MINE=kept\nexport CUDA_VISIBLE_DEVICES=-1\n")


def take_numpy_2(machine: Machine, prefix: Path) -> None:
    """What the article's own command gives today."""
    machine.pip(prefix, "install", "-U", "numpy")


def upgrade_keras(machine: Machine, prefix: Path) -> None:
    """Takes NumPy 2 along: TensorFlow is still the right one, and does not import any more."""
    machine.pip(prefix, "install", "-U", "keras")


def delete_tensorflow_files(machine: Machine, prefix: Path) -> None:
    site = prefix / "lib/python3.10/site-packages"
    (site / "tensorflow" / "python" / "_pywrap_tensorflow_internal.so").unlink()


@dataclass(frozen=True)
class Case:
    cause: str
    breaks: Callable[[Machine, Path], None]

    def __str__(self) -> str:
        return self.breaks.__name__


CASES = (
    Case("tensorflow-outside-pin", upgrade_past_the_pin),
    Case("cuda-runtime-missing", remove_cudatoolkit),
    Case("cudnn-missing", remove_cudnn),
    Case("cuda-libs-incomplete-or-mixed", delete_a_library),
    Case("cuda-library-damaged", truncate_a_library),
    Case("ld-library-path-unset", delete_the_hook),
    Case("ld-library-path-broken", overwrite_the_loader_path),
    Case("activate-hook-broken", let_the_hook_fail),
    Case("cpu-only-build", install_the_cpu_build),
    Case("cuda-visible-devices-masked", mask_with_a_variable),
    Case("cuda-visible-devices-masked", mask_in_a_hook),
    Case("numpy2-abi", take_numpy_2),
    Case("numpy2-abi", upgrade_keras),
    Case("tensorflow-files-damaged", delete_tensorflow_files),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_named_healed_and_undone(machine: Machine, tmp_path: Path, case: Case) -> None:
    prefix = machine.lab.article(tmp_path / "envs" / "tf")
    case.breaks(machine, prefix)
    broken_tree = tree(prefix)

    healed = machine.tool("repair", "--env", prefix, "--yes")
    assert (healed.code, healed.json.get("state")) == (0, "done"), healed.json or healed.stderr
    assert (healed.before.verdict, healed.before.primary) == ("broken", case.cause)
    assert (healed.before.gpus, healed.after.gpus) == ([], GPU)

    undone = machine.tool("undo", "--env", prefix, "--yes")
    assert undone.json["state"] == "undone", undone.json or undone.stderr
    assert undone.after.primary == case.cause
    assert tree(prefix) == broken_tree, "undo restores what was there"


def test_a_dry_run_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    prefix = machine.lab.article(tmp_path / "tf")
    healthy = tree(prefix)
    assert machine.check(prefix).gpus == GPU
    assert tree(prefix) == healthy, "neither does a check"
    take_numpy_2(machine, prefix)
    remove_cudnn(machine, prefix)
    delete_the_hook(machine, prefix)
    before = tree(prefix)
    planned = machine.tool("repair", "--env", prefix, "--dry-run")
    assert [step["chapter"] for step in planned.json["plan"]["steps"]] == [
        "tensorflow",
        "cuda",
        "hooks",
        "hooks",
    ]
    assert planned.json["plan"]["steps"][1]["download_mb"] is not None, "conda was asked"
    assert tree(prefix) == before


# ---- what no step can mend ---------------------------------------------------------------------

DRIVER_FAULTS = (
    ("kernel-module-not-loaded", {"nvml": 9, "cuinit": 100}, 2),
    ("driver-library-mismatch", {"nvml": 18, "cuinit": 803}, 2),
    ("no-nvidia-gpu", {"gpus": 0, "cuinit": 100}, 2),
    ("nvidia-uvm-unusable", {"cuinit": 999}, 2),
    ("gpu-fallen-off-bus", {"nvml": 15, "cuinit": 100}, 2),
    ("driver-too-old", {"driver": "418.87", "cuda": 10010, "cuinit": 35}, 2),
    ("probe-did-not-complete", {"crash": "cuda"}, 2),
    ("probe-did-not-complete", {"hang": "cuda"}, 3),
)


@pytest.fixture(scope="module")
def untouched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A healthy environment that no test changes, and everything in it."""
    prefix = lab.article(tmp_path_factory.mktemp("untouched") / "tf")
    return prefix, tree(prefix)


@pytest.mark.parametrize(
    ("cause", "fault", "code"), DRIVER_FAULTS, ids=lambda v: str(v).strip("{}").replace("'", "")
)
def test_driver_faults_are_named_and_nothing_is_touched(
    machine: Machine,
    tmp_path: Path,
    untouched: tuple[Path, dict[str, str]],
    cause: str,
    fault: dict[str, object],
    code: int,
) -> None:
    prefix, before = untouched
    config = tmp_path / "config.toml"
    if "hang" in fault:  # nothing but the deadline ends it
        config.write_text("[deadlines]\ntensorflow = 12\nloader = 5\n")
    else:
        config.touch()
    machine.driver.set(**fault)
    repaired = machine.tool("repair", "--env", prefix, "--yes", "--config", config)
    assert repaired.json["state"] == "nothing-to-do"
    assert (repaired.code, repaired.before.primary) == (code, cause), repaired.json
    assert repaired.json["plan"]["guidance"]
    assert tree(prefix) == before


def test_a_hanging_nvml_does_not_overrule_tensorflow(machine: Machine, tmp_path: Path) -> None:
    """TensorFlow 2.10 does not use NVML: its GPU counts, the hang is a blemish."""
    prefix = machine.lab.article(tmp_path / "tf")
    machine.driver.set(hang="nvml")
    found = machine.check(prefix)
    assert (found.code, found.gpus) == (1, GPU)
    assert found.environment.causes("contributing") == ["probe-did-not-complete"]


def test_a_copy_in_the_user_site_is_taken_out_and_comes_back(
    machine: Machine, tmp_path: Path
) -> None:
    """The article's `pip install --user` inside a conda environment."""
    prefix = machine.lab.article(tmp_path / "tf")
    machine.pip(
        prefix, "install", "--user", "--no-deps", "--force-reinstall", "tensorflow-cpu==2.10.1"
    )
    user_site = machine.home / ".local"
    before = tree(user_site), tree(prefix)
    found = machine.check(prefix)
    assert (found.code, found.primary, found.gpus) == (2, "multiple-tensorflow-shadowing", [])
    healed = machine.tool("repair", "--env", prefix, "--yes")
    assert (healed.code, healed.json.get("state")) == (0, "done"), healed.json or healed.stderr
    assert healed.after.gpus == GPU
    assert tree(prefix) == before[1], "the environment itself was sound"
    machine.tool("undo", "--env", prefix, "--yes")
    assert (tree(user_site), tree(prefix)) == before


def test_wheels_stand_in_for_conda(machine: Machine, tmp_path: Path) -> None:
    """CUDA 11 from nvidia-*-cu11 wheels; small ones of the same names and layout serve here."""
    prefix = machine.lab.article(tmp_path / "tf")
    remove_cudatoolkit(machine, prefix)
    delete_the_hook(machine, prefix)
    shelf = tmp_path / "wheels"
    for wheel in cuda11_wheels():
        stub_wheel(shelf, wheel.requirement, wheel.folder, wheel.sonames)
    machine.extra = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf)}
    config = tmp_path / "config.toml"
    config.write_text('[install]\ncuda = "wheels"\n')
    healed = machine.tool("repair", "--env", prefix, "--yes", "--config", config)
    assert (healed.code, healed.json.get("state")) == (0, "done"), healed.json or healed.stderr
    assert healed.after.gpus == GPU
    assert healed.after.causes("possible") == []


def test_a_repair_that_does_not_help_leaves_no_trace(machine: Machine, tmp_path: Path) -> None:
    """cuDNN comes back, but cuInit fails meanwhile: no better, so everything is put back."""
    prefix = machine.lab.article(tmp_path / "tf")
    remove_cudnn(machine, prefix)
    hook = prefix / "etc/conda/activate.d/late.sh"
    library = "$CONDA_PREFIX/lib/libcudnn.so.8"
    hook.write_text(f'if [ -e "{library}" ]; then export CUDA_VISIBLE_DEVICES=-1; fi\n')
    before = tree(prefix)
    tried = machine.tool("repair", "--env", prefix, "--yes")
    assert (tried.code, tried.json["state"]) == (2, "rolled-back"), tried.json
    assert "no better" in tried.json["note"]
    assert tree(prefix) == before


def test_a_package_manager_that_fails_leaves_no_trace(machine: Machine, tmp_path: Path) -> None:
    prefix = machine.lab.article(tmp_path / "tf")
    take_numpy_2(machine, prefix)
    before = tree(prefix)
    machine.extra = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    tried = machine.tool("repair", "--env", prefix, "--yes")
    assert (tried.code, tried.json["state"]) == (2, "rolled-back")
    assert "numpy" in tried.json["note"]
    assert tree(prefix) == before
