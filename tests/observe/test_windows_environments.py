"""Finding environments that are laid out as on Windows; their files lie on any system."""

from __future__ import annotations

import ntpath
from pathlib import Path, PureWindowsPath

import pytest

from tests.fakes import write
from tests.observe.fake_windows import FailingRegistry, FakeRegistry
from tests.observe.windows_prefix import conda, seen, venv
from tfgpu_tray.model import Environment, Kind
from tfgpu_tray.observe import environments
from tfgpu_tray.observe.environments import conda_roots, discover, envs_dirs, planned
from tfgpu_tray.observe.layout import OEM, POSIX, WINDOWS, text_of
from tfgpu_tray.observe.long_paths import KEY, NAME, too_long

STORE = r"C:\Users\me\AppData\Local\Microsoft\WindowsApps\PythonSoftwareFoundation.Python.3.10_q"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    home = tmp_path / "王 小明"
    home.mkdir()
    return home


def prefixes(home: Path, environ: dict[str, str] | None = None) -> list[Path]:
    return [e.prefix for e in discover(environ or {}, home, own_prefix=None, layout=WINDOWS)]


def test_a_conda_environment_has_its_interpreter_at_the_root(home: Path) -> None:
    found = seen(conda(home / "miniconda3" / "envs" / "tf"))
    assert (found.kind, found.python_version) == (Kind.CONDA, "3.10")
    assert found.python == found.prefix / "python.exe"
    assert found.site_packages == found.prefix / "Lib" / "site-packages"
    assert found.user_site == home.parent / "Roaming" / "Python" / "Python310" / "site-packages"
    assert not found.packaged_python


def test_a_venv_has_it_among_its_scripts(home: Path) -> None:
    found = seen(venv(home / "venv"))
    assert (found.kind, found.python_version) == (Kind.VENV, "3.10")
    assert found.python == found.prefix / "Scripts" / "python.exe"
    assert (found.user_site, found.packaged_python) == (None, False)
    assert seen(venv(home / "open", shared="true")).user_site is not None


def test_the_users_base_moves_the_user_site(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", str(home / "base"))
    found = seen(conda(home / "tf"))
    assert found.user_site == home / "base" / "Python310" / "site-packages"


@pytest.mark.parametrize("home_line", [STORE, STORE.replace("Local\\Microsoft", "Programs")])
def test_a_venv_of_the_stores_python_is_known(home: Path, home_line: str) -> None:
    assert seen(venv(home / "venv", home=home_line)).packaged_python


def test_a_python_of_its_own_says_its_version_by_its_dll(home: Path) -> None:
    prefix = home / "Python311"
    for name in ("python.exe", "python3.dll", "python311.dll", "python39.dll"):
        write(prefix / name, b"MZ")
    found = seen(prefix)
    assert (found.kind, found.python_version) == (Kind.SYSTEM, "3.11")


def test_what_is_to_be_made_lies_where_it_will_be(home: Path) -> None:
    made = planned(home / "a", Kind.CONDA, "3.10", pin=None, layout=WINDOWS)
    assert made.python == home / "a" / "python.exe"
    made = planned(home / "b", Kind.VENV, "3.10", pin=None, layout=WINDOWS)
    assert made.python == home / "b" / "Scripts" / "python.exe"
    assert planned(home, Kind.VENV, "3.10", pin=None, layout=POSIX).python == home / "bin/python"


# ---- discovery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["LOCALAPPDATA", "PROGRAMDATA"])
def test_installations_for_one_and_for_all_are_found(home: Path, variable: str) -> None:
    own = conda(home / "anaconda3")
    shared = conda(home.parent / variable / "miniforge3")
    named = conda(shared / "envs" / "tf")
    assert prefixes(home, {variable: str(shared.parent)}) == [own, shared, named]


@pytest.mark.parametrize("program", ["Scripts/conda.exe", "Library/bin/mamba.exe"])
def test_the_root_named_by_the_shell_is_found(home: Path, program: str) -> None:
    root = conda(home / "D" / "conda")
    assert conda_roots({"CONDA_EXE": str(root / program)}, home, WINDOWS) == [root]


def test_a_root_somewhere_else_is_known_by_its_environments(home: Path) -> None:
    root = conda(home / "D" / "anaconda3")
    listed, other = conda(root / "envs" / "tf"), conda(root / "envs" / "torch")
    write(home / ".conda" / "environments.txt", f"{listed}\r\n")
    assert prefixes(home) == [listed, root, other]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_condas_list_is_read_in_its_encoding(home: Path, encoding: str) -> None:
    named = conda(home / "环境" / "tf")
    write(home / ".conda" / "environments.txt", f"{named}\r\n".encode(encoding))
    assert prefixes(home) == [named]


def test_a_list_in_the_machines_code_page_is_read_too() -> None:
    line = r"C:\Users\王小明\miniconda3\envs\tf"
    assert text_of(line.encode("gbk"), "gbk") == line
    assert text_of("Köln".encode("cp1252"), "cp1252") == "Köln"
    assert "\ufffd" in text_of(b"\xff\x81", OEM) or OEM == "oem"


def test_folders_of_a_condarc_are_searched(home: Path) -> None:
    data = home.parent / "ProgramData"
    write(data / "conda" / ".condarc", "envs_dirs:\n  - ~\\envs one\n  - '%ProgramData%/two'\n")
    environ = {"PROGRAMDATA": str(data), "CONDA_ENVS_DIRS": f"{home}/three;{home}/four"}
    for folder in (home / "envs one", data / "two", home / "three", home / "four"):
        folder.mkdir(parents=True)
    assert envs_dirs(environ, home, WINDOWS) == [
        *(home / "three", home / "four", home / "envs one", data / "two"),
    ]


def test_a_place_whose_variable_is_not_set_is_no_place(home: Path) -> None:
    assert conda_roots({}, home, WINDOWS) == []
    assert environments._expand("%NOWHERE%/envs", {}, home) is None


@pytest.mark.parametrize("key", environments.REGISTERED)
def test_a_root_that_the_registry_names_is_found(home: Path, key: str) -> None:
    root = conda(home / "D" / "Anaconda3")
    python = home / "D" / "Python310"
    python.mkdir()
    registry = FakeRegistry(
        {rf"{key}\3.10\InstallPath": {"": str(root)}, rf"{key}\3.9\InstallPath": {"": str(python)}}
    )
    assert conda_roots({}, home, WINDOWS, registry) == [root]
    denied = FailingRegistry(registry.tree, denied=key)
    assert conda_roots({}, home, WINDOWS, denied) == []


# ---- long paths --------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed, length, noted", [(0, 72, True), (1, 72, False), (0, 71, False)])
def test_a_prefix_that_is_too_deep_for_tensorflow_is_noted(
    allowed: int, length: int, noted: bool
) -> None:
    site = PureWindowsPath("C:\\" + "x" * (length - 3), "Lib", "site-packages")
    environment = Environment(Path("/x"), Kind.CONDA, site_packages=site)  # type: ignore[arg-type]
    registry = FakeRegistry({KEY: {NAME: allowed}})
    note = too_long(environment, registry)
    assert (note is not None) is noted
    if note is not None:
        assert "has 260 characters" in note and NAME in note
    assert too_long(environment, FailingRegistry()) is None


# ---- comparing paths ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, inside",
    [
        (r"C:\Users\Me\envs\tf", True),
        (r"c:\users\me\ENVS\TF\Library\bin", True),
        ("C:/Users/Me/envs/tf/python.exe", True),
        ("C:\\Users\\Me\\envs\\tf\\", True),
        (r"C:\Users\Me\envs\tf2", False),
        (r"C:\Users\Me\envs", False),
    ],
)
def test_names_are_compared_as_windows_does(path: str, inside: bool) -> None:
    assert WINDOWS.within(path, r"C:\Users\Me\envs\tf") is inside
    assert WINDOWS.rules is ntpath


def test_names_are_compared_as_posix_does() -> None:
    assert POSIX.within("/envs/tf/bin", "/envs/tf") and POSIX.within("/envs/tf", "/envs/tf/")
    assert not POSIX.within("/envs/TF/bin", "/envs/tf")
    assert not POSIX.within("/envs/tf2", "/envs/tf")
