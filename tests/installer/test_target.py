"""Which TensorFlow, from where its CUDA, and the sentence when none fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from tests.snapshots import (
    CONDA,
    DRIVER,
    ENVIRONMENT,
    GPU,
    HOST,
    dist,
    empty,
    healthy,
    libraries,
    tensorflow_is,
)
from tfgpu_tray.installer.target import CudaSource, NoTarget, Wishes, choose, pythons_for
from tfgpu_tray.knowledge.releases import releases
from tfgpu_tray.knowledge.tables import table
from tfgpu_tray.model import Kind, Library, LibraryState, Packages, Snapshot

HAS_CONDA = Wishes(conda=Path("/opt/conda/bin/conda"))
VENV = replace(ENVIRONMENT, kind=Kind.VENV)
BROKEN = libraries(Library("libcudnn.so.8", LibraryState.MISSING))


def on(python: str = "3.10", kind: Kind = Kind.CONDA, pin: str | None = None) -> dict[str, Any]:
    return {"environment": replace(ENVIRONMENT, python_version=python, kind=kind, pin=pin)}


def gpu(capability: str) -> dict[str, Any]:
    return {"driver": replace(DRIVER, gpus=(replace(GPU, compute_capability=capability),))}


def bare(**changes: Any) -> Snapshot:
    return empty(**changes)


CHOSEN: dict[str, tuple[Snapshot, Wishes, str, CudaSource]] = {
    # what is there stays
    "what is installed": (healthy(), HAS_CONDA, "2.10.1", CudaSource.CONDA),
    "an older patch that is installed": (
        healthy(**tensorflow_is("2.9.1")),
        HAS_CONDA,
        "2.9.1",
        CudaSource.CONDA,
    ),
    "what last saw the GPU": (
        healthy(**tensorflow_is("2.16.1")),
        replace(HAS_CONDA, remembered="2.9.3"),
        "2.9.3",
        CudaSource.CONDA,
    ),
    "what last saw the GPU, but no longer fits this Python": (
        bare(**on("3.11", Kind.VENV)),
        Wishes(remembered="2.9.3"),
        "2.20.0",
        CudaSource.EXTRA,
    ),
    "an upgrade to another CUDA that is not there, in a venv": (
        bare(environment=VENV, **{**tensorflow_is("2.16.2"), "libraries": BROKEN}),
        Wishes(remembered="2.10.1"),
        "2.10.1",
        CudaSource.WHEELS,
    ),
    "a newer one of the same CUDA is kept": (
        bare(environment=VENV, **{**tensorflow_is("2.20.0"), "libraries": BROKEN}),
        Wishes(remembered="2.17.1"),
        "2.20.0",
        CudaSource.EXTRA,
    ),
    # conda's CUDA decides
    "an upgrade past conda's CUDA": (
        healthy(**{**tensorflow_is("2.16.1"), "libraries": BROKEN}),
        HAS_CONDA,
        "2.10.1",
        CudaSource.CONDA,
    ),
    "CUDA 11.8 serves newer ones": (
        bare(
            **on("3.9"),
            conda=replace(
                CONDA,
                packages=(
                    replace(CONDA.packages[0], version="11.8.0"),
                    replace(CONDA.packages[1], version="8.8.0.121"),
                ),
            ),
        ),
        HAS_CONDA,
        "2.10.1",
        CudaSource.CONDA,
    ),
    # nothing there yet
    "nothing, with conda": (bare(), replace(HAS_CONDA, fresh=True), "2.10.1", CudaSource.CONDA),
    "nothing, in a venv": (
        bare(environment=VENV),
        Wishes(fresh=True),
        "2.20.0",
        CudaSource.EXTRA,
    ),
    "nothing, in an environment of conda without conda": (
        bare(),
        Wishes(fresh=True),
        "2.20.0",
        CudaSource.EXTRA,
    ),
    # the configuration decides
    "a pinned series": (
        bare(**on("3.10", Kind.VENV, "==2.10.*")),
        Wishes(),
        "2.10.1",
        CudaSource.WHEELS,
    ),
    "a pinned patch": (
        bare(**on("3.10", Kind.VENV, "==2.10.0")),
        Wishes(),
        "2.10.0",
        CudaSource.WHEELS,
    ),
    "a pin over what is installed": (
        healthy(**{**tensorflow_is("2.16.1"), **on(pin="==2.9.*")}),
        HAS_CONDA,
        "2.9.3",
        CudaSource.CONDA,
    ),
    "wheels, by the configuration": (
        healthy(),
        replace(HAS_CONDA, source=CudaSource.WHEELS),
        "2.10.1",
        CudaSource.WHEELS,
    ),
    "wheels, where they cannot serve": (
        bare(environment=VENV),
        Wishes(source=CudaSource.WHEELS),
        "2.20.0",
        CudaSource.EXTRA,
    ),
    # the machine decides
    "an old Python": (bare(**on("3.7", Kind.VENV)), Wishes(), "2.11.1", CudaSource.WHEELS),
    "a new Python": (bare(**on("3.13", Kind.VENV)), Wishes(), "2.20.0", CudaSource.EXTRA),
    "an old driver": (
        bare(environment=VENV, driver=replace(DRIVER, version="470.256.02")),
        Wishes(),
        "2.13.1",  # 2.14 has known faults
        CudaSource.WHEELS,
    ),
    "an old GPU": (bare(environment=VENV, **gpu("5.2")), Wishes(), "2.16.2", CudaSource.EXTRA),
    "Windows": (
        bare(**on("3.10"), host=replace(HOST, system="windows", glibc=None)),
        HAS_CONDA,
        "2.10.1",
        CudaSource.CONDA,
    ),
    # other distributions have other version numbers
    "a build for AMD": (
        healthy(**{**tensorflow_is("2.10.0.530", "tensorflow-rocm"), **on(), "conda": None}),
        HAS_CONDA,
        "2.10.1",
        CudaSource.CONDA,
    ),
    "a CPU build": (
        healthy(**{**tensorflow_is("2.10.1", "tensorflow-cpu"), "conda": None}),
        HAS_CONDA,
        "2.10.1",
        CudaSource.CONDA,
    ),
    "a release candidate": (
        bare(packages=Packages(tensorflow=(dist("tensorflow", "2.10.0rc1"),)), environment=VENV),
        Wishes(),
        "2.20.0",
        CudaSource.EXTRA,
    ),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_target_fits(name: str) -> None:
    snapshot, wishes, version, source = CHOSEN[name]
    target = choose(snapshot, wishes)
    assert (target.version, target.cuda) == (version, source)
    extra = "[and-cuda]" if source is CudaSource.EXTRA else ""
    assert target.requirements[0] == f"tensorflow{extra}=={version}"
    assert bool(target.cuda_specs) == (source is not CudaSource.EXTRA)
    assert target.why


REFUSED: dict[str, tuple[Snapshot, Wishes, str]] = {
    "a Python without TensorFlow": (
        bare(**on("3.15")),
        Wishes(),
        "there is no TensorFlow for Python 3.15; create an environment with Python 3.10 or 3.9 "
        "and install there",
    ),
    "an architecture without GPU builds": (
        bare(host=replace(HOST, architecture="aarch64")),
        Wishes(),
        "TensorFlow has no GPU build for Linux on aarch64",
    ),
    "a Python too new for Windows": (
        bare(**on("3.12"), host=replace(HOST, system="windows", glibc=None)),
        Wishes(),
        "there is no TensorFlow for Python 3.12 with a GPU on Windows; create an environment with "
        "Python 3.10 or 3.9 and install there",
    ),
    "a very old driver": (
        bare(driver=replace(DRIVER, version="390.157")),
        Wishes(),
        "there is no TensorFlow that this driver can run; install a newer NVIDIA driver first",
    ),
    "a pin that this Python rules out": (
        bare(**on("3.12", pin="==2.10.*")),
        Wishes(),
        "the configuration asks for tensorflow==2.10.*, but Python 3.12 and this machine allow "
        "2.16 to 2.21; create an environment with Python 3.10 or 3.9 and install there",
    ),
    "CUDA 11.0 without conda": (
        bare(**on("3.8", Kind.VENV, "==2.4.*")),
        Wishes(),
        "CUDA 11.0 for TensorFlow 2.4.4 only comes from conda: install conda, or choose "
        "TensorFlow 2.5 or newer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_nothing_fits_a_sentence_says_why_and_what_to_do(name: str) -> None:
    snapshot, wishes, text = REFUSED[name]
    with pytest.raises(NoTarget) as caught:
        choose(snapshot, wishes)
    assert str(caught.value) == text


def test_old_gpus_get_a_cudnn_that_still_knows_them() -> None:
    target = choose(
        bare(**on("3.13", Kind.VENV), **gpu("7.0")), Wishes()
    )  # cuDNN 9.11 has no code below 7.5
    assert target.version == "2.20.0"
    assert "nvidia-cudnn-cu12<9.11" in target.requirements


def test_a_gpu_newer_than_every_build_gets_no_build_that_nobody_verified() -> None:
    """A Blackwell card: the newer builds fail on it, and the older ones know it even less."""
    try:
        target = choose(bare(environment=VENV, **gpu("12.0")), Wishes())
    except NoTarget as error:
        assert "conda-forge" in str(error)
    else:
        assert "12.0" in target.release.gpu_works, target.version


@settings(max_examples=150, deadline=None)
@given(
    python=st.sampled_from(["3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", None]),
    kind=st.sampled_from([Kind.CONDA, Kind.VENV]),
    pin=st.sampled_from([None, "==2.10.*", ">=2.5,<2.12", ">=2.15", "!=2.20.*"]),
    capability=st.sampled_from(["5.2", "6.1", "7.5", "8.6", "9.0", None]),
    driver=st.sampled_from(["450.80.02", "470.256.02", "535.183.01", "580.65.06", None]),
    system=st.sampled_from(["linux", "windows"]),
    installed=st.sampled_from([None, "2.9.3", "2.10.1", "2.16.1", "2.20.0"]),
    conda=st.booleans(),
    source=st.sampled_from([None, *CudaSource]),
    fresh=st.booleans(),
)
def test_a_target_can_always_run_where_it_goes(
    python: str | None,
    kind: Kind,
    pin: str | None,
    capability: str | None,
    driver: str | None,
    system: str,
    installed: str | None,
    conda: bool,
    source: CudaSource | None,
    fresh: bool,
) -> None:
    found = Packages(tensorflow=(dist("tensorflow", installed),) if installed else ())
    snapshot = bare(
        environment=replace(ENVIRONMENT, python_version=python, kind=kind, pin=pin),
        host=replace(HOST, system=system),
        driver=replace(DRIVER, version=driver, gpus=(replace(GPU, compute_capability=capability),)),
        packages=found,
    )
    wishes = replace(HAS_CONDA if conda else Wishes(), source=source, fresh=fresh)
    try:
        target = choose(snapshot, wishes)
    except NoTarget as error:
        assert str(error)
        return
    row = table("tensorflow")["release"][target.release.series]
    assert target.version in row["patches"]
    assert python is None or python in target.release.python
    assert system == "linux" or target.release.windows_gpu
    assert capability not in target.release.gpu_none
    assert not pin or Requirement(f"x{pin}").specifier.contains(target.version)
    for text in (*target.requirements, *target.cuda_specs):
        if target.cuda is not CudaSource.CONDA:
            Requirement(text)
    if target.cuda is CudaSource.CONDA:
        assert conda and kind is Kind.CONDA


def test_pythons_for_an_environment_that_is_still_to_be_made() -> None:
    assert pythons_for(None, HOST)[:2] == ["3.10", "3.9"]
    assert pythons_for("==2.20.*", HOST)[0] == "3.13"
    assert pythons_for("==2.10.0", HOST)[0] == "3.10"
    assert pythons_for("==1.15.*", HOST) == []
    windows = replace(HOST, system="windows")
    assert pythons_for(">=2.9", windows)[0] == "3.10"
    assert pythons_for(">=2.16", windows) == []


def test_the_newest_releases_are_those_of_the_table() -> None:
    """Guards the numbers above: they change with the table, and only then."""
    assert releases()[-1].series == "2.21" and releases()[-2].latest == "2.20.0"
