"""The NVIDIA driver: NVML in a child process, and the system's own word on what is installed.

NVML may hang on a faulty GPU and keeps an old library mapped after a driver update, so it is never
loaded into this process.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tfgpu_tray.model import Driver, Gpu, Outcome
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Result, Runner, run

_VERSION = re.compile(r"(\d{3,}\.\d+(?:\.\d+)?)")


def observe_driver(
    *, deadline: float = 5.0, runner: Runner = run, root: Path = Path("/")
) -> Driver:
    """Ask NVML, for at most *deadline* seconds."""
    before = glance(root)
    driver = _asked(deadline, runner, root)
    if driver.nvml_error is not None and glance(root) != before:
        # It was being installed: the error is of neither version.
        driver = _asked(deadline, runner, root)
    return driver


def _asked(deadline: float, runner: Runner, root: Path) -> Driver:
    result = runner([sys.executable, probing.FOLDER / "nvml_probe.py"], deadline=deadline)
    gpus: list[Gpu] = []
    said: dict[str, object] = {}
    for fact in probing.facts(result.stdout):
        if isinstance(gpu := fact.get("gpu"), dict):
            gpus.append(Gpu(**gpu))
        said.update(fact)
    error = said.get("error")
    notes: list[str] = []
    if result.outcome is not Outcome.COMPLETED:
        notes.append(f"NVML {result.how_it_ended}{_reason(result)}")
    return Driver(
        probe=result.outcome,
        version=_text(said.get("version")),
        kernel_module=loaded_module(root),
        library_version=library_version(root),
        cuda=_text(said.get("cuda")),
        gpus=tuple(gpus) if "count" in said else None,
        nvml_error=error if isinstance(error, int) else None,
        nvml_error_text=_text(said.get("text")),
        library=_text(said.get("library")),
        files=_files(),
        notes=tuple(notes),
    )


def _reason(result: Result) -> str:
    """The last line of a traceback: on Windows a fault inside NVML is an exception in Python."""
    line = result.stderr.strip().rpartition("\n")[2] if result.outcome is Outcome.FAILED else ""
    return f" ({line})" if line else ""


def glance(root: Path = Path("/")) -> str:
    """The driver's state as cheaply as the system tells it; part of the fingerprint."""
    if sys.platform == "win32":
        from tfgpu_tray.observe import windows_driver
        from tfgpu_tray.observe.windows_api import this_windows

        return windows_driver.glance(this_windows())
    return "/".join(
        (
            loaded_module(root) or "-",
            library_version(root) or "-",
            *sorted(p.name for p in (root / "dev").glob("nvidia*")),
            *sorted(p.name for p in (root / "dev").glob("dxg")),
        )
    )


def loaded_module(root: Path = Path("/")) -> str | None:
    """Version of the nvidia kernel module that is loaded now; Windows does not tell."""
    for place in ("sys/module/nvidia/version", "proc/driver/nvidia/version"):
        try:
            text = (root / place).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if match := _VERSION.search(text):
            return match[1]
    return None


def library_version(root: Path = Path("/")) -> str | None:
    """Version of the driver that is installed, and that runs from the next boot on.

    On Linux read from the file name that libnvidia-ml.so.1 or libcuda.so.1 points to, on Windows
    from the registry, so nothing is loaded.
    """
    if sys.platform == "win32":
        from tfgpu_tray.observe import windows_driver
        from tfgpu_tray.observe.windows_api import this_windows

        return windows_driver.installed_version(this_windows())
    for folder in ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib/aarch64-linux-gnu", "usr/lib"):
        for soname in ("libnvidia-ml.so.1", "libcuda.so.1"):
            try:
                target = (root / folder / soname).resolve(strict=True).name
            except OSError:
                continue
            if match := _VERSION.search(target):
                return match[1]
    return None


def _files() -> tuple[str, ...] | None:
    if sys.platform == "win32":
        from tfgpu_tray.observe import windows_driver
        from tfgpu_tray.observe.windows_api import this_windows

        return tuple(map(str, windows_driver.driver_files(this_windows())))
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
