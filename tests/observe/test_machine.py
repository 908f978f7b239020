"""The host from a fake root, and the driver from a fake NVML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes import (
    FailingRunner,
    FakeRunner,
    completed,
    crashed,
    facts,
    failed,
    timed_out,
    write,
)
from tfgpu_tray.model import Depth, Gpu, Outcome
from tfgpu_tray.observe.child import Result
from tfgpu_tray.observe.driver import glance, library_version, loaded_module, observe_driver
from tfgpu_tray.observe.host import observe_host
from tfgpu_tray.observe.look import Deadlines, Observer

# ---- host --------------------------------------------------------------------------------------


def pci(root: Path, slot: str, vendor: str, kind: str) -> None:
    device = root / "sys/bus/pci/devices" / slot
    write(device / "vendor", f"{vendor}\n")
    write(device / "class", f"{kind}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A plain Linux machine with one NVIDIA card."""
    write(tmp_path / "etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    write(tmp_path / "proc/sys/kernel/osrelease", "6.8.0-45-generic\n")
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse4_2 avx avx2\n")
    write(tmp_path / "proc/1/cgroup", "0::/init.scope\n")
    pci(tmp_path, "0000:01:00.0", "0x10de", "0x030000")
    pci(tmp_path, "0000:01:00.1", "0x10de", "0x040300")  # the card's sound
    pci(tmp_path, "0000:00:02.0", "0x8086", "0x030000")
    return tmp_path


def test_a_plain_machine(root: Path) -> None:
    host = observe_host(root)
    assert (host.release, host.nvidia_devices, host.avx) == ("Ubuntu 22.04.5 LTS", 1, True)
    assert (host.wsl, host.container, host.notes) == (None, None, ())


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    host = observe_host(tmp_path)
    assert (host.release, host.nvidia_devices, host.avx) == (None, None, None)
    assert len(host.notes) == 1 and "PCI" in host.notes[0]


def test_a_machine_without_nvidia_hardware(root: Path) -> None:
    for device in (root / "sys/bus/pci/devices").glob("0000:01*"):
        device.rename(root / device.name)
    assert observe_host(root).nvidia_devices == 0


def test_a_card_without_a_screen_counts(root: Path) -> None:
    pci(root, "0000:41:00.0", "0x10de", "0x030200")
    assert observe_host(root).nvidia_devices == 2


@pytest.mark.parametrize(
    "name, dxg, expected",
    [
        ("4.4.0-19041-Microsoft", False, 1),
        ("5.15.153.1-microsoft-standard-WSL2", True, 2),
        ("5.15.153.1-microsoft-standard-WSL2", False, 2),
        ("6.6.0-my-own-kernel", True, 2),
        ("6.8.0-45-generic", False, None),
    ],
)
def test_wsl_is_recognised(root: Path, name: str, dxg: bool, expected: int | None) -> None:
    write(root / "proc/sys/kernel/osrelease", f"{name}\n")
    if dxg:
        write(root / "dev/dxg")
    assert observe_host(root).wsl == expected


@pytest.mark.parametrize(
    "file, text, expected",
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("proc/1/cgroup", "12:devices:/kubepods/besteffort/pod1\n", "kubepods"),
        ("proc/1/cgroup", "0::/lxc/101\n", "lxc"),
    ],
)
def test_containers_are_recognised(root: Path, file: str, text: str, expected: str) -> None:
    write(root / file, text)
    assert observe_host(root).container == expected


def test_a_processor_without_avx(root: Path) -> None:
    write(root / "proc/cpuinfo", "flags\t\t: fpu sse4_2 avxfake\n")
    assert observe_host(root).avx is False


# ---- the driver as the kernel shows it ---------------------------------------------------------


def driver_files(root: Path, version: str, folder: str = "usr/lib/x86_64-linux-gnu") -> None:
    write(root / folder / f"libnvidia-ml.so.{version}")
    link = root / folder / "libnvidia-ml.so.1"
    link.unlink(missing_ok=True)
    link.symlink_to(f"libnvidia-ml.so.{version}")


def module(root: Path, version: str) -> None:
    write(root / "sys/module/nvidia/version", f"{version}\n")


def test_versions_are_read_from_files(root: Path) -> None:
    assert (loaded_module(root), library_version(root)) == (None, None)
    module(root, "535.183.01")
    driver_files(root, "550.120", "usr/lib64")
    assert (loaded_module(root), library_version(root)) == ("535.183.01", "550.120")


def test_the_modules_version_has_a_second_place(root: Path) -> None:
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 2024\n"
    write(root / "proc/driver/nvidia/version", text)
    assert loaded_module(root) == "470.256.02"


def test_a_link_to_nothing_is_no_driver(root: Path) -> None:
    link = root / "usr/lib64/libcuda.so.1"
    link.parent.mkdir(parents=True)
    link.symlink_to("libcuda.so.550.120")
    assert library_version(root) is None


def test_a_glance_changes_with_module_files_and_devices(root: Path) -> None:
    seen = [glance(root)]
    module(root, "535.183.01")
    seen.append(glance(root))
    driver_files(root, "550.120")
    seen.append(glance(root))
    write(root / "dev/nvidia0")
    seen.append(glance(root))
    write(root / "dev/dxg")
    seen.append(glance(root))
    assert len(set(seen)) == 5 and glance(root) == seen[-1]


# ---- NVML --------------------------------------------------------------------------------------

GPU: dict[str, object] = {
    "index": 0,
    "name": "NVIDIA GeForce RTX 3080",
    "compute_capability": "8.6",
    "memory_mib": 10240,
    "memory_free_mib": 9000,
}
START: dict[str, object] = {"version": "535.183.01", "cuda": "12.2", "library": "/x/libnvidia-ml"}


def asked(result: Result) -> dict[str, Any]:
    runner = FakeRunner({"nvml_probe.py": result})
    driver = observe_driver(runner=runner, root=Path("/nowhere"))
    assert len(runner.calls) == 1
    return {f: getattr(driver, f) for f in ("probe", "version", "gpus", "nvml_error", "notes")}


def test_a_driver_with_a_gpu() -> None:
    runner = FakeRunner({"nvml_probe.py": completed(facts(START, {"count": 1}, {"gpu": GPU}))})
    driver = observe_driver(runner=runner, root=Path("/nowhere"))
    assert (driver.version, driver.cuda, driver.library) == tuple(START.values())
    assert driver.gpus == (Gpu(0, "NVIDIA GeForce RTX 3080", "8.6", 10240, 9000),)
    assert driver.nvml_error is None and driver.notes == ()


def test_a_driver_without_a_gpu_says_so() -> None:
    assert asked(completed(facts(START, {"count": 0})))["gpus"] == ()


def test_an_error_code_is_kept_and_no_gpu_is_claimed() -> None:
    said = asked(completed(facts({"error": 18, "text": "Driver/library version mismatch"})))
    assert (said["nvml_error"], said["gpus"], said["version"]) == (18, None, None)


def test_one_gpu_that_does_not_answer_does_not_hide_the_other() -> None:
    broken = {"error": 15, "text": "GPU 0: GPU is lost"}
    said = asked(completed(facts(START, {"count": 2}, broken, {"gpu": {**GPU, "index": 1}})))
    assert [g.index for g in said["gpus"]] == [1] and said["nvml_error"] == 15


@pytest.mark.parametrize(
    "result, how",
    [
        (crashed(11, facts(START)), "NVML was ended by SIGSEGV"),
        (timed_out(facts(START)), "NVML did not answer within 5 s and was stopped"),
        (failed(1, facts(START)), "NVML ended with exit status 1"),
    ],
)
def test_what_was_said_before_the_end_is_kept(result: Result, how: str) -> None:
    said = asked(result)
    assert (said["version"], said["gpus"], said["notes"]) == ("535.183.01", None, (how,))
    assert said["probe"] is result.outcome


def test_a_line_cut_short_is_left_out() -> None:
    said = asked(crashed(11, facts(START) + '@tfgpu {"count": 1'))
    assert (said["version"], said["gpus"]) == ("535.183.01", None)


def test_silence_is_a_fact() -> None:
    driver = observe_driver(runner=FailingRunner(), root=Path("/nowhere"))
    assert driver.probe is Outcome.TIMED_OUT and driver.gpus is None and driver.version is None


def test_at_the_cheapest_depth_nvml_is_not_asked(root: Path) -> None:
    runner = FakeRunner({})
    observer = Observer({}, Deadlines(), runner, root)
    _, driver = observer.machine(Depth.FINGERPRINT)
    assert runner.calls == [] and driver.probe is Outcome.NOT_STARTED and driver.notes
    observer.machine(Depth.STATIC)
    assert len(runner.calls) == 1
