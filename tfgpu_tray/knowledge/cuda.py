"""Driver floors, CUDA families, sonames and error codes, from cuda.toml and packages.toml."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from tfgpu_tray.knowledge.tables import table


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    code: int
    text: str
    cause: str | None


def nvml_error(
    code: int, *, wsl: bool = False, container: bool = False, windows: bool = False
) -> ErrorMeaning:
    """What an NVML return code means, and its likeliest cause in that place."""
    return _error("nvml", code, wsl=wsl, container=container, windows=windows)


def cuda_error(
    code: int, *, wsl: bool = False, container: bool = False, windows: bool = False
) -> ErrorMeaning:
    """The same for a result of the CUDA driver API."""
    return _error("cuda", code, wsl=wsl, container=container, windows=windows)


def _error(source: str, code: int, **places: bool) -> ErrorMeaning:
    row = table("errors")[source].get(str(code), {})
    place = next((row[name] for name, here in places.items() if here and name in row), None)
    text = row.get("meaning") or f"{source} error {code}"
    cause = row.get("cause") if place is None else place
    return ErrorMeaning(code, str(text), cause or None)


def driver_floor(cuda: str, system: str) -> str | None:
    """The oldest driver that runs programs built for *cuda*, e.g. "11.2" or "10.1"."""
    families = table("cuda")["family"]
    row = families.get(cuda) or families.get(cuda.partition(".")[0], {})
    floor = row.get("driver_windows" if system == "windows" else "driver_linux")
    return str(floor) if floor else None


def wsl_driver(cuda: str) -> str | None:
    """The oldest driver of Windows that TensorFlow's own page asks for in WSL, where it does."""
    asked = table("cuda")["family"].get(cuda.partition(".")[0], {}).get("wsl_driver")
    return str(asked) if asked else None


def older(driver: str, floor: str) -> bool | None:
    """Whether *driver* is older than *floor*; None when either is not a version."""
    try:
        return Version(driver) < Version(floor)
    except InvalidVersion:
        return None


def component(soname: str) -> str:
    """ "cudart" for libcudart.so.11.0 and cudart64_110.dll; the bare name for a library that is
    not in the table."""
    for name, files in table("cuda")["soname"].items():
        if soname in files:
            return str(name)
    if soname.endswith(".dll"):
        return re.sub(r"(64_\d+)?\.dll$", "", soname)
    return soname.removeprefix("lib").partition(".so")[0]


def conda_specs(tensorflow: str) -> tuple[str, ...]:
    """The conda packages that serve a pip TensorFlow of that version, e.g. ("cudatoolkit=11.2",
    "cudnn=8.1.0"); empty for one that brings its own (2.15 and newer)."""
    from packaging.specifiers import SpecifierSet

    for specifier, specs in table("packages")["conda_cuda"].items():
        if SpecifierSet(specifier).contains(Version(tensorflow), prereleases=True):
            return tuple(specs)
    return ()


@dataclass(frozen=True, slots=True)
class Wheel:
    """One nvidia-* distribution of the CUDA 11 set."""

    requirement: str
    folder: str
    sonames: tuple[str, ...]
    dlls: tuple[str, ...]  # what it holds on Windows, below bin instead of lib


def cuda11_wheels(system: str = "linux") -> list[Wheel]:
    """The wheels that stand in for conda's cudatoolkit and cudnn, for TensorFlow 2.5 to 2.13."""
    rows = [row for row in table("packages")["pip_cuda11"] if not row.get("optional")]
    pin = "pin_windows" if system == "windows" else "pin"
    return [
        Wheel(
            requirement=f"{row['name']}=={row.get(pin, row['pin'])}",
            folder=row["folder"],
            sonames=tuple(row["sonames"]),
            dlls=tuple(row["dlls"]),
        )
        for row in rows
    ]


def needs_zlibwapi(cudnn: str) -> bool | None:
    """Whether that cuDNN looks for zlibwapi.dll on Windows; None when it is no version."""
    row = table("cuda")["cudnn"]
    try:
        return Version(row["zlibwapi_from"]) <= Version(cudnn) < Version(row["zlibwapi_before"])
    except InvalidVersion:
        return None
