"""Guidance for the driver fits the system and the GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.snapshots import DRIVER, GPU, HOST, healthy
from tfgpu_tray.installer.driver import DOWNLOADS, guidance
from tfgpu_tray.model import Driver, Host

WINDOWS = Host(system="windows", architecture="x86_64", windows_build=18363, nvidia_devices=1)


def told(host: Host, *capabilities: str, driver: Driver = DRIVER) -> list[str]:
    gpus = tuple(replace(GPU, index=i, compute_capability=c) for i, c in enumerate(capabilities))
    return guidance(healthy(host=host, driver=replace(driver, gpus=gpus or None)))


def test_windows_is_told_where_how_old_and_to_restart() -> None:
    lines = told(WINDOWS, "8.6")
    assert len(lines) == 2
    assert DOWNLOADS in lines[0] and "452.39 or newer" in lines[0] and "Studio" in lines[0]
    assert lines[-1].startswith("Restart the computer")


@pytest.mark.parametrize(
    "capabilities, expected",
    [
        (("6.1",), "Choose branch 580 (version 581.29, for example): newer"),
        (("8.6", "5.0"), "Choose branch 580 (version 581.29, for example): newer"),
        (("8.6", "3.5"), "Choose branch 470 (version 472.50, for example): newer"),
        ((), "branch 580 (version 581.29, for example), for Kepler (GTX 600 and 700) branch 470"),
    ],
)
def test_an_old_gpu_needs_an_old_branch(capabilities: tuple[str, ...], expected: str) -> None:
    lines = told(WINDOWS, *capabilities)
    assert len(lines) == 3 and expected in lines[1]


def test_no_line_for_windows_speaks_of_linux() -> None:
    text = "\n".join(told(WINDOWS))
    assert "sudo" not in text and "Reboot" not in text and "WSL" not in text


def test_linux_gets_its_package() -> None:
    assert told(HOST, "8.6") == [
        "Install the NVIDIA driver: sudo ubuntu-drivers install",
        "Reboot, then check again.",
    ]
    assert "branch 580" in told(HOST, "6.1")[1]


def test_wsl_and_containers_are_sent_to_their_host() -> None:
    assert "on Windows" in told(replace(HOST, wsl=2))[0]
    assert "docker run" in told(replace(HOST, container="docker"))[0]
