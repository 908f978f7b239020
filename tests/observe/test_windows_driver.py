"""The driver as Windows' registry and files show it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes import FakeRunner, completed, facts, failed, write
from tests.observe.fake_windows import (
    CARD,
    INSTANCE,
    FailingRegistry,
    FakeRegistry,
    bare,
    registry,
    windows,
)
from tfgpu_tray.model import Outcome
from tfgpu_tray.observe import driver
from tfgpu_tray.observe.child import Result
from tfgpu_tray.observe.windows_driver import (
    display_version,
    driver_files,
    glance,
    installed_version,
)
from tfgpu_tray.observe.windows_host import CLASS_KEY, DISPLAY_CLASS, PCI_KEY

VALUES = rf"{CLASS_KEY}\{DISPLAY_CLASS}\0001"


@pytest.fixture
def tree() -> FakeRegistry:
    return registry()


@pytest.mark.parametrize(
    "long, expected",
    [
        ("31.0.15.3179", "531.79"),
        ("27.21.14.5239", "452.39"),
        ("32.0.15.8129", "581.29"),
        ("8.17.15.3179", "531.79"),  # nvml.dll's own file version
        ("26.21.14.4166", "441.66"),
        ("32.0.16.5", "600.05"),
        ("531.79", None),
        ("", None),
        ("31.0.15.x", None),
    ],
)
def test_the_forms_of_a_version(long: str, expected: str | None) -> None:
    assert display_version(long) == expected


def test_the_installed_version_is_the_adapters(tmp_path: Path, tree: FakeRegistry) -> None:
    tree.set(rf"{CLASS_KEY}\{DISPLAY_CLASS}\0000", ProviderName="NVIDIA", DriverVersion="1.0.14.1")
    assert installed_version(bare(tmp_path, tree)) == "531.79"


def test_microsofts_basic_driver_is_not_nvidias(tmp_path: Path, tree: FakeRegistry) -> None:
    tree.set(VALUES, ProviderName="Microsoft", DriverVersion="10.0.22621.1")
    assert installed_version(bare(tmp_path, tree)) is None


def test_a_device_without_a_driver_has_no_version(tmp_path: Path, tree: FakeRegistry) -> None:
    del tree.tree[rf"{PCI_KEY}\{CARD}\{INSTANCE}"]["Driver"]
    assert installed_version(bare(tmp_path, tree)) is None


def test_files_tell_where_the_registry_does_not(tmp_path: Path) -> None:
    versions = {"nvml.dll": "8.17.15.3179"}
    assert installed_version(windows(tmp_path, FakeRegistry(), versions=versions)) == "531.79"
    assert installed_version(bare(tmp_path / "b", FakeRegistry(), versions=versions)) is None
    refuses = registry(FailingRegistry)
    assert installed_version(windows(tmp_path, refuses, versions=versions)) == "531.79"


def test_files_of_the_driver(tmp_path: Path) -> None:
    machine = bare(tmp_path)
    assert driver_files(machine) == ()
    old = write(machine.program_files / "NVIDIA Corporation" / "NVSMI" / "nvml.dll")
    cuda = write(machine.system32 / "nvcuda.dll")
    assert driver_files(machine) == (cuda, old)
    assert driver_files(windows(tmp_path)) == (cuda, machine.system32 / "nvml.dll", old)


def test_a_glance_changes_with_version_and_files(tmp_path: Path, tree: FakeRegistry) -> None:
    machine = bare(tmp_path, tree)
    seen = [glance(machine)]
    tree.set(VALUES, DriverVersion="32.0.15.8129")
    seen.append(glance(machine))
    library = write(machine.system32 / "nvml.dll")
    seen.append(glance(machine))
    os.utime(library, ns=(0, 1_000_000))
    seen.append(glance(machine))
    write(machine.system32 / "nvcuda.dll")
    seen.append(glance(machine))
    assert len(set(seen)) == 5 and glance(machine) == seen[-1]


def test_a_glance_at_a_registry_that_refuses_still_sees_files(tmp_path: Path) -> None:
    machine = bare(tmp_path, registry(FailingRegistry))
    before = glance(machine)
    write(machine.system32 / "nvml.dll")
    assert glance(machine) != before


# ---- NVML while a driver is installed ----------------------------------------------------------


class Installing(FakeRunner):
    """NVML refuses the first time, and *happens* meanwhile."""

    def __init__(self, happens: object) -> None:
        super().__init__({})
        self.happens = happens

    def __call__(self, command: object, **_: object) -> Result:
        self.calls.append([])
        if len(self.calls) == 1:
            if callable(self.happens):
                self.happens()
            return completed(facts({"error": 9, "text": "Driver Not Loaded"}))
        return completed(facts({"version": "581.29"}, {"count": 0}))


def test_an_error_while_the_driver_changes_is_asked_again(tmp_path: Path) -> None:
    place = tmp_path / "sys/module/nvidia/version"
    runner = Installing(lambda: write(place, "581.29\n"))
    seen = driver.observe_driver(runner=runner, root=tmp_path)
    assert (len(runner.calls), seen.nvml_error, seen.version) == (2, None, "581.29")


def test_a_fault_inside_nvml_is_told(tmp_path: Path) -> None:
    """ctypes on Windows makes an exception of it."""
    fault = "OSError: exception: access violation reading 0x0000000000000010"
    runner = FakeRunner({"nvml_probe.py": failed(1, stderr=f"Traceback:\n  x\n{fault}\n")})
    seen = driver.observe_driver(runner=runner, root=tmp_path)
    assert seen.probe is Outcome.FAILED
    assert seen.notes == (f"NVML ended with exit status 1 ({fault})",)


def test_an_error_of_a_driver_that_stays_as_it_is_stands(tmp_path: Path) -> None:
    runner = Installing(None)
    seen = driver.observe_driver(runner=runner, root=tmp_path)
    assert (len(runner.calls), seen.nvml_error) == (1, 9)
