"""Chapter 0 of the article: the right TensorFlow, alone, with the bounds it needs beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from tfgpu_tray.installer.conda import CondaInstall, CondaRemove
from tfgpu_tray.installer.pip import PipInstall, PipUninstall
from tfgpu_tray.installer.situation import Situation
from tfgpu_tray.installer.step import Description, Kept, Step, StepFailed, Work
from tfgpu_tray.installer.target import CudaSource
from tfgpu_tray.knowledge.tables import table
from tfgpu_tray.model import Distribution, Packages
from tfgpu_tray.observe.conda import observe_conda


def steps(situation: Situation) -> list[Step]:
    """What leads from the installed packages to the target's."""
    found: list[Step] = []
    packages = situation.snapshot.packages
    if situation.conda_owns_tensorflow:
        return _conda_build(situation)
    found += _without_condas(situation)
    if in_user := sorted({d.name for d in _user_copies(packages, situation)}):
        found.append(
            PipUninstall(
                situation.environment,
                tuple(in_user),
                why="the user site comes before the environment's own packages, in every "
                "environment of this Python version",
                present=lambda: bool(_user_copies(situation.packages_now(), situation)),
                from_user_site=True,
            )
        )
    if packages.leftovers:
        found.append(RemoveLeftovers(situation))
    if others := _other_providers(packages):
        found.append(
            PipUninstall(
                situation.environment,
                tuple(sorted(others)),
                why="these packages share the folder tensorflow/; exactly one may own it",
                present=lambda: bool(_other_providers(situation.packages_now())),
            )
        )
    found.append(_install(situation))
    return found


def _conda_build(situation: Situation) -> list[Step]:
    """conda owns this TensorFlow: only conda may replace its CPU build by the one for GPUs."""
    if situation.conda is None or "cpu-only-build" not in situation.causes:
        return []
    return [
        CondaInstall(
            situation.conda,
            situation.environment.prefix,
            (table("packages")["conda"]["gpu_spec"],),
            situation.channel,
            why="conda installed a build without CUDA",
            settled=lambda: False,
            chapter="tensorflow",
        )
    ]


def _without_condas(situation: Situation) -> list[Step]:
    """On Windows pip's TensorFlow takes the place of conda's CPU build: conda's records of that
    must go, or conda would bring its files back."""
    effective, conda = situation.snapshot.packages.effective, situation.conda
    if effective is None or effective.installer != "conda" or conda is None:
        return []
    prefix, names = situation.environment.prefix, tuple(table("packages")["conda"]["names"])

    def recorded() -> tuple[str, ...]:
        found = observe_conda(prefix)
        return tuple(p.name for p in found.packages if p.name in names) if found else ()

    why = "conda has no build for GPUs on Windows; pip's TensorFlow takes its place"
    return [CondaRemove(conda, prefix, recorded(), why, present=lambda: bool(recorded()))]


def _install(situation: Situation) -> PipInstall:
    target, causes = situation.target, situation.causes
    own = [d for d in situation.snapshot.packages.tensorflow if not d.in_user_site]
    stays = [(d.name, d.version) for d in own] == [("tensorflow", target.version)]
    damaged = stays and (bool(own[0].missing_files) or "tensorflow-files-damaged" in causes)
    condas = stays and own[0].installer == "conda"
    kept = stays and not (damaged or condas) and target.cuda is not CudaSource.EXTRA
    misfits = " and ".join(_misfits(situation.snapshot.packages, situation))
    title = "Bring back what TensorFlow {} needs" if kept else "Install TensorFlow {}"
    return PipInstall(
        situation.environment,
        target.requirements,
        why=f"it cannot work with {misfits}" if kept and misfits else _why(situation),
        settled=_settled(situation, damaged),
        title=title.format(target.version),
        # TensorFlow's files only: its dependencies are sound and may be in use elsewhere.
        options=("--force-reinstall", "--no-deps")
        if damaged or (condas and situation.conda is None)
        else (),
        installed=target.requirements[:1] if kept else (),
    )


def _misfits(packages: Packages, situation: Situation) -> list[str]:
    """Neighbours of TensorFlow in the environment that break the target's bounds."""
    bounds = {b.name: b for b in _bounds(situation)}
    return [
        f"{d.name} {d.version}"
        for d in packages.related
        if not d.in_user_site and d.name in bounds and not _within(d, bounds[d.name])
    ]


def _why(situation: Situation) -> str:
    effective = situation.snapshot.packages.effective
    if effective is None or effective.version == situation.target.version:
        return situation.target.why
    return f"{effective.name} {effective.version} is installed; {situation.target.why}"


def _settled(situation: Situation, damaged: bool) -> Callable[[], bool]:
    """Whether the environment holds exactly the target, sound, with its bounds kept."""

    def check() -> bool:
        packages = situation.packages_now()
        ours = [d for d in packages.tensorflow if not d.in_user_site]
        if [(d.name, d.version) for d in ours] != [("tensorflow", situation.target.version)]:
            return False
        if ours[0].installer == "conda":  # of the same version, but not the same build
            return False
        if ours[0].missing_files or (
            damaged and ours == list(situation.snapshot.packages.tensorflow)
        ):
            return False
        if situation.target.cuda is CudaSource.EXTRA and not situation.has_all_libraries():
            return False
        return not _misfits(packages, situation)

    return check


def _bounds(situation: Situation) -> list[Requirement]:
    """Bounds on packages beside TensorFlow: those it needs and those its metadata leaves open."""
    release = situation.target.release
    named = [Requirement(r) for r in situation.target.requirements[1:]]
    named.append(Requirement(f"numpy{release.numpy}"))
    named.append(Requirement(f"protobuf{release.protobuf}"))
    if release.keras:
        named.append(Requirement(f"keras{release.keras}"))
    return named


def _within(distribution: Distribution, bound: Requirement) -> bool:
    try:
        return bound.specifier.contains(Version(distribution.version), prereleases=True)
    except InvalidVersion:
        return True


def _user_copies(packages: Packages, situation: Situation) -> list[Distribution]:
    """TensorFlows in the user site, and neighbours there that break the target's bounds."""
    bounds = {b.name: b for b in _bounds(situation)}
    neighbours = [
        d
        for d in packages.related
        if d.in_user_site and d.name in bounds and not _within(d, bounds[d.name])
    ]
    return [d for d in packages.tensorflow if d.in_user_site] + neighbours


def _other_providers(packages: Packages) -> set[str]:
    """Distributions to remove before `tensorflow` goes in; itself too when others wrote over it."""
    own = {d.name for d in packages.tensorflow if not d.in_user_site}
    return own if own - {"tensorflow"} else set()


@dataclass(frozen=True, slots=True)
class RemoveLeftovers(Kept):
    """Clear the `~…` folders of an interrupted installation."""

    situation: Situation
    chapter: str = "tensorflow"

    def _folders(self) -> list[Path]:
        site = self.situation.environment.site_packages
        names = self.situation.packages_now().leftovers
        return [site / name for name in names if (site / name).exists()] if site else []

    def check(self) -> bool:
        return not self._folders()

    def describe(self) -> Description:
        names = ", ".join(folder.name for folder in self._folders())
        return Description(
            title="Clear leftovers of an interrupted installation",
            why=f"pip left {names} behind and warns about it at every run",
            commands=tuple(f"remove {folder}" for folder in self._folders()),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        return tuple(self._folders())

    def apply(self, work: Work) -> None:
        for folder in self._folders():
            try:
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
            except OSError as error:
                raise StepFailed(f"{folder} could not be removed: {error.strerror}") from error
