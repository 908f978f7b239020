"""TensorFlow 2.21 with (simulated) CUDA 12 from nvidia wheels: healthy, incomplete, hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.machine import Machine, tree
from tests.lab.stubs import CUDA12

GPU = ["/physical_device:GPU:0"]


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    return Machine(lab, tmp_path)


def wheels(prefix: Path) -> Path:
    return prefix / "lib/python3.11/site-packages/nvidia"


def test_the_trap_of_2_21_is_named_and_cured(machine: Machine, tmp_path: Path) -> None:
    """`tensorflow[and-cuda]==2.21.0` does not search nvidia/cusolver/lib."""
    prefix = machine.lab.tf221(tmp_path / "我的 venv")
    trapped = tree(prefix)
    found = machine.check(prefix)
    assert (found.code, found.primary, found.gpus) == (2, "pip-nvidia-libs-not-on-path", [])
    evidence = " ".join(found.environment.json["diagnoses"][0]["evidence"])
    assert "libcusolver.so.11" in evidence
    healed = machine.tool("repair", "--env", prefix, "--yes")
    assert (healed.code, healed.json.get("state")) == (0, "done"), healed.json or healed.stderr
    assert healed.after.gpus == GPU
    assert machine.check(prefix).environment.json["verdict"] == "ok"
    undone = machine.tool("undo", "--env", prefix, "--yes")
    assert undone.after.primary == "pip-nvidia-libs-not-on-path"
    assert tree(prefix) == trapped


def test_each_missing_library_is_named(machine: Machine, tmp_path: Path) -> None:
    prefix = machine.lab.tf221(tmp_path / "venv")
    assert machine.tool("repair", "--env", prefix, "--yes").code == 0
    asked = 0
    for soname, folder in CUDA12:
        library = wheels(prefix) / folder / "lib" / soname
        aside = library.with_suffix(".aside")
        library.rename(aside)
        found = machine.check(prefix, "loader")
        named = [x["soname"] for x in found.environment.json["facts"]["libraries"]["libraries"]]
        if soname in named:
            asked += 1
            assert found.primary in (
                "cuda-runtime-missing",
                "cuda-libs-incomplete-or-mixed",
                "cudnn-missing",
                "cuda-toolkit-version-mismatch",
            ), found.json
            assert soname in str(found.environment.json["diagnoses"][0]["evidence"])
        aside.rename(library)
    assert asked == 7, "cudart, cublas, cublasLt, cufft, cusolver, cusparse and cudnn"


def test_a_hook_that_hides_the_wheels_is_set_aside(machine: Machine, tmp_path: Path) -> None:
    """LD_LIBRARY_PATH comes before RUNPATH: what lies there is taken, good or bad."""
    prefix = machine.lab.tf221_conda(tmp_path / "tf")
    assert machine.tool("repair", "--env", prefix, "--yes").code == 0
    old = tmp_path / "cuda-of-old"
    old.mkdir()
    (old / "libcudnn.so.9").write_bytes(b"not a library")
    hook = prefix / "etc/conda/activate.d/zzz_project.sh"
    hook.write_text(f'export LD_LIBRARY_PATH="{old}:$LD_LIBRARY_PATH"\n')
    (prefix / "lib/python3.10/site-packages/tfgpu_tray_preload.pth").unlink()
    hidden = tree(prefix)

    found = machine.check(prefix)
    assert (found.code, found.primary, found.gpus) == (2, "activate-hook-harmful", [])
    healed = machine.tool("repair", "--env", prefix, "--yes")
    assert (healed.code, healed.json.get("state")) == (0, "done"), healed.json or healed.stderr
    assert healed.after.gpus == GPU
    assert not hook.exists()
    machine.tool("undo", "--env", prefix, "--yes")
    assert tree(prefix) == hidden
