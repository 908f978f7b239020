"""Finding the environments of a user, without running anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import conda_prefix, interpreter, record, venv_prefix, write
from tfgpu_tray.model import Kind
from tfgpu_tray.observe import environments
from tfgpu_tray.observe.environments import conda_roots, describe, discover, envs_dirs, gone


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, on a machine without any system-wide conda."""
    places = tuple(p for p in environments.CONDA_ROOTS if p.startswith("~"))
    condarc = tuple(p for p in environments.CONDARC if p.startswith("~"))
    monkeypatch.setattr(environments, "CONDA_ROOTS", places)
    monkeypatch.setattr(environments, "CONDARC", condarc)
    home = tmp_path / "home"
    home.mkdir()
    return home


def prefixes(home: Path, environ: dict[str, str] | None = None) -> list[Path]:
    return [e.prefix for e in discover(environ or {}, home, own_prefix=None)]


def test_a_new_user_has_no_environments(home: Path) -> None:
    assert prefixes(home) == []


def test_condas_own_list_is_read(home: Path) -> None:
    first, second = conda_prefix(home / "a b"), conda_prefix(home / "用户")
    lines = ["# a comment", "", str(first), f"  {second}  ", str(home / "gone"), str(first)]
    write(home / ".conda" / "environments.txt", "\n".join(lines) + "\n")
    assert prefixes(home) == [first, second]


def test_roots_and_their_named_environments_are_found(home: Path) -> None:
    root = conda_prefix(home / "miniforge3")
    named = conda_prefix(root / "envs" / "tf")
    (root / "envs" / ".empty").mkdir()
    write(root / "envs" / "a file")
    assert prefixes(home) == [root, named]


@pytest.mark.parametrize(
    "variable, value", [("CONDA_EXE", "bin/conda"), ("MAMBA_EXE", "bin/mamba"), ("CONDA_ROOT", "")]
)
def test_the_root_named_by_the_shell_is_found(home: Path, variable: str, value: str) -> None:
    root = conda_prefix(home / "elsewhere" / "conda")
    environ = {variable: str(root / value)}
    assert root in conda_roots(environ, home)
    assert prefixes(home, environ) == [root]


def test_a_micromamba_root_need_not_be_an_environment(home: Path) -> None:
    named = conda_prefix(home / "mm" / "envs" / "tf")
    assert prefixes(home, {"MAMBA_ROOT_PREFIX": str(home / "mm")}) == [named]


@pytest.mark.parametrize(
    "text",
    [
        "envs_dirs:\n  - {home}/big disk/envs\n",
        "channels: [conda-forge]\nenvs_dirs: [~/big disk/envs]\n",
        "envs_path:\n  - ~/big disk/envs\n",
        "envs_dirs:\n  - $HOME/big disk/envs\n",
    ],
)
def test_folders_of_a_condarc_are_searched(
    home: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """conda expands ~ and $VARIABLES there."""
    monkeypatch.setenv("HOME", str(home))
    named = conda_prefix(home / "big disk" / "envs" / "tf")
    write(home / ".condarc", text.replace("{home}", str(home)))
    assert prefixes(home, {"HOME": str(home)}) == [named]


@pytest.mark.parametrize("text", ["envs_dirs: [", "envs_dirs: 3", "- envs_dirs", "envs_dirs:"])
def test_a_damaged_condarc_is_no_reason_to_stop(home: Path, text: str) -> None:
    write(home / ".condarc", text)
    named = conda_prefix(home / ".conda" / "envs" / "tf")
    assert prefixes(home) == [named]


def test_folders_of_the_environment_variable_are_searched(home: Path) -> None:
    one, two = conda_prefix(home / "one" / "tf"), conda_prefix(home / "two" / "tf")
    environ = {"CONDA_ENVS_DIRS": f"~/one::{home}/two"}
    assert envs_dirs(environ, home) == [home / "one", home / "two"]
    assert prefixes(home, environ) == [one, two]


def test_what_is_active_comes_first_and_only_once(home: Path) -> None:
    root = conda_prefix(home / "miniforge3")
    named = conda_prefix(root / "envs" / "tf")
    venv = venv_prefix(home / "venv")
    environ = {"CONDA_PREFIX": str(named), "VIRTUAL_ENV": str(venv)}
    assert prefixes(home, environ) == [named, venv, root]


def test_an_environment_reached_by_a_link_is_found_once(home: Path) -> None:
    named = conda_prefix(home / "miniforge3" / "envs" / "tf")
    (home / "link").symlink_to(named)
    write(home / ".conda" / "environments.txt", f"{home / 'link'}\n{named}\n")
    assert prefixes(home) == [home / "link"]


def test_the_tools_own_environment_is_left_out(home: Path) -> None:
    own = conda_prefix(home / "miniforge3" / "envs" / "tool")
    found = discover({}, home, own_prefix=own)
    assert own not in [e.prefix for e in found]


def test_a_python_that_is_no_environment_is_left_out(home: Path) -> None:
    interpreter(home / "opt" / "python", "3.10")
    write(home / ".conda" / "environments.txt", str(home / "opt" / "python"))
    assert prefixes(home) == []


# ---- one prefix --------------------------------------------------------------------------------


def test_nothing_is_no_environment(tmp_path: Path) -> None:
    assert describe(tmp_path) is None and describe(tmp_path / "absent") is None


def test_a_conda_environment(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "tf", "3.9")
    found = describe(prefix, found_by="me", pin="==2.10.*")
    assert found is not None
    assert (found.kind, found.python_version, found.python) == (
        Kind.CONDA,
        "3.9",
        prefix / "bin/python",
    )
    assert found.site_packages == prefix / "lib/python3.9/site-packages"
    assert (found.found_by, found.pin, found.name) == ("me", "==2.10.*", "tf")


def test_a_conda_environment_without_python(tmp_path: Path) -> None:
    write(tmp_path / "r-env" / "conda-meta" / "history")
    found = describe(tmp_path / "r-env")
    assert found is not None and found.kind is Kind.CONDA
    assert (found.python, found.python_version, found.site_packages) == (None, None, None)


def test_condas_record_decides_between_library_folders(tmp_path: Path) -> None:
    """python3.1 is a link to python3.10, and an upgrade leaves folders behind."""
    prefix = conda_prefix(tmp_path / "tf", "3.10")
    (prefix / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (prefix / "lib" / "python3.1").symlink_to("python3.10")
    record(prefix, "python", "3.10.13", "hd12c33a_0")
    found = describe(prefix)
    assert found is not None and found.python_version == "3.10"


def test_without_a_record_the_newest_library_folder_decides(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "tf", "3.9")
    (prefix / "lib" / "python3.10").mkdir()
    (prefix / "lib" / "python3.1").symlink_to("python3.10")
    found = describe(prefix)
    assert found is not None and found.python_version == "3.10"


@pytest.mark.parametrize("key", ["version", "version_info"])
def test_a_venv_says_its_version_itself(tmp_path: Path, key: str) -> None:
    prefix = venv_prefix(tmp_path / "venv", "3.9")
    write(prefix / "pyvenv.cfg", f"home = /usr\n{key} = 3.9.18.final.0\n")
    found = describe(prefix)
    assert found is not None and (found.kind, found.python_version) == (Kind.VENV, "3.9")


def test_a_venv_whose_python_is_gone_has_no_interpreter(tmp_path: Path) -> None:
    prefix = venv_prefix(tmp_path / "venv")
    (prefix / "bin/python").unlink()
    (prefix / "bin/python").symlink_to("/nowhere/python3.10")
    found = describe(prefix)
    assert found is not None and found.python is None and found.python_version == "3.10"


def test_a_venv_only_sees_the_user_site_when_it_sees_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "user"))
    site = tmp_path / "user" / "lib" / "python3.10" / "site-packages"
    kinds = {
        "conda": conda_prefix(tmp_path / "conda"),
        "closed": venv_prefix(tmp_path / "closed"),
        "open": venv_prefix(tmp_path / "open", system_site=True),
    }
    seen = {name: found.user_site for name, p in kinds.items() if (found := describe(p))}
    assert seen == {"conda": site, "closed": None, "open": site}


def test_an_environment_that_is_gone_has_no_interpreter(tmp_path: Path) -> None:
    assert replace(gone(tmp_path / "x"), found_by="").python is None


def test_a_history_that_is_not_text_is_still_an_environment(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "tf")
    write(prefix / "conda-meta" / "history", b"\xff\xfe\x00")
    write(prefix / "conda-meta" / "python-3.10.13-h0_0.json", json.dumps({}))
    assert describe(prefix) is not None
