"""What the tray shows, as a pure function of what the store holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfgpu_tray.examine import ago
from tfgpu_tray.model import Condition, Event, Judgement, Verdict
from tfgpu_tray.store.board import Board, Silence, Silenced, silence_of
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
    silenced: Silenced = field(default_factory=dict)
    told: Mapping[Path, tuple[str, float]] = field(default_factory=dict)
    events: tuple[Event, ...] = ()  # newest first
    checking: Path | None = None

    def judged(self, condition: Condition) -> Judgement:
        """What holds for the icon: an ignored cause is none."""
        shown = condition.shown
        if self.is_ignored(condition):
            return Judgement(Verdict.OK, f"ignored: {shown.headline}")
        return shown

    def silence(self, condition: Condition) -> Silence | None:
        return silence_of(self.silenced, condition)

    def is_ignored(self, condition: Condition) -> bool:
        return self.silence(condition) is Silence.IGNORED

    def name(self, prefix: Path) -> str:
        """As many of the last parts of *prefix* as tell it from the others."""
        others = [c.prefix.parts for c in self.conditions if c.prefix != prefix]
        for count in range(1, len(prefix.parts)):
            last = prefix.parts[-count:]
            if all(parts[-count:] != last for parts in others):
                return str(Path(*last))
        return str(prefix)

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
        until = clock(view.paused_until, view.now)
        return Shown(Status.PAUSED, f"tfgpu-tray: paused until {until}")
    worst = max((view.judged(c).verdict for c in view.conditions), key=_badness, default=None)
    # Without the age: a tooltip that changes every minute would wake the desktop every minute.
    status = _STATUS[worst] if worst else Status.UNKNOWN
    return Shown(status, cut(f"tfgpu-tray: {summary(view)}", TOOLTIP))


def headline(view: View) -> str:
    """The first line of the menu."""
    if view.is_repairing:
        return icon(view).tooltip
    if view.paused_until is not None:
        return f"Paused until {clock(view.paused_until, view.now)}"
    if not view.conditions:
        return summary(view)
    if view.checking is not None:
        return f"{summary(view)} · asking TensorFlow in {view.name(view.checking)} …"
    checked = min(c.seen for c in view.conditions)  # what is said of all holds since then
    return f"{summary(view)} · checked {ago(max(0.0, view.now - checked))}"


def summary(view: View) -> str:
    if not view.conditions:
        return "no environment with TensorFlow found yet"
    judged = [(c, view.judged(c)) for c in view.conditions]
    bad = [(c, j) for c, j in judged if j.verdict is not Verdict.OK]
    if not bad:
        return _nothing_wrong(view)
    condition, worst = max(bad, key=lambda pair: pair[1].verdict.badness)
    if worst.verdict is Verdict.UNKNOWN and _is_unasked(condition):
        unasked = [c for c, j in bad if j.verdict is Verdict.UNKNOWN and _is_unasked(c)]
        return f"still to be asked: {_names(view, unasked)}"
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return f"{view.name(condition.prefix)}: {worst.headline}{more}"


def _nothing_wrong(view: View) -> str:
    """What is ignored does not colour the icon, and is not said to be well either."""
    ignored = [c for c in view.conditions if view.is_ignored(c)]
    count, well = len(view.conditions), len(view.conditions) - len(ignored)
    if not ignored:
        return "GPU visible" if count == 1 else f"GPU visible in all {count} environments"
    seen = f"GPU visible in {well} of {count} environments; " if well else ""
    return f"{seen}ignored: {_names(view, ignored)}"


def _names(view: View, conditions: Sequence[Condition]) -> str:
    names = ", ".join(view.name(c.prefix) for c in conditions[:3])
    return names + (" …" if len(conditions) > 3 else "")


def _is_unasked(condition: Condition) -> bool:
    return condition.settled is None or condition.glimpse is not None


def _badness(verdict: Verdict) -> int:
    return verdict.badness


# ---- words -------------------------------------------------------------------------------------


def clock(at: float, now: float) -> str:
    """ "14:02"; with the date when it is another day than *now*."""
    then, today = time.localtime(at), time.localtime(now)
    same = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M" if same else "%d %b %H:%M", then)


def cut(text: str, length: int) -> str:
    """At most *length* UTF-16 units, which is how Windows counts; what is no text becomes "?"."""
    data = text.encode("utf-16-le", "replace")
    if len(data) // 2 <= length:
        return data.decode("utf-16-le")
    return data[: 2 * (length - 1)].decode("utf-16-le", "ignore").rstrip() + "…"
