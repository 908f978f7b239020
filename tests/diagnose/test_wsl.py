"""What bars the GPU's way into a WSL distribution, and the way there from Windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.snapshots import BLIND, DRIVER, ENVIRONMENT, HOST, SEES_GPU, dist, healthy
from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.diagnose.wsl_way import for_people, wsl_way
from tfgpu_tray.model import (
    Driver,
    Host,
    Packages,
    Role,
    Snapshot,
    Verdict,
    WslDistribution,
    WslGpu,
)

RIGHT = WslGpu(device=True, driver=True, libcuda="/usr/lib/wsl/lib/libcuda.so.1", cuinit=0)
NOT_FOUND = "libcuda.so.1: cannot open shared object file: No such file or directory"
LINUX_DRIVER = ("libnvidia-compute-535", "/usr/lib/x86_64-linux-gnu/libcuda.so.1")
WINDOWS = Host("windows", "x86_64", windows_build=22631, wsl_installed=True, wsl_distributions=())
UBUNTU = WslDistribution("Ubuntu", 2, default=True)


def in_wsl(gpu: WslGpu | None = RIGHT, **changes: Any) -> Snapshot:
    """Nothing but WSL can be to blame."""
    host = replace(HOST, wsl=2, wsl_gpu=gpu, nvidia_devices=None)
    driver = Driver(DRIVER.probe, version=DRIVER.version, gpus=DRIVER.gpus)
    plain = {"host": host, "driver": driver, "tensorflow": BLIND, "libraries": None}
    return healthy(**{**plain, **changes})


@pytest.mark.parametrize(
    "gpu, cause, evidence",
    [
        (WslGpu(device=False, driver=False), "wsl-gpu-not-passed-on", "/dev/dxg"),
        (WslGpu(device=True, driver=False), "wsl-gpu-not-passed-on", "Windows has no NVIDIA"),
        (
            replace(RIGHT, libcuda="", libcuda_error=NOT_FOUND, cuinit=None),
            "wsl-libcuda-not-on-path",
            NOT_FOUND,
        ),
        (replace(RIGHT, cuinit=100), "wsl-gpu-in-tcc-mode", "code 100"),
        (replace(RIGHT, cuinit=999), "wsl-windows-build-bug", "code 999"),
        (replace(RIGHT, cuinit=None, libcuda_error="it hung"), "wsl-windows-build-bug", "it hung"),
        (
            replace(RIGHT, linux_driver=LINUX_DRIVER, libcuda=LINUX_DRIVER[1], cuinit=100),
            "wsl-linux-driver-installed",
            "libnvidia-compute-535 is installed in the distribution",
        ),
        (
            WslGpu(device=True, driver=True, linux_driver=LINUX_DRIVER),
            "wsl-linux-driver-installed",
            LINUX_DRIVER[1],
        ),
    ],
)
def test_what_bars_the_way(gpu: WslGpu, cause: str, evidence: str) -> None:
    report = diagnose(in_wsl(gpu))
    assert report.verdict is Verdict.BROKEN
    assert report.primary is not None and report.primary.cause == cause
    assert evidence in " ".join(report.primary.evidence)


def test_a_way_that_is_open_is_not_to_blame() -> None:
    for gpu in (RIGHT, WslGpu(device=True, driver=True), None):
        assert [d.cause for d in diagnose(in_wsl(gpu)).diagnoses] == ["gpu-not-visible"]


def test_with_its_gpu_in_sight_tensorflow_is_right() -> None:
    stray = replace(RIGHT, linux_driver=LINUX_DRIVER)
    report = diagnose(in_wsl(stray, tensorflow=SEES_GPU))
    assert report.verdict is Verdict.DEGRADED
    assert [(d.cause, d.role) for d in report.diagnoses] == [
        ("wsl-linux-driver-installed", Role.CONTRIBUTING)
    ]
    assert diagnose(in_wsl(tensorflow=SEES_GPU)).verdict is Verdict.OK


def test_a_driver_for_linux_beside_a_cuda_that_starts_is_only_a_blemish() -> None:
    report = diagnose(in_wsl(replace(RIGHT, linux_driver=LINUX_DRIVER)))
    causes = {d.cause: d.role for d in report.diagnoses}
    assert causes["wsl-linux-driver-installed"] is Role.CONTRIBUTING
    assert report.primary is not None and report.primary.cause == "gpu-not-visible"


def test_a_container_in_wsl_has_its_own_links() -> None:
    host = replace(HOST, wsl=2, wsl_gpu=WslGpu(device=False), container="docker")
    assert "wsl-gpu-not-passed-on" not in {d.cause for d in diagnose(in_wsl(host=host)).diagnoses}


@pytest.mark.parametrize(
    "tensorflow, version, confidence",
    [
        ("2.10.1", "452.38", "certain"),  # above Linux' floor, below that of Windows
        ("2.10.1", "452.39", None),
        ("2.16.2", "527.40", "certain"),
        ("2.16.2", "527.41", "likely"),  # NVIDIA's floor; TensorFlow's page asks for more
        ("2.16.2", "528.33", None),
    ],
)
def test_the_driver_inside_is_that_of_windows(
    tensorflow: str, version: str, confidence: str | None
) -> None:
    driver = Driver(DRIVER.probe, version=version, gpus=DRIVER.gpus)
    packages = Packages(tensorflow=(dist("tensorflow", tensorflow),), count=40)
    answer = replace(BLIND, version=tensorflow)
    report = diagnose(in_wsl(driver=driver, packages=packages, tensorflow=answer))
    found = {d.cause: d for d in report.diagnoses}.get("driver-too-old")
    assert (found and found.confidence) == confidence
    if found and tensorflow == "2.16.2":
        assert "Install driver 528.33 or newer" in found.remedy.steps[0]


def test_the_remedy_speaks_as_one_types_it_inside() -> None:
    environment = replace(
        ENVIRONMENT,
        prefix=Path(r"\\wsl.localhost\Ubuntu\home\me\my tf"),
        python=Path(r"\\wsl.localhost\Ubuntu\home\me\my tf\bin\python"),
        distribution="Ubuntu",
    )
    packages = replace(healthy().packages, shadowing=("x",))
    snapshot = in_wsl(environment=environment, packages=packages)
    steps = " ".join(s for d in diagnose(snapshot).diagnoses for s in d.remedy.steps)
    assert "'/home/me/my tf/bin/python'" in steps and "wsl.localhost" not in steps
    old = in_wsl(environment=environment, host=replace(HOST, wsl=1))
    primary = diagnose(old).primary
    assert primary is not None and "`wsl --set-version Ubuntu 2`" in primary.remedy.steps[1]


# ---- the way from Windows ----------------------------------------------------------------------


def test_below_its_floor_the_way_is_closed_and_says_why() -> None:
    way = wsl_way(replace(WINDOWS, windows_build=18363))
    assert not way.open and not way.steps
    assert "18363" in way.reason and "19044" in way.reason


@pytest.mark.parametrize(
    "changes, first, restart",
    [
        ({"wsl_installed": False}, "tfgpu-tray install --wsl", True),
        ({}, "wsl --install -d Ubuntu", False),
        ({"wsl_distributions": (replace(UBUNTU, version=1),)}, "wsl --set-version Ubuntu 2", False),
        ({"wsl_distributions": (UBUNTU,)}, "wsl -d Ubuntu", False),
        (
            {"wsl_distributions": (WslDistribution("docker-desktop", 2, True),)},
            "wsl --install -d Ubuntu",
            False,
        ),
    ],
)
def test_the_first_step_and_the_price(changes: dict[str, Any], first: str, restart: bool) -> None:
    way = wsl_way(replace(WINDOWS, **changes))
    assert way.open and f"`{first}`" in way.steps[0]
    assert way.installs_wsl is restart is ("a restart of Windows" in way.price)
    assert any("tensorflow[and-cuda]==" in step for step in way.steps)
    assert way.download_mb is not None and f"{way.download_mb} MB" in way.price


def test_a_host_whose_wsl_is_not_known_is_taken_to_have_none() -> None:
    assert wsl_way(Host("windows", "x86_64", windows_build=22631)).installs_wsl


def test_distributions_of_programs_are_nobody_s() -> None:
    names = ["Ubuntu", "docker-desktop", "docker-desktop-data", "rancher-desktop", "my-docker"]
    found = for_people(tuple(WslDistribution(name, 2) for name in names))
    assert [d.name for d in found] == ["Ubuntu", "my-docker"]
