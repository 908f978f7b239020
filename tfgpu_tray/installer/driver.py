"""Chapter 2 of the article: the driver. Guidance only; it is never installed unasked."""

from __future__ import annotations

from packaging.version import Version

from tfgpu_tray.knowledge.cuda import driver_floor
from tfgpu_tray.knowledge.releases import NATIVE_WINDOWS_LAST, release
from tfgpu_tray.knowledge.windows import driver_of_branch
from tfgpu_tray.model import Host, Snapshot

DOWNLOADS = "https://www.nvidia.com/drivers"
# https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html
OLDEST_FOR_NEW_DRIVERS = Version("7.5")  # after branch 580
OLDEST_FOR_BRANCH_580 = Version("5.0")  # after branch 470
# Packages by distribution family; the command asks for a password and a reboot follows.
# Sources: help.ubuntu.com "NVIDIA drivers installation", wiki.debian.org/NvidiaGraphicsDrivers,
# rpmfusion.org/Howto/NVIDIA, wiki.archlinux.org/title/NVIDIA.
COMMANDS = (
    ("ubuntu", "sudo ubuntu-drivers install"),
    ("mint", "sudo ubuntu-drivers install"),
    ("pop!", "sudo apt install system76-driver-nvidia"),
    ("debian", "sudo apt install nvidia-driver  (component non-free must be enabled)"),
    ("fedora", "sudo dnf install akmod-nvidia  (RPM Fusion must be enabled)"),
    ("arch", "sudo pacman -S nvidia"),
    ("suse", "sudo zypper install nvidia-open-driver-G06-signed-kmp-default"),
)


def guidance(snapshot: Snapshot) -> list[str]:
    """What to do about a driver that is missing, too old or not loaded, for this machine."""
    host = snapshot.host
    if host.wsl:
        return [
            f"Install the NVIDIA driver on Windows, from {DOWNLOADS}.",
            "Install no NVIDIA driver inside WSL: it would hide the one Windows provides.",
        ]
    if host.container:
        return ["Start the container with its GPU, for example `docker run --gpus all …`."]
    if host.system == "windows":
        return _on_windows(snapshot)
    lines = [f"Install the NVIDIA driver: {_command(host)}", "Reboot, then check again."]
    if any(Version(c) < OLDEST_FOR_NEW_DRIVERS for c in _capabilities(snapshot)):
        lines.insert(1, "Choose branch 580: newer drivers no longer support this GPU.")
    return lines


def _on_windows(snapshot: Snapshot) -> list[str]:
    last = release(str(NATIVE_WINDOWS_LAST))
    floor = driver_floor(last.cuda, "windows") if last else None
    capabilities = [Version(c) for c in _capabilities(snapshot)]
    lines = [
        f"Install the NVIDIA driver from {DOWNLOADS}, {floor} or newer. Game Ready and Studio "
        "drivers serve TensorFlow alike."
    ]
    if not capabilities:
        lines.append(
            f"For a Maxwell, Pascal or Volta GPU (GeForce GTX 900 and 1000) choose {_branch('580')}"
            f", for Kepler (GTX 600 and 700) {_branch('470')}: newer ones do not support it."
        )
    elif min(capabilities) < OLDEST_FOR_BRANCH_580:
        lines.append(f"Choose {_branch('470')}: newer drivers no longer support this GPU.")
    elif min(capabilities) < OLDEST_FOR_NEW_DRIVERS:
        lines.append(f"Choose {_branch('580')}: newer drivers no longer support this GPU.")
    return [*lines, "Restart the computer, even if the installer does not ask, then check again."]


def _branch(number: str) -> str:
    return f"branch {number} (version {driver_of_branch(number)}, for example)"


def _capabilities(snapshot: Snapshot) -> list[str]:
    return [g.compute_capability for g in snapshot.driver.gpus or () if g.compute_capability]


def _command(host: Host) -> str:
    name = (host.release or "").lower()
    for family, command in COMMANDS:
        if family in name:
            return command
    return f"get it from {DOWNLOADS}"
