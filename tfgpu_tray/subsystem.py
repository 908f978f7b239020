"""WSL looked at from Windows and judged: each distribution, and the environments inside.

A distribution that the GPU does not reach harms nobody who does not use it. So only environments
have a verdict; a distribution is ready for TensorFlow or not, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tfgpu_tray.diagnose import machine_rules, wsl_rules
from tfgpu_tray.diagnose.resolve import Rule, diagnose
from tfgpu_tray.diagnose.wsl_way import for_people
from tfgpu_tray.model import (
    Depth,
    Diagnosis,
    Driver,
    Environment,
    Host,
    Kind,
    Packages,
    Report,
    Role,
    Snapshot,
    WslDistribution,
)
from tfgpu_tray.observe.wsl import Wsl
from tfgpu_tray.observe.wsl_inside import (
    Inside,
    ask_tensorflow,
    driver_inside,
    from_windows,
    look_into,
)

RULES: tuple[Rule, ...] = (machine_rules.wsl1, wsl_rules.way_in)


@dataclass(frozen=True, slots=True)
class Judged:
    """One distribution."""

    distribution: WslDistribution
    ready: bool | None  # whether the GPU reaches it; None: not known
    headline: str
    diagnoses: tuple[Diagnosis, ...] = ()


@dataclass(frozen=True, slots=True)
class Subsystem:
    host: Host  # the Windows, with what was found of WSL
    asked: bool = False  # somebody asked for it; otherwise it is only mentioned
    distributions: tuple[Judged, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()  # of WSL as a whole; remarks, because nobody needs it
    reports: tuple[Report, ...] = ()  # environments inside, where these were asked for


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks at WSL. Only *everywhere* starts distributions, and only then are TensorFlows asked."""

    wsl: Wsl
    deadline: float = 60.0  # seconds for one TensorFlow
    everywhere: bool = False
    telling: Callable[[Environment], None] = lambda _: None

    def look(self, host: Host, driver: Driver, depth: Depth) -> Subsystem:
        known = self.wsl.look()
        if known is None:
            return Subsystem(host, self.everywhere)
        people = for_people(known.distributions)
        insides = {d.name: self._inside(d, depth) for d in people}
        seen = [i.distribution for i in insides.values()]
        host = replace(host, wsl_installed=known.installed, wsl_distributions=tuple(seen))
        return Subsystem(
            host,
            self.everywhere,
            tuple(judge(inside, driver) for inside in insides.values()),
            _of_the_machine(host, driver),
            tuple(
                self._report(inside, environment, packages, driver, depth)
                for inside in insides.values()
                for environment, packages in (inside.environments if self.everywhere else ())
            ),
        )

    def _inside(self, distribution: WslDistribution, depth: Depth) -> Inside:
        wanted = self.everywhere or (bool(distribution.running) and depth >= Depth.STATIC)
        if distribution.version == 2 and wanted:
            self.telling(whole(distribution))
            return look_into(self.wsl, distribution)
        return Inside(distribution, Host("linux", "", wsl=distribution.version))

    def _report(
        self,
        inside: Inside,
        environment: Environment,
        packages: Packages,
        driver: Driver,
        depth: Depth,
    ) -> Report:
        depth = min(depth, Depth.TENSORFLOW)
        snapshot = Snapshot(
            depth=depth,
            host=inside.host,
            driver=driver_inside(driver),
            environment=environment,
            packages=packages,
        )
        if depth >= Depth.TENSORFLOW:
            self.telling(environment)
            answer = ask_tensorflow(self.wsl, environment, deadline=self.deadline)
            snapshot = replace(snapshot, tensorflow=answer)
        return diagnose(snapshot)


def whole(distribution: WslDistribution) -> Environment:
    """A distribution, where an environment is asked for."""
    root = from_windows(distribution.name, "/")
    return Environment(root, Kind.SYSTEM, distribution=distribution.name)


def judge(inside: Inside, driver: Driver) -> Judged:
    """Whether the GPU reaches a distribution."""
    distribution = inside.distribution
    rules = list(RULES)
    if error := distribution.error:
        rules.append(lambda _: iter([wsl_rules.not_started(error)]))
    place = whole(distribution)
    snapshot = Snapshot(Depth.STATIC, inside.host, driver_inside(driver), place)
    diagnoses = diagnose(snapshot, rules).diagnoses
    primary = next((d for d in diagnoses if d.role is Role.PRIMARY), None)
    gpu = distribution.gpu
    if primary is not None:
        ready = None if distribution.error else False  # it may start the next time
        return Judged(distribution, ready, primary.summary, diagnoses)
    if gpu is None:
        state = "it does not run and " if distribution.running is False else ""
        return Judged(distribution, None, f"{state}was not looked into")
    if gpu.cuinit == 0:
        return Judged(distribution, True, "ready for TensorFlow: CUDA starts inside", diagnoses)
    return Judged(distribution, None, "the driver of Windows is there; CUDA was not tried")


def _of_the_machine(host: Host, driver: Driver) -> tuple[Diagnosis, ...]:
    nowhere = Environment(prefix=Path(), kind=Kind.SYSTEM)
    return diagnose(Snapshot(Depth.STATIC, host, driver, nowhere), [wsl_rules.not_there]).diagnoses
