"""What is told, when, and that nothing is told twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tray.conditions import (
    CPU,
    LEFTOVERS,
    NO_CUDNN,
    NO_DRIVER,
    NOW,
    SILENT,
    TF,
    UNASKED,
    WELL,
    at_work,
    holds,
    view,
)
from tfgpu_tray.config import Notifications
from tfgpu_tray.model import Condition, Judgement
from tfgpu_tray.store.board import Silence
from tfgpu_tray.tray.notices import (
    BAD,
    MENDED,
    TAKEN_BACK,
    Notice,
    due,
    lapsed,
    outdated,
    without_buttons,
)
from tfgpu_tray.tray.status import Status
from tfgpu_tray.tray.view import View, clock

DAY = 24 * 3600.0
DEFAULTS = Notifications(remind=DAY)


def told_of(shown: View, chosen: Notifications = DEFAULTS) -> list[Notice]:
    return list(due(shown, chosen))


def only(shown: View, chosen: Notifications = DEFAULTS) -> Notice:
    (notice,) = told_of(shown, chosen)
    return notice


def what(settled: Judgement = NO_CUDNN) -> str:
    return only(view(holds(settled))).what


# ---- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buttons", "hint"),
    [
        (("repair", "details"), "The icon's menu repairs it."),
        (("undo", "details"), "The icon's menu takes it back."),
        (("details",), ""),
    ],
)
def test_without_buttons_it_is_said_where_to_click(buttons: tuple[str, ...], hint: str) -> None:
    short = Notice(TF, "", "tf", "No GPU.", buttons)
    assert without_buttons(short, 255).splitlines() == ["No GPU.", *filter(None, [hint])]
    long = without_buttons(replace(short, body="用" * 300), 255)
    assert len(long) <= 255 and long.endswith(hint) and "…" in long


def test_a_loss_is_told_with_its_cause_its_author_and_what_a_repair_does() -> None:
    notice = only(view(holds(NO_CUDNN)))
    assert notice.title == "TensorFlow sees no GPU in tf"
    assert notice.body.splitlines() == [
        "Libcudnn.so.8 is missing.",
        "`conda remove cudnn` took it away at 14:02.",
        "Repair: Install cuDNN (about 700 MB).",
    ]
    assert (notice.buttons, notice.urgent) == (("repair", "details"), True)
    assert notice.status is Status.BROKEN


def test_what_no_step_can_mend_is_told_with_advice() -> None:
    notice = only(view(holds(NO_DRIVER)))
    assert notice.body.splitlines() == ["The driver is not loaded.", "Restart the computer."]
    assert notice.buttons == ("details",)


def test_a_blemish_is_told_calmly() -> None:
    notice = only(view(holds(LEFTOVERS)))
    assert notice.title == "GPU support of tf is at risk"
    assert (notice.status, notice.urgent) == (Status.DEGRADED, False)


def test_each_environment_is_told_of_by_its_name() -> None:
    other = Path("/home/me/envs/tf")
    notices = told_of(view(holds(NO_CUDNN), holds(NO_DRIVER, other)))
    assert [n.title.rpartition(" ")[2] for n in notices] == ["conda/envs/tf", "me/envs/tf"]


def test_a_reminder_says_since_when() -> None:
    notice = only(view(holds(NO_CUDNN), told={TF: (what(), NOW - DAY)}))
    assert notice.title == f"Still broken since {clock(NOW - 3600, NOW)}: tf"
    assert notice.body.startswith("Libcudnn.so.8 is missing.") and not notice.urgent
    assert notice.what == what() and notice.buttons == ("repair", "details")


# ---- when --------------------------------------------------------------------------------------

LOST = holds(NO_CUDNN)


@pytest.mark.parametrize(
    "shown",
    [
        view(),
        view(holds(WELL)),
        view(holds(SILENT)),
        view(holds(None, glimpse=NO_CUDNN)),
        view(holds(WELL, glimpse=NO_CUDNN)),
        view(holds(NO_DRIVER, glimpse=UNASKED)),
        view(LOST, paused_until=NOW + 60),
        view(LOST, starting=frozenset({TF})),
        view(LOST, repairs=(at_work(),)),
        view(LOST, silenced={(TF, "cudnn-missing"): Silence.ACKNOWLEDGED}),
        view(LOST, silenced={(TF, "cudnn-missing"): Silence.IGNORED}),
        view(LOST, told={TF: (what(), NOW - 60)}),
        view(LOST, told={TF: (MENDED, NOW)}),
        view(LOST, told={TF: (TAKEN_BACK, NOW - 60)}),
    ],
)
def test_there_is_nothing_to_tell(shown: View) -> None:
    assert told_of(shown) == []


@pytest.mark.parametrize(
    "shown",
    [
        view(LOST),
        view(LOST, holds(WELL, CPU, glimpse=UNASKED), checking=CPU),
        view(LOST, repairs=(at_work(CPU),)),
        view(LOST, silenced={(TF, "driver-not-loaded"): Silence.IGNORED}),
        view(LOST, told={TF: ("", NOW)}),
        view(LOST, told={TF: ("broken driver-not-loaded 1.000", NOW)}),
        view(LOST, told={TF: (MENDED, NOW - 600)}),  # looked at since
        view(LOST, told={CPU: (what(), NOW)}),
    ],
)
def test_there_is_something_to_tell(shown: View) -> None:
    assert only(shown).title == "TensorFlow sees no GPU in tf"


def test_without_notifications_nothing_is_told() -> None:
    assert told_of(view(LOST), Notifications(enabled=False)) == []


def test_reminders_can_be_turned_off() -> None:
    shown = view(LOST, told={TF: (what(), NOW - 100 * DAY)})
    assert told_of(shown, Notifications(remind=None)) == []
    assert len(told_of(shown, Notifications(remind=100 * DAY))) == 1


def test_after_an_undo_there_are_only_reminders() -> None:
    fresh = replace(LOST, since=NOW - 10, seen=NOW - 10)
    assert told_of(view(fresh, told={TF: (TAKEN_BACK, NOW - 60)})) == []
    reminded = only(view(fresh, told={TF: (TAKEN_BACK, NOW - DAY)}))
    assert reminded.title.startswith("Still broken")


# ---- what is over ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition, told, over",
    [
        (holds(WELL), (what(), NOW - 600), True),
        (holds(WELL), ("", NOW - 600), False),
        (holds(WELL), (MENDED, NOW - 600), False),
        (holds(WELL), (TAKEN_BACK, NOW - 600), True),
        (holds(WELL), (TAKEN_BACK, NOW), False),  # from before the undo
        (holds(WELL, glimpse=UNASKED), (what(), NOW - 600), False),
        (holds(SILENT), (what(), NOW - 600), False),
        (holds(LEFTOVERS), (what(), NOW - 600), False),
    ],
)
def test_what_is_over_is_withdrawn(
    condition: Condition, told: tuple[str, float], over: bool
) -> None:
    assert list(outdated(view(condition, told={TF: told}))) == ([TF] if over else [])


@pytest.mark.parametrize(
    "conditions, kind, over",
    [
        ((LOST,), Silence.ACKNOWLEDGED, False),
        ((holds(WELL),), Silence.ACKNOWLEDGED, True),
        ((holds(NO_DRIVER),), Silence.ACKNOWLEDGED, True),
        ((holds(WELL),), Silence.IGNORED, False),
        ((holds(WELL, glimpse=UNASKED),), Silence.ACKNOWLEDGED, False),
        ((holds(None, glimpse=NO_CUDNN),), Silence.ACKNOWLEDGED, False),
        ((), Silence.ACKNOWLEDGED, False),
    ],
)
def test_what_was_acknowledged_is_so_while_it_lasts(
    conditions: tuple[Condition, ...], kind: Silence, over: bool
) -> None:
    shown = view(*conditions, silenced={(TF, "cudnn-missing"): kind})
    assert list(lapsed(shown)) == ([(TF, "cudnn-missing")] if over else [])


# ---- days of it --------------------------------------------------------------------------------


@dataclass
class World:
    """One environment through its days; after each thing that happens the tray looks, as it does
    in tray.py: what is told is kept in the store, so that a restart is nothing special."""

    now: float = NOW
    condition: Condition | None = None
    told: dict[Path, tuple[str, float]] = field(default_factory=dict)
    silenced: dict[tuple[Path, str], Silence] = field(default_factory=dict)
    paused: bool = False
    repairing: bool = False
    remind: float | None = DAY
    heard: list[tuple[float, Notice]] = field(default_factory=list)
    fresh: set[str] = field(default_factory=set)  # transitions told since they began
    ended: float | None = None  # when a repair or an undo ended, until somebody looked
    undone: bool = False  # and not well since

    # ---- what happens

    def look(self, judged: Judgement, seconds: float) -> None:
        """TensorFlow answers."""
        self.now += seconds
        held, same = self.condition, False
        if held is not None and held.settled is not None:
            same = held.settled.key == judged.key
        since = held.since if held and same else self.now
        self.condition = Condition(TF, judged, since, self.now)
        self.ended = None
        self.undone &= judged is not WELL

    def glimpse(self, judged: Judgement) -> None:
        held = self.condition or Condition(TF, None, self.now, self.now)
        self.condition = replace(held, glimpse=judged, seen=self.now)

    def repair(self) -> None:
        self.repairing = True

    def end(self, told: str | None) -> None:
        """How the repair ended: done, undone, or neither."""
        self.repairing = False
        if told is not None:
            self.told[TF] = told, self.now
            self.ended, self.undone = self.now, told == TAKEN_BACK
            self.fresh.clear()

    def silence(self, kind: Silence | None) -> None:
        if self.condition and (cause := self.condition.shown.cause):
            self.silenced.pop((TF, cause), None)
            if kind:
                self.silenced[TF, cause] = kind

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def wait(self, seconds: float) -> None:
        self.now += seconds

    # ---- the tray

    def view(self) -> View:
        return View(
            now=self.now,
            conditions=(self.condition,) if self.condition else (),
            starting=frozenset({TF} if self.repairing else ()),
            paused_until=self.now + 1 if self.paused else None,
            silenced=dict(self.silenced),
            told=dict(self.told),
        )

    def tick(self) -> None:
        for prefix in outdated(self.view()):
            self.told[prefix] = "", self.now
            self.fresh.clear()
        for key in lapsed(self.view()):
            del self.silenced[key]
        for notice in due(self.view(), Notifications(remind=self.remind)):
            self.check(notice)
            self.told[notice.prefix] = notice.what, self.now
            self.heard.append((self.now, notice))
        assert not list(due(self.view(), Notifications(remind=self.remind))), "told twice"
        self.check_that_nothing_is_kept_quiet()

    # ---- what must hold

    @property
    def is_silenced(self) -> bool:
        cause = self.condition.settled.cause if self.condition and self.condition.settled else None
        return (TF, cause or "") in self.silenced

    def check(self, notice: Notice) -> None:
        condition = self.condition
        assert condition is not None and condition.settled is not None
        assert condition.glimpse is None, "TensorFlow was not asked"
        assert condition.settled.verdict in BAD
        assert not self.paused and not self.repairing and not self.is_silenced
        if self.ended is not None and self.told[TF][0] == MENDED:
            raise AssertionError("what was before the repair was told after it")
        if notice.title.startswith("Still"):
            assert self.remind is not None and self.now - self.told[TF][1] >= self.remind
            return
        assert notice.what not in self.fresh, "one transition was told twice"
        assert not (self.undone and self.told[TF][0] == TAKEN_BACK), "an undo was told as a loss"
        self.fresh.add(notice.what)

    def check_that_nothing_is_kept_quiet(self) -> None:
        condition, told = self.condition, self.told.get(TF, ("", 0.0))[0]
        if condition is None or condition.settled is None or condition.glimpse is not None:
            return
        if condition.settled.verdict not in BAD or self.is_silenced:
            return
        if self.paused or self.repairing or told in (MENDED, TAKEN_BACK):
            return
        assert str(condition.settled.cause) in told and f"{condition.since:.3f}" in told


Happening = Callable[[World], None]
SECONDS = st.sampled_from([1.0, 60.0, 3600.0, DAY, 3 * DAY])
JUDGED = st.sampled_from([WELL, LEFTOVERS, NO_CUDNN, NO_DRIVER, SILENT])


def happening(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Happening]:
    return st.tuples(*arguments).map(lambda values: lambda w: getattr(w, name)(*values))


HAPPENINGS = st.lists(
    st.one_of(
        happening("look", JUDGED, SECONDS),
        happening("look", JUDGED, SECONDS),
        happening("glimpse", st.sampled_from([UNASKED, NO_CUDNN])),
        happening("repair"),
        happening("end", st.sampled_from([MENDED, TAKEN_BACK, None])),
        happening("silence", st.none() | st.sampled_from(Silence)),
        happening("pause", st.booleans()),
        happening("wait", SECONDS),
    ),
    max_size=30,
)


@settings(max_examples=400)
@given(HAPPENINGS, st.none() | st.just(DAY))
def test_in_all_its_days_nothing_is_told_twice_and_nothing_is_lost(
    happenings: list[Happening], remind: float | None
) -> None:
    world = World(remind=remind)
    for happen in happenings:
        happen(world)
        world.tick()
        world.tick()


def test_a_day_with_a_loss_a_repair_and_an_undo() -> None:
    world = World()
    steps: list[Callable[[], None]] = [
        lambda: world.look(WELL, 1),
        lambda: world.look(NO_CUDNN, 3600),
        world.repair,
        lambda: world.end(MENDED),
        lambda: world.look(WELL, 5),
        lambda: world.wait(2 * DAY),
        world.repair,
        lambda: world.end(TAKEN_BACK),  # the environment still looks well: nobody has looked
        lambda: world.look(NO_CUDNN, 5),
        lambda: world.wait(DAY),
    ]
    for step in steps:
        step()
        world.tick()
    assert [notice.title.split(" in ")[0].split(" since")[0] for _, notice in world.heard] == [
        "TensorFlow sees no GPU",
        "Still broken",
    ]


def test_what_was_acknowledged_and_came_again_is_told_again() -> None:
    world = World()
    steps: list[Callable[[], None]] = [
        lambda: world.look(NO_CUDNN, 1),
        lambda: world.silence(Silence.ACKNOWLEDGED),
        lambda: world.wait(3 * DAY),
        lambda: world.look(WELL, 1),
        lambda: world.look(NO_CUDNN, 1),
    ]
    for step in steps:
        step()
        world.tick()
    assert len(world.heard) == 2
