"""The one way in which anything of ours changes a machine.

Lock the prefix, keep what may be replaced, journal each step before and after, apply, ask the real
TensorFlow, and put everything back unless things are better. Every journal entry and every kept
file is on disk before the change it belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from tfgpu_tray.installer.step import Step, StepFailed, Work, shown
from tfgpu_tray.installer.verify import is_better, prove
from tfgpu_tray.model import Environment, Report
from tfgpu_tray.observe import environments
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.observe.processes import Process, installers_at_work
from tfgpu_tray.repair import holders
from tfgpu_tray.repair.gauge import Gauge
from tfgpu_tray.repair.keep import Keep, KeepFailed, RestoreFailed
from tfgpu_tray.repair.plan import Plan
from tfgpu_tray.repair.replacing import sweep
from tfgpu_tray.store.journal import Journal, Repair, State
from tfgpu_tray.store.locks import prefix_lock, take

POLLING = 2.0  # seconds between two looks at who is at work
KEPT_REPAIRS = 3  # for each environment, those that `undo` can take back


class Refused(Exception):
    """The transaction did not start, and nothing was changed; the text says why."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a transaction ended."""

    state: State
    before: Report | None
    after: Report | None = None
    note: str = ""  # why it was put back, or what is left to do
    number: int = 0


@dataclass(frozen=True, slots=True)
class Telling:
    """What the transaction says while it works; each face shows it in its own way."""

    step: Callable[[int, int, str], None] = field(default=lambda number, count, title: None)
    output: Callable[[str], None] = field(default=lambda text: None)
    phase: Callable[[str], None] = field(default=lambda text: None)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What transactions need: the data folder, the journal, a way to look."""

    folder: Path
    journal: Journal
    observer: Observer
    telling: Telling = field(default_factory=Telling)
    working: Callable[[Path], Sequence[Process]] = installers_at_work
    using: Callable[[Path], Sequence[Process]] = holders.users

    # ---- the three things it does --------------------------------------------------------------

    def run(self, plan: Plan, before: Report, command: str = "repair") -> Ended:
        """Carry out *plan*.

        Raises:
            Refused: somebody else is at work there, or what is there could not be kept.
        """
        return self.run_steps(plan.environment, plan.steps, before, plan.healed, command)

    def run_steps(
        self,
        environment: Environment,
        steps: Sequence[Step],
        before: Report,
        healed: Sequence[str],
        command: str,
    ) -> Ended:
        with self._locked(environment.prefix):
            self._refuse_if_busy(environment.prefix)
            self._recover(environment.prefix)
            self._sweep()
            titles = [step.describe().title for step in steps]
            self.telling.phase("Keeping a copy of what is there")
            number = self.journal.begin(environment.prefix, command, before.verdict.value, titles)
            keep = self._keep(number)
            try:
                keep.take(path for step in steps for path in step.touches())
            except KeepFailed as error:
                keep.discard()
                self.journal.end(number, State.ROLLED_BACK, note=str(error))
                raise Refused(str(error)) from error
            return self._apply(number, keep, environment, steps, before, healed)

    def undo(self, repair: Repair, *, force: bool = False) -> Ended:
        """Take a finished repair back.

        Raises:
            Refused: what it changed was changed again since, or somebody is at work there.
        """
        with self._locked(repair.prefix):
            self._refuse_if_busy(repair.prefix)
            keep = self._keep(repair.id)
            if not keep.complete:
                raise Refused(f"the files kept for repair {repair.id} are gone")
            try:
                changed = [] if force else keep.changed_since()
            except (OSError, ValueError, KeyError) as error:
                raise Refused(f"the list of kept files cannot be read: {error}") from error
            if changed:
                raise Refused(
                    f"{len(changed)} files of that repair were changed again since, for example "
                    f"{changed[0]}; undo --force puts back the older ones all the same"
                )
            phase = "Putting back what was there"
            self.telling.phase(phase)
            self.journal.undo_begins(repair.id, phase)
            note = self._restore(keep)
            state = State.STUCK if note else State.UNDONE
            after = self._prove(repair.prefix) if not note else None
            verdict = after.verdict.value if after else None
            self.journal.end(repair.id, state, after=verdict, note=note or "undone")
            if not note:
                keep.discard()
            return Ended(state, None, after, note, repair.id)

    def wait(
        self,
        prefix: Path,
        seconds: float,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait until nobody is at work in *prefix* and nobody uses its TensorFlow.

        Raises:
            Refused: somebody still is after *seconds*.
        """
        end = clock() + seconds
        while reason := self._busy(prefix):
            if clock() >= end:
                raise Refused(reason)
            self.telling.phase(f"Waiting: {reason.partition(';')[0]}")
            sleep(min(POLLING, end - clock()))

    def recover(self, prefix: Path | None = None) -> list[Repair]:
        """Put back what interrupted repairs left half-done.

        Those still at work are left alone, and so are those whose package manager outlived them.
        """
        recovered = []
        for repair in self.journal.unfinished(prefix):
            try:
                with self._locked(repair.prefix):
                    self._refuse_if_busy(repair.prefix)
                    self._recover(repair.prefix)
                    recovered.append(repair)
            except Refused:
                continue
        return recovered

    # ---- how -----------------------------------------------------------------------------------

    def _apply(
        self,
        number: int,
        keep: Keep,
        environment: Environment,
        steps: Sequence[Step],
        before: Report,
        healed: Sequence[str],
    ) -> Ended:
        gauge = Gauge(self.journal, number, len(steps))

        def heard(text: str) -> None:
            self.telling.output(text)
            gauge.output(text)

        work = Work(self.observer.session, self.observer.runner, heard)
        begun: list[Step] = []
        try:
            for place, step in enumerate(steps):
                self.telling.step(place + 1, len(steps), step.describe().title)
                gauge.step(place, step.describe().title)
                if step.check():  # an earlier step has done it along the way
                    self.journal.step_ends(number, place, "skipped")
                    continue
                self.journal.step_begins(number, place)
                begun.append(step)
                step.apply(work)
                self.journal.step_ends(number, place, "done")
            self.telling.phase("Asking TensorFlow")
            gauge.step(len(steps), "Asking TensorFlow")
            after = self._prove(environment.prefix, environment.pin)
            if after is not None and is_better(before, after, healed):
                keep.seal()
                self.journal.end(number, State.DONE, after=after.verdict.value)
                self._expire(environment.prefix)
                return Ended(State.DONE, before, after, number=number)
            headline = after.headline if after else "the environment is gone"
            reason = f"no better afterwards: {headline}"
        except StepFailed as error:
            reason = str(error) + holders.told_by(str(error))
        except BaseException:  # Ctrl-C, a bug: put everything back, then let it be heard
            self._roll_back(number, keep, "interrupted", begun)
            raise
        return self._roll_back(number, keep, reason, begun, before)

    def _roll_back(
        self,
        number: int,
        keep: Keep,
        reason: str,
        begun: Sequence[Step] = (),
        before: Report | None = None,
    ) -> Ended:
        """Undo the steps that were *begun*, last first, then put back whatever else differs."""
        self.telling.phase("Putting back what was there")
        failure = "; ".join(f for f in (*self._undone(begun, keep), self._restore(keep)) if f)
        if failure:
            self.journal.end(number, State.STUCK, note=f"{reason}; {failure}")
            return Ended(State.STUCK, before, None, f"{reason}; {failure}", number)
        self.journal.end(number, State.ROLLED_BACK, note=reason)
        keep.discard()
        return Ended(State.ROLLED_BACK, before, before, reason, number)

    def _expire(self, prefix: Path) -> None:
        """What a replaced TensorFlow leaves takes gigabytes: only the newest can be taken back."""
        for old in self.journal.done(prefix)[KEPT_REPAIRS:]:
            self._keep(old.id).discard()
            self.journal.end(old.id, State.EXPIRED)

    def _recover(self, prefix: Path) -> None:
        for repair in self.journal.unfinished(prefix):
            keep = self._keep(repair.id)
            if keep.complete:
                self._roll_back(repair.id, keep, "interrupted")
            else:  # it stopped while keeping, before any change
                keep.discard()
                self.journal.end(repair.id, State.ROLLED_BACK, note="interrupted before any change")

    @staticmethod
    def _undone(begun: Sequence[Step], keep: Keep) -> list[str]:
        """What went wrong; one step that cannot be undone does not keep the others from it."""
        failures = []
        for step in reversed(begun):
            try:
                step.undo(keep)
            except Exception as error:
                failures.append(str(error))
        return failures

    @staticmethod
    def _restore(keep: Keep) -> str:
        try:
            keep.restore()
        except (RestoreFailed, OSError, ValueError, KeyError) as error:
            return str(error)
        return ""

    def _prove(self, prefix: Path, pin: str | None = None) -> Report | None:
        """None when there is no environment at *prefix* any more."""
        environment = environments.describe(prefix, found_by="repair", pin=pin)
        return prove(self.observer, environment) if environment is not None else None

    def _sweep(self) -> None:
        """Remove what earlier transactions moved out of the way of programs that used it."""
        for aside in (self.folder / "repairs").glob("*/held"):
            sweep(aside)

    def _keep(self, number: int) -> Keep:
        return Keep(self.folder / "repairs" / f"{number:06}")

    def _locked(self, prefix: Path) -> _Locked:
        return _Locked(prefix_lock(self.folder, prefix), prefix)

    def _refuse_if_busy(self, prefix: Path) -> None:
        if reason := self._busy(prefix):
            raise Refused(reason)

    def _busy(self, prefix: Path) -> str:
        """Who stands in the way, and what to do; empty when nobody does."""
        if working := self.working(prefix):
            return f"{working[0]} is changing this environment; repair when it has finished"
        if using := self.using(prefix):
            return (
                f"{using[0]} is using TensorFlow here; stop it first, then repair, or let "
                f"`tfgpu-tray repair --wait --env {shown([str(prefix)])}` wait for its end"
            )
        return ""


class _Locked:
    """Holds the lock of one prefix; one repair at a time, whoever starts it."""

    def __init__(self, lock: FileLock, prefix: Path):
        self._lock, self._prefix = lock, prefix

    def __enter__(self) -> None:
        try:
            take(self._lock)
        except Timeout as error:
            raise Refused(f"another repair of {self._prefix} is running") from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()
