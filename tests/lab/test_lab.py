"""That the lab is what it claims: real TensorFlow, clones that are at home, faults as ordered."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab.driver import SimulatedDriver
from tests.lab.lab import Lab

#: A path as users have them: an apostrophe, quotes, blanks, other scripts.
AWKWARD = '用户\'s "home"/我的 环境'

LIST_GPUS = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"

CODES = """
import ctypes, json
cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
name, count, version = ctypes.create_string_buffer(96), ctypes.c_int(), ctypes.c_int()
codes = [cuda.cuInit(0), nvml.nvmlInit_v2()]
cuda.cuDeviceGetCount(ctypes.byref(count))
cuda.cuDriverGetVersion(ctypes.byref(version))
cuda.cuDeviceGetName(name, 96, 0)
print(json.dumps([*codes, count.value, version.value, name.value.decode()]))
"""


def run_python(
    python: Path, code: str, environ: Mapping[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs code in an environment that has nothing but a PATH besides what is given."""
    return subprocess.run(
        [str(python), "-c", code],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def activated(prefix: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment after the prefix's activate.d scripts ran, as bash has it."""
    hooks = sorted(prefix.glob("etc/conda/activate.d/*.sh"))
    script = "".join(f". {shlex.quote(str(hook))}\n" for hook in hooks) + "env -0"
    variables = {"PATH": f"{prefix}/bin:/usr/bin:/bin", "CONDA_PREFIX": str(prefix), **environ}
    done = subprocess.run(
        ["bash", "-c", script], env=variables, capture_output=True, text=True, check=True
    )
    return dict(item.split("=", 1) for item in done.stdout.split("\0") if item)


@pytest.fixture
def driver(lab: Lab, tmp_path: Path) -> SimulatedDriver:
    return lab.driver(tmp_path / "driver")


def test_article_lists_a_gpu_only_when_activated(
    lab: Lab, driver: SimulatedDriver, tmp_path: Path
) -> None:
    prefix = lab.article(tmp_path / AWKWARD)
    python = prefix / "bin" / "python"
    with_hook = activated(prefix, driver.environ())

    bare = run_python(python, LIST_GPUS, driver.environ())
    assert bare.stdout == "0\n", bare.stderr
    assert "Could not load dynamic library 'libcudart.so.11.0'" in bare.stderr

    active = run_python(python, LIST_GPUS, with_hook)
    assert active.stdout == "1\n", active.stderr

    driver.set(gpus=2)
    assert run_python(python, LIST_GPUS, with_hook).stdout == "2\n"


def test_tensorflow_221_needs_cusolver_on_the_loader_path(
    lab: Lab, driver: SimulatedDriver, tmp_path: Path
) -> None:
    prefix = lab.tf221(tmp_path / "tf")
    python = prefix / "bin" / "python"
    [cusolver] = prefix.glob("lib/python3*/site-packages/nvidia/cusolver/lib")

    verbose = {"TF_CPP_MAX_VLOG_LEVEL": "1"}
    without = run_python(python, LIST_GPUS, driver.environ() | verbose)
    assert without.stdout == "0\n", without.stderr
    missing = [line for line in without.stderr.splitlines() if "Could not load dynamic" in line]
    assert len(missing) == 1
    assert "libcusolver.so.11" in missing[0]

    found = run_python(python, LIST_GPUS, {**driver.environ(), "LD_LIBRARY_PATH": str(cusolver)})
    assert found.stdout == "1\n", found.stderr

    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert {"tensorflow", "nvidia-cusolver-cu12"} <= names


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 0, 1, 12020, "NVIDIA Simulated GPU"]),
        ({"cuinit": 100}, [100, 0, 1, 12020, "NVIDIA Simulated GPU"]),
        ({"cuinit": 803, "nvml": 18}, [803, 18, 1, 12020, "NVIDIA Simulated GPU"]),
        ({"nvml": 9}, [0, 9, 1, 12020, "NVIDIA Simulated GPU"]),
        ({"gpus": 0}, [100, 0, 0, 12020, "NVIDIA Simulated GPU"]),
        (
            {"gpus": 2, "name": "Tesla T4", "cuda": 11020},
            [0, 0, 2, 11020, "Tesla T4"],
        ),
    ],
)
def test_driver_answers_as_set(
    lab: Lab, driver: SimulatedDriver, settings: dict[str, object], expected: list[object]
) -> None:
    driver.set(**settings)
    done = run_python(lab.python311, CODES, driver.environ())
    assert json.loads(done.stdout) == expected, done.stderr
    driver.reset()
    assert json.loads(run_python(lab.python311, CODES, driver.environ()).stdout)[:2] == [0, 0]


def test_driver_crashes_and_hangs_as_set(lab: Lab, driver: SimulatedDriver) -> None:
    driver.set(crash="nvml")
    assert run_python(lab.python311, CODES, driver.environ()).returncode == -6
    driver.set(crash="none", hang="cuda")
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(lab.python311, CODES, driver.environ(), timeout=2)


def test_driver_refuses_a_folder_that_preloading_cannot_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LD_PRELOAD"):
        SimulatedDriver(tmp_path / "my driver")


@pytest.mark.parametrize("kind", ["bare_conda", "bare_venv"])
def test_clone_is_at_home_and_leaves_the_original_alone(
    lab: Lab, tmp_path: Path, kind: str
) -> None:
    first: Path = getattr(lab, kind)(tmp_path / AWKWARD)
    python = first / "bin" / "python"
    place = "import pip, sys; print(sys.prefix); print(pip.__file__)"
    prefix, pip = run_python(python, place, {"HOME": str(tmp_path)}).stdout.splitlines()
    assert prefix == str(first)
    assert pip.startswith(prefix)
    for command in ([str(python), "-m", "pip"], [str(first / "bin" / "pip")]):
        shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert str(first) in shown.stdout

    Path(pip).write_text("raise RuntimeError\n", encoding="utf-8")
    second: Path = getattr(lab, kind)(tmp_path / "second")
    assert "RuntimeError" not in (second / Path(pip).relative_to(first)).read_text("utf-8")


def test_cloned_venv_activates_its_own_path(lab: Lab, tmp_path: Path) -> None:
    prefix = lab.bare_venv(tmp_path / AWKWARD)
    script = (
        f'. {shlex.quote(str(prefix / "bin" / "activate"))}; printf %s "$VIRTUAL_ENV"; python -V'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{prefix}Python 3.11.")
    assert "tfgpu-tray-lab" not in (prefix / "pyvenv.cfg").read_text("utf-8")
