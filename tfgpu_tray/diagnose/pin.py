"""Which TensorFlow versions an environment allows: its configuration, platform, CUDA libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from tfgpu_tray.knowledge.releases import NATIVE_WINDOWS_LAST, Release, releases
from tfgpu_tray.model import Kind, LibraryState, Snapshot

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet


@dataclass(frozen=True, slots=True)
class Pin:
    specifier: SpecifierSet
    reason: str  # a clause: "this environment holds CUDA 11.2 and cuDNN 8.1 from conda"
    configured: bool = False


def pin_of(snapshot: Snapshot) -> Pin | None:
    """The range the environment allows, or None when nothing narrows it."""
    from packaging.specifiers import SpecifierSet

    environment = snapshot.environment
    if environment.pin:
        reason = f"the configuration asks for tensorflow{environment.pin}"
        return Pin(SpecifierSet(environment.pin), reason, configured=True)
    if snapshot.host.system == "windows" and environment.kind is not Kind.SYSTEM:
        after = f"{NATIVE_WINDOWS_LAST.major}.{NATIVE_WINDOWS_LAST.minor + 1}"
        reason = "TensorFlow dropped the GPU on native Windows with 2.11"
        return Pin(SpecifierSet(f">=2.1,<{after}"), reason)
    return _conda_toolkit_pin(snapshot)


def _conda_toolkit_pin(snapshot: Snapshot) -> Pin | None:
    """The releases that conda's cudatoolkit and cudnn of this environment can serve.

    Silent when TensorFlow is conda's own, which brings its libraries along, and when every library
    of the installed release was found, from wherever.
    """
    from packaging.specifiers import SpecifierSet

    conda, effective = snapshot.conda, snapshot.packages.effective
    toolkit = conda.find("cudatoolkit") if conda else None
    if conda is None or toolkit is None or (effective and effective.installer == "conda"):
        return None
    libraries = snapshot.libraries
    if (
        libraries
        and libraries.libraries
        and all(library.state is LibraryState.FOUND for library in libraries.libraries)
    ):
        return None
    cudnn = conda.find("cudnn")
    series = [r for r in releases() if serves(toolkit.version, cudnn.version if cudnn else None, r)]
    if not series:
        return None
    first, last = Version(series[0].series), Version(series[-1].series)
    specifier = SpecifierSet(f">={first},<{last.major}.{last.minor + 1}")
    beside = f" and cuDNN {_minor(cudnn.version)}" if cudnn else ""
    return Pin(
        specifier, f"this environment holds CUDA {_minor(toolkit.version)}{beside} from conda"
    )


def serves(toolkit: str, cudnn: str | None, release: Release) -> bool:
    """Whether conda's *toolkit* (and *cudnn*, where there is one) can run *release*.

    Sonames are constant within a CUDA family, so a newer minor serves an older build. The one
    exception is TensorFlow 2.4: it wants libcusolver.so.10, which only CUDA 11.0 has.
    """
    try:
        have, want = Version(toolkit), Version(release.cuda)
        if have.major != want.major or have < want:
            return False
        if "libcusolver.so.10" in release.libs and have.major == 11 and have >= Version("11.1"):
            return False
        if cudnn is None:
            return True
        have_dnn, want_dnn = Version(cudnn), Version(release.cudnn)
        return have_dnn.major == want_dnn.major and have_dnn >= want_dnn
    except InvalidVersion:
        return False


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
