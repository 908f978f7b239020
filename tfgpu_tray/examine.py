"""Look and judge in one go: what `check`, the verify chapter and the monitor share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.model import Depth, Driver, Environment, Host, Report, Snapshot, Verdict
from tfgpu_tray.observe.look import Observer


@dataclass(frozen=True, slots=True)
class Remembered:
    """The last real answer for an environment that has not changed since."""

    verdict: Verdict
    headline: str
    age: float  # seconds


Memory = Callable[[Snapshot], Remembered | None]


def examine(
    observer: Observer,
    environment: Environment,
    depth: Depth,
    machine: tuple[Host, Driver],
    memory: Memory = lambda _: None,
) -> Report:
    """Look at *environment* to *depth* and judge what is seen.

    A shallow look at an environment that has not changed keeps the verdict that TensorFlow itself
    gave: a table never overrules the real probe.
    """
    report = diagnose(observer.look(environment, depth, *machine))
    if report.snapshot.tensorflow is not None:
        return report
    held = memory(report.snapshot)
    if held is None:
        return report
    overruled = held.verdict is Verdict.OK and report.verdict is Verdict.BROKEN
    if not overruled and report.verdict is not Verdict.UNKNOWN:
        return report
    return replace(
        report,
        verdict=held.verdict,
        diagnoses=() if overruled else report.diagnoses,
        headline=f"{held.headline} (asked {ago(held.age)}, unchanged since)",
    )


def ago(seconds: float) -> str:
    """ "3 min ago"."""
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word} ago"
    return "just now"
