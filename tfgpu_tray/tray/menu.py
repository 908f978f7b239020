"""The menu, built from what the store says. Pure: its actions only enqueue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from tfgpu_tray.model import Condition, Offer, Verdict
from tfgpu_tray.store.board import Silence
from tfgpu_tray.tray.items import SEPARATOR, MenuItem
from tfgpu_tray.tray.view import View, clock, cut, headline
from tfgpu_tray.words import MARKS

WIDTH = 90  # characters of a menu entry
HISTORY = 10  # events in the menu; the rest is in the text
LISTED = 15  # environments in the menu, the worst of them; the rest is in the text


class Actions(Protocol):
    """What a user can do. Each returns at once."""

    def check_now(self) -> None: ...
    def repair(self, prefix: Path) -> None: ...
    def undo(self, prefix: Path) -> None: ...
    def details(self, prefix: Path | None) -> None: ...
    def silence(self, prefix: Path, cause: str, kind: Silence | None) -> None: ...
    def pause(self, seconds: float | None) -> None: ...
    def pause_until_tomorrow(self) -> None: ...
    def autostart(self, wanted: bool) -> None: ...
    def open_configuration(self) -> None: ...
    def quit(self) -> None: ...


def build(view: View, actions: Actions, *, at_login: bool) -> list[MenuItem]:
    return [
        _line(headline(view)),
        SEPARATOR,
        *_repairs(view, actions),
        *_environments(view, actions),
        SEPARATOR,
        MenuItem("Check now", _do(actions.check_now), default=True),
        MenuItem("What happened", submenu=list(_history(view, actions))),
        *_pause(view, actions),
        SEPARATOR,
        MenuItem("Start at login", _do(actions.autostart, not at_login), checked=at_login),
        MenuItem("Open configuration", _do(actions.open_configuration)),
        MenuItem("Quit", _do(actions.quit)),
    ]


def _repairs(view: View, actions: Actions) -> Iterator[MenuItem]:
    """What can be mended now, at the top of the menu."""
    for condition in worst(view, LISTED):
        offer = view.judged(condition).offer
        if offer is None or view.is_being_repaired(condition.prefix):
            continue
        where = f" in {view.name(condition.prefix)}" if len(view.conditions) > 1 else ""
        text = f"Repair now{where}: {priced(offer)}"
        yield MenuItem(cut(text, WIDTH), _do(actions.repair, condition.prefix))


def _environments(view: View, actions: Actions) -> Iterator[MenuItem]:
    listed = worst(view, LISTED)
    yield from (_environment(view, condition, actions) for condition in listed)
    if more := len(view.conditions) - len(listed):
        yield MenuItem(f"… and {more} more, as text", _do(actions.details, None))


def worst(view: View, count: int) -> list[Condition]:
    """At most *count* conditions in the order of their prefixes, the worst ones."""
    by_badness = sorted(view.conditions, key=lambda c: -view.judged(c).verdict.badness)
    kept = by_badness[:count]
    return [c for c in view.conditions if c in kept]


def _environment(view: View, condition: Condition, actions: Actions) -> MenuItem:
    verdict = condition.shown.verdict
    title = f"{MARKS[verdict][0]} {view.name(condition.prefix)}: {verdict.value}"
    if view.is_ignored(condition):
        title = f"– {view.name(condition.prefix)}: {verdict.value}, ignored"
    return MenuItem(cut(title, WIDTH), submenu=list(_about(view, condition, actions)))


def _about(view: View, condition: Condition, actions: Actions) -> Iterator[MenuItem]:
    shown, prefix = condition.shown, condition.prefix
    yield _line(shown.headline)
    if shown.who:
        yield _line(shown.who)
    for text in shown.also[:3]:
        yield _line(f"also: {text}")
    yield _line(f"since {clock(condition.since, view.now)}")
    if view.is_being_repaired(prefix):
        yield _line(f"being repaired: {view.doing(prefix)}")
    elif shown.offer is not None:
        yield SEPARATOR
        yield MenuItem(
            cut(f"Repair now: {priced(shown.offer)}", WIDTH), _do(actions.repair, prefix)
        )
        for number, step in enumerate(shown.offer.steps, start=1):
            yield _line(f"    {number}. {step}")
        for way in shown.offer.instead:
            yield _line(f"Or by hand: {way}")
    elif shown.advice:
        yield SEPARATOR
        yield _line(f"What you can do: {shown.advice}")
    yield SEPARATOR
    if prefix in view.undoable and not view.is_being_repaired(prefix):
        started = clock(view.undoable[prefix].started, view.now)
        yield MenuItem(f"Undo the repair of {started}", _do(actions.undo, prefix))
    yield from _silences(view, condition, actions)
    yield MenuItem("Details", _do(actions.details, prefix))


def _silences(view: View, condition: Condition, actions: Actions) -> Iterator[MenuItem]:
    shown, held = condition.shown, view.silence(condition)
    if shown.cause is None or shown.verdict not in (Verdict.BROKEN, Verdict.DEGRADED):
        return
    about = (condition.prefix, shown.cause)
    for kind, text in (
        (Silence.ACKNOWLEDGED, "Acknowledge (no reminders)"),
        (Silence.IGNORED, "Ignore this here"),
    ):
        wanted = None if held is kind else kind
        yield MenuItem(text, _do(actions.silence, *about, wanted), checked=held is kind)


def _history(view: View, actions: Actions) -> Iterator[MenuItem]:
    for event in view.events[:HISTORY]:
        where = f"{view.name(event.prefix)}: " if event.prefix else ""
        yield _line(f"{clock(event.at, view.now)}  {where}{event.text}")
    if not view.events:
        yield _line("nothing yet")
    yield SEPARATOR
    yield MenuItem("All of it, as text", _do(actions.details, None))


def _pause(view: View, actions: Actions) -> Iterator[MenuItem]:
    if view.paused_until is not None:
        yield MenuItem("Go on watching", _do(actions.pause, None))
        return
    choices = [
        MenuItem("for 1 hour", _do(actions.pause, 3600.0)),
        MenuItem("until tomorrow", _do(actions.pause_until_tomorrow)),
    ]
    yield MenuItem("Pause", submenu=choices)


def priced(offer: Offer) -> str:
    """What a repair will do, and how big it is."""
    if offer.download_mb is None:
        return offer.title
    size = f"about {offer.download_mb} MB" if offer.download_mb else "nothing to download"
    return f"{offer.title} ({size})"


def _line(text: str) -> MenuItem:
    return MenuItem(cut(text.replace("\n", " "), WIDTH), enabled=False)


def _do(action: Callable[..., None], *arguments: object) -> Callable[[Any], None]:
    return lambda icon: action(*arguments)
