"""When to look at which environment, and what follows: conditions and events.

The monitor itself has no thread and no timer. The schedule, the watcher, the clock and the user ask
(`ask`, `touched`: safe in any thread, they only write down); one worker calls `work` when there is
something to do. So a test drives days of it with a clock of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tfgpu_tray.model import Condition, Depth, Environment, Event, Judgement, Verdict
from tfgpu_tray.monitor.attribution import attribute
from tfgpu_tray.monitor.looking import LookFailed, Sight
from tfgpu_tray.monitor.settling import Settling
from tfgpu_tray.monitor.watched import Senses, Watched
from tfgpu_tray.observe.manifest import Manifest, from_json, to_json
from tfgpu_tray.observe.processes import Manager
from tfgpu_tray.store.board import Board

RETRY = 300.0  # seconds after which TensorFlow is asked again, when it could not be
LOGIN = 45.0  # seconds after the start until TensorFlow is asked where nothing has changed
PAUSE = 5.0  # seconds after something went wrong that has nothing to do with one look
REPEATS = 3  # looks in a row that are thrown away because the environment changed under them


class Monitor:
    def __init__(
        self,
        senses: Senses,
        board: Board,
        clock: Callable[[], float],
        *,
        steady: Callable[[], float] = time.monotonic,
        met: Callable[[], None] = lambda: None,
        tell: Callable[[Event], None] = lambda event: None,
        show: Callable[[], None] = lambda: None,
        wake: Callable[[], None] = lambda: None,
    ):
        """*clock* dates what happens; *steady*, which nobody can set, measures how long to wait.

        *met* is called when environments have been found and before they are looked at: what
        changes from then on must be noticed. *tell* gets every event once it is stored, *show* is
        called when what a face shows may have changed, *wake* when `work` is needed.
        """
        self._senses, self._board, self._clock, self._steady = senses, board, clock, steady
        self._met, self._tell, self._show, self._wake = met, tell, show, wake
        self._lock = threading.Lock()  # guards what `ask` and `touched` write
        self._settling = Settling(senses, clock, steady, self._lock, self._event, wake)
        self._watched: dict[Path, Watched] = {}
        self._conditions = {c.prefix: c for c in board.conditions()}
        self._find = False
        self._everywhere: Depth | None = None  # asked of all environments
        self._everywhere_forced = False
        self._failures: dict[str, str] = {}  # as last told
        self._not_before = 0.0
        self._managers: Sequence[Manager] = ()
        self._checking: Path | None = None

    # ---- asking, from any thread ---------------------------------------------------------------

    def ask(
        self, depth: Depth, prefixes: Iterable[Path] | None = None, *, forced: bool = False
    ) -> None:
        """Look at *prefixes*, by default at every environment, to *depth*.

        *forced*: a person asked, so neither a battery nor a busy GPU puts it off.
        """
        with self._lock:
            if prefixes is None:
                self._find = True
                self._everywhere = max(depth, self._everywhere or depth)
                self._everywhere_forced |= forced
            for prefix in prefixes or ():
                if watched := self._watched.get(prefix):
                    watched.want(depth, forced=forced)
                else:
                    self._find = True
        self._wake()

    def touched(self, prefix: Path | None) -> None:
        """The watcher saw something change in *prefix*; None: where environments come and go."""
        now = self._steady()
        with self._lock:
            if prefix is None:
                self._find = True
            elif watched := self._watched.get(prefix):
                first, watched.touched = watched.touched, (now, now)
                if first is not None:  # it is known already, and only put off
                    watched.touched = first[0], now
                    return
            else:
                return
        self._wake()

    @property
    def environments(self) -> list[Environment]:
        with self._lock:
            return [w.environment for w in self._watched.values()]

    @property
    def checking(self) -> Path | None:
        """The environment whose TensorFlow is being asked."""
        return self._checking

    def due(self) -> float | None:
        """Seconds until `work` has something to do; None: not before somebody asks."""
        now = self._steady()
        with self._lock:
            times = [w.not_before for w in self._watched.values() if w.has_work]
            if self._find or self._everywhere is not None:
                times.append(now)
        return max(0.0, min(times) - now, self._not_before - now) if times else None

    # ---- working, in one thread ----------------------------------------------------------------

    def work(self) -> None:
        """Do what was asked for and is due. What goes wrong becomes an event, never an error."""
        with self._lock:
            find, wanted, forced = self._find, self._everywhere, self._everywhere_forced
            self._find, self._everywhere, self._everywhere_forced = False, None, False
            if wanted is not None:
                for watched in self._watched.values():
                    watched.want(wanted, forced=forced)
        if find:
            self._try(
                "finding environments",
                lambda: self._meet(self._senses.find(), wanted or Depth.FINGERPRINT, forced),
            )
            self._try("watching", self._met)
        self._try("a look", self._look_around)

    def _try(self, what: str, part: Callable[[], None]) -> None:
        """Told once, as long as it lasts."""
        try:
            part()
        except Exception as error:
            self._not_before = self._steady() + PAUSE
            text = _failure(error, what)
            if self._failures.get(what) != text:
                self._failures[what] = text
                self._event("failed", None, text)
        else:
            self._failures.pop(what, None)

    def _look_around(self) -> None:
        now = self._steady()
        with self._lock:
            chosen = [w for w in self._watched.values() if w.has_work and w.not_before <= now]
        if not chosen:
            return
        self._managers = self._senses.managers()
        settled = []
        for watched in chosen:
            try:
                if not self._settling.waits(watched, self._managers):
                    settled.append(watched)
            except Exception as error:
                watched.not_before = self._steady() + PAUSE
                self._failed(watched, error)
        self._look(settled)

    def _meet(self, found: Sequence[Environment], wanted: Depth, forced: bool) -> None:
        """Watch what is new, and look at it as *wanted*; forget what is gone."""
        present = {e.prefix: e for e in found}
        with self._lock:
            for prefix in self._watched.keys() - present.keys():
                del self._watched[prefix]
            for prefix, environment in present.items():
                if watched := self._watched.get(prefix):
                    watched.environment = environment
                    continue
                held = self._conditions.get(prefix)
                known = held.fingerprint if held and held.settled and not held.glimpse else None
                watched = Watched(environment, known, wanted, forced)
                if known is not None:  # the driver may be another one since this computer started
                    watched.owed, watched.retry_at = True, self._steady() + LOGIN
                self._watched[prefix] = watched
        for prefix in [p for p in self._conditions if p not in present]:
            text = "the environment is gone; not watched any more"
            event = Event("gone", prefix, text, self._clock())
            self._board.drop(prefix, event)
            del self._conditions[prefix]
            self._tell(event)
            self._show()

    # ---- looking -------------------------------------------------------------------------------

    def _look(self, settled: Sequence[Watched]) -> None:
        shallow: list[Watched] = []
        seen: list[Watched] = []
        for watched in settled:
            try:
                (shallow if self._needs_a_glance(watched) else seen).append(watched)
            except Exception as error:
                self._failed(watched, error)
        seen = [*self._glance(shallow), *seen]
        for watched in seen:
            if watched.unrecorded:  # the first look at all does not wait for it
                self._record(watched)
        waiting = [w for w in seen if self._owes_an_answer(w)]
        while waiting:
            watched = waiting.pop(0)
            try:
                self._ask_tensorflow(watched)
            except Exception as error:
                self._failed(watched, error)
            if waiting and self._is_pressed():  # they are taken up again after what is cheap
                with self._lock:
                    for put_off in waiting:
                        put_off.want(Depth.FINGERPRINT)
                return

    def _is_pressed(self) -> bool:
        """Whether an environment has changed, or been asked about, meanwhile."""
        now = self._steady()
        with self._lock:
            return any(w.has_work and w.not_before <= now for w in self._watched.values())

    def _needs_a_glance(self, watched: Watched) -> bool:
        """Takes up what was asked of *watched*; whether its files are to be read for that."""
        with self._lock:
            wanted, watched.wanted, watched.touched = watched.wanted, None, None
            watched.not_before = 0.0
        if wanted is not None and wanted > Depth.STATIC:
            watched.owed, watched.unread, watched.retry_at = True, True, 0.0
        changed = self._senses.fingerprint(watched.environment) != watched.fingerprint
        if changed:
            watched.has_changed, watched.overruled = True, None
            self._attribute(watched)
        watched.confirmed = self._clock()
        watched.commands.clear()
        return changed or wanted is Depth.STATIC

    def _owes_an_answer(self, watched: Watched) -> bool:
        """Whether TensorFlow is to be asked now."""
        held = self._conditions.get(watched.prefix)
        unsettled = held is None or held.settled is None or held.glimpse is not None
        return (unsettled or watched.owed) and self._steady() >= watched.retry_at

    def _glance(self, shallow: Sequence[Watched]) -> list[Watched]:
        """Look at files; returns those of which this look counts.

        At this depth, ok and degraded are TensorFlow's own last answer, which still stands.
        """
        seen_well = []
        for watched, seen in self._sights(shallow, Depth.STATIC):
            held = self._conditions.get(watched.prefix)
            settled = held.settled if held is not None and held.glimpse is None else None
            if settled is not None and self._stands(watched, settled, seen):
                same = seen.key == settled.key and seen.verdict is not Verdict.OK
                self._settle(watched, seen if same else settled)  # its headline tells no age
            elif seen.verdict in (Verdict.OK, Verdict.DEGRADED):
                self._settle(watched, seen)
            else:
                self._glimpse(watched, seen)
            seen_well.append(watched)
        return seen_well

    def _stands(self, watched: Watched, settled: Judgement, seen: Judgement) -> bool:
        """Whether files say nothing that TensorFlow has not answered already."""
        known = seen.key in (settled.key, watched.overruled)
        return known and not watched.has_changed and settled.verdict is not Verdict.UNKNOWN

    def _ask_tensorflow(self, watched: Watched) -> None:
        reason = None if watched.forced else self._senses.reluctance()
        if reason is not None:
            self._skip(watched, reason)
            return
        watched.skipped = ""
        self._checking = watched.prefix
        self._show()
        try:
            for _, seen in self._sights([watched], Depth.TENSORFLOW):
                held = self._conditions.get(watched.prefix)
                if held is not None and held.glimpse is not None:
                    watched.overruled = held.glimpse.key
                self._settle(watched, seen)
                watched.owed, watched.forced = False, False
        finally:
            self._checking = None
            self._show()

    def _skip(self, watched: Watched, reason: str) -> None:
        """Told with its reason, once. What files say counts meanwhile, if they say it is broken."""
        watched.owed, watched.retry_at = True, self._steady() + RETRY
        if watched.unread:
            watched.unread = False
            with self._lock:
                watched.want(Depth.STATIC)
        if watched.skipped != reason:
            watched.skipped = reason
            self._event("skipped", watched.prefix, f"TensorFlow was not asked: {reason}")
        held = self._conditions.get(watched.prefix)
        if held is not None and held.glimpse and held.glimpse.verdict is Verdict.BROKEN:
            self._settle(watched, held.glimpse)

    def _sights(
        self, chosen: Sequence[Watched], depth: Depth
    ) -> Iterator[tuple[Watched, Judgement]]:
        """What a look brings, for those that did not change under it."""
        if not chosen:
            return
        before = {w.prefix: self._senses.fingerprint(w.environment) for w in chosen}
        try:
            found: list[Sight] = list(self._senses.look([w.environment for w in chosen], depth))
        except Exception as error:
            if len(chosen) == 1:
                self._failed(chosen[0], error)
                return
            for watched in chosen:  # one of them is to blame
                yield from self._sights([watched], depth)
            return
        judgements = {sight.prefix: sight.judgement for sight in found}
        self._managers = self._senses.managers()
        for watched in chosen:
            judgement = judgements.get(watched.prefix)
            if judgement is None:
                self._failed(watched, LookFailed("the answer does not name the environment"))
            elif self._held_still(watched, before[watched.prefix]):
                watched.failure, watched.unread = "", False
                watched.fingerprint = before[watched.prefix]
                yield watched, judgement

    def _held_still(self, watched: Watched, before: str) -> bool:
        """Whether what was seen counts; else it is looked at again, when it has settled."""
        prefix = watched.prefix
        working = any(m.works_on(prefix) for m in self._managers)
        busy = working or self._senses.repairing(prefix) is not None
        moved = self._senses.fingerprint(watched.environment) != before
        if not moved:
            watched.repeats = 0
        if not busy and (not moved or watched.repeats >= REPEATS):
            return True
        watched.repeats += 1
        watched.retry_at = 0.0
        with self._lock:
            watched.want(Depth.STATIC)
        return False

    def _failed(self, watched: Watched, error: Exception) -> None:
        """Told once, not at every look; the next turn of the schedule tries again."""
        watched.forced, watched.retry_at = False, self._steady() + RETRY
        text = _failure(error, "a look")
        if watched.failure != text:
            watched.failure = text
            self._event("failed", watched.prefix, text)

    # ---- what follows --------------------------------------------------------------------------

    def _record(self, watched: Watched) -> Manifest:
        """Remember what it holds now, to tell later what changed."""
        manifest = self._senses.manifest(watched.environment)
        if manifest.complete:
            self._board.keep_manifest(watched.prefix, to_json(manifest))
        watched.unrecorded = False
        return manifest

    def _attribute(self, watched: Watched) -> None:
        """Find out who changed it since its manifest was taken."""
        stored = self._board.manifest(watched.prefix)
        before = from_json(stored[1]) if stored else None
        if stored is None or before is None:
            watched.unrecorded = True
            return
        manifest = self._record(watched)
        found = attribute(
            before,
            manifest,
            watched.environment,
            watched.commands,
            since=max(stored[0], watched.confirmed or 0.0),
            now=self._clock(),
            watched=watched.confirmed is not None,
        )
        if found is not None:
            watched.who = found.sentence
            self._event("changed", watched.prefix, found.sentence)

    def _glimpse(self, watched: Watched, seen: Judgement) -> None:
        """What files say is shown at once, and told when TensorFlow itself has been asked."""
        now = self._clock()
        held = self._conditions.get(watched.prefix)
        held = held or Condition(watched.prefix, None, since=now, seen=now)
        who = watched.who or (held.glimpse.who if held.glimpse else "")
        watched.who, watched.retry_at = "", 0.0
        self._hold(replace(held, glimpse=replace(seen, who=who), seen=now))

    def _settle(self, watched: Watched, judgement: Judgement) -> None:
        """A transition is told; the same verdict for the same cause is not."""
        prefix, now = watched.prefix, self._clock()
        held = self._conditions.get(prefix)
        before = held.settled if held else None
        who = watched.who or (held.glimpse.who if held and held.glimpse else "")
        watched.who, watched.has_changed = "", False
        fingerprint = watched.fingerprint or ""
        if held is not None and before is not None and before.key == judgement.key:
            judgement = replace(judgement, who=before.who)
            self._hold(Condition(prefix, judgement, held.since, now, fingerprint=fingerprint))
            return
        judgement = replace(judgement, who=who if before else "")
        condition = Condition(prefix, judgement, now, now, fingerprint=fingerprint)
        self._hold(condition, Event(*_told(before, judgement, prefix), now))

    def _hold(self, condition: Condition, event: Event | None = None) -> None:
        self._board.hold(condition, event)
        self._conditions[condition.prefix] = condition
        if event is not None:
            self._tell(event)
        self._show()

    def _event(self, kind: str, prefix: Path | None, text: str) -> None:
        event = Event(kind, prefix, text, self._clock())
        self._board.append(event)
        self._tell(event)


def _told(before: Judgement | None, after: Judgement, prefix: Path) -> tuple[str, Path, str]:
    """Kind, environment and text of the event for a transition."""
    start = f"{before.verdict.value} → " if before else ""
    also = f" (also: {'; '.join(after.also[:2])})" if after.also else ""
    who = f"; {after.who}" if after.who else ""
    text = f"{start}{after.verdict.value}: {after.headline}{also}{who}"
    return "transition" if before else "found", prefix, text


def _failure(error: Exception, what: str) -> str:
    why = str(error) if isinstance(error, LookFailed) else f"{type(error).__name__}: {error}"
    return f"{what} failed: {why}"
