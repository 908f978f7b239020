"""What breaks on native Windows is named, repaired or guided, and nothing is lost.

The story of the real TensorFlow comes last; the others use the toy, which looks for its DLLs as
TensorFlow 2.10 does.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.fakes import hook
from tests.lab.golden import TF_210
from tests.lab.machine import Answer
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.stubs import CUDA, CUDNN
from tests.lab.windows.tool import PYTHON as TOOL

LIST_GPUS = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
HOLD = "import ctypes, sys; x = ctypes.WinDLL(sys.argv[1]); print('ready', flush=True); input()"
LOADED = """
import ctypes, sys
import tensorflow as tf
tf.config.list_physical_devices('GPU')
kernel = ctypes.WinDLL('kernel32')
kernel.GetModuleHandleW.restype = ctypes.c_void_p
path = ctypes.create_unicode_buffer(300)
kernel.GetModuleFileNameW(ctypes.c_void_p(kernel.GetModuleHandleW(sys.argv[1])), path, 300)
print(ascii(path.value))  # the console has few characters
"""


@pytest.fixture(scope="module")
def machine(lab: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsMachine]:
    folder = tmp_path_factory.mktemp("windows")
    with WindowsMachine(lab, folder / "machine") as machine:
        machine.use_toys()
        _toy_numpy(folder / "shelf")
        machine.extra["PIP_FIND_LINKS"] += f" {machine.to_windows(folder / 'shelf')}"
        yield machine


def _toy_numpy(shelf: Path) -> None:
    """What the toy needs beside it: TensorFlow is never installed without a bound on NumPy."""
    shelf.mkdir()
    info = "numpy-1.26.4.dist-info"
    with zipfile.ZipFile(shelf / "numpy-1.26.4-py3-none-any.whl", "w") as wheel:
        wheel.writestr("numpy/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        rows = ("numpy/__init__.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD")
        wheel.writestr(f"{info}/RECORD", "".join(f"{row},,\n" for row in rows))


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture
def prefix(machine: WindowsMachine, numbers: Iterator[int]) -> Path:
    """A healthy environment of the article, with the toy."""
    links = machine.extra["PIP_FIND_LINKS"]
    prefix = machine.conda_environment(f"王 小明 {next(numbers)}", "toy")
    machine.extra["PIP_FIND_LINKS"] = links
    return prefix


@pytest.fixture(autouse=True)
def as_it_was(machine: WindowsMachine) -> Iterator[None]:
    yield
    machine.path.clear()
    machine.driver.reset()
    machine.driver.install()
    machine.set_build(19045)


def library(prefix: Path, name: str) -> Path:
    return prefix / "Library" / "bin" / name


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file; a Windows has no modes, and times to 100 nanoseconds."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns // 1000,
        )
        for path in root.rglob("*")
        if path.is_file()
    }


def judged(answer: Answer) -> tuple[str, str | None, dict[str, str]]:
    """Verdict, first cause, and the roles of all causes; before a repair, where it is one."""
    environment = answer.json.get("before") or answer.environment.json
    roles = {d["cause"]: d["role"] for d in environment["diagnoses"]}
    first = next((c for c, role in roles.items() if role == "primary"), None)
    return environment["verdict"], first, roles


def repaired(machine: WindowsMachine, prefix: Path) -> Answer:
    answer = machine.tool("repair", "--env", prefix, "--yes")
    assert answer.json.get("state") == "done", (answer.json.get("note"), answer.stderr)
    assert answer.json["after"]["verdict"] == "ok", answer.json["after"]["headline"]
    return answer


def titles(answer: Answer) -> list[str]:
    return [step["title"] for step in answer.json["plan"]["steps"]]


# ---- DLLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, cause",
    [
        (CUDA[0], "cuda-runtime-missing"),
        (CUDNN, "cudnn-missing"),
        ("cufft64_10.dll", "cuda-libs-incomplete-or-mixed"),
    ],
)
def test_a_missing_dll_comes_back_with_conda(
    machine: WindowsMachine, prefix: Path, name: str, cause: str
) -> None:
    library(prefix, name).unlink()
    answer = repaired(machine, prefix)
    assert judged(answer)[:2] == ("broken", cause)
    assert titles(answer)[0] == "Install cudatoolkit=11.2, cudnn=8.1.0 with conda"
    assert library(prefix, name).is_file()


def test_an_empty_dll_is_replaced(machine: WindowsMachine, prefix: Path) -> None:
    path = library(prefix, CUDNN)
    path.unlink()
    path.write_bytes(b"")
    assert judged(repaired(machine, prefix))[:2] == ("broken", "cuda-library-damaged")
    assert path.stat().st_size > 0


def test_a_foreign_cudnn_in_front_is_overcome(
    machine: WindowsMachine, prefix: Path, tmp_path: Path
) -> None:
    foreign = machine.drive / "CUDA 11.8" / "bin"
    foreign.mkdir(parents=True, exist_ok=True)
    (foreign / CUDNN).write_bytes(library(prefix, CUDNN).read_bytes())
    hook(prefix, "cuda.bat", f'@set "PATH={machine.to_windows(foreign)};%PATH%"\r\n')
    answer = repaired(machine, prefix)
    verdict, _, roles = judged(answer)
    assert (verdict, roles["cudnn-version-mismatch"]) == ("degraded", "contributing")
    assert titles(answer) == ["Write the preload"]
    in_front = machine.activated(prefix)
    in_front["WINEPATH"] = f"{machine.to_windows(foreign)};{in_front['WINEPATH']}"
    done = machine.run(machine.python(prefix), "-c", LOADED, CUDNN, environ=in_front)
    assert done.stdout.strip().endswith(rf"Library\\bin\\{CUDNN}'"), (done.stdout, done.stderr)


def test_a_broken_cudnn_in_front_is_taken_away(machine: WindowsMachine, prefix: Path) -> None:
    bad = machine.drive / "bad"
    bad.mkdir(exist_ok=True)
    (bad / CUDNN).write_bytes(b"")
    script = hook(prefix, "bad.bat", f'@set "PATH={machine.to_windows(bad)};%PATH%"\r\n')
    answer = repaired(machine, prefix)
    assert judged(answer)[:2] == ("broken", "activate-hook-harmful")
    assert "Set the hook bad.bat aside" in titles(answer)
    assert not script.exists()


# ---- hooks and activation ----------------------------------------------------------------------


def test_a_hook_that_fails_is_set_aside_and_comes_back(
    machine: WindowsMachine, prefix: Path
) -> None:
    text = "@echo off\r\ndir Z:\\nowhere\\at\\all >nul\r\nexit /b 1\r\n"
    script = hook(prefix, "mine.bat", text)
    before = tree(prefix)
    answer = repaired(machine, prefix)
    verdict, _, roles = judged(answer)
    assert (verdict, roles["activate-hook-broken"]) == ("degraded", "contributing")
    assert titles(answer)[0] == "Set the hook mine.bat aside"
    assert not script.exists()
    undone = machine.tool("undo", "--env", prefix, "--yes")
    assert undone.json["state"] == "undone", undone.stderr
    assert tree(prefix) == before


def test_a_hook_that_hides_the_dlls_is_set_aside(machine: WindowsMachine, prefix: Path) -> None:
    script = hook(prefix, "path.bat", "@set PATH=C:\\windows\\system32;C:\\windows\r\n")
    answer = repaired(machine, prefix)
    assert judged(answer)[:2] == ("broken", "activate-hook-harmful")
    assert titles(answer)[0] == "Set the hook path.bat aside"
    assert not script.exists()


def test_started_without_activation_the_preload_serves(
    machine: WindowsMachine, prefix: Path
) -> None:
    """Spyder, VS Code, Jupyter: they start an environment's Python, and no more."""
    verdict, _, roles = judged(machine.check(prefix))
    assert (verdict, roles) == ("ok", {"visible-only-when-activated": "possible"})
    before = machine.run(machine.python(prefix), "-c", LIST_GPUS)
    assert before.stdout.strip() == "0"
    answer = machine.tool("install", "--env", prefix, "--yes")
    assert titles(answer) == ["Write the preload"] and answer.json["state"] == "done"
    after = machine.run(machine.python(prefix), "-c", LIST_GPUS)
    assert after.stdout.strip() == "1", after.stderr
    assert judged(machine.check(prefix)) == ("ok", None, {})
    whole = tree(prefix)
    assert machine.tool("install", "--env", prefix, "--yes").json["state"] == "nothing-to-do"
    assert tree(prefix) == whole


def test_a_stray_hook_is_told_of_and_left_alone(machine: WindowsMachine, prefix: Path) -> None:
    """What PowerShell leaves where $CONDA_PREFIX is empty."""
    stray = machine.drive / "etc" / "conda" / "activate.d" / "env_vars.sh"
    stray.parent.mkdir(parents=True)
    stray.write_text("export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$CONDA_PREFIX/lib/", "utf-16")
    answer = machine.check(prefix)
    verdict, _, roles = judged(answer)
    assert (verdict, roles["stray-activation-hook"]) == ("ok", "possible")
    [remark] = [
        d
        for d in answer.json["environments"][0]["diagnoses"]
        if d["cause"] == "stray-activation-hook"
    ]
    assert machine.to_windows(stray) in remark["remedy"]["steps"][0]
    machine.tool("install", "--env", prefix, "--yes")
    assert stray.exists()
    stray.unlink()


# ---- the machine -------------------------------------------------------------------------------


def test_without_a_driver_nothing_is_touched(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.remove()
    before = tree(prefix)
    answer = machine.tool("repair", "--env", prefix, "--yes")
    assert judged(answer)[:2] == ("broken", "nvidia-driver-missing")
    assert answer.json["state"] == "nothing-to-do"
    assert any("nvidia.com" in line for line in answer.json["plan"]["guidance"])
    assert tree(prefix) == before


def test_an_old_windows_closes_wsl_alone(machine: WindowsMachine, prefix: Path) -> None:
    machine.set_build(18363)
    assert judged(machine.check(prefix))[0] == "ok", "TensorFlow 2.10 needs no newer Windows"
    machine.pip(prefix, "install", "tensorflow==2.12")
    answer = machine.check(prefix)
    assert judged(answer)[:2] == ("broken", "windows-native-tf-ge-2.11")
    back, inside = answer.json["environments"][0]["diagnoses"][0]["remedy"]["ways"]
    assert "18363" in inside["costs"] and not inside["steps"]
    assert "not possible" not in back["costs"]
    repaired(machine, prefix)


# ---- TensorFlow --------------------------------------------------------------------------------


def test_an_upgrade_is_taken_back_and_undone(machine: WindowsMachine, prefix: Path) -> None:
    deep = prefix.joinpath("Lib", "site-packages", *(["a folder with quite a long name"] * 6))
    deep.mkdir(parents=True)
    (deep / "beyond the 260 characters.txt").write_text("deep")
    machine.pip(prefix, "install", "tensorflow==2.12")
    broken = tree(prefix / "Lib")
    answer = repaired(machine, prefix)
    assert judged(answer)[:2] == ("broken", "windows-native-tf-ge-2.11")
    assert titles(answer)[0] == "Remove tensorflow, tensorflow-intel"
    assert "WSL 2" in answer.json["plan"]["instead"][0]["title"]
    undone = machine.tool("undo", "--env", prefix, "--yes")
    assert undone.json["state"] == "undone", undone.stderr
    assert tree(prefix / "Lib") == broken


def test_a_copy_in_the_user_site_is_removed(machine: WindowsMachine, prefix: Path) -> None:
    """As the usual recipe has it: pip install --user, which every environment sees."""
    machine.pip(prefix, "install", "--user", "--ignore-installed", "tensorflow==2.12")
    answer = repaired(machine, prefix)
    assert judged(answer)[:2] == ("broken", "multiple-tensorflow-shadowing")
    assert titles(answer)[0] == "Remove tensorflow, tensorflow-intel from the user site"
    user = machine.home / "AppData" / "Roaming" / "Python" / "Python310" / "site-packages"
    assert not (user / "tensorflow").exists()


def test_a_python_that_is_too_new_leads_to_a_new_environment(machine: WindowsMachine) -> None:
    old = machine.home / "venv 311"
    done = machine.run(rf"{TOOL}\python.exe", "-m", "venv", "--without-pip", old)
    assert done.returncode == 0, done.stderr
    for name in ("tensorflow-2.12.0", "tensorflow_intel-2.12.0"):
        [wheel] = machine.lab.toys.glob(f"{name}-*")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(old / "Lib" / "site-packages")
    before = tree(old)
    answer = machine.tool("repair", "--env", old, "--yes")
    verdict, first, roles = judged(answer)
    assert (verdict, first) == ("broken", "windows-native-tf-ge-2.11")
    assert roles["python-version-unsupported"] == "contributing"
    assert answer.json["state"] == "nothing-to-do"
    assert "Python 3.11 with a GPU on Windows" in answer.json["plan"]["reason"]
    fresh = machine.home / "venv 311-gpu"
    assert f'--env "{machine.to_windows(fresh)}"' in answer.json["plan"]["guidance"][0]
    assert tree(old) == before

    answer = machine.tool("install", "--env", fresh, "--yes")
    assert answer.json["state"] == "done", (answer.json.get("note"), answer.stderr)
    assert judged(machine.check(fresh)) == ("ok", None, {})


def test_a_bare_environment_is_carried_to_the_visible_gpu(
    machine: WindowsMachine, numbers: Iterator[int]
) -> None:
    prefix = machine.conda_environment(f"bare {next(numbers)}", "bare")
    answer = machine.tool("install", "--env", prefix, "--yes")
    assert answer.json["state"] == "done", (answer.json.get("note"), answer.stderr)
    assert titles(answer) == [
        "Install TensorFlow 2.10.1",
        "Install cudatoolkit=11.2, cudnn=8.1.0 with conda",
        "Write the preload",
    ]
    assert judged(machine.check(prefix)) == ("ok", None, {})
    whole = tree(prefix)
    assert machine.tool("install", "--env", prefix, "--yes").json["state"] == "nothing-to-do"
    assert tree(prefix) == whole


# ---- files in use ------------------------------------------------------------------------------


@pytest.fixture
def hold(
    machine: WindowsMachine,
) -> Iterator[Callable[[Path, Path], subprocess.Popen[bytes]]]:
    """Starts the environment's Python with a DLL loaded; it ends at a line of input."""
    started: list[subprocess.Popen[bytes]] = []

    def start(prefix: Path, path: Path) -> subprocess.Popen[bytes]:
        process = machine.start(machine.python(prefix), "-c", HOLD, path)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(20)


def let_go(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"\n", timeout=30)


def test_a_dll_in_use_is_named_and_nothing_is_lost(
    machine: WindowsMachine,
    prefix: Path,
    hold: Callable[[Path, Path], subprocess.Popen[bytes]],
) -> None:
    machine.pip(prefix, "install", "tensorflow==2.12")
    program = hold(prefix, library(prefix, CUDNN))
    before = tree(prefix)
    answer = machine.tool("repair", "--env", prefix, "--yes")
    assert answer.code == 3
    [text] = answer.json["error"]
    assert "is using TensorFlow here" in text and "WinDLL" in text and "--wait" in text
    assert tree(prefix) == before

    tool = (rf"{TOOL}\python.exe", "-m", "tfgpu_tray")
    waiting = machine.start(*tool, "repair", "--env", prefix, "--yes", "--json", "--wait", "5")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(8)  # a repair that did not wait would have been refused by then
    let_go(program)
    out, err = waiting.communicate(timeout=300)
    assert waiting.returncode == 0, err.decode("utf-8", "replace")
    assert b'"done"' in out
    assert judged(machine.check(prefix)) == ("ok", None, {})


KEEP = r"""
import ctypes, os, sys
from pathlib import Path
from tfgpu_tray.repair.keep import Keep
folder, data, other = map(Path, sys.argv[1:])
keep, loaded = Keep(data), folder / "a.dll"
before = loaded.read_bytes()
keep.take([folder])
os.rename(loaded, folder / "gone")  # an installer replaces it, and a program loads the new one
loaded.write_bytes(other.read_bytes())
(folder / "added.dll").write_bytes(other.read_bytes())
os.chmod(folder / "read-only", 0o666)
(folder / "read-only").write_text("changed")
os.chmod(folder / "read-only", 0o444)
held = [ctypes.WinDLL(str(folder / name)) for name in ("a.dll", "added.dll")]
try:
    os.remove(loaded)
except PermissionError:
    print("in use")
keep.restore()
print(loaded.read_bytes() == before, sorted(os.listdir(folder)), (folder / "read-only").read_text())
print(len(os.listdir(data / "held")))
"""


def test_what_is_loaded_is_put_back_all_the_same(machine: WindowsMachine, prefix: Path) -> None:
    """Windows lets nobody remove a loaded DLL, but moves it out of the way."""
    folder = machine.home / "loaded"
    folder.mkdir()
    (folder / "a.dll").write_bytes(library(prefix, CUDA[0]).read_bytes())
    (folder / "read-only").write_text("as it was")
    deep = folder.joinpath(*(["a folder with quite a long name"] * 9))
    deep.mkdir(parents=True)
    (deep / "beyond the 260 characters.txt").write_text("deep")
    tool = rf"{TOOL}\python.exe"
    done = machine.run(tool, "-c", KEEP, folder, machine.home / "kept", library(prefix, CUDNN))
    assert done.returncode == 0, done.stderr
    in_use, back, held = done.stdout.splitlines()
    assert in_use == "in use"
    assert back == f"True ['{deep.parts[-1]}', 'a.dll', 'read-only'] as it was"
    assert held == "2"


# ---- the real TensorFlow -----------------------------------------------------------------------


@pytest.mark.long
def test_the_whole_story_with_the_real_tensorflow(
    lab: WindowsLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Healthy, broken by pip, repaired, undone; what each took goes to the log."""
    started, laps = time.monotonic(), []

    def lap(what: str) -> None:
        nonlocal started
        laps.append(f"{what} {time.monotonic() - started:.0f} s")
        started = time.monotonic()

    with WindowsMachine(lab, tmp_path / "machine") as machine:
        prefix = machine.conda_environment()
        lap("set-up")
        assert judged(machine.check(prefix))[0] == "ok"
        lap("check")
        machine.pip(prefix, "install", "tensorflow==2.12")
        lap("pip install tensorflow==2.12")
        assert judged(machine.check(prefix))[:2] == ("broken", "windows-native-tf-ge-2.11")
        lap("check")
        assert repaired(machine, prefix).after.gpus == ["/physical_device:GPU:0"]
        lap("repair, to the listed GPU")
        undone = machine.tool("undo", "--env", prefix, "--yes")
        assert undone.json["state"] == "undone", undone.stderr
        assert undone.json["after"]["headline"] == "This TensorFlow has no GPU support on Windows"
        site = prefix / "Lib" / "site-packages"
        for name in ("tensorflow", "tensorflow_intel"):
            assert (site / f"{name}-2.12.0.dist-info").is_dir()
        lap("undo")
    with capsys.disabled():
        print(f"\nnative Windows, {TF_210[0]}: {', '.join(laps)}")
