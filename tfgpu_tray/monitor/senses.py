"""The monitor's facts on the real machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tfgpu_tray.model import Environment
from tfgpu_tray.monitor.looking import Looker
from tfgpu_tray.monitor.reluctance import reluctance
from tfgpu_tray.observe.manifest import Manifest, read_manifest
from tfgpu_tray.observe.processes import Manager, managers_at_work
from tfgpu_tray.observe.settling import unfinished_work

ZOMBIES = 5.0  # seconds between questions whether a process that is waited for is one


@dataclass(frozen=True)
class MachineSenses:
    look: Looker
    find: Callable[[], list[Environment]]
    fingerprint: Callable[[Environment], str]
    repairing: Callable[[Path], str | None]

    def manifest(self, environment: Environment) -> Manifest:
        return read_manifest(environment)

    def managers(self) -> list[Manager]:
        return managers_at_work()

    def unfinished(self, environment: Environment) -> str | None:
        return unfinished_work(environment, time.time())

    def reluctance(self) -> str | None:
        return reluctance()

    def await_exit(self, managers: Sequence[Manager], then: Callable[[], None]) -> None:
        def wait() -> None:
            for manager in managers:
                _await(manager)
            then()

        threading.Thread(target=wait, name="await-exit", daemon=True).start()


def _await(manager: Manager) -> None:
    """Returns when it has ended. In containers nobody may fetch its exit status: a zombie ended."""
    try:
        process = psutil.Process(manager.pid)
        while abs(process.create_time() - manager.started) < 1:  # else its number was reused
            try:
                process.wait(ZOMBIES)
                return
            except psutil.TimeoutExpired:
                if process.status() == psutil.STATUS_ZOMBIE:
                    return
    except (psutil.Error, OSError):
        return
