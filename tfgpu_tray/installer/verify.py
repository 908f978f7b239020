"""Chapter 6 of the article: the proof, and whether a change was for the better."""

from __future__ import annotations

from collections.abc import Collection

from tfgpu_tray.examine import examine
from tfgpu_tray.knowledge.causes import cause
from tfgpu_tray.model import Depth, Environment, Report, Role, Verdict
from tfgpu_tray.observe.look import Observer


def prove(observer: Observer, environment: Environment) -> Report:
    """Ask the environment's TensorFlow itself, with everything observed anew."""
    return examine(observer, environment, Depth.TENSORFLOW, observer.machine(Depth.TENSORFLOW))


def is_better(before: Report, after: Report, healed: Collection[str]) -> bool:
    """Whether *after* is an improvement worth keeping.

    Either the verdict is better; or the causes that were to be *healed* are gone and all that is
    new lies with the machine, where no change to an environment can have caused it (a driver that
    is missing only shows once TensorFlow imports again). What was healthy, and only lacked a part
    of the set-up, has to stay healthy.
    """
    if before.verdict is Verdict.OK:
        return after.verdict is Verdict.OK
    if after.verdict.badness < before.verdict.badness:
        return True
    now = {d.cause for d in after.diagnoses if d.role is not Role.POSSIBLE}
    new = now - {d.cause for d in before.diagnoses}
    return bool(healed) and not now & set(healed) and all(_of_machine(c) for c in new)


def _of_machine(identifier: str) -> bool:
    return cause(identifier).scope == "machine"
