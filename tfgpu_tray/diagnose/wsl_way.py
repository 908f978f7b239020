"""The way from this Windows to a TensorFlow with a GPU inside WSL 2: open or not, and its price."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfgpu_tray.knowledge.releases import download_mb, installs_soundly, releases
from tfgpu_tray.knowledge.windows import wsl2_possible
from tfgpu_tray.model import Host, WslDistribution

# Distributions that programs keep for themselves; nobody works in them.
NOT_FOR_PEOPLE = re.compile(r"docker-desktop|rancher-desktop|podman-machine", re.IGNORECASE)
DISTRIBUTION = "Ubuntu"  # what `wsl --install` installs unless told otherwise


@dataclass(frozen=True, slots=True)
class WslWay:
    open: bool
    reason: str = ""  # one clause: why it is closed
    distribution: str | None = None  # the WSL 2 distribution that is there already
    to_convert: str | None = None  # one of WSL 1 that could become one
    installs_wsl: bool = False  # takes an administrator's consent, and a restart of Windows
    steps: tuple[str, ...] = ()  # what a person does, in order
    download_mb: int | None = None  # TensorFlow with its CUDA; WSL and a distribution come on top

    @property
    def price(self) -> str:
        """One clause: "an administrator's consent, a restart of Windows, about 3700 MB"."""
        parts = ["an administrator's consent", "a restart of Windows"] if self.installs_wsl else []
        size = f"about {self.download_mb} MB to download" if self.download_mb else "a download"
        more = "" if self.distribution or self.to_convert else ", WSL's own not counted"
        return ", ".join([*parts, size]) + more


def wsl_way(host: Host) -> WslWay:
    """What is still to do on *host*, a Windows; nothing is asked of the machine here."""
    possible, reason = wsl2_possible(host)
    if not possible:
        return WslWay(open=False, reason=reason)
    newest = next(r.latest for r in reversed(releases()) if installs_soundly(r.latest))
    requirement = f"tensorflow[and-cuda]=={newest}"
    inside = (
        "In the distribution, run `sudo apt update && sudo apt install python3-venv`.",
        f"Run `python3 -m venv ~/tf && ~/tf/bin/pip install '{requirement}'`.",
        "Install no NVIDIA driver there: it uses the one of Windows.",
    )
    people = for_people(host.wsl_distributions or ())
    ready = next((d.name for d in people if d.version == 2), None)
    old = next((d.name for d in people if d.version == 1), None)
    if ready:
        first: tuple[str, ...] = (f"Start the distribution: `wsl -d {ready}`.",)
    elif old:
        first = (f"Make {old} a distribution of WSL 2: `wsl --set-version {old} 2`.",)
    elif host.wsl_installed:
        first = (f"Install a distribution: `wsl --install -d {DISTRIBUTION}`.",)
    else:
        first = (
            "Install WSL: `tfgpu-tray install --wsl`; Windows asks for an administrator's consent.",
            f"Restart Windows, and choose a user name and a password for {DISTRIBUTION}.",
        )
    return WslWay(
        open=True,
        distribution=ready,
        to_convert=None if ready else old,
        installs_wsl=not people and not host.wsl_installed,
        steps=(*first, *inside),
        download_mb=download_mb(requirement),
    )


def for_people(distributions: tuple[WslDistribution, ...]) -> list[WslDistribution]:
    return [d for d in distributions if not NOT_FOR_PEOPLE.match(d.name)]
