"""The fingerprint changes with what matters, and with nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import (
    conda_prefix,
    described,
    distribution,
    elf_like,
    hook,
    record,
    site_of,
    write,
)
from tests.observe.windows_prefix import conda as windows_conda
from tests.observe.windows_prefix import dll, seen
from tfgpu_tray.model import Environment
from tfgpu_tray.observe.fingerprint import fingerprint
from tfgpu_tray.observe.layout import WINDOWS


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    prefix = conda_prefix(tmp_path / "tf")
    site = site_of(prefix)
    distribution(site, "tensorflow", "2.10.1", files=["tensorflow/__init__.py"])
    elf_like(site / "nvidia" / "cudnn" / "lib" / "libcudnn.so.8")
    hook(prefix, "a.sh", "export A=1\n")
    record(prefix, "cudatoolkit", "11.2.2", "h_0")
    write(prefix / "conda-meta" / "state", "{}")
    write(tmp_path / "user" / "numpy-1.26.4.dist-info" / "METADATA")
    return replace(described(prefix), user_site=tmp_path / "user")


def of(environment: Environment, driver: str = "535/535", **session: str) -> str:
    return fingerprint(environment, driver, session)


def settle(path: Path) -> None:
    """Give *path* a time stamp of its own, as a later second would."""
    os.utime(path, (2_000_000_000, 2_000_000_000))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a package installed": lambda p: distribution(site_of(p), "keras", "2.10.0"),
    "a package upgraded": lambda p: (site_of(p) / "tensorflow-2.10.1.dist-info").rename(
        site_of(p) / "tensorflow-2.11.0.dist-info"
    ),
    "a leftover": lambda p: (site_of(p) / "~ensorflow").mkdir(),
    "a .pth file": lambda p: write(site_of(p) / "x.pth"),
    "a conda record": lambda p: record(p, "cudnn", "8.1.0.77", "h_0"),
    "a conda package removed": lambda p: (p / "conda-meta/cudatoolkit-11.2.2-h_0.json").unlink(),
    "a hook added": lambda p: hook(p, "b.sh", ""),
    "a hook edited": lambda p: hook(p, "a.sh", "export A=22\n"),
    "a hook for leaving": lambda p: hook(p, "a.sh", "", folder="deactivate.d"),
    "a variable set": lambda p: write(p / "conda-meta/state", '{"env_vars": {"A": "1"}}'),
    "a library lost": lambda p: (site_of(p) / "nvidia/cudnn/lib/libcudnn.so.8").unlink(),
    "an nvidia wheel's folder": lambda p: elf_like(site_of(p) / "nvidia/cublas/lib/libcublas.so"),
    "a library of conda's": lambda p: elf_like(p / "lib" / "libcudart.so.11.0"),
    "TensorFlow's folder removed": lambda p: (site_of(p) / "tensorflow").rename(p / "moved"),
    "the user site": lambda p: write(p.parent / "user" / "numpy-2.0.0.dist-info" / "METADATA"),
    "the prefix removed": lambda p: p.rename(p.with_name("away")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_changes_with(environment: Environment, name: str) -> None:
    before = of(environment)
    CHANGES[name](environment.prefix)
    for folder in ("lib", "lib/python3.10/site-packages/nvidia/cudnn/lib"):
        if name.startswith("a library") and (path := environment.prefix / folder).exists():
            settle(path)
    assert of(environment) != before


def test_it_changes_with_the_driver_and_what_the_session_sets(environment: Environment) -> None:
    seen = {
        of(environment),
        of(environment, driver="535/550"),
        of(environment, CUDA_VISIBLE_DEVICES=""),
        of(environment, CUDA_VISIBLE_DEVICES="0"),
        of(environment, LD_LIBRARY_PATH="/opt/lib"),
    }
    assert len(seen) == 5


QUIET: dict[str, Callable[[Path], object]] = {
    "nothing": lambda p: None,
    "a file read": lambda p: (p / "conda-meta/history").read_bytes(),
    "bytecode": lambda p: write(site_of(p) / "keras" / "__pycache__" / "x.pyc"),
    "a log in the prefix": lambda p: write(p / "train.log", "epoch 1"),
    "a notebook checkpoint": lambda p: write(p / "share" / "jupyter" / "x"),
}


@pytest.mark.parametrize("name", QUIET)
def test_it_does_not_change_with(environment: Environment, name: str) -> None:
    before = of(environment)
    QUIET[name](environment.prefix)
    assert of(environment, LANG="de_DE.UTF-8") == before


def test_it_is_sixteen_hexadecimal_digits(tmp_path: Path) -> None:
    empty = described(conda_prefix(tmp_path / "a"))
    assert len(of(empty)) == 16 and int(of(empty), 16) >= 0


def test_names_that_are_not_text_do_no_harm(environment: Environment) -> None:
    os.mkdir(os.fsencode(site_of(environment.prefix)) + b"/\xff-1.dist-info")
    assert len(of(environment)) == 16


# ---- on Windows ----------------------------------------------------------------------------------


def on_windows(prefix: Path, path: str = "") -> str:
    return fingerprint(seen(prefix), "531.79", {"PATH": path}, WINDOWS)


WINDOWS_CHANGES: dict[str, Callable[[Path], object]] = {
    "a library of conda's": lambda p: dll(p / "Library/bin/cudart64_110.dll"),
    "an nvidia wheel's folder": lambda p: dll(p / "Lib/site-packages/nvidia/cudnn/bin/a.dll"),
    "a hook": lambda p: hook(p, "a.bat", "set A=1"),
    "a leftover": lambda p: write(p / "Lib/site-packages/~ensorflow/x"),
    "a record": lambda p: record(p, "cudnn", "8.1.0.77", "h_0"),
    "cuDNN put on PATH": lambda p: dll(p.parent / "cuda/cudnn64_8.dll"),
}


@pytest.mark.parametrize("name", WINDOWS_CHANGES)
def test_it_changes_on_windows_with(name: str, tmp_path: Path) -> None:
    prefix = windows_conda(tmp_path / "tf")
    path = f"{tmp_path}/cuda"
    before = on_windows(prefix, path)
    WINDOWS_CHANGES[name](prefix)
    assert on_windows(prefix, path) != before


def test_folders_of_path_without_cuda_do_not_matter(tmp_path: Path) -> None:
    prefix = windows_conda(tmp_path / "tf")
    dll(tmp_path / "tools" / "zlib1.dll")
    assert on_windows(prefix) == on_windows(prefix, f"{tmp_path}/tools;{tmp_path}/none")
