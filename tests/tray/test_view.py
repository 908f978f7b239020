"""The icon and its words as a pure function of what the store says."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tray.conditions import (
    BASE,
    CPU,
    LEFTOVERS,
    NO_CUDNN,
    NOW,
    SILENT,
    TF,
    UNASKED,
    WELL,
    at_work,
    holds,
    ignored,
    view,
)
from tfgpu_tray.model import Condition, Event, Judgement, Verdict
from tfgpu_tray.store.board import Board, Silence
from tfgpu_tray.store.database import open_database
from tfgpu_tray.store.journal import Journal, State
from tfgpu_tray.tray.status import Status
from tfgpu_tray.tray.view import (
    TOOLTIP,
    Shown,
    View,
    clock,
    cut,
    headline,
    icon,
    read_view,
    summary,
)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


# ---- what it says ------------------------------------------------------------------------------

LOST = holds(NO_CUDNN)
GLIMPSED = holds(WELL, glimpse=UNASKED)
NOTHING: tuple[Condition, ...] = ()


@pytest.mark.parametrize(
    "conditions, status, said",
    [
        (NOTHING, Status.UNKNOWN, "no environment with TensorFlow found yet"),
        ((holds(WELL),), Status.OK, "GPU visible"),
        ((holds(WELL), holds(WELL, CPU)), Status.OK, "GPU visible in all 2 environments"),
        ((LOST,), Status.BROKEN, "tf: libcudnn.so.8 is missing"),
        ((holds(WELL, CPU), LOST), Status.BROKEN, "tf: libcudnn.so.8 is missing"),
        ((holds(LEFTOVERS),), Status.DEGRADED, "tf: a leftover of pip lies about"),
        (
            (holds(LEFTOVERS, CPU), LOST),
            Status.BROKEN,
            "tf: libcudnn.so.8 is missing (and 1 more)",
        ),
        ((holds(None),), Status.UNKNOWN, "still to be asked: tf"),
        ((GLIMPSED, holds(None, CPU)), Status.UNKNOWN, "still to be asked: tf, cpu"),
        ((holds(WELL, glimpse=NO_CUDNN),), Status.BROKEN, "tf: libcudnn.so.8 is missing"),
        ((holds(SILENT),), Status.UNKNOWN, "tf: TensorFlow did not answer within 60 s"),
        # An unknown is worse than a blemish, for the words as for the colour.
        ((holds(LEFTOVERS), holds(None, CPU)), Status.UNKNOWN, "still to be asked: cpu"),
        (
            (holds(LEFTOVERS), holds(SILENT, CPU)),
            Status.UNKNOWN,
            "cpu: TensorFlow did not answer within 60 s (and 1 more)",
        ),
        (
            (LOST, holds(SILENT, CPU), holds(WELL, BASE)),
            Status.BROKEN,
            "tf: libcudnn.so.8 is missing (and 1 more)",
        ),
    ],
)
def test_the_worst_is_said(conditions: tuple[Condition, ...], status: Status, said: str) -> None:
    shown = view(*conditions)
    assert summary(shown) == said
    assert icon(shown) == Shown(status, f"tfgpu-tray: {said}")


def test_many_that_are_still_to_be_asked_are_not_all_named() -> None:
    shown = view(*(holds(None, Path(f"/envs/{name}")) for name in "abcde"))
    assert summary(shown) == "still to be asked: a, b, c …"


def test_what_is_ignored_does_not_colour_and_is_not_said_to_be_well() -> None:
    lost = holds(NO_CUDNN)
    assert icon(view(lost, silenced=ignored(lost))) == Shown(Status.OK, "tfgpu-tray: ignored: tf")
    both = view(lost, holds(WELL, CPU), silenced=ignored(lost))
    assert icon(both).status is Status.OK
    assert summary(both) == "GPU visible in 1 of 2 environments; ignored: tf"
    worse = view(lost, holds(LEFTOVERS, CPU), silenced=ignored(lost))
    assert icon(worse) == Shown(Status.DEGRADED, "tfgpu-tray: cpu: a leftover of pip lies about")


def test_only_the_ignored_cause_of_that_environment_is_ignored() -> None:
    kind = {(TF, "driver-not-loaded"): Silence.IGNORED, (CPU, "cudnn-missing"): Silence.IGNORED}
    assert icon(view(holds(NO_CUDNN), silenced=kind)).status is Status.BROKEN


def test_what_is_acknowledged_still_colours() -> None:
    kind = {(TF, "cudnn-missing"): Silence.ACKNOWLEDGED}
    assert icon(view(holds(NO_CUDNN), silenced=kind)).status is Status.BROKEN


def test_a_repair_shows_its_progress() -> None:
    shown = view(holds(NO_CUDNN), holds(WELL, CPU), repairs=(at_work(),))
    assert icon(shown) == Shown(Status.REPAIRING, "Repairing tf: installing cudnn", 0.5)
    unknown = view(repairs=(at_work(phase="", fraction=None),))
    assert icon(unknown) == Shown(Status.REPAIRING, "Repairing tf: looking at what is there")
    starting = view(holds(NO_CUDNN), starting=frozenset({TF}))
    assert icon(starting) == Shown(Status.REPAIRING, "Repairing tf: looking at what is there")
    assert starting.is_being_repaired(TF) and not starting.is_being_repaired(CPU)


def test_a_repair_is_shown_even_while_paused() -> None:
    assert icon(view(repairs=(at_work(),), paused_until=NOW + 60)).status is Status.REPAIRING


def test_a_pause_says_how_long() -> None:
    until = time.mktime((*time.localtime(NOW)[:3], 23, 59, 0, 0, 0, -1))
    shown = view(holds(NO_CUDNN), paused_until=until)
    assert icon(shown) == Shown(Status.PAUSED, "tfgpu-tray: paused until 23:59")
    assert headline(shown) == "Paused until 23:59"


def test_the_headline_says_how_old_it_is() -> None:
    assert headline(view(holds(WELL))) == "GPU visible · checked 3 min ago"
    old = holds(WELL, CPU, seen=NOW - 7200)
    assert headline(view(holds(WELL), old)).endswith(" · checked 2 h ago")
    assert headline(view(holds(WELL, seen=NOW + 60))).endswith("checked just now")
    assert headline(view()) == "no environment with TensorFlow found yet"


def test_the_headline_says_who_is_being_asked() -> None:
    asked = view(holds(None), checking=TF)
    assert headline(asked) == "still to be asked: tf · asking TensorFlow in tf …"


def test_the_tooltip_has_no_age_that_would_change_each_minute() -> None:
    conditions = (holds(WELL), holds(NO_CUDNN, CPU))
    assert icon(View(NOW, conditions)) == icon(View(NOW + 5000, conditions))


# ---- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefixes, names",
    [
        (["/a/envs/tf"], ["tf"]),
        (["/a/envs/tf", "/a/envs/gpu"], ["tf", "gpu"]),
        (["/a/one/tf", "/a/two/tf"], ["one/tf", "two/tf"]),
        (["/home/a/envs/tf", "/home/b/envs/tf"], ["a/envs/tf", "b/envs/tf"]),
        (["/tf", "/a/tf"], ["/tf", "a/tf"]),
        (["/"], ["/"]),
    ],
)
def test_names_are_as_short_as_they_can_be(prefixes: list[str], names: list[str]) -> None:
    shown = view(*(holds(WELL, Path(prefix)) for prefix in prefixes))
    assert [shown.name(Path(prefix)) for prefix in prefixes] == names


def test_what_is_not_watched_has_a_name_as_well() -> None:
    shown = view(holds(WELL, Path("/a/envs/tf")))
    assert shown.name(Path("/b/new")) == "new"
    assert shown.name(Path("/b/tf")) == "b/tf"


PREFIXES = st.lists(
    st.lists(st.sampled_from(["a", "b", "envs", "用户", "tf"]), min_size=1, max_size=4).map(
        lambda parts: Path("/", *parts)
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(PREFIXES)
def test_no_two_names_are_alike(prefixes: list[Path]) -> None:
    shown = view(*(holds(WELL, prefix) for prefix in prefixes))
    assert len({shown.name(prefix) for prefix in prefixes}) == len(prefixes)


# ---- everything at once ------------------------------------------------------------------------

TEXT = st.text(max_size=200) | st.text(alphabet="😀用é ", min_size=60, max_size=200)
JUDGED = st.builds(
    Judgement,
    st.sampled_from(Verdict),
    TEXT,
    st.none() | st.sampled_from(["cudnn-missing", "driver-not-loaded"]),
)
CONDITIONS = st.lists(
    st.builds(
        Condition,
        st.sampled_from([TF, CPU, BASE, Path("/😀" * 80)]),
        st.none() | JUDGED,
        st.just(NOW - 60),
        st.just(NOW - 60),
        st.none() | JUDGED,
    ),
    max_size=4,
    unique_by=lambda c: c.prefix,
)


@given(CONDITIONS, st.booleans(), st.booleans(), TEXT)
def test_whatever_holds_there_is_an_icon(
    conditions: list[Condition], repairing: bool, paused: bool, phase: str
) -> None:
    shown = view(
        *conditions,
        repairs=(at_work(phase=phase),) if repairing else (),
        paused_until=NOW + 60 if paused else None,
    )
    seen = icon(shown)
    assert 0 < units(seen.tooltip) <= TOOLTIP
    assert (seen.status is Status.REPAIRING) is repairing
    assert (seen.status is Status.PAUSED) is (paused and not repairing)
    assert headline(shown)


@given(CONDITIONS, st.sets(st.tuples(st.sampled_from([TF, CPU]), st.just("cudnn-missing"))))
def test_the_colour_is_that_of_the_worst_that_is_not_ignored(
    conditions: list[Condition], silenced: set[tuple[Path, str]]
) -> None:
    counted = [
        c.shown.verdict for c in conditions if (c.prefix, c.shown.cause or "") not in silenced
    ]
    worst = max(counted, key=lambda v: v.badness, default=Verdict.OK)
    expected = Status(worst.value) if conditions else Status.UNKNOWN
    kinds = dict.fromkeys(silenced, Silence.IGNORED)
    assert icon(view(*conditions, silenced=kinds)).status is expected


@given(CONDITIONS)
def test_green_is_only_for_what_tensorflow_was_asked(conditions: list[Condition]) -> None:
    if icon(view(*conditions)).status is Status.OK:
        assert all(c.shown.verdict is Verdict.OK for c in conditions)
        assert summary(view(*conditions)).startswith("GPU visible")


@given(st.text(), st.integers(2, 300))
def test_cutting_keeps_the_start_and_the_limit(text: str, length: int) -> None:
    short = cut(text, length)
    assert units(short) <= length
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_a_character_of_two_units_is_not_halved() -> None:
    assert cut("ab😀cd", 4) == "ab…"
    assert cut("ab😀", 4) == "ab😀"


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is() -> None:
    """Linux's names are bytes; those that are no UTF-8 would end the conversation with a panel."""
    shown = view(holds(NO_CUDNN, Path("/envs/caf\udce9")))
    assert icon(shown).tooltip == "tfgpu-tray: caf?: libcudnn.so.8 is missing"


def test_a_clock_names_the_day_when_it_is_another() -> None:
    noon = time.mktime((2026, 3, 5, 12, 30, 0, 0, 0, -1))
    assert clock(noon, noon + 3600) == "12:30"
    assert clock(noon, noon + 24 * 3600) == "05 Mar 12:30"


# ---- reading the store -------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    database = open_database(tmp_path)
    yield database
    database.close()


def test_everything_is_read_from_the_store(database: sqlite3.Connection) -> None:
    board, journal = Board(database, lambda: NOW), Journal(database, lambda: NOW)
    lost = holds(NO_CUDNN)
    board.hold(lost, Event("transition", TF, "broken", NOW))
    board.silence(TF, "cudnn-missing", Silence.IGNORED)
    board.tell(TF, "told")
    board.pause(NOW + 60)
    for after in ("ok", "degraded"):
        journal.end(journal.begin(TF, "repair", "broken", []), State.DONE, after=after)
    seen = read_view(board, journal, (at_work(CPU),), NOW, starting=frozenset({BASE}))
    assert seen.conditions == (lost,)
    assert seen.is_ignored(lost) and seen.judged(lost).verdict is Verdict.OK
    assert seen.told == {TF: ("told", NOW)} and seen.paused_until == NOW + 60
    assert seen.undoable[TF].after == "degraded"  # the newest
    assert seen.is_being_repaired(CPU) and seen.is_being_repaired(BASE)
    assert [event.text for event in seen.events] == ["broken"]
