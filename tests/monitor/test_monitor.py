"""When the monitor looks, what it tells, and that it tells it once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.monitor.simulation import (
    CPU_ONLY,
    NO_CUDNN,
    SEES_GPU,
    UNASKED,
    Clock,
    Machine,
    Place,
)
from tfgpu_tray.model import Condition, Depth, Environment, Event, Judgement, Verdict
from tfgpu_tray.monitor.looking import LookFailed
from tfgpu_tray.monitor.monitor import LOGIN, PAUSE, REPEATS, RETRY, Monitor
from tfgpu_tray.monitor.settling import AT_MOST, CALM, PATIENCE, POLL
from tfgpu_tray.observe.manifest import Installed, Manifest
from tfgpu_tray.observe.settling import QUIET
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import open_database

Told = list[tuple[str, str]]
FOUND = [("found", "ok: TensorFlow 2.10.1 sees a GPU")]
STATIC, TENSORFLOW = Depth.STATIC, Depth.TENSORFLOW


@dataclass
class Bench:
    root: Path
    told: list[Event] = field(default_factory=list)
    shows: int = 0
    wakes: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.machine = Machine(self.root / "envs", self.clock)
        self.start()

    def start(self) -> None:
        """A program that starts; again, when one did already and was killed."""
        self.database = open_database(self.root / "data")
        self.database.execute("PRAGMA synchronous=OFF")
        self.board = Board(self.database, lambda: self.clock.wall)
        self.monitor = Monitor(
            self.machine,
            self.board,
            lambda: self.clock.wall,
            steady=lambda: self.clock.steady,
            tell=self.told.append,
            show=self._shown,
            wake=self._woken,
        )

    def _shown(self) -> None:
        self.shows += 1

    def _woken(self) -> None:
        self.wakes += 1

    def add(self, name: str, answer: Judgement = SEES_GPU, files: Judgement = UNASKED) -> Place:
        return self.machine.add(name, answer, files)

    def settled(self, name: str = "tf", answer: Judgement = SEES_GPU) -> Place:
        """An environment that has been looked at."""
        place = self.add(name, answer)
        self.look()
        self.machine.looks.clear()
        return place

    def look(self, depth: Depth = Depth.FINGERPRINT, *, forced: bool = False) -> Told:
        """The schedule asks, or a person; returns what was told."""
        self.told.clear()
        self.monitor.ask(depth, forced=forced)
        self.work()
        return self.words

    def work(self) -> None:
        for _ in range(50):
            if self.monitor.due() != 0.0:
                return
            self.monitor.work()
        raise AssertionError("there is always something to do")

    def wait(self, seconds: float) -> Told:
        """Time passes, and the worker wakes up when it has to."""
        self.told.clear()
        until = self.clock.steady + seconds
        while True:
            self.work()
            due = self.monitor.due()
            if due is None or self.clock.steady + due > until:
                break
            self.clock.pass_by(due + 0.001)
        self.clock.pass_by(max(0.0, until - self.clock.steady))
        return self.words

    @property
    def words(self) -> Told:
        return [(event.kind, event.text) for event in self.told]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    @property
    def looks(self) -> list[tuple[str, Depth]]:
        return self.machine.looks

    def held(self, place: Place) -> Condition:
        found = {c.prefix: c for c in self.board.conditions()}
        return found[place.environment.prefix]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# ---- what is told ------------------------------------------------------------------------------


def test_nothing_to_watch_is_nothing_to_tell(bench: Bench) -> None:
    assert bench.look() == [] and bench.monitor.due() is None


def test_what_is_found_is_told_once(bench: Bench) -> None:
    bench.add("tf")
    assert bench.look() == FOUND
    assert bench.look() == []
    assert bench.look(STATIC) == []
    assert bench.look(TENSORFLOW) == []
    assert [(e.kind, e.text) for e in bench.board.events()] == FOUND


def test_a_condition_knows_since_when_it_holds_and_when_it_was_seen(bench: Bench) -> None:
    place = bench.settled()
    since = bench.held(place).since
    assert since == bench.clock.wall
    bench.clock.pass_by(1000)
    bench.look(TENSORFLOW)
    assert (bench.held(place).since, bench.held(place).seen) == (since, since + 1000)
    place.answer = NO_CUDNN
    bench.clock.pass_by(1000)
    bench.look(TENSORFLOW)
    held = bench.held(place)
    assert held.settled is not None
    assert (held.since, held.settled.cause) == (since + 2000, "cudnn-missing")


def test_a_transition_is_told_once_in_each_direction(bench: Bench) -> None:
    place = bench.settled()
    place.answer = NO_CUDNN
    lost = ("transition", "ok → broken: CUDA libraries are missing: libcudnn.so.8")
    assert bench.look(TENSORFLOW) == [lost]
    assert bench.look(TENSORFLOW) == [] and bench.look(STATIC) == []
    place.answer = SEES_GPU
    back = ("transition", "broken → ok: TensorFlow 2.10.1 sees a GPU")
    assert bench.look(TENSORFLOW) == [back]
    assert bench.look(TENSORFLOW) == []


def test_another_cause_is_a_transition_too(bench: Bench) -> None:
    place = bench.settled(answer=NO_CUDNN)
    place.answer = CPU_ONLY
    told = ("transition", "broken → broken: this TensorFlow has no CUDA")
    assert bench.look(TENSORFLOW) == [told]


def test_a_blemish_is_named_beside_the_root(bench: Bench) -> None:
    bench.add("tf", Judgement(Verdict.BROKEN, "no cuDNN", "cudnn-missing", also=("a leftover",)))
    assert bench.look() == [("found", "broken: no cuDNN (also: a leftover)")]


def test_what_is_told_is_stored_first(bench: Bench) -> None:
    """Whoever hears of an event finds it in the store, and the condition it speaks of."""
    seen = []

    def tell(event: Event) -> None:
        seen.append((bench.board.events(1)[0] == event, len(bench.board.conditions())))

    bench.add("tf")
    monitor = Monitor(bench.machine, bench.board, lambda: bench.clock.wall, tell=tell)
    monitor.ask(Depth.FINGERPRINT)
    monitor.work()
    assert seen == [(True, 1)]


# ---- how deep it looks -------------------------------------------------------------------------


def test_a_fingerprint_that_holds_costs_no_look(bench: Bench) -> None:
    bench.settled()
    assert bench.look() == [] and bench.looks == []


def test_a_change_has_files_read_and_tensorflow_asked_at_once_there_only(bench: Bench) -> None:
    place = bench.settled()
    bench.settled("other")
    place.fingerprint, place.answer = "without cuDNN", NO_CUDNN
    assert [kind for kind, _ in bench.look()] == ["transition"]
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]
    bench.looks.clear()
    assert bench.look() == [] and bench.looks == []


def test_every_depth_is_looked_at_as_asked(bench: Bench) -> None:
    bench.settled()
    bench.look(STATIC)
    assert bench.looks == [("tf", STATIC)]
    bench.looks.clear()
    bench.look(TENSORFLOW)
    assert bench.looks == [("tf", TENSORFLOW)]


def test_one_environment_can_be_asked_for(bench: Bench) -> None:
    place, other = bench.settled("a"), bench.settled("b")
    bench.monitor.ask(TENSORFLOW, [other.environment.prefix])
    bench.work()
    assert bench.looks == [("b", TENSORFLOW)]
    new = bench.add("c")
    bench.monitor.ask(STATIC, [new.environment.prefix])
    bench.work()
    assert bench.held(new).settled == SEES_GPU and bench.held(place).settled == SEES_GPU


def test_what_files_say_is_shown_at_once_and_told_when_tensorflow_was_asked(bench: Bench) -> None:
    place = bench.settled()
    shown = []

    def look(depth: Depth) -> None:
        held = bench.held(place)
        shown.append((depth, held.shown.headline, bench.monitor.checking, list(bench.told)))

    place.fingerprint, place.files, place.answer = "without cuDNN", NO_CUDNN, NO_CUDNN
    place.during = look
    told = bench.look()
    assert [kind for kind, _ in told] == ["transition"]
    prefix = place.environment.prefix
    assert shown == [
        (STATIC, SEES_GPU.headline, None, []),
        (TENSORFLOW, NO_CUDNN.headline, prefix, []),
    ]
    assert bench.held(place).glimpse is None and bench.monitor.checking is None
    assert bench.shows > 0


def test_a_harmless_change_is_no_transition(bench: Bench) -> None:
    place = bench.settled()
    since = bench.held(place).since
    bench.clock.pass_by(50)
    place.fingerprint = "with pandas"
    assert bench.look() == []
    held = bench.held(place)
    assert (held.since, held.settled, held.glimpse) == (since, SEES_GPU, None)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_a_change_that_leaves_the_same_cause_is_asked_about(bench: Bench) -> None:
    """Files alone cannot say that nothing got better."""
    place = bench.add("tf", NO_CUDNN, NO_CUDNN)
    bench.look()
    bench.looks.clear()
    place.fingerprint, place.answer = "changed", SEES_GPU
    assert [kind for kind, _ in bench.look()] == ["transition"]
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_files_that_tensorflow_overrules_are_no_transition(bench: Bench) -> None:
    place = bench.settled()
    place.fingerprint, place.files = "odd", NO_CUDNN
    assert bench.look() == []
    assert bench.held(place).shown == SEES_GPU
    assert bench.look(STATIC) == [] and bench.held(place).shown == SEES_GPU


def test_what_files_said_before_tensorflow_answered_is_not_asked_about_again(bench: Bench) -> None:
    """Files see one cause and TensorFlow another: its answer stands until something changes."""
    place = bench.add("tf", CPU_ONLY, NO_CUDNN)
    bench.look()
    bench.looks.clear()
    for _ in range(3):
        assert bench.look(STATIC) == []
    assert bench.looks == [("tf", STATIC)] * 3
    assert bench.held(place).shown == CPU_ONLY
    place.files = Judgement(Verdict.BROKEN, "another thing", "driver-old")
    bench.looks.clear()
    bench.look(STATIC)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_what_tensorflow_overruled_counts_again_after_a_change(bench: Bench) -> None:
    place = bench.add("tf", CPU_ONLY, NO_CUDNN)
    bench.look()
    place.fingerprint, place.files = "changed", UNASKED
    place.answer = Judgement(Verdict.DEGRADED, "a leftover", "leftovers")
    place.seen(TENSORFLOW)  # `check`, in a terminal
    bench.look()
    bench.looks.clear()
    place.files = NO_CUDNN
    bench.look(STATIC)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_an_answer_that_was_none_is_asked_for_again(bench: Bench) -> None:
    hung = Judgement(Verdict.UNKNOWN, "the probe was stopped after 120 s", "probe-hung")
    bench.settled(answer=hung)
    bench.look(STATIC)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_the_age_of_an_answer_does_not_get_into_the_headline(bench: Bench) -> None:
    """ "asked 3 min ago" would stand there for the next quarter of an hour."""
    place = bench.settled()
    bench.look(STATIC)
    assert bench.held(place).shown.headline == SEES_GPU.headline


def test_a_deep_look_asks_tensorflow_even_if_files_have_changed_back(bench: Bench) -> None:
    """Files alone would do, as TensorFlow was asked by somebody else; but this look is its own."""
    place = bench.settled()
    place.fingerprint = "changed"
    place.seen(TENSORFLOW)  # `check`, in a terminal
    bench.look(TENSORFLOW)
    assert ("tf", TENSORFLOW) in bench.looks


# ---- somebody at work --------------------------------------------------------------------------


def test_while_pip_works_it_waits_and_then_looks_at_once(bench: Bench) -> None:
    place = bench.settled()
    pip = bench.machine.manager(42, "pip install keras", place)
    place.fingerprint = "half installed"
    assert bench.look() == [
        ("waiting", "`pip install keras` is at work; looking when it has finished")
    ]
    assert bench.look() == [] and bench.look(STATIC) == [] and bench.wait(600) == []
    assert bench.looks == []
    place.fingerprint, place.answer = "installed", NO_CUDNN
    wakes = bench.wakes
    bench.machine.ends(pip)
    assert bench.wakes == wakes + 1 and bench.monitor.due() == 0.0
    assert [kind for kind, _ in bench.wait(0)] == ["transition"]


def test_after_waiting_it_looks_even_if_the_fingerprint_is_as_before(bench: Bench) -> None:
    place = bench.settled()
    pip = bench.machine.manager(42, "pip install --force-reinstall numpy", place)
    bench.look()
    bench.machine.ends(pip)
    bench.work()
    assert bench.looks == [("tf", STATIC)]


def test_waiting_for_one_does_not_hold_up_another(bench: Bench) -> None:
    busy = bench.add("a")
    bench.add("b")
    bench.machine.manager(42, "pip install keras", busy)
    assert sorted(kind for kind, _ in bench.look()) == ["found", "waiting"]


def test_one_process_is_waited_for_once(bench: Bench) -> None:
    place = bench.settled()
    bench.machine.manager(42, "pip install keras", place)
    bench.look()
    bench.wait(20 * PATIENCE)
    assert len(bench.machine.awaited) == 1


def test_the_next_manager_is_waited_for_as_well(bench: Bench) -> None:
    place = bench.settled()
    first = bench.machine.manager(42, "pip install keras", place)
    bench.look()
    second = bench.machine.manager(43, "pip install numpy", place)
    bench.machine.ends(first)
    assert bench.wait(5) == [] and bench.looks == []
    place.fingerprint = "changed"
    bench.machine.ends(second)
    bench.wait(0)
    assert bench.looks != []


def test_an_end_that_nobody_told_of_is_noticed_all_the_same(bench: Bench) -> None:
    place = bench.settled()
    pip = bench.machine.manager(42, "pip install keras", place)
    bench.look()
    bench.machine.working.remove(pip)
    bench.wait(PATIENCE - 1)
    assert bench.looks == []
    bench.wait(2)
    assert bench.looks == [("tf", STATIC)]


def test_an_answer_is_thrown_away_when_pip_starts_during_the_look(bench: Bench) -> None:
    place = bench.settled()

    def pip_starts(depth: Depth) -> None:
        if depth is TENSORFLOW:
            place.during = None
            bench.machine.manager(42, "pip install keras", place)

    place.during, place.answer = pip_starts, NO_CUDNN
    assert [kind for kind, _ in bench.look(TENSORFLOW)] == ["waiting"]
    assert bench.held(place).settled == SEES_GPU
    bench.machine.ends(bench.machine.working[0])
    bench.looks.clear()
    assert [kind for kind, _ in bench.wait(0)] == ["transition"]
    assert ("tf", TENSORFLOW) in bench.looks


def test_a_verdict_on_what_moved_meanwhile_is_thrown_away(bench: Bench) -> None:
    place = bench.settled()

    def move(depth: Depth) -> None:
        place.during, place.fingerprint, place.answer = None, "moved", SEES_GPU

    place.during, place.fingerprint, place.answer = move, "changed", NO_CUDNN
    assert bench.look() == []
    assert bench.looks == [("tf", STATIC), ("tf", STATIC), ("tf", TENSORFLOW)]


def test_what_never_holds_still_is_judged_in_the_end(bench: Bench) -> None:
    place = bench.settled()
    moves = iter(range(1000))

    def move(depth: Depth) -> None:
        place.fingerprint = f"moved {next(moves)}"

    place.during, place.answer = move, NO_CUDNN
    assert [kind for kind, _ in bench.look(TENSORFLOW)] == ["transition"]
    assert bench.looks.count(("tf", TENSORFLOW)) <= REPEATS + 1
    place.during = None
    bench.look(STATIC)  # the storm is over, and the next one is another
    look_while_files_move_to_and_fro(bench, place)
    assert bench.looks == [("tf", TENSORFLOW), ("tf", STATIC), ("tf", TENSORFLOW)]


def test_a_verdict_that_came_while_files_moved_to_and_fro_is_thrown_away(bench: Bench) -> None:
    """Files are as before in the end, so only TensorFlow itself is asked anew, and at once."""
    place = bench.settled()
    look_while_files_move_to_and_fro(bench, place)
    assert bench.looks == [("tf", TENSORFLOW), ("tf", STATIC), ("tf", TENSORFLOW)]
    assert bench.told == []


def look_while_files_move_to_and_fro(bench: Bench, place: Place) -> None:
    before = place.fingerprint

    def move(depth: Depth) -> None:
        place.during, place.fingerprint = None, "moved"

    place.during = move
    bench.looks.clear()
    bench.told.clear()
    bench.monitor.ask(TENSORFLOW)
    bench.monitor.work()
    place.fingerprint = before
    bench.work()


def test_a_repair_of_ours_is_waited_for(bench: Bench) -> None:
    place = bench.settled(answer=NO_CUDNN)
    place.repaired, place.fingerprint = True, "half repaired"
    assert bench.look() == [] and bench.monitor.due() == POLL
    assert bench.wait(120) == [] and bench.looks == []
    place.repaired, place.fingerprint, place.answer = False, "repaired", SEES_GPU
    assert [kind for kind, _ in bench.wait(2 * POLL)] == ["transition"]


def test_what_a_package_manager_left_unfinished_is_waited_for(bench: Bench) -> None:
    place = bench.settled()
    place.trace, place.fingerprint = "/envs/tf/~umpy", "half"
    ((kind, text),) = bench.look()
    assert kind == "waiting" and text.startswith("/envs/tf/~umpy was left a moment ago")
    place.trace = "/envs/tf/~eras"  # work goes on
    assert bench.look() == [] and bench.wait(3 * QUIET) == [] and bench.looks == []
    place.trace = None
    bench.wait(QUIET + 1)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_what_a_manager_leaves_behind_is_not_waited_for(bench: Bench) -> None:
    """It has ended, so nothing moves any more."""
    place = bench.settled()
    pip = bench.machine.manager(42, "pip install keras", place)
    bench.look()
    place.trace, place.fingerprint = "/envs/tf/~umpy", "half"
    bench.machine.ends(pip)
    bench.work()
    assert bench.looks[0] == ("tf", STATIC)


# ---- changes that the watcher sees -------------------------------------------------------------


def test_a_change_by_hand_is_looked_at_when_it_is_calm(bench: Bench) -> None:
    place = bench.settled()
    place.fingerprint = "without a folder"
    bench.monitor.touched(place.environment.prefix)
    bench.wait(CALM * 0.9)
    assert bench.looks == []
    bench.wait(CALM * 0.2)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]
    assert bench.monitor.due() is None


def test_a_touch_without_a_change_costs_no_look(bench: Bench) -> None:
    place = bench.settled()
    bench.monitor.touched(place.environment.prefix)
    bench.wait(1)
    assert bench.looks == [] and bench.monitor.due() is None


def test_a_stream_of_changes_puts_a_look_off_for_a_while_only(bench: Bench) -> None:
    place = bench.settled()
    place.fingerprint = "changed"
    started = bench.clock.steady
    wakes = bench.wakes
    while not bench.looks:
        bench.monitor.touched(place.environment.prefix)
        bench.wait(CALM / 4)
        assert bench.clock.steady - started < AT_MOST + CALM
    assert bench.clock.steady - started >= AT_MOST - CALM
    assert bench.wakes == wakes + 1  # the worker sleeps through the rest of the stream


def test_a_change_during_a_look_is_looked_at_after_it(bench: Bench) -> None:
    place = bench.settled()

    def change(depth: Depth) -> None:
        place.during = None
        bench.monitor.touched(place.environment.prefix)

    place.during = change
    bench.look(TENSORFLOW)
    place.fingerprint = "changed"  # only now, so that the look itself saw nothing of it
    bench.looks.clear()
    bench.wait(1)
    assert bench.looks == [("tf", STATIC), ("tf", TENSORFLOW)]


def test_a_change_elsewhere_does_not_wait_until_tensorflow_was_asked_everywhere(
    bench: Bench,
) -> None:
    """Hundreds of environments are asked for minutes when the program first starts."""
    quick = bench.settled("quick")
    slow = [bench.add(f"slow {number}") for number in range(3)]

    def change(depth: Depth) -> None:
        slow[0].during = None
        quick.fingerprint = "changed"
        bench.monitor.touched(quick.environment.prefix)
        bench.clock.pass_by(CALM)

    slow[0].during = lambda depth: change(depth) if depth is TENSORFLOW else None
    bench.look()
    asked = [name for name, depth in bench.looks if depth is TENSORFLOW]
    assert asked == ["slow 0", "quick", "slow 1", "slow 2"]


def test_what_is_found_is_watched_before_it_is_looked_at(bench: Bench) -> None:
    """A change right after the first look would go unnoticed for a minute."""
    looked: list[int] = []
    bench.monitor._met = lambda: looked.append(len(bench.looks))
    bench.add("tf")
    bench.look()
    assert looked == [0] and bench.looks


def test_a_touch_where_environments_come_and_go_finds_them(bench: Bench) -> None:
    bench.settled()
    bench.add("new")
    bench.monitor.touched(None)
    bench.work()
    assert bench.looks == [("new", STATIC), ("new", TENSORFLOW)]


def test_touches_of_what_is_not_watched_are_nothing(bench: Bench) -> None:
    bench.settled()
    bench.monitor.touched(Path("/elsewhere"))
    assert bench.monitor.due() is None


def test_asking_wakes_the_worker(bench: Bench) -> None:
    place = bench.settled()
    wakes: list[Callable[[], None]] = [
        lambda: bench.monitor.ask(STATIC),
        lambda: bench.monitor.ask(STATIC, [place.environment.prefix]),
        lambda: bench.monitor.touched(place.environment.prefix),
        lambda: bench.monitor.touched(None),
    ]
    for wake in wakes:
        before = bench.wakes
        wake()
        assert bench.wakes == before + 1 and bench.monitor.due() == 0.0
        bench.wait(1)


# ---- who did it --------------------------------------------------------------------------------


def manifest(**versions: str) -> Manifest:
    return Manifest({name: Installed(version, "pip") for name, version in versions.items()})


def test_who_changed_it_is_told_and_kept(bench: Bench) -> None:
    place = bench.add("tf")
    place.manifest = manifest(tensorflow="2.10.1", numpy="1.26.4")
    bench.look()
    pip = bench.machine.manager(42, "pip install numpy==2.0.0", place)
    bench.look()
    place.manifest = manifest(tensorflow="2.10.1", numpy="2.0.0")
    place.fingerprint, place.answer = "numpy 2", CPU_ONLY
    bench.machine.ends(pip)
    (changed, who), (transition, text) = bench.wait(0)
    assert (changed, transition) == ("changed", "transition")
    assert "`pip install numpy==2.0.0`" in who and "numpy 1.26.4 with 2.0.0" in who
    held = bench.held(place).settled
    assert held is not None and held.who == who and text.endswith(who)
    bench.look(TENSORFLOW)
    again = bench.held(place).settled
    assert again is not None and again.who == who


def test_a_blameless_change_is_not_blamed_for_what_breaks_later(bench: Bench) -> None:
    place = bench.add("tf")
    place.manifest = manifest(numpy="1.26.4")
    bench.look()
    place.manifest, place.fingerprint = manifest(numpy="1.26.5"), "changed"
    assert [kind for kind, _ in bench.look()] == ["changed"]
    place.answer = NO_CUDNN
    bench.look(TENSORFLOW)
    held = bench.held(place).settled
    assert held is not None and held.verdict is Verdict.BROKEN and held.who == ""


def test_who_settled_one_thing_is_not_blamed_for_the_next(bench: Bench) -> None:
    place = bench.add("tf")
    place.manifest = manifest(numpy="1.26.4")
    bench.look()
    place.manifest, place.fingerprint = manifest(numpy="1.26.5"), "changed"
    place.files = Judgement(Verdict.DEGRADED, "a leftover", "leftovers")
    bench.look()
    held = bench.held(place).settled
    assert held is not None and held.cause == "leftovers" and "numpy" in held.who
    place.answer = NO_CUDNN
    bench.look(TENSORFLOW)
    held = bench.held(place).settled
    assert held is not None and held.cause == "cudnn-missing" and held.who == ""


def test_a_pip_that_changed_nothing_is_not_blamed_later(bench: Bench) -> None:
    place = bench.add("tf")
    place.manifest = manifest(numpy="1.26.4")
    bench.look()
    pip = bench.machine.manager(42, "pip install numpy", place)
    bench.look()
    bench.machine.ends(pip)
    bench.wait(60)
    place.manifest, place.fingerprint = manifest(numpy="2.0.0"), "by hand"
    ((kind, who),) = bench.look()
    assert kind == "changed" and "`pip install numpy`" not in who


# ---- when TensorFlow is not asked --------------------------------------------------------------

BATTERY = "the computer runs on its battery"
SKIPPED = [("skipped", f"TensorFlow was not asked: {BATTERY}")]


def test_on_battery_tensorflow_is_asked_later(bench: Bench) -> None:
    place = bench.settled()
    bench.machine.reason = BATTERY
    place.fingerprint, place.answer = "changed", NO_CUDNN
    assert bench.look() == SKIPPED
    assert bench.held(place).shown == UNASKED
    assert bench.look() == [] and bench.look(STATIC) == []  # told once
    bench.machine.reason = None
    assert bench.look() == []  # not before its time
    bench.clock.pass_by(RETRY)
    assert [kind for kind, _ in bench.look()] == ["transition"]


def test_a_look_of_the_schedule_that_was_skipped_is_made_later(bench: Bench) -> None:
    bench.settled()
    bench.machine.reason = BATTERY
    assert bench.look(TENSORFLOW) == SKIPPED
    assert bench.looks == [("tf", STATIC)]  # its files at least
    bench.looks.clear()
    for _ in range(5):
        bench.clock.pass_by(RETRY)
        bench.look()
    assert bench.looks == []
    bench.machine.reason = None
    for _ in range(5):
        bench.clock.pass_by(RETRY)
        bench.look()
    assert bench.looks == [("tf", TENSORFLOW)]


def test_what_files_say_counts_until_tensorflow_can_be_asked(bench: Bench) -> None:
    place = bench.settled()
    bench.machine.reason = BATTERY
    place.fingerprint, place.files = "without cuDNN", NO_CUDNN
    assert [kind for kind, _ in bench.look()] == ["skipped", "transition"]
    assert bench.held(place).settled == NO_CUDNN
    bench.clock.pass_by(RETRY)
    assert bench.look() == [] and bench.look(STATIC) == []
    bench.machine.reason = None
    bench.clock.pass_by(RETRY)
    assert [kind for kind, _ in bench.look()] == ["transition"]  # overruled
    assert bench.held(place).settled == SEES_GPU


def test_another_reason_is_told_and_the_same_is_after_an_answer(bench: Bench) -> None:
    bench.settled()
    bench.machine.reason = BATTERY
    bench.look(TENSORFLOW)
    bench.machine.reason = "the GPU X is at work"
    assert bench.look(TENSORFLOW) == [("skipped", "TensorFlow was not asked: the GPU X is at work")]
    bench.machine.reason = None
    bench.look(TENSORFLOW)
    bench.machine.reason = "the GPU X is at work"
    assert [kind for kind, _ in bench.look(TENSORFLOW)] == ["skipped"]


def test_a_person_who_asks_is_obeyed_once(bench: Bench) -> None:
    bench.settled()
    bench.machine.reason = BATTERY
    bench.look(TENSORFLOW)
    bench.looks.clear()
    assert bench.look(TENSORFLOW, forced=True) == []
    assert bench.looks == [("tf", TENSORFLOW)]
    assert bench.look(TENSORFLOW) == SKIPPED


def test_a_person_is_obeyed_after_pip_as_well(bench: Bench) -> None:
    place = bench.settled()
    bench.machine.reason = BATTERY
    pip = bench.machine.manager(42, "pip install keras", place)
    bench.look(TENSORFLOW, forced=True)
    bench.machine.ends(pip)
    bench.work()
    assert ("tf", TENSORFLOW) in bench.looks


def test_a_person_is_obeyed_for_what_is_new_as_well(bench: Bench) -> None:
    bench.machine.reason = BATTERY
    bench.add("tf")
    assert bench.look(TENSORFLOW, forced=True) == FOUND


def test_a_person_whose_look_failed_is_not_obeyed_for_ever(bench: Bench) -> None:
    place = bench.settled()
    place.error = LookFailed("it hung")
    bench.machine.reason = BATTERY
    bench.look(TENSORFLOW, forced=True)
    bench.clock.pass_by(RETRY)
    assert bench.look() == SKIPPED


def test_a_change_is_asked_about_at_once_whatever_was_put_off_before(bench: Bench) -> None:
    place = bench.settled()
    bench.machine.reason = BATTERY
    place.fingerprint = "changed"
    bench.look()
    bench.machine.reason = None
    place.fingerprint, place.answer = "changed again", NO_CUDNN
    assert [kind for kind, _ in bench.look()] == ["transition"]


# ---- what goes wrong ---------------------------------------------------------------------------


def test_a_look_that_keeps_failing_is_told_once_and_made_again(bench: Bench) -> None:
    place = bench.add("tf")
    place.error = LookFailed("check was stopped after 120 s")
    assert bench.look() == [("failed", "a look failed: check was stopped after 120 s")]
    assert bench.look() == []
    place.error = OSError(5, "Input/output error")
    assert bench.look() == [("failed", "a look failed: OSError: [Errno 5] Input/output error")]
    place.error = None
    bench.clock.pass_by(RETRY)
    assert bench.look() == FOUND
    place.error = OSError(5, "Input/output error")
    assert [kind for kind, _ in bench.look(TENSORFLOW)] == ["failed"]


def test_a_deep_look_that_failed_is_made_again_before_the_schedule_asks(bench: Bench) -> None:
    place = bench.settled()
    place.error = LookFailed("it hung")
    bench.look(TENSORFLOW)
    place.error, place.answer = None, NO_CUDNN
    assert bench.look() == []
    bench.clock.pass_by(RETRY)
    assert [kind for kind, _ in bench.look()] == ["transition"]


def test_a_look_that_fails_does_not_keep_others_from_being_looked_at(bench: Bench) -> None:
    bench.add("a").error = OSError(5, "Input/output error")
    bench.add("b")
    assert sorted(kind for kind, _ in bench.look()) == ["failed", "found"]


def test_an_answer_that_leaves_an_environment_out_is_told(bench: Bench) -> None:
    bench.add("tf").silent = True
    ((kind, text),) = bench.look()
    assert kind == "failed" and "does not name the environment" in text


def test_senses_that_fail_are_told_once_and_asked_again_after_a_pause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settled()

    def broken() -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bench.machine, "managers", broken)
    assert [kind for kind, _ in bench.look(TENSORFLOW)] == ["failed"]
    assert bench.monitor.due() == PAUSE
    assert bench.wait(10 * PAUSE) == []
    monkeypatch.undo()
    bench.wait(PAUSE + 1)
    assert bench.looks == [("tf", TENSORFLOW)]


@pytest.mark.parametrize("sense", ["repairing", "unfinished", "fingerprint", "reluctance"])
def test_what_cannot_be_sensed_of_one_does_not_hold_up_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sense: str
) -> None:
    bench.settled("a")
    other = bench.settled("b")
    whole = getattr(bench.machine, sense)
    calls = []

    def broken(*of: Path | Environment) -> object:
        calls.append(of)
        if (of and of[0].name == "a") or (not of and len(calls) == 1):
            raise OSError(5, "Input/output error")
        return whole(*of)

    monkeypatch.setattr(bench.machine, sense, broken)
    other.answer = NO_CUDNN
    assert [kind for kind, _ in bench.look(TENSORFLOW)] == ["failed", "transition"]


def test_environments_that_cannot_be_found_are_told_once_and_the_known_looked_at(
    bench: Bench,
) -> None:
    bench.settled()
    bench.machine.lost = PermissionError(13, "Permission denied")
    told = bench.look(TENSORFLOW)
    assert told == [
        ("failed", "finding environments failed: PermissionError: [Errno 13] Permission denied")
    ]
    bench.wait(PAUSE + 1)
    assert bench.looks == [("tf", TENSORFLOW)]
    bench.clock.pass_by(60)
    assert bench.look() == []
    bench.machine.lost = None
    bench.clock.pass_by(60)
    assert bench.look() == [] and bench.board.conditions() != []


def test_what_could_not_be_stored_is_told_later(bench: Bench) -> None:
    """The caller hears of it; the transition is not lost."""
    place = bench.settled()
    place.answer = NO_CUDNN
    bench.database.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.Error):
        bench.look(TENSORFLOW)
    assert bench.told == []
    bench.database.execute("PRAGMA query_only=0")
    bench.clock.pass_by(RETRY)
    assert [kind for kind, _ in bench.look()] == ["transition"]


def test_an_environment_that_is_gone_is_told_once_and_forgotten(bench: Bench) -> None:
    place = bench.settled()
    bench.machine.places.clear()
    assert bench.look() == [("gone", "the environment is gone; not watched any more")]
    assert bench.look() == [] and bench.board.conditions() == []
    assert bench.monitor.environments == []
    bench.machine.places[place.environment.prefix] = place
    assert [kind for kind, _ in bench.look()] == ["found"]


def test_an_environment_that_goes_during_a_look_is_only_gone(bench: Bench) -> None:
    place = bench.settled()

    def go(depth: Depth) -> None:
        bench.machine.places.clear()

    place.during = go
    bench.look(TENSORFLOW)
    bench.look()
    assert bench.kinds == ["gone"] and bench.board.conditions() == []


# ---- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_set_puts_nothing_off(bench: Bench, hours: int) -> None:
    touched, traced, skipped = (bench.settled(name) for name in ("touched", "traced", "skipped"))
    bench.machine.reason = BATTERY
    skipped.fingerprint = "changed"
    bench.look()
    bench.machine.reason = None
    traced.trace, traced.fingerprint = "~x", "changed"
    bench.look()
    touched.fingerprint = "changed"
    bench.monitor.touched(touched.environment.prefix)
    bench.monitor.work()
    bench.clock.set(3600.0 * hours)
    traced.trace = None
    bench.looks.clear()
    bench.wait(QUIET + 1)
    bench.clock.pass_by(RETRY)
    bench.look()
    assert {name for name, depth in bench.looks if depth is TENSORFLOW} == {
        "touched",
        "traced",
        "skipped",
    }


# ---- starting again ----------------------------------------------------------------------------


def test_a_program_that_starts_again_tells_nothing_again_and_looks_at_nothing(
    bench: Bench,
) -> None:
    bench.add("a")
    broken = bench.add("b", NO_CUDNN)
    bench.look()
    since = bench.held(broken).since
    bench.looks.clear()
    bench.start()
    bench.clock.pass_by(100)
    assert bench.look() == [] and bench.looks == []
    assert bench.look(TENSORFLOW) == [] and bench.held(broken).since == since


def test_a_while_after_the_start_tensorflow_is_asked_once(bench: Bench) -> None:
    """The driver may have been replaced before this login."""
    place = bench.settled()
    bench.start()
    assert bench.look() == [] and bench.looks == []
    place.answer = NO_CUDNN
    bench.clock.pass_by(LOGIN)
    assert [kind for kind, _ in bench.look()] == ["transition"]
    bench.looks.clear()
    bench.clock.pass_by(LOGIN)
    assert bench.look() == [] and bench.looks == []


def test_what_changed_while_no_program_ran_is_looked_at(bench: Bench) -> None:
    place = bench.add("tf")
    place.manifest = manifest(numpy="1.26.4")
    bench.look()
    bench.start()
    bench.clock.pass_by(3600)
    place.fingerprint, place.answer = "changed", NO_CUDNN
    place.manifest = manifest(numpy="2.0.0")
    assert [kind for kind, _ in bench.look()] == ["changed", "transition"]


def test_what_went_while_no_program_ran_is_gone(bench: Bench) -> None:
    bench.settled()
    bench.machine.places.clear()
    bench.start()
    assert [kind for kind, _ in bench.look()] == ["gone"]


def test_a_program_that_was_killed_before_tensorflow_answered_asks_again(bench: Bench) -> None:
    place = bench.add("tf")
    place.manifest = manifest(numpy="1.26.4")
    bench.look()

    def kill(depth: Depth) -> None:
        if depth is TENSORFLOW:
            raise KeyboardInterrupt

    place.fingerprint, place.files, place.during = "changed", NO_CUDNN, kill
    place.manifest, place.answer = manifest(numpy="2.0.0"), NO_CUDNN
    with pytest.raises(KeyboardInterrupt):
        bench.look()
    assert bench.kinds == ["changed"]
    who = bench.told[0].text
    place.during = None
    bench.start()
    ((kind, text),) = bench.look()
    assert kind == "transition" and text.startswith("ok → broken") and text.endswith(who)


# ---- threads -----------------------------------------------------------------------------------


def test_nothing_that_threads_ask_for_is_lost(bench: Bench) -> None:
    """Each turn changes the files, then touches: the last state must have been compared."""
    place = bench.settled()
    prefix, turns = place.environment.prefix, 300
    ended = threading.Event()

    def hammer(ask: bool) -> None:
        for turn in range(turns):
            place.fingerprint = f"{ask} {turn}"
            if ask:
                bench.monitor.ask(STATIC, [prefix])
            else:
                bench.monitor.touched(prefix)
            bench.clock.steady += 0.01

    def work() -> None:
        while not ended.is_set() or bench.monitor.due() is not None:
            bench.monitor.work()
            bench.clock.steady += 0.01

    hammers = [threading.Thread(target=hammer, args=(ask,), daemon=True) for ask in (True, False)]
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    for thread in hammers:
        thread.start()
    for thread in hammers:
        thread.join(20)
    ended.set()
    worker.join(20)
    assert not worker.is_alive()
    assert bench.held(place).fingerprint == place.fingerprint
    assert bench.monitor.due() is None


def test_a_deep_look_asked_for_by_another_thread_during_one_is_made(bench: Bench) -> None:
    place = bench.settled()
    started = threading.Event()
    asked = threading.Event()

    def look(depth: Depth) -> None:
        place.during = None
        started.set()
        assert asked.wait(10)

    place.during = look
    worker = threading.Thread(target=bench.look, args=(TENSORFLOW,), daemon=True)
    worker.start()
    assert started.wait(10)
    before = time.monotonic()
    bench.monitor.ask(TENSORFLOW, forced=True)  # while the worker is busy: returns at once
    assert time.monotonic() - before < 1
    asked.set()
    worker.join(10)
    bench.work()
    assert bench.looks == [("tf", TENSORFLOW)] * 2
