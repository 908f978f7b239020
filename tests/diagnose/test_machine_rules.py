"""The machine under Windows is judged by what Windows tells of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.snapshots import BLIND, DRIVER, GPU, HOST, dist, healthy, libraries, tensorflow_is
from tfgpu_tray.diagnose.resolve import PRECEDENCE, diagnose
from tfgpu_tray.knowledge.causes import cause, cause_ids
from tfgpu_tray.knowledge.tables import table
from tfgpu_tray.model import (
    Conda,
    Driver,
    Hooks,
    HookScript,
    Host,
    Outcome,
    Packages,
    Pending,
    Report,
    Role,
    Snapshot,
    Verdict,
)

WINDOWS = Host(
    system="windows",
    architecture="x86_64",
    release="Windows 11 Pro 23H2 (22631.4317)",
    windows_build=22631,
    nvidia_devices=1,
    avx=True,
    reboot_pending=(),
)
FILES = (r"C:\Windows\System32\nvcuda.dll", r"C:\Windows\System32\nvml.dll")
ON_WINDOWS = Driver(
    probe=Outcome.COMPLETED,
    version="531.79",
    library_version="531.79",
    cuda="12.1",
    gpus=(GPU,),
    library=FILES[1],
    files=FILES,
)
TF_2_12 = {**tensorflow_is("2.12.0"), "tensorflow": replace(BLIND, version="2.12.0")}
WAITS = replace(WINDOWS, reboot_pending=(Pending.NVIDIA_DRIVER,))


def refused(code: int, text: str = "", files: tuple[str, ...] = FILES) -> Driver:
    return Driver(
        probe=Outcome.COMPLETED, nvml_error=code, nvml_error_text=text or None, files=files
    )


def seen(host: Host = WINDOWS, driver: Driver = ON_WINDOWS, **changes: Any) -> Snapshot:
    """A healthy TensorFlow on that machine, unless *changes* say otherwise."""
    plain: dict[str, Any] = {"conda": Conda(), "hooks": Hooks(), "libraries": None}
    return healthy(host=host, driver=driver, **(plain | changes))


def blind(host: Host = WINDOWS, driver: Driver = ON_WINDOWS, **changes: Any) -> Snapshot:
    return seen(host, driver, **({"tensorflow": BLIND} | changes))


def primary(report: Report) -> tuple[str, str]:
    assert report.primary is not None and report.verdict is Verdict.BROKEN
    return report.primary.cause, report.primary.confidence.value


def test_a_healthy_machine_is_ok() -> None:
    assert diagnose(seen()).verdict is Verdict.OK
    assert diagnose(seen()).diagnoses == ()


# ---- no driver ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "devices, files, expected",
    [
        (1, (), ("nvidia-driver-missing", "certain")),
        (None, (), ("nvidia-driver-missing", "likely")),
        (0, (), ("no-nvidia-gpu", "certain")),
        (0, FILES, ("no-nvidia-gpu", "certain")),
        (1, FILES, ("windows-driver-not-running", "likely")),
        (None, FILES[:1], ("windows-driver-not-running", "likely")),
    ],
)
def test_without_nvml(
    devices: int | None, files: tuple[str, ...], expected: tuple[str, str]
) -> None:
    host = replace(WINDOWS, nvidia_devices=devices)
    report = diagnose(blind(host, refused(12, "NVML Shared Library Not Found", files)))
    assert primary(report) == expected


def test_a_missing_driver_says_where_it_was_looked_for() -> None:
    report = diagnose(blind(driver=refused(12, "NVML Shared Library Not Found", ())))
    assert report.primary is not None
    assert report.primary.evidence == (
        "NVML: NVML Shared Library Not Found (code 12)",
        r"neither System32 nor Program Files\NVIDIA Corporation\NVSMI holds nvml.dll, "
        "and System32 holds no nvcuda.dll",
    )


def test_a_library_that_cannot_be_loaded_is_named() -> None:
    report = diagnose(blind(driver=refused(12, files=FILES[1:])))
    assert report.primary is not None
    assert f"{FILES[1]} is there" in report.primary.evidence


@pytest.mark.parametrize("code", [9, 17, 999])
def test_a_driver_that_does_not_run(code: int) -> None:
    report = diagnose(blind(driver=refused(code)))
    assert primary(report)[0] == "windows-driver-not-running"


def test_a_refusal_without_a_cause_of_its_own_claims_nothing() -> None:
    assert primary(diagnose(blind(driver=refused(4))))[0] == "gpu-not-visible"


@pytest.mark.parametrize("code", [999, 304])
def test_cuda_that_does_not_start(code: int) -> None:
    report = diagnose(blind(libraries=libraries(cuinit=code)))
    assert primary(report)[0] == "windows-driver-not-running"


def test_nothing_of_kernel_modules_is_said_on_windows() -> None:
    linux = {"kernel-module-not-loaded", "nvidia-uvm-unusable", "device-node-permission"}
    linux.add("driver-library-mismatch")
    for code in map(int, table("errors")["nvml"]):
        named = {d.cause for d in diagnose(blind(driver=refused(code))).diagnoses}
        assert not named & linux, code
    for code in map(int, table("errors")["cuda"]):
        report = diagnose(blind(libraries=libraries(cuinit=code)))
        assert not {d.cause for d in report.diagnoses} & linux, code


def test_causes_of_windows_have_texts_and_a_place_in_the_order() -> None:
    rows = [row for source in ("nvml", "cuda") for row in table("errors")[source].values()]
    named = {row["windows"] for row in rows if row.get("windows")}
    assert len(named) == 2
    assert named <= set(cause_ids()) and named <= set(PRECEDENCE)
    assert all(cause(name).safety == "reboot" for name in named)


# ---- a restart is waited for -------------------------------------------------------------------


def test_another_driver_is_installed_than_runs() -> None:
    driver = replace(ON_WINDOWS, library_version="581.29")
    report = diagnose(seen(driver=driver))
    assert report.verdict is Verdict.DEGRADED
    assert [d.cause for d in report.diagnoses] == ["driver-reboot-pending"]
    assert report.diagnoses[0].evidence == ("driver 581.29 is installed, 531.79 is loaded",)


@pytest.mark.parametrize(
    "driver", [replace(ON_WINDOWS, version=None), replace(ON_WINDOWS, library_version=None)]
)
def test_a_version_that_is_not_known_is_no_difference(driver: Driver) -> None:
    assert diagnose(seen(driver=driver)).diagnoses == ()


def test_files_that_wait_change_no_verdict_while_the_driver_works() -> None:
    report = diagnose(seen(WAITS))
    assert report.verdict is Verdict.OK
    assert [(d.cause, d.role) for d in report.diagnoses] == [
        ("driver-reboot-pending", Role.POSSIBLE)
    ]


@pytest.mark.parametrize("code", [9, 12, 18, 999])
def test_a_driver_that_refuses_while_its_files_wait_needs_the_restart(code: int) -> None:
    assert primary(diagnose(blind(WAITS, refused(code)))) == ("driver-reboot-pending", "likely")


def test_no_restart_brings_back_a_driver_that_was_removed() -> None:
    report = diagnose(blind(WAITS, refused(12, files=())))
    assert primary(report) == ("nvidia-driver-missing", "certain")
    assert "driver-reboot-pending" not in {d.cause for d in report.diagnoses}


def test_what_windows_update_waits_with_is_not_the_drivers() -> None:
    host = replace(WINDOWS, reboot_pending=(Pending.WINDOWS_UPDATE, Pending.SERVICING))
    assert diagnose(seen(host)).diagnoses == ()
    assert primary(diagnose(blind(host, refused(9))))[0] == "windows-driver-not-running"


def test_versions_that_differ_for_cuda_need_a_restart() -> None:
    report = diagnose(blind(libraries=libraries(cuinit=803)))
    assert primary(report) == ("driver-reboot-pending", "certain")
    report = diagnose(blind(driver=refused(18)))
    assert primary(report) == ("driver-reboot-pending", "certain")


def test_a_waiting_restart_does_not_stand_before_the_wrong_build() -> None:
    report = diagnose(blind(WAITS, **TF_2_12))
    assert primary(report)[0] == "windows-native-tf-ge-2.11"
    assert "driver-reboot-pending" in {d.cause for d in report.diagnoses}


# ---- a driver that is too old ------------------------------------------------------------------


@pytest.mark.parametrize(
    "version, old", [("452.39", False), ("452.38", True), ("445.87", True), ("581.29", False)]
)
def test_the_floor_is_that_of_windows(version: str, old: bool) -> None:
    driver = replace(ON_WINDOWS, version=version, library_version=version)
    causes = {d.cause: d for d in diagnose(blind(driver=driver)).diagnoses}
    assert ("driver-too-old" in causes) is old
    if old:
        expected = f"driver {version}; CUDA 11 needs 452.39 or newer"
        assert causes["driver-too-old"].evidence == (expected,)


@pytest.mark.parametrize("version, old", [("512.15", False), ("445.87", True)])
def test_a_tensorflow_without_gpu_support_there_asks_for_the_driver_of_the_last_with_it(
    version: str, old: bool
) -> None:
    """TensorFlow 2.16 is built for CUDA 12, but on Windows for none."""
    driver = replace(ON_WINDOWS, version=version, library_version=version)
    packages = Packages(tensorflow=(dist("tensorflow", "2.16.2"),), count=40)
    answer = replace(BLIND, version="2.16.2")
    report = diagnose(blind(driver=driver, tensorflow=answer, packages=packages))
    assert primary(report)[0] == "windows-native-tf-ge-2.11"
    assert ("driver-too-old" in {d.cause for d in report.diagnoses}) is old


# ---- what hides the GPU ------------------------------------------------------------------------


@pytest.mark.parametrize("shell, masks", [("cmd", True), ("powershell", False), ("posix", False)])
def test_the_hook_that_cmd_runs_may_mask_the_gpu(shell: str, masks: bool) -> None:
    script = HookScript(Path("activate.d/env_vars"), shell, masks_gpu=True)
    report = diagnose(blind(hooks=Hooks(scripts=(script,))))
    assert (primary(report)[0] == "cuda-visible-devices-masked") is masks


def test_linux_is_judged_as_before() -> None:
    driver = replace(DRIVER, version="535.183.01", library_version="550.120")
    report = diagnose(healthy(host=replace(HOST, reboot_pending=None), driver=driver))
    assert [d.cause for d in report.diagnoses] == ["driver-reboot-pending"]
    assert report.diagnoses[0].evidence == ("driver 550.120 is installed, 535.183.01 is loaded",)
