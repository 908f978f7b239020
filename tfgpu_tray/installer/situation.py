"""What every chapter works from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tfgpu_tray.installer.target import Target
from tfgpu_tray.knowledge.cuda import needs_zlibwapi
from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.model import Environment, LibraryState, Packages, Snapshot
from tfgpu_tray.observe import libraries
from tfgpu_tray.observe.conda import observe_conda
from tfgpu_tray.observe.layout import POSIX, WINDOWS, Layout
from tfgpu_tray.observe.packages import observe_packages

CPU_BUILDS = frozenset({"cpu-only-build", "windows-native-tf-ge-2.11"})


@dataclass(frozen=True)
class Situation:
    """One environment, what is wrong with it, and what it should become."""

    snapshot: Snapshot
    target: Target
    causes: Collection[str]  # what is to be healed; for `install`, possibly nothing
    channel: str = "conda-forge"
    conda: Path | None = None

    @property
    def environment(self) -> Environment:
        return self.snapshot.environment

    @property
    def on_windows(self) -> bool:
        return self.snapshot.host.system == "windows"

    @property
    def layout(self) -> Layout:
        return WINDOWS if self.on_windows else POSIX

    @property
    def conda_owns_tensorflow(self) -> bool:
        """conda's own TensorFlow brings its libraries along and finds them by itself. On Windows
        it has no build for GPUs to replace a CPU build with, so pip's comes in its place."""
        effective = self.snapshot.packages.effective
        if effective is None or effective.installer != "conda":
            return False
        return not (self.on_windows and CPU_BUILDS.intersection(self.causes))

    @cached_property
    def sonames(self) -> tuple[str, ...]:
        """The CUDA libraries the target opens by name, the driver's left out."""
        opened = self.target.release.opened_on(self.snapshot.host.system)
        return tuple(s for s in opened if not s.startswith("libnvidia-ml"))

    def packages_now(self) -> Packages:
        """What is installed at this moment; steps ask again after other steps have run."""
        return observe_packages(self.environment, providers())

    def files_of(self, soname: str) -> list[str]:
        """Sound files of that name, the environment's own and others of this machine."""
        same, _ = libraries.candidates(self.environment, soname)
        return [path for path in same if libraries.is_whole(path)]

    def own_files_of(self, soname: str) -> list[str]:
        """Those within the environment."""
        prefix = str(self.environment.prefix)
        return [path for path in self.files_of(soname) if self.layout.within(path, prefix)]

    def has_library(self, soname: str) -> bool:
        """Whether a sound file of that name is where this environment could use it. On Windows
        that is within, where the preload finds it, or where TensorFlow found one."""
        if not self.on_windows:
            return bool(self.files_of(soname))
        observed = self.snapshot.libraries.libraries if self.snapshot.libraries else ()
        found = {x.soname for x in observed if x.state is LibraryState.FOUND}
        return soname in found or bool(self.own_files_of(soname))

    def has_all_libraries(self) -> bool:
        return all(self.has_library(soname) for soname in self.sonames) and not self.lacks_helper()

    def lacks_helper(self) -> bool:
        """Whether conda's cuDNN is one that needs zlibwapi.dll, and that is missing."""
        if not self.on_windows or "zlibwapi-missing" not in self.causes:
            return False
        conda = observe_conda(self.environment.prefix)
        record = conda.find("cudnn") if conda else None
        needed = record is not None and needs_zlibwapi(record.version)
        return bool(needed) and not self.own_files_of("zlibwapi.dll")
