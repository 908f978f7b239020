"""What the user is notified of: transitions, once; reminders by age; nothing while it disturbs.

Pure. `due` compares what holds with what was last told, so that a restart repeats nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tfgpu_tray.config import Notifications
from tfgpu_tray.model import Condition, Judgement, Verdict
from tfgpu_tray.store.board import Silence
from tfgpu_tray.tray.menu import priced
from tfgpu_tray.tray.status import Status
from tfgpu_tray.tray.view import View, clock, cut

BAD = (Verdict.BROKEN, Verdict.DEGRADED)
# What was told last is how a repair, or taking one back, has ended.
MENDED = "mended"
TAKEN_BACK = "taken back"  # the user knows that it is broken: only a reminder tells


OF_NONE = Path()  # in place of a prefix: it is of no environment


@dataclass(frozen=True, slots=True)
class Notice:
    prefix: Path
    what: str  # tells whether it has been told: verdict and cause, and the time they began
    title: str
    body: str
    buttons: tuple[str, ...] = ()  # of "repair", "undo", "details"
    status: Status = Status.UNKNOWN
    urgent: bool = False


def due(view: View, settings: Notifications) -> Iterator[Notice]:
    """What should be told now that was not."""
    if not settings.enabled or view.paused_until is not None:
        return
    for condition in view.conditions:
        settled = condition.settled
        if settled is None or condition.glimpse is not None:
            continue  # TensorFlow is still to be asked
        if view.is_being_repaired(condition.prefix):
            continue  # what a repair brings is told when it has ended
        what = _what(condition, settled)
        told, at = view.told.get(condition.prefix, ("", 0.0))
        if _is_from_before(condition, told, at):
            continue
        if settled.verdict not in BAD or view.silenced.get((condition.prefix, settled.cause or "")):
            continue
        if told not in (what, TAKEN_BACK):
            yield _trouble(view, condition, settled, what)
        elif settings.remind is not None and view.now - at >= settings.remind:
            yield _reminder(view, condition, settled, what)


def without_buttons(notice: Notice, length: int) -> str:
    """The body, at most *length* UTF-16 units, with where to click instead of its buttons."""
    ways = {"repair": "repairs it", "undo": "takes it back"}
    way = next((ways[button] for button in notice.buttons if button in ways), None)
    hint = f"The icon's menu {way}." if way else ""
    body = cut(notice.body, length - len(hint) - 1)
    return "\n".join(filter(None, (body, hint)))


def outdated(view: View) -> Iterator[Path]:
    """Environments of which a trouble was told that is over."""
    for condition in view.conditions:
        settled = condition.settled
        told, at = view.told.get(condition.prefix, ("", 0.0))
        if told in ("", MENDED) or _is_from_before(condition, told, at):
            continue
        if settled is not None and condition.glimpse is None and settled.verdict is Verdict.OK:
            yield condition.prefix


def lapsed(view: View) -> Iterator[tuple[Path, str]]:
    """What was acknowledged, environment and cause, and does not hold any more: should it come
    again, it is news."""
    holding = {
        c.prefix: c.settled.cause for c in view.conditions if c.settled and c.glimpse is None
    }
    for (prefix, cause), kind in view.silenced.items():
        if kind is Silence.ACKNOWLEDGED and holding.get(prefix, cause) != cause:
            yield prefix, cause


def _is_from_before(condition: Condition, told: str, at: float) -> bool:
    """Whether what holds was last seen before a repair, or an undo, ended and was told."""
    return told in (MENDED, TAKEN_BACK) and condition.seen <= at


def _what(condition: Condition, settled: Judgement) -> str:
    return f"{settled.verdict.value} {settled.cause} {condition.since:.3f}"


def _trouble(view: View, condition: Condition, settled: Judgement, what: str) -> Notice:
    name = view.name(condition.prefix)
    broken = settled.verdict is Verdict.BROKEN
    title = f"TensorFlow sees no GPU in {name}" if broken else f"GPU support of {name} is at risk"
    lines = [_sentence(settled.headline)]
    if settled.who:
        lines.append(_sentence(settled.who))
    if settled.offer is not None:
        lines.append(f"Repair: {priced(settled.offer)}.")
    elif settled.advice:
        lines.append(settled.advice)
    buttons = ("repair", "details") if settled.offer is not None else ("details",)
    status = Status.BROKEN if broken else Status.DEGRADED
    return Notice(condition.prefix, what, title, "\n".join(lines), buttons, status, broken)


def _reminder(view: View, condition: Condition, settled: Judgement, what: str) -> Notice:
    first = _trouble(view, condition, settled, what)
    name = view.name(condition.prefix)
    title = f"Still {settled.verdict.value} since {clock(condition.since, view.now)}: {name}"
    return replace(first, title=title, urgent=False)


def _sentence(text: str) -> str:
    first = text[:1].upper() + text[1:]
    return first if first.endswith((".", "!", "?", "…")) else f"{first}."
