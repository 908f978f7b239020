"""Chapter 2 of the article: the driver. Guidance only; it is never installed unasked."""

from __future__ import annotations

from packaging.version import Version

from tfgpu_tray.model import Host, Snapshot

DOWNLOADS = "https://www.nvidia.com/drivers"
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
    lines = [f"Install the NVIDIA driver: {_command(host)}", "Reboot, then check again."]
    capabilities = [
        g.compute_capability for g in snapshot.driver.gpus or () if g.compute_capability
    ]
    if any(Version(c) < Version("7.5") for c in capabilities):
        lines.insert(1, "Choose branch 580: newer drivers no longer support this GPU.")
    return lines


def _command(host: Host) -> str:
    name = (host.release or "").lower()
    for family, command in COMMANDS:
        if family in name:
            return command
    return f"get it from {DOWNLOADS}"
