"""What every chapter works from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tfgpu_tray.installer.target import Target
from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.model import Environment, Packages, Snapshot
from tfgpu_tray.observe import libraries
from tfgpu_tray.observe.packages import observe_packages


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
    def conda_owns_tensorflow(self) -> bool:
        """conda's own TensorFlow brings its libraries along and finds them by itself."""
        effective = self.snapshot.packages.effective
        return effective is not None and effective.installer == "conda"

    @cached_property
    def sonames(self) -> tuple[str, ...]:
        """The CUDA libraries the target opens by name, the driver's left out."""
        return tuple(s for s in self.target.release.libs if not s.startswith("libnvidia-ml"))

    def packages_now(self) -> Packages:
        """What is installed at this moment; steps ask again after other steps have run."""
        return observe_packages(self.environment, providers())

    def has_library(self, soname: str) -> bool:
        """Whether a sound file of that name is where this environment could use it."""
        same, _ = libraries.candidates(self.environment, soname)
        return any(libraries.is_whole(path) for path in same)

    def has_all_libraries(self) -> bool:
        return all(self.has_library(soname) for soname in self.sonames)
