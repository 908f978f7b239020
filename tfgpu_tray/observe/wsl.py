"""WSL as Windows sees it: what is installed, which distributions there are, which of them run.

The registry answers without starting anything. wsl.exe says which distributions run; no command
here starts one. Facts on wsl.exe: github.com/microsoft/WSL, src/windows/common/WslClient.cpp.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from tfgpu_tray.model import Host, Outcome, WslDistribution
from tfgpu_tray.observe.child import Result, Runner, run
from tfgpu_tray.observe.windows import Registry

LXSS = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Lxss"
SERVICES = r"HKLM\SYSTEM\CurrentControlSet\Services"
# Its presence says nothing: every Windows from 19041 on has a wsl.exe that offers to install WSL.
WSL_SERVICES = ("WSLService", "LxssManager")  # of the Store's WSL, of the one inside Windows
DEADLINE = 15.0  # the service behind wsl.exe starts slowly after login
# wsl.exe's own failures are -1; any other status is the Linux program's.
WSL_FAILED = (-1, 0xFFFFFFFF)
# "* Ubuntu-22.04    Running         2". The header is no row; states were translated once.
_ROW = re.compile(
    r"^(?P<default>\*| )\s*(?P<name>\S+(?: \S+)*?)\s{2,}(?P<state>.+?)\s+(?P<v>[12])$"
)
_STATES = {"Running": True, "Stopped": False}
_NETWORK_PATH = re.compile(r"[\\/]{2}wsl(?:\.localhost|\$)[\\/]([^\\/]+)", re.IGNORECASE)
_ERROR = re.compile(r"Wsl(?:/\w+)*/\w+")


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registry says."""

    installed: bool
    distributions: tuple[WslDistribution, ...] = ()


def registered(registry: Registry) -> Registered | None:
    """What *registry* holds for this user; None when it cannot be read."""
    try:
        installed = any(registry.keys(rf"{SERVICES}\{name}") is not None for name in WSL_SERVICES)
        found = tuple(_distributions(registry))
    except OSError:
        return None
    return Registered(installed or bool(found), tuple(sorted(found, key=lambda d: not d.default)))


def _distributions(registry: Registry) -> Iterator[WslDistribution]:
    default = registry.value(LXSS, "DefaultDistribution")
    for identifier in registry.keys(LXSS) or ():
        name = registry.value(rf"{LXSS}\{identifier}", "DistributionName")
        version = registry.value(rf"{LXSS}\{identifier}", "Version")
        if isinstance(name, str) and isinstance(version, int):  # else it is no distribution
            yield WslDistribution(name, version, identifier == default)


def with_wsl(host: Host, known: Registered | None) -> Host:
    """*host* with what is known of WSL."""
    if known is None:
        return host
    return replace(host, wsl_installed=known.installed, wsl_distributions=known.distributions)


def distribution_of(prefix: Path) -> str | None:
    r"""The distribution that a path such as \\wsl.localhost\Ubuntu\home leads into."""
    found = _NETWORK_PATH.match(str(prefix))
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Wsl:
    """The way to WSL: the user's session, the registry, and a way to run wsl.exe."""

    session: Mapping[str, str]
    registry: Registry
    runner: Runner = run

    def look(self) -> Registered | None:
        """Which distributions there are and which run; None when nobody would say."""
        known = registered(self.registry) or self._listed()
        if known is None or not known.distributions:
            return known
        running = self._running()
        if running is None:
            return known
        told = (replace(d, running=d.name in running) for d in known.distributions)
        return replace(known, distributions=tuple(told))

    def call(self, *words: str, deadline: float = DEADLINE, stdin: str | None = None) -> Result:
        # Newer ones honour WSL_UTF8; what older ones write, UTF-16, our runner understands.
        environ = {**self.session, "WSL_UTF8": "1"}
        command = [find_wsl(self.session), *words]
        return self.runner(command, deadline=deadline, environ=environ, stdin=stdin)

    def _running(self) -> frozenset[str] | None:
        result = self.call("-l", "--running", "-q")
        if result.outcome in (Outcome.TIMED_OUT, Outcome.NOT_STARTED):
            return None
        if result.outcome is Outcome.FAILED and _ERROR.search(result.stdout):
            return None
        return frozenset(lines(result.stdout))  # a message in place of names names nothing

    def _listed(self) -> Registered | None:
        result = self.call("-l", "-v")
        if result.outcome is Outcome.COMPLETED:
            return Registered(True, parse_list(result.stdout))
        # No distribution is an error of its own; one that knows no -v is older than WSL 2.
        if "WSL_E_DEFAULT_DISTRO_NOT_FOUND" in result.stdout:
            return Registered(True)
        if "WSL_E_WSL_OPTIONAL_COMPONENT_REQUIRED" in result.stdout:
            return Registered(False)
        return None


def own_wsl(session: Mapping[str, str]) -> str:
    """Where Windows keeps its wsl.exe."""
    root = session.get("SYSTEMROOT") or session.get("SystemRoot") or r"C:\Windows"
    return str(PureWindowsPath(root, "System32", "wsl.exe"))


def find_wsl(session: Mapping[str, str]) -> str:
    """The system's own; one on PATH only where Windows keeps none."""
    own = own_wsl(session)
    if sys.platform == "win32" and not Path(own).exists():
        return shutil.which("wsl.exe", path=session.get("PATH")) or own
    return own


def lines(output: str) -> list[str]:
    stripped = (line.strip("\ufeff\r ") for line in output.split("\n"))
    return [line for line in stripped if line]


def parse_list(output: str) -> tuple[WslDistribution, ...]:
    """What `wsl -l -v` prints."""
    rows = (_ROW.match(line.strip("\ufeff").rstrip()) for line in output.split("\n"))
    return tuple(
        WslDistribution(
            name=row["name"],
            version=int(row["v"]),
            default=row["default"] == "*",
            running=_STATES.get(row["state"]),
        )
        for row in rows
        if row
    )


def why_it_failed(result: Result) -> str:
    """wsl.exe's own words about an error, which it prints to standard output."""
    if result.outcome in (Outcome.TIMED_OUT, Outcome.NOT_STARTED):
        return f"wsl.exe {result.how_it_ended}"
    said = [line for line in lines(result.stdout) or lines(result.stderr) if "@tfgpu" not in line]
    code = next((m[0] for line in said if (m := _ERROR.search(line))), None)
    first = said[0] if said else f"wsl.exe {result.how_it_ended}"
    return f"{first} ({code})" if code and code not in first else first
