"""From a report to an ordered list of steps, the smallest that heals it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfgpu_tray.installer import cuda, driver, hooks, tensorflow
from tfgpu_tray.installer.conda import CondaCreate, CondaInstall
from tfgpu_tray.installer.environment import CreateVenv, find_python
from tfgpu_tray.installer.situation import Situation
from tfgpu_tray.installer.step import Step, Work
from tfgpu_tray.installer.target import CudaSource, NoTarget, Target, Wishes, choose, pythons_for
from tfgpu_tray.knowledge.causes import cause
from tfgpu_tray.model import Environment, Host, Kind, Report, Role, Verdict, Way
from tfgpu_tray.observe import environments

# The chapters of the set-up, in the order in which they build on each other.
CHAPTERS: tuple[tuple[str, Callable[[Situation], list[Step]]], ...] = (
    ("tensorflow", tensorflow.steps),
    ("cuda", cuda.steps),
    ("hooks", hooks.steps),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, and what a person has to do themselves."""

    environment: Environment
    steps: tuple[Step, ...] = ()
    healed: tuple[str, ...] = ()  # the causes that the steps answer
    guidance: tuple[str, ...] = ()
    target: Target | None = None
    reason: str = ""  # why there are no steps
    instead: tuple[Way, ...] = ()  # what a person may prefer to these steps

    @property
    def download_mb(self) -> int | None:
        """Megabytes that the steps download, as far as known; None when no size is known."""
        known = [size for s in self.steps if (size := s.describe().download_mb) is not None]
        return sum(known) if known else None


def measured(plan: Plan, work: Work) -> Plan:
    """*plan* with the download sizes that only conda knows; conda solves for that, some seconds."""
    steps = (s.measured(work) if isinstance(s, CondaInstall) else s for s in plan.steps)
    return replace(plan, steps=tuple(steps))


def plan_repair(report: Report, wishes: Wishes, channel: str) -> Plan:
    """The steps that answer *report*'s diagnoses; none where only a person can act."""
    environment = report.snapshot.environment
    if report.verdict is Verdict.OK:
        return Plan(environment, reason="nothing is wrong")
    counted = [d for d in report.diagnoses if d.role is not Role.POSSIBLE]
    primary = report.primary
    if primary is not None and not cause(primary.cause).chapters:
        guidance = list(primary.remedy.steps)
        if primary.cause in ("nvidia-driver-missing", "driver-too-old"):
            guidance = driver.guidance(report.snapshot)
        reason = f"{primary.summary}: no step of ours can mend that"
        return Plan(environment, guidance=tuple(guidance), reason=reason)
    healed = [d.cause for d in counted if cause(d.cause).chapters]
    guidance = [s for d in counted if not cause(d.cause).chapters for s in d.remedy.steps]
    if not healed:
        return Plan(environment, guidance=tuple(guidance), reason="nothing found that we can mend")
    wanted = {chapter for c in healed for chapter in cause(c).chapters}
    plan = _planned(report, wishes, channel, healed, wanted, guidance)
    return replace(plan, instead=primary.remedy.ways[1:] if primary else ())


def plan_install(report: Report, wishes: Wishes, channel: str) -> Plan:
    """The whole set-up for an environment that exists; what is there already is left alone."""
    healed = [
        d.cause for d in report.diagnoses if d.role is not Role.POSSIBLE and cause(d.cause).chapters
    ]
    guidance = [
        s
        for d in report.diagnoses
        if cause(d.cause).scope == "machine" and d.role is not Role.POSSIBLE
        for s in d.remedy.steps
    ]
    every = {name for name, _ in CHAPTERS}
    return _planned(report, wishes, channel, healed, every, guidance)


def plan_creation(
    prefix: Path,
    host: Host,
    wishes: Wishes,
    pin: str | None,
    channel: str,
    search: Mapping[str, str],
    home: Path,
) -> tuple[Environment, Step]:
    """How to create the environment *prefix*, with a Python that the wanted TensorFlow exists for.

    Raises:
        NoTarget: no such Python can be had; the text says what is missing.
    """
    pythons = pythons_for(pin, host)
    if not pythons:
        raise NoTarget(f"no TensorFlow fits tensorflow{pin} on this machine")
    if wishes.conda is not None:
        environment = environments.planned(prefix, Kind.CONDA, pythons[0], pin=pin)
        return environment, CondaCreate(wishes.conda, prefix, pythons[0], channel)
    for version in pythons:
        if command := find_python(version, search, home):
            environment = environments.planned(prefix, Kind.VENV, version, pin=pin)
            return environment, CreateVenv(prefix, tuple(command), version)
    raise NoTarget(
        f"{prefix} needs Python {' or '.join(pythons)}, and neither conda, nor uv, nor such a "
        "Python was found; install one of them"
    )


def _planned(
    report: Report,
    wishes: Wishes,
    channel: str,
    healed: list[str],
    chapters: set[str],
    guidance: list[str],
) -> Plan:
    environment = report.snapshot.environment
    try:
        target = choose(report.snapshot, wishes)
    except NoTarget as error:
        return Plan(environment, guidance=tuple(guidance), reason=str(error))
    if "tensorflow" in chapters and _own_version(report) != target.version:
        chapters = chapters | {"cuda", "hooks"}  # it may want other libraries and another path
    if target.cuda is CudaSource.EXTRA and "cuda" in chapters:
        chapters = chapters | {"tensorflow"}  # the extra of TensorFlow brings the libraries
    situation = Situation(report.snapshot, target, frozenset(healed), channel, wishes.conda)
    offered = [step for name, steps in CHAPTERS if name in chapters for step in steps(situation)]
    needed = tuple(step for step in offered if not step.check())
    if needed and (off_limits := _off_limits(report, needed)):
        return Plan(environment, guidance=tuple(guidance), target=target, reason=off_limits)
    if needed:
        return Plan(environment, needed, tuple(healed), tuple(guidance), target)
    counted = (d for d in report.diagnoses if d.role is not Role.POSSIBLE)
    if (first := next(counted, None)) is not None:
        guidance = [*first.remedy.steps, *guidance]
    reason = "every step is in place already"
    return Plan(environment, (), (), tuple(dict.fromkeys(guidance)), target, reason)


def _off_limits(report: Report, steps: Sequence[Step]) -> str:
    """Why only the user may make these changes; empty when we may."""
    snapshot = report.snapshot
    if snapshot.conda is not None and snapshot.conda.frozen:
        return "the environment is marked as frozen; remove conda-meta/frozen to let it be repaired"
    own = [d for d in snapshot.packages.tensorflow if d.direct]
    if own and any(step.chapter == "tensorflow" for step in steps):
        return (
            f"{own[0].name} {own[0].version} came from a file, a checkout or an address of yours "
            "(direct_url.json), so it is not replaced"
        )
    return ""


def _own_version(report: Report) -> str | None:
    """The TensorFlow in the environment itself, whatever the user site puts before it."""
    own = (d for d in report.snapshot.packages.tensorflow if not d.in_user_site)
    return next((d.version for d in own), None)
