"""The NVIDIA driver as Windows' registry and files show it, without loading any of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tfgpu_tray.observe.windows import Windows
from tfgpu_tray.observe.windows_host import nvidia_adapters

_LONG = re.compile(r"\d+\.\d+\.(\d+)\.(\d{1,4})")


def display_version(long: str) -> str | None:
    """ "531.79" for "31.0.15.3179", the form that Windows gives: its last five digits."""
    match = _LONG.fullmatch(long.strip())
    if match is None:
        return None
    digits = (match[1] + match[2].zfill(4))[-5:]
    return f"{int(digits[:-2])}.{digits[-2:]}"


def installed_version(windows: Windows) -> str | None:
    """Of the driver that was installed last; a program may still run with the one before it."""
    by_registry = next(_registered(windows), None)
    if by_registry is not None:
        return by_registry
    for path in driver_files(windows):
        if (long := windows.calls.file_version(path)) and (found := display_version(long)):
            return found
    return None


def _registered(windows: Windows) -> Iterator[str]:
    """The versions of NVIDIA's drivers; a device without one runs with Microsoft's basic one."""
    try:
        for adapter in nvidia_adapters(windows) or ():
            if adapter.driver_key is None:
                continue
            provider = windows.text(adapter.driver_key, "ProviderName") or ""
            long = windows.text(adapter.driver_key, "DriverVersion") or ""
            if "nvidia" in provider.lower() and (found := display_version(long)):
                yield found
    except OSError:
        return  # the files tell as well


def places(windows: Windows) -> tuple[Path, ...]:
    """Where the driver keeps what CUDA programs and NVML's users open.

    Drivers before 2019 keep nvml.dll in NVSMI; nvidia-ml-py looks in both places.
    """
    nvsmi = windows.program_files / "NVIDIA Corporation" / "NVSMI"
    system32 = windows.system32
    return (system32 / "nvcuda.dll", system32 / "nvml.dll", nvsmi / "nvml.dll")


def driver_files(windows: Windows) -> tuple[Path, ...]:
    return tuple(path for path in places(windows) if path.is_file())


def glance(windows: Windows) -> str:
    """Changes with the driver; some registry reads and three stats, well below a millisecond."""
    parts = [*_registered(windows)]
    for path in places(windows):
        try:
            status = os.stat(path)
        except OSError:
            parts.append("-")
        else:
            parts.append(f"{status.st_mtime_ns}:{status.st_size}")
    return "/".join(parts)
