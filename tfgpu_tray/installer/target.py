"""Which TensorFlow, with which CUDA from where, an environment should hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tfgpu_tray.diagnose.pin import Pin, pin_of
from tfgpu_tray.knowledge.cuda import conda_specs, cuda11_wheels, driver_floor, older
from tfgpu_tray.knowledge.releases import Release, installs_soundly, release, releases
from tfgpu_tray.model import Host, Kind, LibraryState, Snapshot

ARTICLE = "2.10"  # the series of the article this program keeps alive


class CudaSource(StrEnum):
    CONDA = "conda"  # cudatoolkit and cudnn
    WHEELS = "wheels"  # nvidia-*-cu11, named one by one
    EXTRA = "extra"  # tensorflow[and-cuda]


@dataclass(frozen=True, slots=True)
class Target:
    """What the environment should hold."""

    version: str
    requirements: tuple[str, ...]  # for pip, TensorFlow first
    cuda: CudaSource
    cuda_specs: tuple[str, ...]  # conda specs or pip requirements; empty with EXTRA
    why: str

    @property
    def release(self) -> Release:
        found = release(self.version)
        assert found is not None  # a target is only ever made from the table
        return found


class NoTarget(Exception):
    """Nothing fits; the text says why and what would."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the configuration and the past say, beside the snapshot."""

    conda: Path | None = None  # the conda command, where there is one
    source: CudaSource | None = None  # asked for by the configuration
    remembered: str | None = None  # the version that last saw a GPU here
    fresh: bool = False  # `install`: nobody chose a version yet


def choose(snapshot: Snapshot, wishes: Wishes) -> Target:
    """The TensorFlow that fits platform, Python, CUDA, driver and GPU, as near as possible to what
    is there.

    Raises:
        NoTarget: none fits.
    """
    pin = pin_of(snapshot)
    fitting = _fitting(snapshot, pin)
    version, why = _pick(snapshot, wishes, pin, fitting)
    found = release(version)
    assert found is not None
    source, specs = _cuda(snapshot, wishes, found, version)
    extra = "[and-cuda]" if source is CudaSource.EXTRA else ""
    beside = [*found.extra_requirements]
    if (
        source is CudaSource.EXTRA
        and _old_gpu(snapshot)
        and Version(found.series) >= Version("2.20")
    ):
        beside.append("nvidia-cudnn-cu12<9.11")  # from 9.11 on cuDNN has no code below 7.5
    return Target(version, (f"tensorflow{extra}=={version}", *beside), source, specs, why)


def pythons_for(pin: str | None, host: Host) -> list[str]:
    """Python versions that a TensorFlow within *pin* exists for, best first; for an environment
    that does not exist yet."""
    wanted = SpecifierSet(pin or "")
    chosen = [
        r for r in releases() if _in(wanted, r) and (host.system != "windows" or r.windows_gpu)
    ]
    article = [r for r in chosen if r.series == ARTICLE]
    best = article or chosen[-1:]
    return [p for r in best for p in reversed(r.python)]


def _fitting(snapshot: Snapshot, pin: Pin | None) -> list[Release]:
    """Releases that can run here, oldest first; raises NoTarget with the reason when none can."""
    host, environment = snapshot.host, snapshot.environment
    if host.system == "linux" and host.architecture not in ("x86_64", "amd64"):
        raise NoTarget(f"TensorFlow has no GPU build for Linux on {host.architecture}")
    left = [r for r in releases() if r.series != "2.0"]  # 2.0 is another distribution
    python = environment.python_version
    windows = host.system == "windows"
    reasons = (
        (f"for Python {python}", lambda r: python is None or python in r.python),
        (f"for Python {python} with a GPU on Windows", lambda r: not windows or r.windows_gpu),
        (f"for glibc {host.glibc}", lambda r: _glibc_fits(host, r)),
        ("with code for this GPU", lambda r: _gpu_fits(snapshot, r)),
        ("that this driver can run", lambda r: _driver_fits(snapshot, r)),
    )
    for words, fits in reasons:
        kept = [r for r in left if fits(r)]
        if not kept:
            raise NoTarget(f"there is no TensorFlow {words}; {_advice(snapshot, words)}")
        left = kept
    if pin is None:
        return left
    kept = [r for r in left if _in(pin.specifier, r)]
    if not kept:
        have = f"Python {python} and this machine allow {left[0].series} to {left[-1].series}"
        raise NoTarget(f"{pin.reason}, but {have}; {_advice(snapshot, 'Python')}")
    return kept


def _advice(snapshot: Snapshot, words: str) -> str:
    if "Python" in words:
        pythons = pythons_for(snapshot.environment.pin, snapshot.host)
        if not pythons:
            return "no release lies in that range; change it in config.toml"
        return f"create an environment with Python {' or '.join(pythons[:2])} and install there"
    if "driver" in words:
        return "install a newer NVIDIA driver first"
    return "conda-forge's own TensorFlow builds may have it"


def _pick(
    snapshot: Snapshot, wishes: Wishes, pin: Pin | None, fitting: list[Release]
) -> tuple[str, str]:
    """The version and the reason for it: what is here, what worked here, else the best fit."""
    series = {r.series: r for r in fitting}
    known_here = [(_current(snapshot), "the version that is installed")]
    known_here.insert(
        0 if _lost_its_cuda(snapshot, wishes.remembered) else 1,
        (wishes.remembered, "the version that last saw the GPU here"),
    )
    for version, why in known_here:
        known = series.get(_series(version)) if version else None
        if version and known and version in known.patches and (not pin or _allows(pin, version)):
            return version, why
    if ARTICLE in series and (pin is not None or (wishes.fresh and _conda_kind(snapshot, wishes))):
        reason = pin.reason if pin else "works with conda's CUDA 11.2, the same on every platform"
        return _newest(series[ARTICLE], pin), reason
    proven = [r for r in fitting if _gpu_works(snapshot, r)] or fitting
    sound = [r for r in proven if installs_soundly(_newest(r, pin))] or proven
    reason = pin.reason if pin else "the newest release without a known fault"
    return _newest(sound[-1], pin), reason


def _lost_its_cuda(snapshot: Snapshot, remembered: str | None) -> bool:
    """The installed version wants another CUDA than the one that worked here, and lacks it: an
    upgrade went past what the environment holds."""
    effective = snapshot.packages.effective
    now = release(effective.version) if effective else None
    before = release(remembered) if remembered else None
    if now is None or before is None or now.cuda_family == before.cuda_family:
        return False
    libraries = snapshot.libraries.libraries if snapshot.libraries else ()
    return any(library.state is not LibraryState.FOUND for library in libraries)


def _newest(found: Release, pin: Pin | None) -> str:
    return (found.newest(pin.specifier) if pin else None) or found.latest


def _conda_kind(snapshot: Snapshot, wishes: Wishes) -> bool:
    return snapshot.environment.kind is Kind.CONDA and wishes.conda is not None


def _current(snapshot: Snapshot) -> str | None:
    """The installed version; for a build of another distribution (tensorflow-rocm 2.10.0.530) the
    newest of the same series."""
    effective = snapshot.packages.effective
    found = release(effective.version) if effective else None
    if effective is None or found is None or Version(effective.version).is_prerelease:
        return None
    return effective.version if effective.version in found.patches else found.latest


def _cuda(
    snapshot: Snapshot, wishes: Wishes, found: Release, version: str
) -> tuple[CudaSource, tuple[str, ...]]:
    specs = conda_specs(version)
    wheels = tuple(w.requirement for w in cuda11_wheels(snapshot.host.system))
    serves = {
        CudaSource.EXTRA: found.and_cuda,
        CudaSource.CONDA: bool(specs) and _conda_kind(snapshot, wishes),
        CudaSource.WHEELS: found.cuda_family == "11" and found.cuda != "11.0",
    }
    order = [CudaSource.CONDA, CudaSource.EXTRA, CudaSource.WHEELS]
    if found.and_cuda and not _has_conda_toolkit(snapshot):
        order = [CudaSource.EXTRA, CudaSource.CONDA, CudaSource.WHEELS]
    if wishes.source is not None:
        order.insert(0, wishes.source)
    for source in order:
        if serves[source]:
            return source, {CudaSource.CONDA: specs, CudaSource.WHEELS: wheels}.get(source, ())
    raise NoTarget(
        f"CUDA {found.cuda} for TensorFlow {version} only comes from conda: install conda, or "
        "choose TensorFlow 2.5 or newer"
    )


def _has_conda_toolkit(snapshot: Snapshot) -> bool:
    return snapshot.conda is not None and snapshot.conda.find("cudatoolkit") is not None


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _allows(pin: Pin, version: str) -> bool:
    return pin.specifier.contains(version, prereleases=True)


def _in(specifier: SpecifierSet, found: Release) -> bool:
    return found.newest(specifier) is not None


def _glibc_fits(host: Host, found: Release) -> bool:
    return host.glibc is None or Version(host.glibc) >= Version(found.glibc)


def _gpu_fits(snapshot: Snapshot, found: Release) -> bool:
    """Some GPU of the machine may run this build, or none is known. A GPU that no release is
    known to run on is newer than all of them."""
    capabilities = _capabilities(snapshot)
    impossible = found.gpu_none | found.gpu_broken
    possible = {c for r in releases() for c in r.gpu_works}
    return not capabilities or any(c in possible - impossible for c in capabilities)


def _gpu_works(snapshot: Snapshot, found: Release) -> bool:
    """Some GPU of the machine is known to run this build, or none is known."""
    capabilities = _capabilities(snapshot)
    return not capabilities or any(c in found.gpu_works for c in capabilities)


def _capabilities(snapshot: Snapshot) -> list[str]:
    return [g.compute_capability for g in snapshot.driver.gpus or () if g.compute_capability]


def _driver_fits(snapshot: Snapshot, found: Release) -> bool:
    driver, floor = snapshot.driver.version, driver_floor(found.cuda, snapshot.host.driver_system)
    return driver is None or floor is None or not older(driver, floor)


def _old_gpu(snapshot: Snapshot) -> bool:
    return any(Version(c) < Version("7.5") for c in _capabilities(snapshot))
