"""What the tool sees of a Windows machine and its driver, from the real registry and a real NVML.

Wine keeps what a test writes there until the machine ends; all tests share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machine import Answer
from tests.lab.windows.driver import CLASS, DEVICE, HARDWARE, VERSION
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tfgpu_tray.observe.windows_host import SERVICING_KEY, SESSION_KEY, VERSION_KEY

NVML = r"c:\windows\system32\nvml.dll"


@pytest.fixture(scope="module")
def machine(lab: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsMachine]:
    with WindowsMachine(lab, tmp_path_factory.mktemp("windows") / "machine") as machine:
        yield machine


@pytest.fixture(scope="module")
def prefix(machine: WindowsMachine) -> Path:
    return machine.conda_environment(kind="article")


@pytest.fixture(autouse=True)
def as_it_was(machine: WindowsMachine) -> Iterator[None]:
    yield
    machine.driver.install()
    machine.set_registry(SESSION_KEY, PendingFileRenameOperations=None)
    machine.delete_registry(SERVICING_KEY)


def look(machine: WindowsMachine, prefix: Path) -> tuple[Answer, dict[str, Any], dict[str, Any]]:
    """The answer from files and NVML, its host and its driver."""
    answer = machine.check(prefix, "static")
    assert answer.json, answer.stderr
    return answer, answer.json["host"], answer.json["driver"]


def of(answer: Answer, cause: str) -> dict[str, Any] | None:
    found = answer.environment.json["diagnoses"]
    return next((d for d in found if d["cause"] == cause), None)


def test_a_healthy_machine(machine: WindowsMachine, prefix: Path) -> None:
    machine.set_build(22631, 4317)
    machine.set_registry(VERSION_KEY, EditionID="Professional", DisplayVersion="23H2")
    answer, host, driver = look(machine, prefix)
    assert host["release"] == "Windows 11 Pro 23H2 (22631.4317)"
    assert (host["windows_build"], host["architecture"]) == (22631, "x86_64")
    assert (host["nvidia_devices"], host["avx"], host["reboot_pending"]) == (1, True, [])
    assert driver["version"] == driver["library_version"] == VERSION
    assert driver["library"].lower() == NVML
    assert [Path(f.replace("\\", "/")).name for f in driver["files"]] == ["nvcuda.dll", "nvml.dll"]
    assert [gpu["compute_capability"] for gpu in driver["gpus"]] == ["8.6"]
    assert driver["probe"] == "completed" and driver["nvml_error"] is None
    assert not [d for d in answer.environment.json["diagnoses"] if "driver" in d["cause"]]


def test_no_driver(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.remove()
    answer, _, driver = look(machine, prefix)
    assert (answer.primary, driver["nvml_error"]) == ("nvidia-driver-missing", 12)
    assert (driver["files"], driver["library_version"]) == ([], None)
    assert "NVSMI holds nvml.dll" in answer.environment.json["diagnoses"][0]["evidence"][1]


def test_the_driver_of_an_old_installation_is_found_where_it_is(
    machine: WindowsMachine, prefix: Path
) -> None:
    """Before 2019 nvml.dll was not in System32."""
    nvsmi = machine.drive / "Program Files" / "NVIDIA Corporation" / "NVSMI"
    nvsmi.mkdir(parents=True)
    for name in ("nvml.dll", "simgpu.conf"):
        (machine.driver.folder / name).rename(nvsmi / name)
    try:
        _, _, driver = look(machine, prefix)
    finally:
        for file in nvsmi.iterdir():
            file.unlink()
        nvsmi.rmdir()
    assert driver["library"].lower() == r"c:\program files\nvidia corporation\nvsmi\nvml.dll"
    assert driver["version"] == VERSION


def test_a_driver_that_the_registry_does_not_name_is_known_by_its_files(
    machine: WindowsMachine, prefix: Path
) -> None:
    machine.delete_registry(CLASS)
    assert look(machine, prefix)[2]["library_version"] == VERSION


def test_a_library_of_the_driver_that_is_damaged(machine: WindowsMachine, prefix: Path) -> None:
    (machine.driver.folder / "nvml.dll").unlink()
    (machine.driver.folder / "nvml.dll").write_bytes(b"MZ" + bytes(100))
    answer, _, driver = look(machine, prefix)
    assert (answer.primary, driver["nvml_error"]) == ("windows-driver-not-running", 12)


def test_a_driver_that_does_not_run(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.set(nvml=9)
    assert look(machine, prefix)[0].primary == "windows-driver-not-running"


def test_a_driver_that_hangs_or_crashes(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.set(crash="nvml")
    answer, _, driver = look(machine, prefix)
    assert (driver["probe"], driver["gpus"]) == ("failed", None)
    assert driver["notes"][0].startswith("NVML ended with exit status 3")  # of abort()
    assert of(answer, "probe-did-not-complete")
    machine.driver.set(crash="none", hang="nvml")
    assert look(machine, prefix)[2]["probe"] == "timed-out"


def test_a_driver_that_is_too_old(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.set(driver="445.87")
    answer, _, driver = look(machine, prefix)
    assert driver["version"] == driver["library_version"] == "445.87"
    assert answer.primary == "driver-too-old"
    [evidence] = answer.environment.json["diagnoses"][0]["evidence"]
    assert evidence == "driver 445.87; CUDA 11 needs 452.39 or newer"


def test_a_new_driver_waits_for_a_restart(machine: WindowsMachine, prefix: Path) -> None:
    machine.set_registry(CLASS, DriverVersion="32.0.15.8129")
    replaced = [r"\??\C:\Temp\a.tmp", "", r"\??\C:\Windows\System32\nvcuda.dll.old", ""]
    machine.set_registry(SESSION_KEY, PendingFileRenameOperations=replaced)
    machine.set_registry(SERVICING_KEY, Session=1)
    answer, host, _ = look(machine, prefix)
    assert host["reboot_pending"] == ["NVIDIA driver", "component servicing"]
    found = of(answer, "driver-reboot-pending")
    assert found is not None and found["role"] == "contributing"
    assert found["evidence"] == [
        "driver 581.29 is installed, 537.58 is loaded",
        "Windows replaces files of the NVIDIA driver at its next start",
    ]
    machine.driver.set(nvml=999)
    assert look(machine, prefix)[0].primary == "driver-reboot-pending"


def test_a_machine_without_an_nvidia_gpu(machine: WindowsMachine, prefix: Path) -> None:
    machine.driver.remove()
    machine.delete_registry(DEVICE.rpartition("\\")[0])
    try:
        answer, host, _ = look(machine, prefix)
    finally:
        machine.set_registry(DEVICE, **HARDWARE[DEVICE])
    assert (host["nvidia_devices"], answer.primary) == (0, "no-nvidia-gpu")


def test_an_old_build_of_windows_does_not_disturb_the_native_path(
    machine: WindowsMachine, prefix: Path
) -> None:
    machine.set_build(18363)
    answer, host, driver = look(machine, prefix)
    assert host["windows_build"] == 18363
    assert host["release"].startswith("Windows 10 ") and "(18363." in host["release"]
    assert driver["nvml_error"] is None and driver["gpus"]
    assert not [d for d in answer.environment.json["diagnoses"] if "wsl" in d["cause"]]
    assert of(answer, "driver-too-old") is None
