"""The NVIDIA driver: NVML in a child process, and the kernel's own word on its module.

NVML may hang on a faulty GPU and keeps an old library mapped after a driver update, so it is never
loaded into this process.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tfgpu_tray.model import Driver, Gpu, Outcome
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Runner, run

_VERSION = re.compile(r"(\d{3,}\.\d+(?:\.\d+)?)")


def observe_driver(
    *, deadline: float = 5.0, runner: Runner = run, root: Path = Path("/")
) -> Driver:
    """Ask NVML, for at most *deadline* seconds."""
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
        notes.append(f"NVML {result.how_it_ended}")
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
        notes=tuple(notes),
    )


def glance(root: Path = Path("/")) -> str:
    """The driver's state as cheaply as the kernel tells it; part of the fingerprint."""
    return "/".join(
        (
            loaded_module(root) or "-",
            library_version(root) or "-",
            *sorted(p.name for p in (root / "dev").glob("nvidia*")),
            *sorted(p.name for p in (root / "dev").glob("dxg")),
        )
    )


def loaded_module(root: Path = Path("/")) -> str | None:
    """Version of the nvidia kernel module that is loaded now."""
    for place in ("sys/module/nvidia/version", "proc/driver/nvidia/version"):
        try:
            text = (root / place).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if match := _VERSION.search(text):
            return match[1]
    return None


def library_version(root: Path = Path("/")) -> str | None:
    """Version of the user-space driver files, which the next boot's module will match.

    Read from the file name that libnvidia-ml.so.1 or libcuda.so.1 points to, so nothing is loaded.
    """
    for folder in ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib/aarch64-linux-gnu", "usr/lib"):
        for soname in ("libnvidia-ml.so.1", "libcuda.so.1"):
            try:
                target = (root / folder / soname).resolve(strict=True).name
            except OSError:
                continue
            if match := _VERSION.search(target):
                return match[1]
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
