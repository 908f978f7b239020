"""A look inside a distribution, and the probe that takes it, which runs here as it runs there."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fake_wsl import (
    CUDA,
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
    inside,
    recorded,
    wsl_registry,
)
from tests.fakes import FailingRunner, conda_prefix, distribution, facts, site_of, write
from tests.needs import every_python
from tests.snapshots import DRIVER
from tfgpu_tray.model import Environment, Kind, Outcome, TensorFlow, WslGpu
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Result, run
from tfgpu_tray.observe.host import observe_host
from tfgpu_tray.observe.probes import wsl_probe
from tfgpu_tray.observe.wsl import Wsl
from tfgpu_tray.observe.wsl_inside import (
    Inside,
    ask_tensorflow,
    driver_inside,
    from_windows,
    look_into,
)

PROBE = probing.FOLDER / "wsl_probe.py"
PREFIX = r"\\wsl.localhost\Ubuntu-22.04\home\me\tf"


def look(answers: dict[str, Said]) -> tuple[Inside, FakeWslExe]:
    wsl, exe = fake_wsl(wsl_registry(UBUNTU), answers)
    return look_into(wsl, UBUNTU), exe


# ---- what the probe's words become -------------------------------------------------------------


def test_a_distribution_with_everything() -> None:
    found, exe = look(inside("Ubuntu-22.04", HEALTHY))
    assert found.distribution.running is True and found.distribution.error is None
    assert found.distribution.gpu == WslGpu(
        device=True, driver=True, libcuda="/usr/lib/wsl/lib/libcuda.so.1", cuinit=0
    )
    host = found.host
    assert (host.system, host.wsl, host.release) == ("linux", 2, "Ubuntu 22.04.5 LTS")
    assert (host.glibc, host.architecture, host.wsl_gpu) == (
        "2.35",
        "x86_64",
        found.distribution.gpu,
    )
    assert exe.calls == [["-d", "Ubuntu-22.04", "-e", "python3", "-I", "-"]]
    assert exe.stdin == [PROBE.read_text(encoding="utf-8")]


def test_an_environment_inside_and_its_packages() -> None:
    [(environment, packages)] = look(inside("Ubuntu-22.04", HEALTHY))[0].environments
    assert str(environment.prefix) == PREFIX
    assert (environment.kind, environment.distribution) == (Kind.VENV, "Ubuntu-22.04")
    assert environment.python is not None
    assert environment.typed(environment.python) == "/home/me/tf/bin/python"
    assert environment.typed(environment.prefix) == "/home/me/tf"
    assert [(d.name, d.version) for d in packages.tensorflow] == [("tensorflow", "2.15.1")]
    assert [d.name for d in packages.related] == ["numpy", "nvidia-cudnn-cu12"]


def test_what_holds_no_tensorflow_is_nobody_s_business() -> None:
    bare = {**ENVIRONMENT, "packages": [["numpy", "2.1.0"]]}
    found, _ = look(inside("Ubuntu-22.04", facts(SYSTEM, GPU, {"environment": bare})))
    assert found.environments == ()


def test_the_user_s_own_tensorflow_stands_before_the_system_s() -> None:
    system = {**ENVIRONMENT, "prefix": "/usr", "kind": "system"}
    below = {**system, "site": "/usr/local/lib/python3.10/dist-packages"}
    text = facts(SYSTEM, GPU, {"environment": system}, {"environment": below})
    [(environment, _)] = look(inside("Ubuntu-22.04", text))[0].environments
    assert environment.site_packages is not None and "home" in str(environment.site_packages)


def test_a_distribution_without_python_is_asked_through_its_shell() -> None:
    answers = inside("Ubuntu-22.04", "", 1, recorded("no-python")) | {
        "-d Ubuntu-22.04 sh": Said(facts({**GPU, "linux_driver": ["/usr/lib64/libcuda.so.1"]}))
    }
    found, exe = look(answers)
    assert found.distribution.gpu == WslGpu(True, True, ("/usr/lib64/libcuda.so.1",))
    assert [call[3] for call in exe.calls] == ["python3", "sh"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize(
    "name, expected",
    [
        ("no-virtualization-zh", "请启用“虚拟机平台”可选组件，并确保在 BIOS 中启用虚拟化。 (Wsl/"),
        ("no-disk-zh", "无法将磁盘“C:\\Program Files\\WSL\\system.vhd”附加到 WSL2："),
    ],
)
def test_one_that_does_not_start_says_why(name: str, expected: str, encoding: str) -> None:
    answers = {"-d Ubuntu-22.04": Said(recorded(name), FAILED)}
    wsl, exe = fake_wsl(wsl_registry(UBUNTU), answers, encoding)
    found = look_into(wsl, UBUNTU).distribution
    assert found.error is not None and found.error.startswith(expected)
    assert "HCS" in found.error and found.gpu is None
    assert len(exe.calls) == 1, "the shell would say the same"


def test_one_that_hangs_says_so() -> None:
    found = look_into(Wsl({}, wsl_registry(UBUNTU), FailingRunner()), UBUNTU).distribution
    assert found.error == "wsl.exe did not answer within 5 s and was stopped"


def test_cuda_that_ends_the_probe_is_told() -> None:
    found, _ = look(inside("Ubuntu-22.04", facts(SYSTEM, GPU, CUDA), 139))
    gpu = found.distribution.gpu
    assert gpu is not None and gpu.cuinit is None and gpu.libcuda_error


def test_the_driver_of_windows_is_the_one_inside() -> None:
    told = driver_inside(DRIVER)
    assert (told.version, told.gpus, told.kernel_module) == (DRIVER.version, DRIVER.gpus, None)
    assert driver_inside(DRIVER).nvml_error is None


# ---- TensorFlow --------------------------------------------------------------------------------


def ask(said: Said) -> tuple[TensorFlow, FakeWslExe]:
    wsl, exe = fake_wsl(wsl_registry(UBUNTU), {"-d Ubuntu-22.04 python3": said})
    environment = Environment(
        prefix=from_windows("Ubuntu-22.04", "/home/me/tf"),
        kind=Kind.VENV,
        python=from_windows("Ubuntu-22.04", "/home/me/tf/bin/python"),
        distribution="Ubuntu-22.04",
    )
    return ask_tensorflow(wsl, environment, deadline=60), exe


def test_a_tensorflow_that_answers() -> None:
    answer, exe = ask(Said(SEES_GPU, inside=True))
    assert (answer.outcome, answer.version) == (Outcome.COMPLETED, "2.15.1")
    assert (answer.gpus, answer.capabilities) == (("/physical_device:GPU:0",), ("8.6",))
    request = json.loads(base64.b64decode(exe.calls[0][-1]))
    assert (request["prefix"], request["deadline"]) == ("/home/me/tf", 60)
    assert "import tensorflow" in request["probe"]


@pytest.mark.parametrize(
    "said, outcome, error",
    [
        (
            facts({"error_type": "ImportError", "error": "libcudart"}, {"code": 0}),
            Outcome.FAILED,
            "libcudart",
        ),
        (facts({"stage": "import"}, {"code": -11}), Outcome.CRASHED, "exit status -11"),
        (facts({"stage": "import"}, {"code": 0}), Outcome.CRASHED, "exit status 0"),
        (facts({"stage": "import"}, {"timed_out": True}), Outcome.TIMED_OUT, "within 60 s"),
    ],
)
def test_a_tensorflow_that_does_not(said: str, outcome: Outcome, error: str) -> None:
    answer, _ = ask(Said(said, inside=True))
    assert answer.outcome is outcome and error in (answer.error or "")
    assert answer.gpus is None


def test_a_distribution_that_is_gone_by_then() -> None:
    answer, _ = ask(
        Said("不存在具有所提供名称的分发。\n错误代码: Wsl/WSL_E_DISTRO_NOT_FOUND\n", FAILED)
    )
    assert answer.outcome is Outcome.FAILED
    assert answer.error == "不存在具有所提供名称的分发。 (Wsl/WSL_E_DISTRO_NOT_FOUND)"


# ---- the probe itself --------------------------------------------------------------------------


def run_probe(home: Path, request: dict[str, Any] | None = None, python: Path | None = None) -> str:
    words = [base64.b64encode(json.dumps(request).encode()).decode()] if request else []
    done = subprocess.run(
        [python or sys.executable, "-I", "-", *words],
        input=PROBE.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_probe_looks_around_under_every_python(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "miniconda3/envs/tf")
    distribution(site_of(prefix), "tensorflow_cpu", "2.10.1")
    (prefix / "lib/python3.1").symlink_to("python3.10")
    for python in every_python():
        said = list(probing.facts(run_probe(tmp_path, python=python)))
        assert said[-1] == {"stage": "done"}, python
        [found] = [
            f["environment"] for f in said if "tf" in f.get("environment", {}).get("prefix", "")
        ]
        assert found["packages"] == [["tensorflow_cpu", "2.10.1"]], python
        assert (found["kind"], found["python_version"]) == ("conda", "3.10"), python


def test_environments_are_found_in_the_usual_places(tmp_path: Path) -> None:
    for name in ("tf", "work/deep", ".virtualenvs/old"):
        write(tmp_path / name / "pyvenv.cfg")
        (tmp_path / name / "lib/python3.10/site-packages").mkdir(parents=True)
    elsewhere = conda_prefix(tmp_path / "data/somewhere/far/tf")
    write(tmp_path / ".conda/environments.txt", f"{elsewhere}\n{elsewhere}\n/gone\n")
    found = [e["prefix"] for e in wsl_probe.environments(str(tmp_path)) if e["kind"] != "system"]
    assert found == [
        str(elsewhere),
        *(str(tmp_path / name) for name in ("tf", "work/deep", ".virtualenvs/old")),
    ]


def test_the_gpu_s_way_in(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert wsl_probe.gpu(root) == {"device": False, "driver": False, "linux_driver": []}
    write(tmp_path / "dev/dxg")
    driver = write(tmp_path / "usr/lib/wsl/lib/libcuda.so.1")
    assert wsl_probe.gpu(root) == GPU
    link = tmp_path / "usr/lib/x86_64-linux-gnu/libcuda.so.1"
    link.parent.mkdir(parents=True)
    link.symlink_to(driver)
    assert wsl_probe.gpu(root) == GPU, "a link to the right one does no harm"
    link.unlink()
    write(link)
    assert wsl_probe.driver_files(root) == ["/usr/lib/x86_64-linux-gnu/libcuda.so.1"]


def test_packages_of_a_linux_driver(tmp_path: Path) -> None:
    def package(name: str, state: str = "install ok installed") -> str:
        return f"Package: {name}\nStatus: {state}\nVersion: 1\nDescription: x\n"

    names = ("libnvidia-compute-535", "nvidia-driver-535", "nvidia-utils-535")
    others = ("nvidia-cuda-toolkit", "libcuda-tools", "python3")
    status = [package(n) for n in (*names, *others)]
    status.append(package("cuda-drivers", "deinstall ok config-files"))
    write(tmp_path / "var/lib/dpkg/status", "\n".join(status))
    assert wsl_probe.driver_packages(str(tmp_path)) == sorted(names)


def test_tensorflow_is_asked_in_its_environment_as_activated(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "tf")
    text = "printf noise\nexport HOOKED=$CONDA_PREFIX\n"
    write(prefix / "etc/conda/activate.d/env_vars.sh", text)
    write(prefix / "conda-meta/state", json.dumps({"env_vars": {"SET": "1", "bad name": "2"}}))
    seen = "{'hooked': os.environ['HOOKED'], 'set': os.environ['SET']}"
    probe = f"import json, os\nprint('@tfgpu', json.dumps({seen}))\n"
    request = {"prefix": str(prefix), "python": sys.executable, "probe": probe, "deadline": 20}
    said = probing.merged(run_probe(tmp_path, request))
    assert said == {"hooked": str(prefix), "set": "1", "code": 0}


def test_a_tensorflow_that_hangs_is_stopped_inside(tmp_path: Path) -> None:
    (tmp_path / "tf").mkdir()
    request = {
        "prefix": str(tmp_path / "tf"),
        "python": sys.executable,
        "probe": "import time\ntime.sleep(60)\n",
        "deadline": 0.3,
    }
    assert probing.merged(run_probe(tmp_path, request)) == {"timed_out": True}


def test_the_shell_s_word_where_there_is_no_python() -> None:
    from tfgpu_tray.observe.wsl_inside import SHELL

    done = subprocess.run(["sh"], input=SHELL, capture_output=True, text=True, check=True)
    assert probing.merged(done.stdout).keys() == {"device", "driver", "linux_driver"}


def test_inside_wsl_the_host_itself_shows_the_gpu_s_way_in(tmp_path: Path) -> None:
    assert observe_host(tmp_path).wsl_gpu is None
    write(tmp_path / "proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    assert observe_host(tmp_path).wsl_gpu == WslGpu(device=False, driver=False)
    write(tmp_path / "dev/dxg")
    write(tmp_path / "usr/lib/wsl/lib/libcuda.so.1")
    write(tmp_path / "usr/lib64/libcuda.so.1")
    assert observe_host(tmp_path).wsl_gpu == WslGpu(True, True, ("/usr/lib64/libcuda.so.1",))


# ---- all of it, with this machine for a distribution -------------------------------------------

TOY = """
__version__ = "2.15.1"
class config:
    list_physical_devices = staticmethod(lambda kind: [])
class test:
    is_built_with_cuda = staticmethod(lambda: True)
class sysconfig:
    get_build_info = staticmethod(lambda: {"cuda_version": "12.2", "cudnn_version": "8"})
"""


def test_from_the_look_to_tensorflow_s_answer(tmp_path: Path) -> None:
    prefix = tmp_path / "my tf"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    [site] = (prefix / "lib").glob("python3.*/site-packages")
    distribution(site, "tensorflow", "2.15.1", files=["tensorflow/__init__.py"])
    (site / "tensorflow/__init__.py").write_text(TOY)

    def wsl_exe(command: Sequence[str | Path], *, deadline: float, **how: Any) -> Result:
        assert command[1:4] == ["-d", "Ubuntu-22.04", "-e"]
        environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        words = [sys.executable if w == "python3" else w for w in command[4:]]
        return run(words, deadline=deadline, environ=environ, stdin=how["stdin"])

    wsl = Wsl({}, wsl_registry(UBUNTU), wsl_exe)
    [(environment, packages)] = look_into(wsl, UBUNTU).environments
    assert str(environment.prefix).endswith("\\my tf")
    assert packages.effective is not None and packages.effective.version == "2.15.1"
    answer = ask_tensorflow(wsl, environment, deadline=30)
    assert (answer.outcome, answer.stage) == (Outcome.COMPLETED, "done"), answer
    assert (answer.version, answer.gpus) == ("2.15.1", ())
    assert (answer.cuda_build, answer.build_cuda, answer.file) == (True, "12.2", None)
