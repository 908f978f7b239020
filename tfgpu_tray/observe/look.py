"""Looks at the machine and at one environment, as deep as asked, and never deeper."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.knowledge.releases import release
from tfgpu_tray.model import (
    Activation,
    Depth,
    Driver,
    Environment,
    Hooks,
    Host,
    Libraries,
    Outcome,
    Packages,
    Snapshot,
)
from tfgpu_tray.observe import cmd_activation, dlls, hooks, libraries
from tfgpu_tray.observe.activation import activate, session_environ
from tfgpu_tray.observe.batch_text import predicted_path
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.observe.compute import compute_something
from tfgpu_tray.observe.conda import observe_conda
from tfgpu_tray.observe.driver import glance, library_version, loaded_module, observe_driver
from tfgpu_tray.observe.environments import this_registry
from tfgpu_tray.observe.fingerprint import fingerprint
from tfgpu_tray.observe.host import observe_host
from tfgpu_tray.observe.layout import HERE, WINDOWS
from tfgpu_tray.observe.long_paths import too_long
from tfgpu_tray.observe.packages import observe_packages
from tfgpu_tray.observe.shell_text import predicted_loader_path
from tfgpu_tray.observe.tensorflow import ask_tensorflow


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that each probe gets."""

    driver: float = 5.0
    activation: float = 10.0
    loader: float = 20.0
    tensorflow: float = 60.0
    compute: float = 120.0


@dataclass(frozen=True, slots=True)
class Observer:
    """Where facts come from: the session's environment variables, a way to run children, a root."""

    session: Mapping[str, str]
    deadlines: Deadlines = field(default_factory=Deadlines)
    runner: Runner = run
    root: Path = Path("/")

    @classmethod
    def of_this_process(cls, deadlines: Deadlines, root: Path = Path("/")) -> Observer:
        return cls(session_environ(os.environ), deadlines, root=root)

    def machine(self, depth: Depth) -> tuple[Host, Driver]:
        """Facts that all environments share. NVML is only asked from the static depth on."""
        host = observe_host(self.root)
        if depth is Depth.FINGERPRINT:
            driver = Driver(
                probe=Outcome.NOT_STARTED,
                kernel_module=loaded_module(self.root),
                library_version=library_version(self.root),
                notes=("NVML is not asked at this depth",),
            )
            return host, driver
        return host, observe_driver(
            deadline=self.deadlines.driver, runner=self.runner, root=self.root
        )

    def fingerprint(self, environment: Environment) -> str:
        return fingerprint(environment, glance(self.root), self.session)

    def look(self, environment: Environment, depth: Depth, host: Host, driver: Driver) -> Snapshot:
        """Every fact about *environment* that *depth* allows."""
        snapshot = Snapshot(
            depth=depth,
            host=host,
            driver=driver,
            environment=environment,
            fingerprint=self.fingerprint(environment),
        )
        if depth >= Depth.STATIC:
            snapshot = self._static(snapshot)
        if depth >= Depth.LOADER and environment.python is not None:
            snapshot = self._deep(snapshot, depth)
        return snapshot

    def packages(self, environment: Environment) -> Packages:
        return observe_packages(environment, providers())

    def _static(self, snapshot: Snapshot) -> Snapshot:
        environment = snapshot.environment
        found = hooks.observe_hooks(environment, self._drives(snapshot))
        packages = self.packages(environment)
        return replace(
            snapshot,
            packages=packages,
            conda=observe_conda(environment.prefix),
            hooks=found,
            libraries=self._predict(snapshot, packages, found),
            notes=tuple(self._limits(environment)),
        )

    def _drives(self, snapshot: Snapshot) -> tuple[Path, ...]:
        """The roots of the drives that Windows and the environment are on."""
        if snapshot.host.system != WINDOWS.system:
            return ()
        drives = (self.session.get("SYSTEMDRIVE", ""), snapshot.environment.prefix.drive)
        return tuple(dict.fromkeys(Path(f"{drive.upper()}\\") for drive in drives if drive))

    def _limits(self, environment: Environment) -> Iterator[str]:
        registry = this_registry()
        if registry is not None and (note := too_long(environment, registry)):
            yield note

    def _predict(self, snapshot: Snapshot, packages: Packages, found: Hooks) -> Libraries | None:
        environment, session = snapshot.environment, self.session
        names = needed(packages, snapshot.host.system)
        if not names:
            return None
        if snapshot.host.system == WINDOWS.system:
            path = predicted_path(found, environment, session)
            return dlls.predict(environment, names, path, session, found.preload)
        path = predicted_loader_path(found, environment, session)
        return libraries.predict(environment, names, _wheel(packages), path, found.preload)

    def _deep(self, snapshot: Snapshot, depth: Depth) -> Snapshot:
        environment = snapshot.environment
        on_windows = snapshot.host.system == WINDOWS.system
        activation = (cmd_activation.activate if on_windows else activate)(
            environment,
            self.session,
            deadline=self.deadlines.activation,
            runner=self.runner,
        )
        snapshot = replace(snapshot, hooks=replace(snapshot.hooks, activation=activation))
        if not snapshot.packages.tensorflow and not snapshot.packages.shadowing:
            return snapshot
        environ = _shell(activation, self.session)
        if depth >= Depth.TENSORFLOW:
            answer = ask_tensorflow(
                environment,
                environ,
                deadline=self.deadlines.tensorflow,
                runner=self.runner,
            )
            snapshot = replace(snapshot, tensorflow=answer)
        snapshot = replace(snapshot, libraries=self._load(snapshot, environ))
        if depth >= Depth.COMPUTE:
            computed = compute_something(
                environment, environ, deadline=self.deadlines.compute, runner=self.runner
            )
            snapshot = replace(snapshot, compute=computed)
        return snapshot

    def _load(self, snapshot: Snapshot, environ: Mapping[str, str]) -> Libraries | None:
        environment, packages = snapshot.environment, snapshot.packages
        names = needed(packages, snapshot.host.system)
        if not names:
            return snapshot.libraries
        deadline, runner = self.deadlines.loader, self.runner
        if snapshot.host.system == WINDOWS.system:
            return dlls.load(
                environment, names, environ, self.session, deadline=deadline, runner=runner
            )
        return libraries.load(
            environment,
            names,
            _wheel(packages),
            environ,
            self.session,
            deadline=deadline,
            runner=runner,
        )


def needed(packages: Packages, system: str = HERE.system) -> tuple[str, ...]:
    """The libraries that the effective TensorFlow opens by name on *system*; empty for a release
    not known."""
    effective = packages.effective
    known = release(effective.version) if effective else None
    return known.opened_on(system) if known else ()


def _wheel(packages: Packages) -> libraries.Wheel | None:
    effective = packages.effective
    return libraries.read_wheel(effective.folder / "tensorflow") if effective else None


def _shell(activation: Activation, session: Mapping[str, str]) -> Mapping[str, str]:
    """The activated environment, or the plain session where activation did not complete."""
    return activation.environ if activation.outcome is Outcome.COMPLETED else session
