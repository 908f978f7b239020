"""The machine: operating system, C library, WSL, container, NVIDIA devices on the bus."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from tfgpu_tray.model import Host, WslGpu

NVIDIA_VENDOR = "0x10de"


def observe_host(root: Path = Path("/")) -> Host:
    """Facts about this machine. *root* is the file system to read, for tests."""
    if sys.platform == "win32":
        from tfgpu_tray.observe import windows_host
        from tfgpu_tray.observe.windows_api import this_windows

        return windows_host.observe_host(this_windows())
    kernel = platform.release()
    notes: list[str] = []
    devices = _nvidia_devices(root)
    if devices is None:
        notes.append("the PCI bus could not be read, so NVIDIA hardware could not be looked for")
    wsl = _wsl(root, kernel)
    return Host(
        system="darwin" if sys.platform == "darwin" else "linux",
        architecture=platform.machine().lower(),
        release=_distribution(root),
        kernel=kernel,
        glibc=_glibc(),
        wsl=wsl,
        wsl_gpu=_wsl_gpu(root) if wsl == 2 else None,
        container=_container(root),
        nvidia_devices=devices,
        avx=_avx(root),
        notes=tuple(notes),
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _distribution(root: Path) -> str | None:
    for line in (_read(root / "etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip('"')
    return None


def _glibc() -> str | None:
    if sys.platform == "win32":
        return None
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError, OSError):
        return None
    return version if name == "glibc" else None


def _wsl(root: Path, kernel: str) -> int | None:
    """1 or 2 inside WSL. WSL 1 says "Microsoft", WSL 2 "microsoft-standard-WSL2"; only 2 has
    /dev/dxg, and a custom WSL 2 kernel may not say its name."""
    name = (_read(root / "proc/sys/kernel/osrelease") or kernel).lower()
    if (root / "dev/dxg").exists() or "wsl2" in name:
        return 2
    return 1 if "microsoft" in name else None


def _wsl_gpu(root: Path) -> WslGpu:
    """By files alone, as a look from Windows into this distribution sees them."""
    from tfgpu_tray.observe.probes import wsl_probe

    found = wsl_probe.gpu(str(root))
    return WslGpu(found["device"], found["driver"], tuple(found["linux_driver"]))


def _container(root: Path) -> str | None:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    control = _read(root / "proc/1/cgroup") or ""
    for word in ("docker", "kubepods", "lxc", "containerd"):
        if word in control:
            return word
    return None


def _nvidia_devices(root: Path) -> int | None:
    """NVIDIA display controllers (PCI class 03xx), None where the bus cannot be read."""
    try:
        devices = list((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return None
    return sum(
        (_read(device / "vendor") or "").strip() == NVIDIA_VENDOR
        and (_read(device / "class") or "").startswith("0x03")
        for device in devices
    )


def _avx(root: Path) -> bool | None:
    text = _read(root / "proc/cpuinfo")
    if not text or "flags" not in text:
        return None
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return " avx " in f"{flags} "
