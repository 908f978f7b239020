"""Which conda is taken, and how it is started; for Windows from folders laid out as there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import conda_prefix, write
from tests.observe.windows_prefix import conda
from tfgpu_tray.installer.conda_command import command_line, find_conda, named, run_environ
from tfgpu_tray.installer.step import StepFailed
from tfgpu_tray.observe.layout import POSIX, WINDOWS


def program(path: Path) -> Path:
    write(path, "").chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "王 小明"
    home.mkdir()
    return home


def on_windows(home: Path, prefix: Path | None = None, **environ: str) -> Path | None:
    return find_conda({"PATH": "", **environ}, home, prefix, layout=WINDOWS)


def test_there_may_be_none(home: Path) -> None:
    assert on_windows(home) is None
    assert find_conda({"PATH": ""}, home, layout=POSIX) is None


def test_the_program_of_the_root_that_holds_the_environment(home: Path) -> None:
    prefix = conda(home / "elsewhere" / "envs" / "tf")
    assert on_windows(home, prefix) is None
    own = program(home / "elsewhere" / "Scripts" / "conda.exe")
    program(home / "miniconda3" / "Scripts" / "conda.exe")
    assert on_windows(home, prefix) == own


def test_a_root_is_its_own_environment(home: Path) -> None:
    root = conda(home / "odd place")
    own = program(root / "Scripts" / "conda.exe")
    assert on_windows(home, root) == own


def test_the_usual_folders(home: Path) -> None:
    own = program(home / "miniforge3" / "Library" / "bin" / "mamba.exe")
    assert on_windows(home) == own
    better = program(home / "miniforge3" / "Scripts" / "conda.exe")
    assert on_windows(home) == better


def test_what_a_shell_calls_is_a_batch_file_and_the_program_is_taken(home: Path) -> None:
    root = home / "root"
    batch = program(root / "condabin" / "conda.bat")
    assert on_windows(home, CONDA_EXE=str(batch)) == batch
    own = program(root / "Scripts" / "conda.exe")
    assert on_windows(home, CONDA_EXE=str(batch)) == own
    other = program(root / "Library" / "bin" / "conda.bat")
    assert on_windows(home, CONDA_EXE=str(other)) == own


def test_the_command_that_made_the_environment(home: Path) -> None:
    root = home / "my conda"
    own = program(root / "Scripts" / "conda.exe")
    prefix = conda(home / "projects" / "tf")
    line = f"# cmd: {root}\\Scripts\\conda-script.py create -p {prefix} python=3.10"
    write(prefix / "conda-meta" / "history", f"==> 2026-11-23 10:00:00 <==\n{line}\n")
    assert on_windows(home, prefix) == own


def test_on_linux_the_names_are_others(home: Path) -> None:
    prefix = conda_prefix(home / "root" / "envs" / "tf")
    program(home / "root" / "Scripts" / "conda.exe")
    own = program(home / "root" / "bin" / "conda")
    assert find_conda({"PATH": ""}, home, prefix, layout=POSIX) == own


def test_the_configuration_has_the_first_word(home: Path) -> None:
    wanted = program(home / "bin" / "mamba")
    program(home / "miniconda3" / "bin" / "conda")
    assert find_conda({"PATH": str(wanted.parent)}, home, wanted="mamba") == wanted
    assert find_conda({"PATH": ""}, home, wanted="mamba") is None


@pytest.mark.parametrize(
    "path, name",
    [
        (r"/c/miniconda3/Scripts/conda.exe", "conda"),
        ("/c/miniconda3/condabin/conda.bat", "conda"),
        ("/opt/conda/bin/mamba", "mamba"),
        ("/opt/bin/micromamba-2.1", "micromamba-2.1"),
    ],
)
def test_people_call_it_by_its_name(path: str, name: str) -> None:
    assert named(Path(path)) == name


# ---- a batch file ------------------------------------------------------------------------------


def test_a_batch_file_is_called_through_cmd() -> None:
    batch = Path("/c/Users/my name/condabin/conda.bat")
    words = command_line(batch, ["install", "-p", "/c/my env", "cudatoolkit=11.2"])
    assert words[:5] == ["cmd.exe", "/d", "/c", "call", str(batch)]
    assert words[5:] == ["install", "-p", "/c/my env", "cudatoolkit=11.2"]
    program = Path("/c/Scripts/conda.exe")
    assert command_line(program, ["remove", "R&D"]) == [str(program), "remove", "R&D"]


@pytest.mark.parametrize("word", [r"C:\R&D\tf", "numpy<2", "100%", 'a"b', "a^b"])
def test_what_cmd_would_read_otherwise_is_refused(word: str) -> None:
    with pytest.raises(StepFailed, match=r"batch file.*conda\.exe of that installation"):
        command_line(Path("/c/condabin/conda.bat"), ["install", "-p", word])


def test_blanks_protect_what_stands_between_quotes() -> None:
    words = command_line(Path("/c/condabin/conda.bat"), ["install", "-p", r"C:\R & D\tf (old)"])
    assert words[-1] == r"C:\R & D\tf (old)"


def test_elsewhere_the_session_stays_as_it_is(home: Path) -> None:
    environ = run_environ(home / "root" / "bin" / "conda", {"PATH": "/usr/bin", "X": "1"})
    assert environ == {"PATH": "/usr/bin", "X": "1", "PYTHONUTF8": "1", "NO_COLOR": "1"}
