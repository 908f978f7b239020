"""Traces of package managers at work, and leftovers of those that were killed."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import conda_prefix, described, write
from tfgpu_tray.model import Environment
from tfgpu_tray.observe.layout import WINDOWS
from tfgpu_tray.observe.settling import QUIET, _changed, unfinished_work

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts on inode times")


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    return described(conda_prefix(tmp_path / "tf"))


def changed(path: Path) -> float:
    return os.lstat(path).st_ctime


def site(here: Environment) -> Path:
    assert here.site_packages is not None
    return here.site_packages


def test_nothing_is_unfinished_in_a_quiet_environment(here: Environment) -> None:
    write(site(here) / "keras" / "__init__.py")
    record = write(here.prefix / "conda-meta" / "cudnn-8.1.0.77-h1_0.json", "{}")
    assert unfinished_work(here, changed(record)) is None


@pytest.mark.parametrize("name", ["cudnn-8.1.0.77-h1_0.json.c~", "conda-meta.lock"])
def test_conda_at_work_leaves_a_trace_beside_its_records(here: Environment, name: str) -> None:
    trace = write(here.prefix / "conda-meta" / name)
    assert unfinished_work(here, changed(trace)) == str(trace)


@pytest.mark.parametrize("name", ["~umpy", "~-mpy-1.26.4.dist-info"])
def test_pip_at_work_leaves_a_trace_in_site_packages(here: Environment, name: str) -> None:
    trace = site(here) / name
    trace.mkdir()
    assert unfinished_work(here, changed(trace)) == str(trace)


def test_traces_in_the_user_site_count_as_well(here: Environment, tmp_path: Path) -> None:
    trace = write(tmp_path / "user" / "~umpy")
    assert unfinished_work(here, changed(trace)) is None
    mine = replace(here, user_site=tmp_path / "user")
    assert unfinished_work(mine, changed(trace)) == str(trace)


@pytest.mark.parametrize("place", ["conda-meta/~umpy", "lib/~umpy", "conda-meta/x.c"])
def test_such_names_elsewhere_are_no_traces(here: Environment, place: str) -> None:
    trace = write(here.prefix / place)
    assert unfinished_work(here, changed(trace)) is None


def test_a_trace_that_is_old_is_a_leftover(here: Environment) -> None:
    trace = write(site(here) / "~umpy")
    assert unfinished_work(here, changed(trace) + QUIET - 0.1) == str(trace)
    assert unfinished_work(here, changed(trace) + QUIET) is None


def test_what_was_renamed_just_now_is_fresh_whatever_the_age_of_its_content(
    here: Environment,
) -> None:
    """pip renames numpy to ~umpy; the folder itself is from last year."""
    folder = site(here) / "numpy"
    folder.mkdir()
    os.utime(folder, (1e9, 1e9))
    trace = folder.rename(site(here) / "~umpy")
    assert unfinished_work(here, changed(trace) + 1) == str(trace)


def test_an_old_leftover_does_not_hide_a_fresh_trace(
    here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = write(site(here) / "~a"), write(site(here) / "~b")
    now = changed(new)
    ages = {str(old): QUIET + 1, str(new): 1.0}
    monkeypatch.setattr("tfgpu_tray.observe.settling._age", lambda path, now: ages[str(path)])
    assert unfinished_work(here, now) == str(new)


def test_a_trace_from_before_the_clock_was_set_back_is_a_leftover(here: Environment) -> None:
    trace = write(site(here) / "~umpy")
    assert unfinished_work(here, changed(trace) - 3600) is None
    assert unfinished_work(here, changed(trace) - 1) == str(trace)  # a server's clock differs


def test_an_environment_that_is_gone_has_no_traces(here: Environment, tmp_path: Path) -> None:
    gone = replace(here, prefix=tmp_path / "gone", site_packages=tmp_path / "gone" / "site")
    assert unfinished_work(gone, 0.0) is None
    assert unfinished_work(replace(here, site_packages=None), 0.0) is None


def test_a_trace_that_goes_meanwhile_is_none(
    here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda folder: ["~umpy"])
    assert unfinished_work(here, 0.0) is None


def test_on_windows_a_rename_shows_in_the_folder_around_it(here: Environment) -> None:
    """st_ctime is the time of creation there, and a renamed folder keeps its other times."""
    folder = site(here) / "numpy"
    folder.mkdir()
    os.utime(folder, (1e9, 1e9))
    os.utime(site(here), (1e9, 1e9))
    assert _changed(folder, WINDOWS) == 1e9
    trace = folder.rename(site(here) / "~umpy")
    assert _changed(trace, WINDOWS) == os.stat(site(here)).st_mtime > 1e9
