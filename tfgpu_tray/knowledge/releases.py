"""Which TensorFlow needs which Python, CUDA, cuDNN and GPU, from tensorflow.toml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from tfgpu_tray.knowledge.tables import table

if TYPE_CHECKING:  # imported where used: the cheapest looks answer without it
    from packaging.specifiers import SpecifierSet

NATIVE_WINDOWS_LAST = Version("2.10")  # the last series with a GPU on native Windows


@dataclass(frozen=True, slots=True)
class Release:
    """One TensorFlow series, e.g. 2.10."""

    series: str
    latest: str
    patches: tuple[str, ...]  # every patch release, oldest first
    prerelease: bool
    python: tuple[str, ...]
    glibc: str
    cuda: str  # the CUDA it was built for, "11.2"
    cudnn: str
    libs: tuple[str, ...]  # Linux sonames it opens by name, libcuda left out
    dlls: tuple[str, ...]  # the same on Windows, nvcuda.dll left out; none from 2.11 on
    windows_gpu: bool
    and_cuda: bool  # has the [and-cuda] extra
    finds_nvidia_wheels: bool  # searches site-packages/nvidia/*/lib by itself
    numpy: SpecifierSet
    protobuf: SpecifierSet
    keras: SpecifierSet | None
    extra_requirements: tuple[str, ...]  # must be named beside tensorflow== today
    gpu_none: frozenset[str]
    gpu_broken: frozenset[str]
    gpu_works: frozenset[str]  # native or compiled at first use

    @property
    def cuda_family(self) -> str:
        """ "11" for CUDA 11.x: sonames are constant within a family."""
        return self.cuda.partition(".")[0]

    def newest(self, specifier: SpecifierSet) -> str | None:
        """The newest patch release within *specifier*."""
        return next((p for p in reversed(self.patches) if specifier.contains(p)), None)

    def opened_on(self, system: str) -> tuple[str, ...]:
        """The libraries it opens by name on *system*, as `Host.system` says it, in its order."""
        return self.dlls if system == "windows" else self.libs

    @property
    def uses_rpath(self) -> bool:
        """DT_RPATH: finds a conda environment's lib folder without any hook (2.0 to 2.6)."""
        return Version(self.series) < Version("2.7")


@cache
def _rows() -> dict[str, dict[str, Any]]:
    """Every release with all its keys: one inherits what it does not state from the one before."""
    complete: dict[str, dict[str, Any]] = {}
    row: dict[str, Any] = {}
    for series, own in table("tensorflow")["release"].items():
        row = {**row, "prerelease": False, **own}
        complete[series] = row
    return complete


@cache
def release(version: str) -> Release | None:
    """The series that *version* ("2.10.1", "2.21") belongs to; None for one not in the table."""
    from packaging.specifiers import SpecifierSet

    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    series = f"{parsed.major}.{parsed.minor}"
    row = _rows().get(series)
    if row is None:
        return None
    return Release(
        series=series,
        latest=row["latest"],
        patches=tuple(row["patches"]),
        prerelease=row["prerelease"],
        python=tuple(row["python"]),
        glibc=row["glibc"],
        cuda=row["cuda"],
        cudnn=row["cudnn"],
        libs=tuple(row["libs"]),
        dlls=tuple(row["dlls"]),
        windows_gpu=row["windows_gpu"],
        and_cuda=row["and_cuda"],
        finds_nvidia_wheels=row["runpath"] == "nvidia",
        numpy=SpecifierSet(row["numpy"]),
        protobuf=SpecifierSet(row["protobuf"]),
        keras=SpecifierSet(row["keras"]) if row.get("keras") else None,
        extra_requirements=tuple(row.get("extra_requirements", ())),
        gpu_none=frozenset(row.get("gpu_none", ())),
        gpu_broken=frozenset(row.get("gpu_broken", ())),
        gpu_works=frozenset((*row.get("gpu_native", ()), *row.get("gpu_jit", ()))),
    )


def releases() -> list[Release]:
    """Every stable series, oldest first."""
    rows = (release(series) for series in _rows())
    stable = [r for r in rows if r is not None and not r.prerelease]
    return sorted(stable, key=lambda r: Version(r.series))


def known_fault(version: str) -> str | None:
    """What is known to be wrong with this patch release once it is installed."""
    row = table("tensorflow")["patch"].get(version, {})
    return str(row["known_fault"]) if row.get("kind") == "loader" else None


def installs_soundly(version: str) -> bool:
    """Whether nothing is known against installing this patch release today."""
    return version not in table("tensorflow")["patch"]


def missing_runpath(version: str) -> bool:
    """Whether this patch release does not search every folder of the nvidia wheels it needs."""
    return bool(table("tensorflow").get("patch", {}).get(version, {}).get("missing_runpath"))


def download_mb(requirement: str, system: str = "linux") -> int | None:
    """Size of the wheels that a requirement of ours downloads on x86_64, where known."""
    from packaging.requirements import Requirement

    wanted, sizes = Requirement(requirement), table("tensorflow")["sizes"]
    version = next((s.version for s in wanted.specifier if s.operator == "=="), "")
    series = ".".join(version.split(".")[:2])
    if system == "windows":
        own = sizes["tensorflow_windows"].get(series) if wanted.name == "tensorflow" else None
        return round(own) if own is not None else None
    if wanted.name == "tensorflow":
        extra = sizes["and_cuda"].get(series, 0) if "and-cuda" in wanted.extras else 0
        own = sizes["tensorflow"].get(series)
        return round(own + extra) if own is not None else None
    size = sizes["nvidia_cu11"].get(wanted.name)
    return round(size) if size is not None else None


def longest_path() -> int:
    """How many characters TensorFlow's longest file name has below site-packages."""
    return int(table("tensorflow")["longest_path"])
