"""That the Windows lab is what it claims: real Python, pip and TensorFlow, faults as ordered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.tool import PYTHON as TOOL

LIST_GPUS = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"

NVML = """
import json, pynvml as n
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(0)
print(json.dumps([n.nvmlSystemGetDriverVersion(), n.nvmlDeviceGetName(gpu)]))
"""


def asked(machine: WindowsMachine, code: str) -> str:
    done = machine.run(rf"{TOOL}\python.exe", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pythons_are_windows_pythons(windows: WindowsMachine) -> None:
    told = asked(windows, "import os, sys; print(os.name, *sys.version_info[:2], sys.prefix)")
    assert told == rf"nt 3 11 {TOOL}"

    where = "import sys; print(*sys.version_info[:2], sys.prefix, sys.base_prefix)"
    for prefix in (windows.conda_environment("bare env", "bare"), windows.venv("my venv")):
        home = windows.to_windows(prefix)
        base = home if "bare" in home else r"C:\Program Files\Python310"
        done = windows.run(windows.python(prefix), "-c", where)
        assert done.stdout.strip() == f"3 10 {home} {base}", done.stderr
        pip = windows.run(prefix / "Scripts" / "pip.exe", "--version")
        assert f"from {home}\\lib\\site-packages\\pip".lower() in pip.stdout.lower(), pip.stderr


@pytest.mark.parametrize("user", ["Ada Lovelace", "张 伟"])
def test_users_have_names(lab: WindowsLab, tmp_path: Path, user: str) -> None:
    with WindowsMachine(lab, tmp_path / "machine", user=user) as machine:
        code = (
            "import os, sys, tempfile, platformdirs; sys.stdout.reconfigure(encoding='utf-8');"
            "print(os.path.expanduser('~'), tempfile.gettempdir(), platformdirs.user_data_dir(),"
            "os.environ['USERNAME'], sep='|')"
        )
        home = rf"C:\users\{user}"
        told = [home, rf"{home}\Temp", rf"{home}\AppData\Local", user]
        assert asked(machine, code).split("|") == told


def test_a_program_that_hangs_is_killed(windows: WindowsMachine) -> None:
    wait = "import time; time.sleep(99)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {wait!r}])"
    with pytest.raises(subprocess.TimeoutExpired):
        windows.run(rf"{TOOL}\python.exe", "-c", code, seconds=1)
    assert asked(windows, "print(7)") == "7"


def test_registry_and_build_are_as_set(windows: WindowsMachine) -> None:
    version = "import sys; print(sys.getwindowsversion().build)"
    assert asked(windows, version) == "19045"
    windows.set_build(22631)
    assert asked(windows, version) == "22631"

    key = r"HKCU\Software\Lab \"quoted\""
    windows.set_registry(key, Text='C:\\a "b" 中文', Number=7, Bytes=b"\x02\0", Many=["a", "b"])
    read = (
        "import json, winreg; k = winreg.OpenKey(winreg.HKEY_CURRENT_USER, r'{}');"
        "print(json.dumps([str(winreg.QueryValueEx(k, n)[0]) for n in"
        " ('Text', 'Number', 'Bytes', 'Many')]))"
    ).format(key.removeprefix("HKCU\\"))
    expected = ['C:\\a "b" 中文', "7", r"b'\x02\x00'", "['a', 'b']"]
    assert json.loads(asked(windows, read)) == expected
    windows.delete_registry(key)
    assert windows.run(rf"{TOOL}\python.exe", "-c", read).returncode == 1


def test_driver_answers_nvml_until_it_is_removed(windows: WindowsMachine) -> None:
    assert json.loads(asked(windows, NVML)) == ["537.58", "NVIDIA Simulated GPU"]
    windows.driver.set(driver="461.33", name="Tesla T4")
    assert json.loads(asked(windows, NVML)) == ["461.33", "Tesla T4"]
    smi = windows.run("nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader")
    assert smi.stdout == "461.33, Tesla T4\n"
    windows.driver.set(nvml=9)
    assert "NVMLError_DriverNotLoaded" in windows.run(rf"{TOOL}\python.exe", "-c", NVML).stderr
    windows.driver.remove()
    assert "NVMLError_LibraryNotFound" in windows.run(rf"{TOOL}\python.exe", "-c", NVML).stderr


def test_tensorflow_lists_a_gpu_only_when_activated(windows: WindowsMachine) -> None:
    prefix = windows.conda_environment()
    python = windows.python(prefix)

    plain = windows.run(python, "-c", LIST_GPUS)
    assert plain.stdout == "0\n", plain.stderr
    assert "Could not load dynamic library 'cudart64_110.dll'" in plain.stderr

    active = windows.run(python, "-c", LIST_GPUS, environ=windows.activated(prefix))
    assert active.stdout == "1\n", active.stderr


def test_toy_looks_for_its_gpu_as_tensorflow_does(windows: WindowsMachine) -> None:
    prefix = windows.conda_environment("toy", "toy")
    cudnn = prefix / "Library" / "bin" / "cudnn64_8.dll"

    def said() -> tuple[str, str]:
        environ = windows.activated(prefix)
        done = windows.run(windows.python(prefix), "-c", LIST_GPUS, environ=environ)
        return done.stdout.strip(), done.stderr

    assert said() == ("1", "")
    windows.driver.set(cuinit=100)
    assert "failed call to cuInit: CUDA_ERROR_NO_DEVICE" in said()[1]
    windows.driver.reset()
    cudnn.rename(cudnn.with_suffix(".away"))
    count, log = said()
    assert count == "0"
    assert "dlerror: cudnn64_8.dll not found" in log
    cudnn.with_suffix(".away").rename(cudnn)
    windows.pip(prefix, "uninstall", "--yes", "tensorflow")
    windows.pip(prefix, "install", "tensorflow==2.12.0")
    assert said() == ("0", "")
    windows.pip(prefix, "uninstall", "--yes", "tensorflow", "tensorflow-intel")
    windows.pip(prefix, "install", "tensorflow==2.10.1")
    assert said() == ("1", "")


def test_pip_changes_an_environment(windows: WindowsMachine) -> None:
    prefix = windows.conda_environment("bare", "bare")
    windows.pip(prefix, "install", "tensorboard-data-server", "termcolor")
    launcher = prefix / "Lib" / "site-packages" / "termcolor"
    assert launcher.is_dir()
    windows.pip(prefix, "uninstall", "--yes", "termcolor")
    assert not launcher.exists()


@pytest.mark.parametrize("kind", ["bare", "cuda"])
def test_clones_are_at_home_and_leave_the_original_alone(
    windows: WindowsMachine, kind: str
) -> None:
    first = windows.conda_environment("first", kind)
    (first / "Lib" / "os.py").write_text("raise RuntimeError\n", encoding="utf-8")
    second = windows.conda_environment("用户's 环境", kind)
    assert "RuntimeError" not in (second / "Lib" / "os.py").read_text("utf-8")
    history = (second / "conda-meta" / "history").read_text("utf-8")
    assert windows.to_windows(second) in history
    assert "golden" not in history


def test_tool_starts_and_answers(windows: WindowsMachine) -> None:
    prefix = windows.conda_environment("bare", "bare")
    answer = windows.check(prefix, "static")
    assert answer.environment.json["prefix"] == windows.to_windows(prefix), answer.stderr
    assert answer.json["host"]["windows_build"] == 19045


def test_conda_lists_installs_and_removes(windows: WindowsMachine) -> None:
    prefix = windows.conda_environment("mine", "bare")
    conda = windows.home / "miniconda3" / "condabin" / "conda.bat"
    cudnn = prefix / "Library" / "bin" / "cudnn64_8.dll"

    windows.conda("install", "-p", prefix, "cudatoolkit=11.2", "cudnn=8.1.0")
    assert cudnn.is_file()
    done = windows.run("cmd", "/c", conda, "list", "-p", prefix, "--json")
    versions = {package["name"]: package["version"] for package in json.loads(done.stdout)}
    assert versions == {
        "cudatoolkit": "11.2.2",
        "cudnn": "8.1.0.77",
        "pip": "23.0.1",
        "python": "3.10.11",
        "setuptools": "65.5.0",
    }
    windows.conda("remove", "-p", prefix, "cudnn")
    assert not cudnn.exists()
    history = (prefix / "conda-meta" / "history").read_text("utf-8")
    assert r"miniconda3\Scripts\conda-script.py remove" in history


def test_activation_runs_hooks(windows: WindowsMachine) -> None:
    prefix = windows.conda_environment("mine", "bare")
    hook = prefix / "etc" / "conda" / "activate.d" / "say.bat"
    hook.parent.mkdir(parents=True)
    hook.write_text("@set SAID=%CONDA_PREFIX%\r\n", encoding="utf-8")
    activate = windows.to_windows(windows.home / "miniconda3" / "Scripts" / "activate.bat")
    home = windows.to_windows(prefix)
    script = windows.home / "session.bat"
    lines = ("@echo off", f'call "{activate}" "{home}"', "echo %SAID%", "echo %PATH%")
    script.write_text("\r\n".join(lines), encoding="utf-8")
    said, path = windows.run("cmd", "/c", script).stdout.splitlines()
    assert said == home
    assert path.startswith(windows.activated(prefix)["WINEPATH"])
