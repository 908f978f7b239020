"""A Windows to look at: its registry as a table, and its answers to calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes import write
from tfgpu_tray.observe.windows import RegistryValue, Windows
from tfgpu_tray.observe.windows_host import (
    CLASS_KEY,
    DISPLAY_CLASS,
    PCI_KEY,
    SERVICING_KEY,
    SESSION_KEY,
    VERSION_KEY,
)

# An RTX 3080, as the registry of a machine with the driver 531.79 shows it.
CARD = r"VEN_10DE&DEV_2206&SUBSYS_403F1458&REV_A1"
INSTANCE = r"4&2283F625&0&0008"
SOUND = r"VEN_10DE&DEV_1AEF&SUBSYS_403F1458&REV_A1"


@dataclass
class FakeRegistry:
    """Keys with their values; a key's parents are there with it."""

    tree: dict[str, dict[str, RegistryValue]] = field(default_factory=dict)

    def value(self, key: str, name: str) -> RegistryValue | None:
        return self.tree.get(key, {}).get(name)

    def keys(self, key: str) -> tuple[str, ...] | None:
        below = [k[len(key) + 1 :] for k in self.tree if k.startswith(f"{key}\\")]
        if not below and key not in self.tree:
            return None
        return tuple(dict.fromkeys(k.split("\\")[0] for k in below))

    def set(self, key: str, **values: RegistryValue) -> None:
        self.tree.setdefault(key, {}).update(values)


@dataclass
class FailingRegistry(FakeRegistry):
    """Access is denied below *denied*; everything is below HKLM."""

    denied: str = "HKLM"

    def value(self, key: str, name: str) -> RegistryValue | None:
        self._refuse(key)
        return super().value(key, name)

    def keys(self, key: str) -> tuple[str, ...] | None:
        self._refuse(key)
        return super().keys(key)

    def _refuse(self, key: str) -> None:
        if key.startswith(self.denied):
            raise PermissionError(13, "Access is denied")


@dataclass
class FakeCalls:
    number: int = 22631
    has_avx: bool = True
    gone: tuple[str, ...] = ()  # devices that only the registry remembers
    versions: Mapping[str, str] = field(default_factory=dict)  # by file name

    def build(self) -> int:
        return self.number

    def architecture(self) -> str:
        return "x86_64"

    def avx(self) -> bool:
        return self.has_avx

    def absent(self, device: str) -> bool:
        return device in self.gone

    def file_version(self, path: Path) -> str | None:
        return self.versions.get(path.name) if path.is_file() else None


def registry(cls: type[FakeRegistry] = FakeRegistry) -> FakeRegistry:
    """That of a Windows 11 with one NVIDIA card and its driver."""
    made = cls()
    made.set(
        VERSION_KEY,
        ProductName="Windows 10 Pro",  # on Windows 11, too
        EditionID="Professional",
        InstallationType="Client",
        DisplayVersion="23H2",
        UBR=4317,
    )
    made.set(
        rf"{PCI_KEY}\{CARD}\{INSTANCE}",
        CompatibleIDs=(r"PCI\VEN_10DE&DEV_2206&REV_A1", r"PCI\VEN_10DE&CC_030000", r"PCI\CC_0300"),
        ClassGUID=DISPLAY_CLASS,
        Driver=rf"{DISPLAY_CLASS}\0001",
    )
    made.set(
        rf"{PCI_KEY}\{SOUND}\{INSTANCE}",
        CompatibleIDs=(r"PCI\VEN_10DE&CC_040300", r"PCI\CC_0403"),
        ClassGUID="{4d36e96c-e325-11ce-bfc1-08002be10318}",
        Driver=r"{4d36e96c-e325-11ce-bfc1-08002be10318}\0003",
    )
    made.set(rf"{PCI_KEY}\VEN_8086&DEV_4680\3&11583659&0&10", ClassGUID=DISPLAY_CLASS)
    made.set(
        rf"{CLASS_KEY}\{DISPLAY_CLASS}\0001", ProviderName="NVIDIA", DriverVersion="31.0.15.3179"
    )
    made.set(SESSION_KEY, ProtectionMode=1)
    made.set(SERVICING_KEY.rpartition("\\")[0], Version=1)
    return made


def windows(folder: Path, tree: FakeRegistry | None = None, **calls: object) -> Windows:
    """A machine with its driver's files below *folder*."""
    made = bare(folder, tree, **calls)
    for name in ("nvcuda.dll", "nvml.dll"):
        write(made.system32 / name, "MZ")
    return made


def bare(folder: Path, tree: FakeRegistry | None = None, **calls: object) -> Windows:
    return Windows(
        registry=registry() if tree is None else tree,
        calls=FakeCalls(**calls),  # type: ignore[arg-type]
        system32=folder / "Windows" / "System32",
        program_files=folder / "Program Files",
    )
