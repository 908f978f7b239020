"""What builds of Windows can do, and numbers of its drivers, from windows.toml."""

from __future__ import annotations

from tfgpu_tray.knowledge.tables import table
from tfgpu_tray.model import Host


def family(build: int) -> str | None:
    """ "Windows 10" or "Windows 11", which share the number 10.0; None for what came before."""
    builds = table("windows")
    if build >= builds["first_windows_11"]:
        return "Windows 11"
    return "Windows 10" if build >= builds["first_windows_10"] else None


def wsl2_possible(host: Host) -> tuple[bool, str]:
    """Whether WSL 2 can give programs a GPU on that Windows, and if not, why, in one clause."""
    floor = table("windows")["wsl2_with_gpu"]
    needs = f"a GPU in WSL 2 needs build {floor['build']} ({floor['name']}) or newer"
    if host.system != "windows":
        return False, "this is not Windows"
    if host.windows_build is None:
        return False, f"the build of Windows is not known, and {needs}"
    if host.windows_build < floor["build"]:
        return False, f"this is Windows build {host.windows_build}, and {needs}"
    return True, ""


def driver_of_branch(branch: str) -> str | None:
    """A driver of NVIDIA's *branch*, as Windows numbers it: "581.29" of branch 580."""
    found = table("windows")["driver_of_branch"].get(branch)
    return str(found) if found else None
