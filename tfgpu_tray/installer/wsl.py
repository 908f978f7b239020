"""Chapter 5 of the article: WSL 2, installed with an administrator's consent, and a restart.

No environment is changed by it and nothing of it is undone here, so it is no step of a plan: it is
asked for by name, told what it does, and agreed to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tfgpu_tray.diagnose.wsl_way import DISTRIBUTION, WslWay, for_people, wsl_way
from tfgpu_tray.installer.elevation import Elevate, run_elevated
from tfgpu_tray.installer.step import Description
from tfgpu_tray.model import Host
from tfgpu_tray.observe.wsl import Registered, Wsl, own_wsl, registered, with_wsl
from tfgpu_tray.store.awaited import AfterRestart

WHAT = "wsl"
DEADLINE = 3600.0  # it downloads some hundred megabytes
# ERROR_SUCCESS_REBOOT_REQUIRED, ERROR_SUCCESS_REBOOT_INITIATED
RESTART_CODES = (3010, 1641)


class State(StrEnum):
    REFUSED = "refused"  # this Windows cannot have it
    NOTHING_TO_DO = "nothing-to-do"
    GUIDED = "guided"  # what is left, a person does
    PLANNED = "planned"
    DECLINED = "declined"
    FAILED = "failed"
    RESTART = "restart-needed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the installation of WSL stands, in a form that can be told."""

    state: State
    note: str
    steps: tuple[str, ...] = ()  # what is left to a person
    step: Description | None = None  # what would be done


@dataclass(frozen=True, slots=True)
class WslInstaller:
    wsl: Wsl
    after_restart: AfterRestart
    elevate: Elevate = run_elevated

    def plan(self, host: Host) -> Installation:
        """What there is to do. *host* needs no facts of WSL; they are looked up now."""
        known = self.wsl.look()
        way = wsl_way(with_wsl(host, known))
        if not way.open:
            return Installation(State.REFUSED, f"WSL 2 is of no use here: {way.reason}")
        if way.distribution:
            note = f"WSL 2 is there, with the distribution {way.distribution}"
            return Installation(State.NOTHING_TO_DO, note, way.steps)
        awaited = self.after_restart.recall()
        if awaited is not None and not self.after_restart.restarted(awaited):
            note = "WSL is installed, and Windows has to be restarted"
            return Installation(State.RESTART, note, _after(way))
        if not way.installs_wsl:
            return Installation(
                State.GUIDED, "WSL is there, without a WSL 2 distribution", way.steps
            )
        program = own_wsl(self.wsl.session)
        step = Description(
            title=f"Install WSL 2 with {DISTRIBUTION}",
            why="Linux runs there, where TensorFlow of any version can use the GPU",
            commands=(f"{program} --install  (as administrator)",),
        )
        costs = "it takes an administrator's consent, a download of some hundred megabytes, "
        note = f"{costs}and a restart of Windows; `wsl --uninstall` takes it back"
        return Installation(State.PLANNED, note, _after(way), step)

    def apply(self, host: Host, now: float) -> Installation:
        """Carry out what `plan` called planned.

        Raises:
            StoreUnusable: that Windows is to be restarted cannot be written down; nothing is done.
        """
        way = wsl_way(with_wsl(host, self.wsl.look()))
        self.after_restart.remember(WHAT, now)  # first: a restart may come with the installation
        ended = self.elevate(own_wsl(self.wsl.session), ["--install"], deadline=DEADLINE)
        if ended.code in (0, *RESTART_CODES):
            if ended.code == 0 and _distribution(self.wsl.look()):
                self.after_restart.forget()
                return Installation(State.DONE, "WSL 2 is installed", way.steps[2:])
            return Installation(
                State.RESTART, "WSL is installed; it works after a restart of Windows", _after(way)
            )
        self.after_restart.forget()
        if ended.declined:
            return Installation(State.DECLINED, "the consent was refused; nothing was changed")
        why = ended.error or f"`wsl --install` ended with exit status {ended.code}"
        return Installation(State.FAILED, why, ("Run `wsl --install` as administrator.",))

    def take_up(self) -> str | None:
        """After a login: what became of an installation that waited for a restart, told once."""
        awaited = self.after_restart.recall()
        if awaited is None or awaited.what != WHAT or not self.after_restart.restarted(awaited):
            return None
        known = registered(self.wsl.registry)  # nothing slow: this is asked at login
        if known is None:
            return None  # it may answer at the next login
        self.after_restart.forget()
        if name := _distribution(known):
            return f"WSL 2 is there now, with {name}; `tfgpu-tray check --wsl` looks inside"
        if known.installed:
            return f"WSL is there now; `wsl --install -d {DISTRIBUTION}` adds a distribution to it"
        return "Windows was restarted and WSL is not there; `tfgpu-tray install --wsl` tries again"


def _distribution(known: Registered | None) -> str | None:
    people = for_people(known.distributions) if known else []
    return next((d.name for d in people if d.version == 2), None)


def _after(way: WslWay) -> tuple[str, ...]:
    """What is left once WSL has been installed by us."""
    return way.steps[1:] if way.installs_wsl else way.steps
