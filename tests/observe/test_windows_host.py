"""A Windows machine from its registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.observe.fake_windows import (
    CARD,
    INSTANCE,
    FailingRegistry,
    FakeRegistry,
    bare,
    registry,
    windows,
)
from tfgpu_tray.model import Pending
from tfgpu_tray.observe.windows import RegistryValue
from tfgpu_tray.observe.windows_host import (
    CLASS_KEY,
    DISPLAY_CLASS,
    PCI_KEY,
    SERVICING_KEY,
    SESSION_KEY,
    UPDATE_KEY,
    VERSION_KEY,
    observe_host,
)

DEVICE = rf"{PCI_KEY}\{CARD}\{INSTANCE}"


@pytest.fixture
def tree() -> FakeRegistry:
    return registry()


def test_a_plain_machine(tmp_path: Path) -> None:
    host = observe_host(windows(tmp_path))
    assert (host.system, host.architecture) == ("windows", "x86_64")
    assert (host.release, host.windows_build) == ("Windows 11 Pro 23H2 (22631.4317)", 22631)
    assert (host.nvidia_devices, host.avx) == (1, True)
    assert (host.reboot_pending, host.notes) == ((), ())


@pytest.mark.parametrize(
    "build, values, expected",
    [
        (19045, {"DisplayVersion": "22H2", "UBR": 5011}, "Windows 10 Pro 22H2 (19045.5011)"),
        (21999, {}, "Windows 10 Pro 23H2 (21999.4317)"),
        (22000, {"DisplayVersion": "21H2"}, "Windows 11 Pro 21H2 (22000.4317)"),
        (22631, {"EditionID": "CoreCountrySpecific"}, "Windows 11 Home China 23H2 (22631.4317)"),
        (22631, {"EditionID": "Education"}, "Windows 11 Education 23H2 (22631.4317)"),
        (
            20348,
            {"InstallationType": "Server", "ProductName": "Windows Server 2022 Standard"},
            "Windows Server 2022 Standard 23H2 (20348.4317)",
        ),
        (
            7601,
            {"ProductName": "Windows 7 Professional"},
            "Windows 7 Professional 23H2 (7601.4317)",
        ),
    ],
)
def test_the_name_of_windows(
    tmp_path: Path,
    tree: FakeRegistry,
    build: int,
    values: dict[str, RegistryValue],
    expected: str,
) -> None:
    tree.set(VERSION_KEY, **values)
    assert observe_host(bare(tmp_path, tree, number=build)).release == expected


def test_a_windows_10_before_20h2_has_its_version_elsewhere(
    tmp_path: Path, tree: FakeRegistry
) -> None:
    tree.tree[VERSION_KEY] = {"EditionID": "Professional", "ReleaseId": "1909"}
    assert observe_host(bare(tmp_path, tree, number=18363)).release == "Windows 10 Pro 1909 (18363)"


# ---- NVIDIA hardware ---------------------------------------------------------------------------


def test_a_card_without_a_driver_counts_by_its_pci_class(
    tmp_path: Path, tree: FakeRegistry
) -> None:
    tree.tree[DEVICE] = {"CompatibleIDs": (r"PCI\VEN_10DE&CC_030200", r"PCI\CC_0302")}
    assert observe_host(bare(tmp_path, tree)).nvidia_devices == 1


def test_a_card_without_compatible_ids_counts_by_its_device_class(
    tmp_path: Path, tree: FakeRegistry
) -> None:
    tree.tree[DEVICE] = {"ClassGUID": DISPLAY_CLASS.upper()}
    assert observe_host(bare(tmp_path, tree)).nvidia_devices == 1


def test_two_cards_of_one_model(tmp_path: Path, tree: FakeRegistry) -> None:
    tree.tree[DEVICE[:-1] + "9"] = dict(tree.tree[DEVICE])
    assert observe_host(bare(tmp_path, tree)).nvidia_devices == 2


def test_a_card_that_was_taken_out_does_not_count(tmp_path: Path) -> None:
    gone = rf"PCI\{CARD}\{INSTANCE}"
    host = observe_host(bare(tmp_path, gone=(gone,)))
    assert (host.nvidia_devices, host.notes) == (0, ())


def test_a_registry_without_a_pci_bus_says_nothing_of_hardware(tmp_path: Path) -> None:
    tree = FakeRegistry({VERSION_KEY: {"EditionID": "Core"}})
    host = observe_host(bare(tmp_path, tree))
    assert host.nvidia_devices is None
    assert len(host.notes) == 1 and "PCI" in host.notes[0]


# ---- what waits for a restart ------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        r"\??\C:\Windows\System32\nvcuda.dll.old",
        r"\??\C:\WINDOWS\system32\drivers\nvlddmkm.sys",
        r"\??\C:\Windows\System32\DriverStore\FileRepository\nv_dispi.inf_amd64_1f2e\nvapi64.dll",
        r"\??\C:\Windows\SysWOW64\nvapi.dll",
        r"\??\C:\Program Files\NVIDIA Corporation\Installer2\Display.Driver.{AB12}\setup.dll",
        r"*1\??\C:\Program Files\NVIDIA Corporation\NVSMI\nvml.dll",
    ],
)
def test_files_of_the_driver_wait_for_a_restart(
    tmp_path: Path, tree: FakeRegistry, path: str
) -> None:
    tree.set(SESSION_KEY, PendingFileRenameOperations=(r"\??\C:\Temp\a.tmp", "", path, ""))
    assert observe_host(bare(tmp_path, tree)).reboot_pending == (Pending.NVIDIA_DRIVER,)


@pytest.mark.parametrize(
    "path",
    [
        r"\??\C:\Users\me\AppData\Local\Temp\nvcuda.dll",
        r"\??\C:\Program Files\NVIDIA Corporation\NVIDIA app\CEF\libcef.dll",
        r"\??\C:\Windows\System32\spool\drivers\nvprinter.dll",
        "",
    ],
)
def test_other_files_are_not_the_drivers(tmp_path: Path, tree: FakeRegistry, path: str) -> None:
    tree.set(SESSION_KEY, PendingFileRenameOperations=(path, ""))
    assert observe_host(bare(tmp_path, tree)).reboot_pending == ()


def test_every_place_is_looked_at(tmp_path: Path, tree: FakeRegistry) -> None:
    tree.set(SESSION_KEY, PendingFileRenameOperations2=r"\??\C:\Windows\System32\nvml.dll")
    tree.set(rf"{UPDATE_KEY}\0c1d", Value=1)
    tree.set(SERVICING_KEY)
    assert observe_host(bare(tmp_path, tree)).reboot_pending == (
        Pending.NVIDIA_DRIVER,
        Pending.WINDOWS_UPDATE,
        Pending.SERVICING,
    )


# ---- a registry that refuses -------------------------------------------------------------------


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    host = observe_host(bare(tmp_path, registry(FailingRegistry)))
    assert (host.release, host.nvidia_devices, host.reboot_pending) == (None, None, None)
    assert (host.windows_build, host.avx) == (22631, True)
    assert len(host.notes) == 3 and all("Access is denied" in note for note in host.notes)


@pytest.mark.parametrize("key", [PCI_KEY, SERVICING_KEY, VERSION_KEY, CLASS_KEY])
def test_one_refusal_hides_nothing_else(tmp_path: Path, key: str) -> None:
    tree = registry(FailingRegistry)
    assert isinstance(tree, FailingRegistry)
    tree.denied = key
    host = observe_host(bare(tmp_path, tree))
    unknown = [f for f in (host.nvidia_devices, host.reboot_pending, host.release) if f is None]
    assert len(unknown) == len(host.notes) == (0 if key == CLASS_KEY else 1)
