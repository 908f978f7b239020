"""What the tool sees of environments on Windows: real Pythons, a real cmd.exe and a real loader.

What is worked out from files has to agree with what Windows then does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import distribution, hook
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.stubs import CUDA, CUDNN, build_dll
from tests.lab.windows.tool import PYTHON as TOOL
from tfgpu_tray.observe.hooks import AT_THE_ROOT

CUDART, ZLIB = CUDA[0], "zlibwapi.dll"
FACTS = """
import json, os, sys
from pathlib import Path
from tfgpu_tray.model import Depth, plain
from tfgpu_tray.observe import batch_text, environments
from tfgpu_tray.observe.look import Deadlines, Observer
prefix, depth = Path(sys.argv[1]), Depth[sys.argv[2].upper()]
observer = Observer.of_this_process(Deadlines())
environment = environments.describe(prefix)
seen = observer.look(environment, depth, *observer.machine(Depth.FINGERPRINT))
path = batch_text.predicted_path(seen.hooks, environment, observer.session)
found = [str(e.prefix) for e in environments.discover(os.environ, Path.home())]
print(json.dumps({**plain(seen), "predicted_path": path, "found": found}))
"""


@pytest.fixture(scope="module")
def machine(lab: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsMachine]:
    with WindowsMachine(lab, tmp_path_factory.mktemp("windows") / "machine") as machine:
        yield machine


@pytest.fixture
def prefix(machine: WindowsMachine, numbers: Iterator[int]) -> Path:
    """A conda environment with CUDA 11.2, and a TensorFlow 2.10.1 by its metadata alone."""
    prefix = machine.conda_environment(f"王 小明 {next(numbers)}", "cuda")
    distribution(site(prefix), "tensorflow", "2.10.1", files=["tensorflow/__init__.py"])
    return prefix


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture(autouse=True)
def as_it_was(machine: WindowsMachine) -> Iterator[None]:
    yield
    machine.path.clear()
    machine.extra.clear()


def site(prefix: Path) -> Path:
    return prefix / "Lib" / "site-packages"


def facts(machine: WindowsMachine, prefix: Path, depth: str = "loader") -> dict[str, Any]:
    done = machine.run(rf"{TOOL}\python.exe", "-c", FACTS, prefix, depth)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert isinstance(content, dict)
    return content


def states(said: dict[str, Any]) -> dict[str, tuple[str, str | None, bool | None]]:
    """State, file and whether it is found without activation, of each DLL."""
    return {
        x["soname"]: (x["state"], (x["path"] or "").lower() or None, x["without_activation"])
        for x in said["libraries"]["libraries"]
    }


# ---- what is there -------------------------------------------------------------------------------


def test_environments_are_found_and_described(machine: WindowsMachine, prefix: Path) -> None:
    venv = machine.venv("my venv")
    machine.extra["VIRTUAL_ENV"] = machine.to_windows(venv)
    home = machine.to_windows(prefix)
    said = facts(machine, prefix, "static")
    assert {home, machine.to_windows(venv)} <= set(said["found"])
    environment = said["environment"]
    assert (environment["kind"], environment["python_version"]) == ("conda", "3.10")
    assert environment["python"] == rf"{home}\python.exe"
    assert environment["site_packages"] == rf"{home}\Lib\site-packages"
    assert environment["user_site"].endswith(r"\Roaming\Python\Python310\site-packages")
    names = {package["name"] for package in said["conda"]["packages"]}
    assert {"cudatoolkit", "cudnn", "python"} <= names

    said = facts(machine, venv)
    assert said["environment"]["kind"] == "venv"
    assert said["environment"]["python"].endswith(r"\my venv\Scripts\python.exe")
    path = said["hooks"]["activation"]["environ"]["PATH"]
    assert path.lower().startswith(rf"{machine.to_windows(venv)}\Scripts;".lower())


# ---- DLLs ----------------------------------------------------------------------------------------


def in_library(prefix: Path, name: str) -> Path:
    return prefix / "Library" / "bin" / name


def anew(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be one file with the lab's
    path.write_bytes(content)
    return path


def missing(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    in_library(prefix, CUDART).unlink()
    return "missing", None, False


def damaged(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    return "damaged", anew(in_library(prefix, CUDART), b"MZ"), False


def hidden(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    return "hidden", anew(prefix / CUDART, b"MZ, but no more"), False


def beside_python(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    build_dll(prefix / CUDART)
    return "found", prefix / CUDART, True


def foreign(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    """A hook puts another CUDA before the environment's."""
    other = prefix.parent / "CUDA v11.8 外" / CUDART
    build_dll(other)
    machine.extra["FOREIGN"] = machine.to_windows(other.parent)
    hook(prefix, "cuda.bat", b'@set "PATH=%FOREIGN%;%PATH%"\r\n')
    return "found", other, False


def on_the_sessions_path(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    """It lies behind the environment's, so it only serves who has not activated."""
    other = prefix.parent / "CUDA v11.2" / CUDART
    build_dll(other)
    machine.path.append(machine.to_windows(other.parent))
    return "found", in_library(prefix, CUDART), True


def path_overwritten(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    hook(prefix, "path.bat", b"@echo off\r\nset PATH=%SystemRoot%\\system32\r\n")
    return "unreachable", None, False


def as_installed(machine: WindowsMachine, prefix: Path) -> tuple[str, Path | None, bool]:
    return "found", in_library(prefix, CUDART), False


@pytest.mark.parametrize(
    "arrange",
    [
        *(as_installed, missing, damaged, hidden, beside_python, foreign),
        *(on_the_sessions_path, path_overwritten),
    ],
    ids=lambda arrange: str(arrange.__name__),
)
def test_what_files_tell_is_what_windows_does(
    machine: WindowsMachine,
    prefix: Path,
    arrange: Callable[[WindowsMachine, Path], tuple[str, Path | None, bool]],
) -> None:
    state, path, bare = arrange(machine, prefix)
    expected = (state, machine.to_windows(path).lower() if path else None, bare)
    worked_out = states(facts(machine, prefix, "static"))
    really = facts(machine, prefix)
    assert worked_out[CUDART] == expected
    assert states(really)[CUDART] == expected
    assert worked_out == states(really)
    assert (really["libraries"]["cuinit"], really["libraries"]["libcuda"]) == (0, "")
    assert really["libraries"]["libcuda_path"].lower() == r"c:\windows\system32\nvcuda.dll"


def test_what_windows_says_of_a_damaged_dll(machine: WindowsMachine, prefix: Path) -> None:
    damaged(machine, prefix)
    [cudart] = [
        x for x in facts(machine, prefix)["libraries"]["libraries"] if "cudart" in x["soname"]
    ]
    assert cudart["error"].startswith("[WinError 193]")


def test_the_helper_of_cudnn_is_looked_for(machine: WindowsMachine, prefix: Path) -> None:
    assert states(facts(machine, prefix))[ZLIB] == ("missing", None, False)
    build_dll(in_library(prefix, ZLIB))
    assert states(facts(machine, prefix))[ZLIB][0] == "found"
    in_library(prefix, CUDNN).unlink()
    assert ZLIB not in states(facts(machine, prefix))


def test_a_driver_that_is_gone(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.remove()
    try:
        said = facts(machine, prefix)["libraries"]
    finally:
        machine.driver.install()
    assert said["libcuda"].startswith("[WinError 126]") and said["cuinit"] is None


# ---- hooks ---------------------------------------------------------------------------------------


def test_hooks_do_what_conda_lets_them(machine: WindowsMachine, prefix: Path) -> None:
    state = {"env_vars": {"VALUE": "käse & 用户 (x86)"}}
    anew(prefix / "conda-meta" / "state", json.dumps(state).encode())
    hook(prefix, "b.bat", b'@echo off\r\nset ORDER=%ORDER%b\r\nset "B=%VALUE%"\r\n')
    hook(prefix, "a.bat", b"@set ORDER=a\r\n@set A=%CONDA_DEFAULT_ENV%\r\n")
    hook(prefix, "c.sh", b"exit 3\n")
    said = facts(machine, prefix)["hooks"]
    done = said["activation"]
    assert (done["outcome"], done["failed_script"], done["messages"]) == ("completed", None, [])
    assert (done["environ"]["ORDER"], done["environ"]["A"]) == ("ab", prefix.name)
    assert done["environ"]["B"] == "käse & 用户 (x86)"
    assert [script["shell"] for script in said["scripts"]] == ["cmd", "cmd", "posix"]


@pytest.mark.parametrize(
    "text, outcome, message",
    [
        (b"no-such-command\r\n", "completed", "no-such-command"),
        (b"@echo lost it 1>&2\r\n@exit /b 7\r\n", "completed", "lost it"),
        (b"@exit /b 7\r\n", "completed", "exit status"),
        (b"@exit 0\r\n", "failed", "cmd.exe ended with exit status 0"),
    ],
    ids=["unknown command", "says why", "says nothing", "ends the shell"],
)
def test_a_hook_that_fails_is_named(
    machine: WindowsMachine, prefix: Path, text: bytes, outcome: str, message: str
) -> None:
    hook(prefix, "a.bat", b"@set A=1\r\n")
    failing = hook(prefix, "b.bat", text)
    hook(prefix, "c.bat", b"@set C=1\r\n")
    done = facts(machine, prefix)["hooks"]["activation"]
    assert (done["outcome"], done["failed_script"]) == (outcome, machine.to_windows(failing))
    assert message in " ".join(done["messages"])
    if outcome == "completed":
        assert done["environ"]["A"] == "1" and "C" not in done["environ"]


def test_what_the_article_leaves_at_the_drives_root_is_found(
    machine: WindowsMachine, prefix: Path
) -> None:
    folder = machine.drive / "etc" / "conda" / "activate.d"
    anew(folder / "env_vars.sh", "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib\r\n".encode("utf-16"))
    try:
        [script] = facts(machine, prefix, "static")["hooks"]["scripts"]
    finally:
        shutil.rmtree(machine.drive / "etc")
    assert (script["path"], script["stray"]) == (r"C:\etc\conda\activate.d\env_vars.sh", True)
    assert [AT_THE_ROOT in script["problems"][0], "UTF-16" in script["problems"][1]] == [True, True]


LINES = (
    r"set PATH=%CONDA_PREFIX%\Library\bin;%PATH%",
    r'@SET "PATH=C:\CUDA (x86)\bin;%PATH%"',
    r"path %PATH%;C:\after",
    r"set CUDA=C:\CUDA",
    r"set PATH=%CUDA%\bin;%PATH%",
    r"set PATH=%NOT_SET%;%path%",
    r"set PATH=C:\Windows\System32",
    r"set CUDA=",
    r"rem set PATH=C:\commented",
    r":: set PATH=C:\commented",
    r"echo set PATH=C:\said",
    r"if defined CUDA set PATH=C:\maybe;%PATH%",
    r"set PATH=%PATH:Windows=Fenster%",
    r"set X=1& set PATH=C:\x",
    "@echo off",
)


@pytest.mark.parametrize("start", range(5))
def test_what_the_text_settles_is_what_cmd_gives(
    machine: WindowsMachine, prefix: Path, start: int
) -> None:
    lines = [LINES[(start + step * 4) % len(LINES)] for step in range(4)]
    hook(prefix, "a.bat", "\r\n".join(lines[:2]).encode())
    hook(prefix, "b.bat", "\r\n".join(lines[2:]).encode())
    said = facts(machine, prefix)
    assert said["hooks"]["activation"]["outcome"] == "completed", lines
    if said["predicted_path"] is not None:
        assert said["predicted_path"] == said["hooks"]["activation"]["environ"]["PATH"], lines


# ---- TensorFlow itself ---------------------------------------------------------------------------


def test_tensorflow_agrees(machine: WindowsMachine) -> None:
    """The real 2.10.1 misses what the tool says that it misses, and nothing else."""
    prefix = machine.conda_environment("article")
    in_library(prefix, CUDA[3]).unlink()
    said = facts(machine, prefix, "tensorflow")
    lost = [name for name, (state, _, _) in states(said).items() if state == "missing"]
    assert lost == [CUDA[3], ZLIB]
    assert (said["tensorflow"]["version"], said["tensorflow"]["gpus"]) == ("2.10.1", [])
    [line] = [x for x in said["tensorflow"]["log"] if "Could not load dynamic library" in x]
    assert CUDA[3] in line
