"""The machine under Windows: its build and edition, NVIDIA hardware, what waits for a restart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tfgpu_tray.knowledge.windows import family
from tfgpu_tray.model import Host, Pending
from tfgpu_tray.observe.windows import Windows

VERSION_KEY = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
PCI_KEY = r"HKLM\SYSTEM\CurrentControlSet\Enum\PCI"
CLASS_KEY = r"HKLM\SYSTEM\CurrentControlSet\Control\Class"
SESSION_KEY = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager"
UPDATE_KEY = (
    r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired"
)
SERVICING_KEY = (
    r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending"
)
RENAMES = ("PendingFileRenameOperations", "PendingFileRenameOperations2")
DISPLAY_CLASS = "{4d36e968-e325-11ce-bfc1-08002be10318}"

# What the registry calls the editions that people know by other names.
EDITIONS = {
    "Core": "Home",
    "CoreN": "Home N",
    "CoreSingleLanguage": "Home Single Language",
    "CoreCountrySpecific": "Home China",
    "Professional": "Pro",
    "ProfessionalN": "Pro N",
    "ProfessionalWorkstation": "Pro for Workstations",
    "ProfessionalEducation": "Pro Education",
    "EnterpriseS": "Enterprise LTSC",
}

# Files of the driver itself; NVIDIA's other programs are updated without it.
DRIVER_FILE = re.compile(
    r"\\(?:system32|syswow64)\\(?:drivers\\)?nv[^\\]*$"
    r"|\\driverstore\\filerepository\\nv"
    r"|\\nvidia corporation\\(?:nvsmi|installer2\\display\.driver)",
    re.IGNORECASE,
)

T = TypeVar("T")


def observe_host(windows: Windows) -> Host:
    notes: list[str] = []

    def asked(question: Callable[[Windows], T], what: str) -> T | None:
        try:
            return question(windows)
        except OSError as error:
            notes.append(f"{what} could not be read from the registry ({_reason(error)})")
            return None

    adapters = asked(nvidia_adapters, "the list of PCI devices")
    if adapters is None and not notes:
        notes.append("the registry lists no PCI bus, so NVIDIA hardware could not be looked for")
    build = windows.calls.build()
    return Host(
        system="windows",
        architecture=windows.calls.architecture(),
        release=asked(lambda w: _release(w, build), "the edition of Windows"),
        windows_build=build,
        nvidia_devices=None if adapters is None else len(adapters),
        avx=windows.calls.avx(),
        reboot_pending=asked(reboot_pending, "what waits for a restart"),
        notes=tuple(notes),
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _release(windows: Windows, build: int) -> str:
    """ "Windows 11 Pro 23H2 (22631.4317)". ProductName says "Windows 10" on Windows 11, too."""
    name = family(build)
    server = windows.text(VERSION_KEY, "InstallationType") not in (None, "Client")
    if name is None or server:
        words = [windows.text(VERSION_KEY, "ProductName") or "Windows"]
    else:
        edition = windows.text(VERSION_KEY, "EditionID") or ""
        words = [name, EDITIONS.get(edition, edition)]
    words.append(
        windows.text(VERSION_KEY, "DisplayVersion")
        or windows.text(VERSION_KEY, "ReleaseId")  # before 20H2
        or ""
    )
    revision = windows.registry.value(VERSION_KEY, "UBR")
    words.append(f"({build}.{revision})" if isinstance(revision, int) else f"({build})")
    return " ".join(word for word in words if word)


# ---- NVIDIA display adapters -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Adapter:
    device: str  # its instance ID
    driver_key: str | None  # where its driver keeps its values; None for a device without one


def nvidia_adapters(windows: Windows) -> tuple[Adapter, ...] | None:
    """NVIDIA's display controllers on the PCI bus, driver or not; None without such a list.

    The registry remembers hardware that was taken out; that is left out.
    """
    models = windows.registry.keys(PCI_KEY)
    if models is None:
        return None
    return tuple(
        adapter
        for model in models
        if model.upper().startswith("VEN_10DE")
        for instance in windows.registry.keys(rf"{PCI_KEY}\{model}") or ()
        if (adapter := _adapter(windows, model, instance)) is not None
    )


def _adapter(windows: Windows, model: str, instance: str) -> Adapter | None:
    key, device = rf"{PCI_KEY}\{model}\{instance}", rf"PCI\{model}\{instance}"
    if not _is_display(windows, key) or windows.calls.absent(device):
        return None
    driver = windows.text(key, "Driver")  # "{4d36e968-…}\0001"
    return Adapter(device, rf"{CLASS_KEY}\{driver}" if driver else None)


def _is_display(windows: Windows, key: str) -> bool:
    """By its PCI class, which a device has before any driver gave it a device class."""
    if any(re.search(r"[&\\]CC_03", name, re.I) for name in windows.texts(key, "CompatibleIDs")):
        return True
    return (windows.text(key, "ClassGUID") or "").lower() == DISPLAY_CLASS


# ---- what waits for a restart ------------------------------------------------------------------


def reboot_pending(windows: Windows) -> tuple[str, ...]:
    return tuple(_reasons(windows))


def _reasons(windows: Windows) -> Iterator[str]:
    renames = (path for name in RENAMES for path in windows.texts(SESSION_KEY, name))
    if any(DRIVER_FILE.search(path) for path in renames):
        yield Pending.NVIDIA_DRIVER
    if windows.registry.keys(UPDATE_KEY) is not None:
        yield Pending.WINDOWS_UPDATE
    if windows.registry.keys(SERVICING_KEY) is not None:
        yield Pending.SERVICING
