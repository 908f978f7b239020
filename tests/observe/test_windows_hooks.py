"""Hooks of Windows as text, the session there, and what is made of cmd.exe's answer. What cmd.exe
really does with them is for the Windows lab to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import FailingRunner, completed, failed, hook, record, write
from tests.observe.windows_prefix import conda, seen, venv
from tfgpu_tray.model import Hooks, Outcome
from tfgpu_tray.observe.activation import FAILED, SCRIPT, session_environ
from tfgpu_tray.observe.batch_text import MASK_LINE, predicted_path
from tfgpu_tray.observe.child import Result
from tfgpu_tray.observe.cmd_activation import activate
from tfgpu_tray.observe.hooks import AT_THE_ROOT, observe_hooks
from tfgpu_tray.observe.layout import WINDOWS

SESSION = {
    "PATH": r"C:\Windows\System32;C:\Windows",
    "SYSTEMROOT": r"C:\Windows",
    "COMSPEC": r"C:\Windows\System32\cmd.exe",
}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return conda(tmp_path / "王 小明" / "envs" / "tf")


def hooks_of(prefix: Path) -> Hooks:
    return observe_hooks(seen(prefix))


# ---- scripts as text ---------------------------------------------------------------------------

BATCH = [
    (r"set PATH=%CONDA_PREFIX%\Library\bin;%PATH%", "prepends"),
    (r'@SET "PATH=C:\CUDA\v11.2\bin;%PATH%"', "prepends"),
    (r"set path=%Path%;C:\CUDA\v11.2\bin", "appends"),
    (r"path %PATH%;C:\CUDA\bin", "appends"),
    (r"set PATH=C:\Windows\System32", "overwrites"),
    (r"    set PATH=C:\mine", "overwrites"),
    (r"set PATH=%PATH%", "keeps"),
    (r"set PATH=%PATH:C:\CUDA=%", None),
    (r"set CUDA_PATH=C:\CUDA", None),
    (r"rem set PATH=C:\mine", None),
    (r":: set PATH=C:\mine", None),
    ("echo %PATH%", None),
]
POWERSHELL = [
    (r'$env:PATH = "$env:CONDA_PREFIX\Library\bin;$env:PATH"', "prepends"),
    (r'$Env:Path = "C:\CUDA\bin;" + $Env:Path', "prepends"),
    (r"$env:PATH += ';C:\CUDA\bin'", "appends"),
    (r'$env:PATH = "${env:PATH};C:\CUDA\bin"  # CUDA', "appends"),
    (r"$env:PATH = 'C:\Windows\System32'", "overwrites"),
    (r'# $env:PATH = "C:\mine"', None),
    (r'$env:CUDA_PATH = "C:\CUDA"', None),
]


@pytest.mark.parametrize(
    "name, line, effect",
    [("a.bat", *case) for case in BATCH] + [("a.ps1", *case) for case in POWERSHELL],
)
def test_the_effect_on_path_is_read_from_the_text(
    prefix: Path, name: str, line: str, effect: str | None
) -> None:
    hook(prefix, name, f"@echo off\r\n{line}\r\n" if name == "a.bat" else f"{line}\r\n")
    (script,) = hooks_of(prefix).scripts
    assert (script.loader_path, script.problems) == (effect, ())


@pytest.mark.parametrize(
    "name, line",
    [
        ("a.bat", r"set PATH=C:\CUDA\\bin;rel;D:\环境\bin;%PATH%"),
        ("a.ps1", r'$env:PATH = "C:\CUDA\bin;rel;D:\环境\bin;$env:PATH"'),
    ],
)
def test_the_folders_that_a_hook_names_are_full_paths(prefix: Path, name: str, line: str) -> None:
    hook(prefix, name, line + "\r\n")
    (script,) = hooks_of(prefix).scripts
    assert script.folders == (r"C:\CUDA\bin", r"D:\环境\bin")


@pytest.mark.parametrize(
    "line, masks",
    [
        ("set CUDA_VISIBLE_DEVICES=-1", True),
        ('@set "CUDA_VISIBLE_DEVICES=-1"', True),
        ("SET cuda_visible_devices=-1", True),
        ('$env:CUDA_VISIBLE_DEVICES = "-1"', True),
        ("$env:CUDA_VISIBLE_DEVICES=-1", True),
        ("set CUDA_VISIBLE_DEVICES=", False),  # takes the variable away
        ("set CUDA_VISIBLE_DEVICES=0", False),
        ("set CUDA_VISIBLE_DEVICES=-10", False),
        ("rem set CUDA_VISIBLE_DEVICES=-1", False),
        ("set MY_CUDA_VISIBLE_DEVICES=-1", False),
    ],
)
def test_a_hook_that_hides_every_gpu_is_seen(prefix: Path, line: str, masks: bool) -> None:
    hook(prefix, "a.ps1" if line.startswith("$") else "a.bat", f"{line}\r\n")
    (script,) = hooks_of(prefix).scripts
    assert script.masks_gpu is masks is (MASK_LINE.search(line) is not None)


@pytest.mark.parametrize(
    "name, raw, problem",
    [
        ("a.bat", b"\xef\xbb\xbfset A=1\r\n", "byte order mark"),
        ("a.bat", "set A=1\r\n".encode("utf-16"), "UTF-16"),
        ("a.bat", b"set A=1\r\n", None),
        ("a.ps1", "$env:A=1\r\n".encode("utf-16"), None),
        ("a.ps1", b"\xef\xbb\xbf$env:A=1\r\n", None),
    ],
)
def test_a_file_that_its_shell_cannot_read_is_named(
    prefix: Path, name: str, raw: bytes, problem: str | None
) -> None:
    hook(prefix, name, raw)
    (script,) = hooks_of(prefix).scripts
    assert bool(script.problems) is (problem is not None)
    assert problem is None or problem in script.problems[0]


@pytest.mark.parametrize("name", ["etc/conda/activate.d/a.bat", r"etc\conda\activate.d\a.bat"])
def test_a_packages_hook_is_known_with_either_slash(prefix: Path, name: str) -> None:
    hook(prefix, "a.bat", "")
    record(prefix, "vs2015_runtime", "14", "h0_0", files=[name])
    (script,) = hooks_of(prefix).scripts
    assert script.packaged


def test_what_the_article_leaves_at_the_drives_root_is_found(prefix: Path, tmp_path: Path) -> None:
    text = "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$CONDA_PREFIX/lib/\r\n"
    write(tmp_path / "etc/conda/activate.d/env_vars.sh", text.encode("utf-16"))
    (script,) = observe_hooks(seen(prefix), [tmp_path, tmp_path / "elsewhere"]).scripts
    assert script.stray and script.shell == "posix"
    assert script.problems[0] == AT_THE_ROOT and "UTF-16" in script.problems[1]


# ---- the effect, worked out from the text ------------------------------------------------------


def predicted(prefix: Path, session: Mapping[str, str] = SESSION) -> str | None:
    return predicted_path(hooks_of(prefix), seen(prefix), session)


def own(prefix: Path) -> str:
    folders = ("", "Library/mingw-w64/bin", "Library/usr/bin", "Library/bin", "Scripts", "bin")
    return ";".join(str(prefix / folder) for folder in folders)


def test_condas_folders_come_first(prefix: Path) -> None:
    assert predicted(prefix) == f"{own(prefix)};{SESSION['PATH']}"
    assert predicted(prefix, {}) == own(prefix)


def test_a_venv_has_one_folder(tmp_path: Path) -> None:
    prefix = venv(tmp_path / "venv")
    assert predicted(prefix) == rf"{prefix / 'Scripts'};{SESSION['PATH']}"


@pytest.mark.parametrize(
    "text, path",
    [
        ("@echo off\nset CUDA=C:\\CUDA\nset PATH=%CUDA%\\bin;%PATH%", "C:\\CUDA\\bin;{all}"),
        ("set PATH=%NOT_SET%C:\\x", "C:\\x"),
        ("set PATH=C:\\Windows", "C:\\Windows"),
        ("rem PATH\n:: PATH\n@rem\n\necho PATH is %PATH%", "{all}"),
        ("if defined X set PATH=C:\\x", None),
        ("call other.bat", None),
        ("for %%i in (1) do echo %%i", "{all}"),
        ("set PATH=%~dp0;%PATH%", None),
        ("set X=1 & set PATH=C:\\x", None),
    ],
)
def test_path_is_worked_out_or_left_open(prefix: Path, text: str, path: str | None) -> None:
    hook(prefix, "a.bat", text.replace("\n", "\r\n"))
    hook(prefix, "b.ps1", "$env:PATH = 'C:\\never'")
    before = f"{own(prefix)};{SESSION['PATH']}"
    assert predicted(prefix) == (path and path.format(all=before))


def test_variables_of_a_script_that_is_not_understood_are_not_known(prefix: Path) -> None:
    hook(prefix, "a.bat", "for %%i in (C:\\x) do set CUDA=%%i\r\n")
    hook(prefix, "b.bat", "set PATH=%CUDA%\\bin;%PATH%\r\n")
    assert predicted(prefix) is None


def test_condas_variables_come_before_the_hooks(prefix: Path) -> None:
    write(prefix / "conda-meta/state", json.dumps({"env_vars": {"Cuda": "C:\\CUDA"}}))
    hook(prefix, "a.bat", "set PATH=%CUDA%\\bin\r\n")
    assert predicted(prefix) == "C:\\CUDA\\bin"


# ---- the session -------------------------------------------------------------------------------


def test_what_an_activation_added_is_taken_out(prefix: Path) -> None:
    write(prefix / "conda-meta/state", json.dumps({"env_vars": {"Mine": "1"}}))
    environ = {
        **SESSION,
        "PATH": f"{own(prefix)};{str(prefix).upper()}\\EXTRA;{prefix}2;{SESSION['PATH']}",
        "CONDA_PREFIX": str(prefix),
        "CONDA_SHLVL": "1",
        "CONDA_EXE": r"C:\m\Scripts\conda.exe",
        "MINE": "1",
    }
    kept = session_environ(environ, WINDOWS)
    assert kept.pop("CONDA_EXE")
    assert kept == {**SESSION, "PATH": f"{prefix}2;{SESSION['PATH']}"}


def test_a_session_without_a_path_gets_windows_own() -> None:
    assert session_environ({"SYSTEMROOT": "C:\\W"}, WINDOWS)["PATH"] == "C:\\W\\System32;C:\\W"


# ---- activation --------------------------------------------------------------------------------


@dataclass
class FakeCmd:
    """Leaves *dump* as cmd.exe would, with what it was given in front, and ends with *result*."""

    result: Result = field(default_factory=completed)
    dump: str | None = "Path=C:\\new\r\nMine=käse 用户\r\nPROMPT=$P$G\r\n"
    environ: dict[str, str] = field(default_factory=dict)
    driver: str = ""

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float,
        environ: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Result:
        self.environ = dict(environ or {})
        assert list(command) == [SESSION["COMSPEC"], "/d", "/c", "%TFGPU_ACTIVATION%"]
        driver = Path(self.environ["TFGPU_ACTIVATION"].strip('"'))
        self.driver = driver.read_bytes().decode("ascii")
        if self.dump is not None:
            given = "".join(f"{k}={v}\r\n" for k, v in self.environ.items() if k != "PATH")
            Path(self.environ["TFGPU_ACTIVATION_DUMP"]).write_bytes(
                (given + self.dump).encode("utf-16-le")
            )
        return self.result


def test_scripts_are_called_as_conda_does(prefix: Path) -> None:
    for name in ("b.bat", "a.bat", "c.sh", "d.ps1"):
        hook(prefix, name, "")
    write(prefix / "conda-meta/state", json.dumps({"env_vars": {"Var": "用户 %PATH%"}}))
    cmd = FakeCmd()
    done = activate(seen(prefix), SESSION, runner=cmd)
    assert done.outcome is Outcome.COMPLETED and done.failed_script is None
    scripts = [cmd.environ[f"TFGPU_ACTIVATION_{n}"] for n in (0, 1)]
    folder = prefix / "etc" / "conda" / "activate.d"
    assert scripts == [str(folder / "a.bat"), str(folder / "b.bat")]
    assert "TFGPU_ACTIVATION_2" not in cmd.environ
    assert cmd.driver.index("_0%") < cmd.driver.index("_1%") < cmd.driver.index("_DUMP%")
    assert cmd.environ["PATH"] == f"{own(prefix)};{SESSION['PATH']}"
    assert (cmd.environ["CONDA_PREFIX"], cmd.environ["VAR"]) == (str(prefix), "用户 %PATH%")
    assert (done.environ["PATH"], done.environ["MINE"]) == ("C:\\new", "käse 用户")
    assert done.environ["CONDA_DEFAULT_ENV"] == "tf" and done.base == SESSION
    assert not [name for name in done.environ if name.startswith(("TFGPU", "PROMPT"))]


def test_without_scripts_no_shell_is_needed(prefix: Path) -> None:
    done = activate(seen(prefix), SESSION, runner=FailingRunner())
    assert done.outcome is Outcome.COMPLETED
    assert done.environ["PATH"] == f"{own(prefix)};{SESSION['PATH']}"


def test_a_script_that_ends_with_an_error_is_named(prefix: Path) -> None:
    paths = [hook(prefix, name, "") for name in ("a.bat", "b.bat")]
    said = f"{SCRIPT}0 \r\n{SCRIPT}1 \r\n'x' is not recognized\r\n{FAILED}9009 \r\n"
    done = activate(seen(prefix), SESSION, runner=FakeCmd(completed(stderr=said)))
    assert (done.outcome, done.failed_script) == (Outcome.COMPLETED, str(paths[1]))
    assert done.messages == ("'x' is not recognized",) and done.environ["MINE"]


def test_a_script_that_fails_without_a_word_has_its_status(prefix: Path) -> None:
    path = hook(prefix, "a.bat", "")
    runner = FakeCmd(completed(stderr=f"{SCRIPT}0 \r\n{FAILED}-1 \r\n"))
    done = activate(seen(prefix), SESSION, runner=runner)
    assert (done.failed_script, done.messages) == (str(path), ("it ended with exit status -1",))


def test_what_a_script_only_says_is_no_failure(prefix: Path) -> None:
    hook(prefix, "a.bat", "")
    runner = FakeCmd(completed(stderr=f"{SCRIPT}0 \r\nhello\r\n"))
    done = activate(seen(prefix), SESSION, runner=runner)
    assert (done.failed_script, done.messages) == (None, ("hello",))


def test_a_script_that_ends_the_shell_is_named(prefix: Path) -> None:
    path = hook(prefix, "a.bat", "")
    runner = FakeCmd(failed(5, stderr=f"{SCRIPT}0 \r\n"), dump=None)
    done = activate(seen(prefix), SESSION, runner=runner)
    assert (done.outcome, done.failed_script) == (Outcome.FAILED, str(path))
    assert done.messages == ("cmd.exe ended with exit status 5",)
    assert not done.environ and done.base == SESSION


def test_a_shell_that_answers_nothing_is_a_fact(prefix: Path) -> None:
    hook(prefix, "a.bat", "")
    done = activate(seen(prefix), SESSION, runner=FailingRunner())
    assert (done.outcome, done.failed_script) == (Outcome.TIMED_OUT, None)


def test_a_venv_is_activated_by_its_own_script_whose_status_says_nothing(tmp_path: Path) -> None:
    prefix = venv(tmp_path / "venv")
    script = write(prefix / "Scripts" / "activate.bat")
    cmd = FakeCmd(completed(stderr=f"{SCRIPT}0 \r\n"))
    done = activate(seen(prefix), SESSION, runner=cmd)
    assert cmd.environ["TFGPU_ACTIVATION_0"] == str(script)
    assert cmd.environ["PATH"] == SESSION["PATH"] and FAILED not in cmd.driver
    assert done.environ["PATH"] == "C:\\new"
