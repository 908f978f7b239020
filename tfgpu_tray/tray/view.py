"""What the tray shows, as a pure function of what the store holds."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfgpu_tray.examine import ago
from tfgpu_tray.model import Condition, Event, Judgement, Verdict
from tfgpu_tray.store.board import Board, Silence
from tfgpu_tray.store.journal import Journal, Repair
from tfgpu_tray.tray.status import Status

TOOLTIP = 127  # characters that Windows shows


@dataclass(frozen=True, slots=True)
class View:
    """Everything the store says at one moment."""

    now: float
    conditions: tuple[Condition, ...] = ()
    repairs: tuple[Repair, ...] = ()  # at work
    starting: frozenset[Path] = frozenset()  # where a repair or an undo was started
    undoable: Mapping[Path, Repair] = field(default_factory=dict)  # the newest of each environment
    paused_until: float | None = None
    silenced: Mapping[tuple[Path, str], Silence] = field(default_factory=dict)
    told: Mapping[Path, tuple[str, float]] = field(default_factory=dict)
    events: tuple[Event, ...] = ()  # newest first
    checking: Path | None = None

    def judged(self, condition: Condition) -> Judgement:
        """What holds for the icon: an ignored cause is none."""
        shown = condition.shown
        if self.silence(condition) is Silence.IGNORED:
            return Judgement(Verdict.OK, f"ignored: {shown.headline}")
        return shown

    def silence(self, condition: Condition) -> Silence | None:
        return self.silenced.get((condition.prefix, condition.shown.cause or ""))

    def name(self, prefix: Path) -> str:
        """The last part of *prefix*; with the one before it where that is not enough."""
        same = [c for c in self.conditions if c.prefix.name == prefix.name]
        return prefix.name if len(same) < 2 else os.path.join(prefix.parent.name, prefix.name)

    def repair_of(self, prefix: Path) -> Repair | None:
        return next((r for r in self.repairs if r.prefix == prefix), None)

    def is_being_repaired(self, prefix: Path) -> bool:
        return prefix in self.starting or self.repair_of(prefix) is not None

    @property
    def is_repairing(self) -> bool:
        return bool(self.repairs or self.starting)

    def doing(self, prefix: Path) -> str:
        """What a repair of *prefix* does now."""
        repair = self.repair_of(prefix)
        return (repair.phase if repair else "") or "looking at what is there"


def read_view(
    board: Board,
    journal: Journal,
    repairs: tuple[Repair, ...],
    now: float,
    *,
    starting: frozenset[Path] = frozenset(),
    checking: Path | None = None,
) -> View:
    """*repairs* are those of the journal that are really at work."""
    undoable: dict[Path, Repair] = {}
    for repair in journal.done():
        undoable.setdefault(repair.prefix, repair)
    return View(
        now=now,
        conditions=tuple(board.conditions()),
        repairs=repairs,
        starting=starting,
        undoable=undoable,
        paused_until=board.paused_until,
        silenced=board.silenced(),
        told=board.told(),
        events=tuple(board.events(12)),
        checking=checking,
    )


# ---- the icon ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """What the icon shows."""

    status: Status
    tooltip: str
    progress: float | None = None


_STATUS = {
    Verdict.OK: Status.OK,
    Verdict.DEGRADED: Status.DEGRADED,
    Verdict.BROKEN: Status.BROKEN,
    Verdict.UNKNOWN: Status.UNKNOWN,
}


def icon(view: View) -> Shown:
    if view.is_repairing:
        prefix = view.repairs[0].prefix if view.repairs else min(view.starting)
        repair = view.repair_of(prefix)
        text = f"Repairing {view.name(prefix)}: {view.doing(prefix)}"
        return Shown(Status.REPAIRING, cut(text, TOOLTIP), repair.fraction if repair else None)
    if view.paused_until is not None:
        return Shown(Status.PAUSED, f"tfgpu-tray: paused until {clock(view.paused_until)}")
    worst = max((view.judged(c).verdict for c in view.conditions), key=_badness, default=None)
    # Without the age: a tooltip that changes every minute would wake the desktop every minute.
    status = _STATUS[worst] if worst else Status.UNKNOWN
    return Shown(status, cut(f"tfgpu-tray: {summary(view)}", TOOLTIP))


def headline(view: View) -> str:
    """The first line of the menu."""
    if view.is_repairing:
        return icon(view).tooltip
    if view.paused_until is not None:
        return f"Paused until {clock(view.paused_until)}"
    if not view.conditions:
        return summary(view)
    if view.checking is not None:
        return f"{summary(view)} · asking TensorFlow in {view.name(view.checking)} …"
    checked = max(c.seen for c in view.conditions)
    return f"{summary(view)} · checked {ago(max(0.0, view.now - checked))}"


def summary(view: View) -> str:
    if not view.conditions:
        return "no environment with TensorFlow found yet"
    judged = [(c, view.judged(c)) for c in view.conditions]
    bad = [(c, j) for c, j in judged if j.verdict in (Verdict.BROKEN, Verdict.DEGRADED)]
    bad.sort(key=lambda pair: -pair[1].verdict.badness)
    if bad:
        condition, judgement = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return f"{view.name(condition.prefix)}: {judgement.headline}{more}"
    unknown = [c for c, j in judged if j.verdict is Verdict.UNKNOWN]
    if unknown:
        names = ", ".join(view.name(c.prefix) for c in unknown[:3])
        return f"still to be asked: {names}" + (" …" if len(unknown) > 3 else "")
    return "GPU visible" if len(judged) == 1 else f"GPU visible in all {len(judged)} environments"


def _badness(verdict: Verdict) -> int:
    return verdict.badness


# ---- words -------------------------------------------------------------------------------------


def clock(at: float) -> str:
    """ "14:02"; with the date when it is another day than today."""
    then, today = time.localtime(at), time.localtime()
    same = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M" if same else "%d %b %H:%M", then)


def cut(text: str, length: int) -> str:
    """At most *length* UTF-16 units, which is how Windows counts."""
    if len(text.encode("utf-16-le")) // 2 <= length:
        return text
    kept = text.encode("utf-16-le")[: 2 * (length - 1)].decode("utf-16-le", "ignore")
    return kept.rstrip() + "…"
