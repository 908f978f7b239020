"""All environments of this machine: found, looked at, judged, remembered."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tfgpu_tray.config import Config
from tfgpu_tray.examine import examine
from tfgpu_tray.model import Depth, Driver, Environment, Host, Report, Verdict
from tfgpu_tray.observe import environments
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.observe.packages import holds_tensorflow
from tfgpu_tray.observe.wsl import Wsl, distribution_of, registered, with_wsl
from tfgpu_tray.store.looks import Looks
from tfgpu_tray.subsystem import Looker, Subsystem


class NoSuchEnvironment(Exception):
    """A prefix was named at which there is no Python environment."""


@dataclass(frozen=True, slots=True)
class Overview:
    host: Host
    driver: Driver
    reports: tuple[Report, ...]
    others: tuple[Environment, ...] = ()  # environments that have nothing to do with TensorFlow
    wsl: Subsystem | None = None  # on Windows, unless only some environments were asked for

    @property
    def verdict(self) -> Verdict:
        """The worst of the environments; unknown when there is none."""
        verdicts = [r.verdict for r in self.reports]
        return max(verdicts, key=lambda v: v.badness, default=Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Survey:
    config: Config
    observer: Observer
    environ: Mapping[str, str]
    home: Path
    looks: Looks | None = None
    wsl: Wsl | None = None  # the way to WSL; None where this is no Windows

    def find(self) -> tuple[list[Environment], list[Environment]]:
        """Environments to judge, and the others.

        Judged is what holds TensorFlow, held it, or is configured to hold it.
        """
        judged: dict[str, Environment] = {}
        others: list[Environment] = []
        excluded = {_real(p) for p in self.config.exclude}
        known = self.looks.known_prefixes() if self.looks else set()
        for prefix in (*self.config.include, *self.config.pins):
            environment = environments.describe(prefix, found_by="configuration")
            if environment is None:  # configured, so its absence is worth a verdict
                environment = environments.gone(prefix)
            judged.setdefault(_real(prefix), self._pinned(environment))
        found = environments.discover(self.environ, self.home) if self.config.discover else []
        for environment in found:
            key = _real(environment.prefix)
            if key in judged or key in excluded:
                continue
            environment = self._pinned(environment)
            if self._concerns_tensorflow(environment) or str(environment.prefix) in known:
                judged[key] = environment
            else:
                others.append(environment)
        return [e for k, e in judged.items() if k not in excluded], others

    def named(self, prefix: Path) -> Environment:
        """The environment at *prefix*.

        Raises:
            NoSuchEnvironment: there is none.
        """
        if inside := distribution_of(prefix):
            raise NoSuchEnvironment(
                f"{prefix} lies in the WSL distribution {inside}. `tfgpu-tray check --wsl` looks "
                "there; to change it, use a tfgpu-tray that is installed there"
            )
        prefix = Path(os.path.abspath(prefix.expanduser()))
        environment = environments.describe(prefix, found_by="named on the command line")
        if environment is None:
            raise NoSuchEnvironment(f"{prefix} is not a Python environment")
        return self._pinned(environment)

    def check(
        self,
        depth: Depth,
        prefixes: Collection[Path] = (),
        telling: Callable[[Environment], None] = lambda _: None,
        *,
        into_wsl: bool = False,
    ) -> Overview:
        """Look at the machine and at every environment, or only at *prefixes*.

        With *into_wsl*, on Windows, also at those inside WSL; that starts its distributions.
        """
        if prefixes:
            others: list[Environment] = []
            chosen = [self.named(p) for p in prefixes]
        else:
            chosen, others = self.find()
        machine = self.observer.machine(depth)
        below = self._wsl(machine, depth, into_wsl, bool(prefixes), telling)
        if below is not None:
            machine = below.host, machine[1]
        reports = []
        for environment in chosen:
            telling(environment)
            reports.append(self.examine(environment, depth, machine))
        if below is None or (prefixes and not into_wsl):
            return Overview(*machine, tuple(reports), tuple(others))
        return Overview(*machine, (*reports, *below.reports), tuple(others), below)

    def _wsl(
        self,
        machine: tuple[Host, Driver],
        depth: Depth,
        into: bool,
        only_some: bool,
        telling: Callable[[Environment], None],
    ) -> Subsystem | None:
        if self.wsl is None:
            return None
        if only_some and not into:  # the registry will do: nobody asked about WSL
            return Subsystem(with_wsl(machine[0], registered(self.wsl.registry)))
        limit = self.observer.deadlines.tensorflow
        return Looker(self.wsl, limit, everywhere=into, telling=telling).look(*machine, depth)

    def examine(
        self, environment: Environment, depth: Depth, machine: tuple[Host, Driver]
    ) -> Report:
        """One environment, with the memory of earlier looks, and remembered for later ones."""
        if self.looks is None:
            return examine(self.observer, environment, depth, machine)
        report = examine(self.observer, environment, depth, machine, self.looks.recall)
        self.looks.keep(report)
        return report

    def pin_for(self, prefix: Path) -> str | None:
        """The TensorFlow range that the configuration asks for in *prefix*."""
        pins = {_real(p): pin for p, pin in self.config.pins.items()}
        return pins.get(_real(prefix)) or None

    def _pinned(self, environment: Environment) -> Environment:
        return replace(environment, pin=self.pin_for(environment.prefix))

    @staticmethod
    def _concerns_tensorflow(environment: Environment) -> bool:
        if holds_tensorflow(environment):
            return True
        try:
            history = (environment.prefix / "conda-meta" / "history").read_text("utf-8", "replace")
        except OSError:
            return False
        return "tensorflow" in history or "cudnn" in history


def _real(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))
