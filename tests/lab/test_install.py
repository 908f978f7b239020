"""`install`: the whole article, on what is there and on nothing."""

from __future__ import annotations

import subprocess
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


def listed_by(python: Path, environ: dict[str, str]) -> str:
    """What TensorFlow lists for a program that starts this Python directly, as an editor does."""
    code = "import tensorflow as tf; print(tf.config.list_physical_devices('GPU'))"
    done = subprocess.run(
        [python, "-c", code], env=environ, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_python_alone_becomes_a_visible_gpu(machine: Machine, tmp_path: Path) -> None:
    """And in a folder whose name needs quoting everywhere."""
    prefix = machine.lab.bare_conda(tmp_path / '用户\'s "home"' / "我的 环境")
    done = machine.tool("install", "--env", prefix, "--yes")
    assert (done.code, done.json.get("state")) == (0, "done"), done.json or done.stderr
    assert done.after.gpus == GPU
    assert done.after.causes("possible") == []
    assert [s["chapter"] for s in done.json["plan"]["steps"]] == [
        "tensorflow",
        "cuda",
        "hooks",
        "hooks",
    ]
    assert "GPU:0" in listed_by(prefix / "bin" / "python", machine.environ())
    assert "GPU:0" in activated(machine, prefix), "with the hook alone"

    installed = tree(prefix)
    again = machine.tool("install", "--env", prefix, "--yes")
    assert (again.code, again.json["state"]) == (0, "nothing-to-do")
    assert tree(prefix) == installed, "the second run changes nothing"

    undone = machine.tool("undo", "--env", prefix, "--yes")
    assert undone.json["state"] == "undone"
    assert undone.after.primary == "tensorflow-missing"


def activated(machine: Machine, prefix: Path) -> str:
    """TensorFlow's answer in a shell where the hook ran and the preload is switched off."""
    script = (
        'CONDA_PREFIX=$1; for f in "$1"/etc/conda/activate.d/*.sh; do . "$f"; done; "$2" -c "$3"'
    )
    code = "import tensorflow as tf; print(tf.config.list_physical_devices('GPU'))"
    done = subprocess.run(
        ["bash", "-c", script, "bash", prefix, prefix / "bin" / "python", code],
        env=machine.environ() | {"TFGPU_NO_PRELOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_a_prefix_that_does_not_exist_is_created_with_a_fitting_python(
    machine: Machine, tmp_path: Path
) -> None:
    prefix = tmp_path / "envs" / "new"
    planned = machine.tool("install", "--env", prefix, "--dry-run")
    assert [s["chapter"] for s in planned.json["plan"]["steps"]][:2] == [
        "environment",
        "tensorflow",
    ]
    assert not prefix.exists()
    done = machine.tool("install", "--env", prefix, "--yes")
    assert (done.code, done.json.get("state")) == (0, "done"), done.json or done.stderr
    assert done.after.gpus == GPU
    assert done.after.json["facts"]["environment"]["python_version"] == "3.10"
    machine.tool("undo", "--env", prefix, "--yes")
    assert not prefix.exists() or not any(prefix.rglob("*"))


def test_without_conda_the_plan_uses_wheels(machine: Machine, tmp_path: Path) -> None:
    """The plan only: the wheels are gigabytes."""
    machine.extra = {"CONDA_EXE": "", "PATH": "/usr/bin:/bin"}
    prefix = machine.lab.bare_venv(tmp_path / "venv")
    planned = machine.tool("install", "--env", prefix, "--dry-run")
    (step,) = planned.json["plan"]["steps"][:1]
    assert step["chapter"] == "tensorflow"
    assert "[and-cuda]" in step["commands"][0]
    config = tmp_path / "config.toml"
    config.write_text(f'[[environment]]\nprefix = "{prefix}"\ntensorflow = "==2.10.*"\n')
    planned = machine.tool("install", "--env", prefix, "--dry-run", "--config", config)
    python = planned.json["before"]["facts"]["environment"]["python_version"]
    if python == "3.10":
        commands = "\n".join(c for s in planned.json["plan"]["steps"] for c in s["commands"])
        assert "nvidia-cudnn-cu11==8.6.0.163" in commands
    else:
        assert "create an environment with Python 3.10" in planned.json["plan"]["reason"]


def test_without_conda_a_venv_is_created_and_wheels_serve(machine: Machine, tmp_path: Path) -> None:
    """The real TensorFlow 2.10.1; small wheels named like NVIDIA's stand in for theirs."""
    shelf = tmp_path / "shelf"
    maker = machine.lab.bare_conda(tmp_path / "maker")
    machine.pip(maker, "download", "--dest", str(shelf), "tensorflow==2.10.1", "numpy<2")
    for wheel in cuda11_wheels():
        stub_wheel(shelf, wheel.requirement, wheel.folder, wheel.sonames)
    path = f"{machine.lab.python310.parent}:/usr/bin:/bin"
    machine.extra = {"CONDA_EXE": "", "PATH": path, "PYENV_ROOT": "/nowhere"}
    machine.extra |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf)}
    prefix = tmp_path / "new venv"
    config = tmp_path / "config.toml"
    config.write_text(f'[[environment]]\nprefix = "{prefix}"\ntensorflow = "==2.10.*"\n')
    done = machine.tool("install", "--env", prefix, "--yes", "--config", config)
    assert (done.code, done.json.get("state")) == (0, "done"), done.json or done.stderr
    assert (prefix / "pyvenv.cfg").is_file()
    assert done.after.gpus == GPU
    assert [s["chapter"] for s in done.json["plan"]["steps"]] == [
        "environment",
        "tensorflow",
        "cuda",
        "hooks",
    ]
    again = machine.tool("install", "--env", prefix, "--yes", "--config", config)
    assert again.json["state"] == "nothing-to-do"
