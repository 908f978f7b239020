"""What the tray shows is what was stored, and all of it or nothing."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.monitor.simulation import Clock
from tfgpu_tray.model import Condition, Event, Judgement, Offer, Verdict
from tfgpu_tray.store.board import Board, Silence, Standing
from tfgpu_tray.store.database import open_database

PREFIX, OTHER = Path("/envs/tf"), Path("/envs/other")
OK = Judgement(Verdict.OK, "TensorFlow 2.10.1 sees a GPU")
BROKEN = Judgement(
    Verdict.BROKEN,
    "no cuDNN",
    "cudnn-missing",
    also=("a leftover",),
    offer=Offer("Install cuDNN", ("install cudnn", "write the hook"), 700, ("WSL 2: a restart",)),
    who="`pip install keras` at 14:02",
)
HELD = Condition(PREFIX, BROKEN, since=10.0, seen=20.0, fingerprint="abc")


@pytest.fixture
def clock() -> Clock:
    return Clock(wall=1000.0)


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    return open_database(tmp_path)


@pytest.fixture
def board(database: sqlite3.Connection, clock: Clock) -> Board:
    return Board(database, lambda: clock.wall)


def event(kind: str = "transition", prefix: Path | None = PREFIX) -> Event:
    return Event(kind, prefix, "ok → broken", 20.0)


# ---- conditions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        HELD,
        Condition(PREFIX, None, since=1.0, seen=2.0, glimpse=BROKEN),
        Condition(PREFIX, OK, since=1.5, seen=2.0, glimpse=Judgement(Verdict.UNKNOWN, "?")),
        Condition(Path("/umgebung/größe 训练"), replace(OK, advice="Tu’s"), since=0.0, seen=0.0),
        Condition(PREFIX, replace(BROKEN, offer=Offer("x")), since=0.0, seen=0.0),
    ],
)
def test_a_condition_comes_back_as_it_was(
    board: Board, tmp_path: Path, condition: Condition
) -> None:
    board.hold(condition)
    assert board.conditions() == [condition]
    assert Board(open_database(tmp_path)).conditions() == [condition]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JUDGEMENTS = st.builds(
    Judgement,
    st.sampled_from(Verdict),
    TEXTS,
    st.none() | TEXTS,
    st.lists(TEXTS, max_size=2).map(tuple),
    st.none() | st.builds(Offer, TEXTS, st.lists(TEXTS).map(tuple), st.none() | st.integers(0)),
    TEXTS,
    TEXTS,
)


@given(settled=st.none() | JUDGEMENTS, glimpse=st.none() | JUDGEMENTS, since=st.floats(0, 1e10))
def test_every_condition_comes_back_as_it_was(
    settled: Judgement | None, glimpse: Judgement | None, since: float
) -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.row_factory = sqlite3.Row
    database.execute("CREATE TABLE conditions (prefix TEXT PRIMARY KEY, content TEXT NOT NULL)")
    condition = Condition(PREFIX, settled, since, since, glimpse, "abc")
    Board(database).hold(condition)
    assert Board(database).conditions() == [condition]
    database.close()


def test_conditions_come_in_one_order_and_one_for_each_environment(board: Board) -> None:
    board.hold(HELD)
    board.hold(replace(HELD, prefix=OTHER))
    board.hold(replace(HELD, settled=OK))
    assert [(c.prefix, c.settled) for c in board.conditions()] == [(OTHER, BROKEN), (PREFIX, OK)]


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "no JSON",
        "[]",
        "null",
        json.dumps({"prefix": "/x", "settled": {"verdict": "odd"}, "since": 0, "seen": 0}),
    ],
)
def test_a_row_of_another_version_is_left_out(
    board: Board, database: sqlite3.Connection, content: str
) -> None:
    board.hold(HELD)
    database.execute("INSERT INTO conditions VALUES ('/envs/odd', ?)", (content,))
    assert board.conditions() == [HELD]


def test_a_condition_and_its_event_are_stored_together_or_not_at_all(
    board: Board, database: sqlite3.Connection
) -> None:
    board.hold(replace(HELD, settled=OK))
    database.execute("ALTER TABLE events RENAME TO gone")
    with pytest.raises(sqlite3.Error):
        board.hold(HELD, event())
    with pytest.raises(sqlite3.Error):
        board.drop(PREFIX, event("gone"))
    database.execute("ALTER TABLE gone RENAME TO events")
    (held,) = board.conditions()
    assert held.settled == OK and board.events() == []
    board.hold(HELD, event())
    assert board.conditions() == [HELD] and board.events() == [event()]


def test_another_process_sees_what_is_held(board: Board, tmp_path: Path) -> None:
    other = Board(open_database(tmp_path))
    board.hold(HELD, event())
    assert (other.conditions(), other.events()) == ([HELD], [event()])


def test_what_is_dropped_takes_all_along_but_what_the_user_said(board: Board) -> None:
    for prefix in (PREFIX, OTHER):
        board.hold(replace(HELD, prefix=prefix))
        board.keep_manifest(prefix, "{}")
        board.tell(prefix, "broken")
    board.silence(PREFIX, "cudnn-missing", Silence.IGNORED)
    board.drop(PREFIX, event("gone"))
    assert [c.prefix for c in board.conditions()] == [OTHER]
    assert board.manifest(PREFIX) is None and board.manifest(OTHER) is not None
    assert board.told().keys() == {OTHER}
    assert board.silenced() == {(PREFIX, "cudnn-missing"): Silence.IGNORED}
    assert board.events() == [event("gone")]


# ---- events ------------------------------------------------------------------------------------


def test_events_come_newest_first(board: Board) -> None:
    for number in range(5):
        board.append(Event("start", PREFIX if number % 2 else None, f"it's {number}", number))
    assert board.events(2) == [
        Event("start", None, "it's 4", 4.0),
        Event("start", PREFIX, "it's 3", 3.0),
    ]
    assert len(board.events()) == 5


# ---- manifests ---------------------------------------------------------------------------------


def test_a_manifest_is_kept_with_its_time(board: Board, clock: Clock) -> None:
    assert board.manifest(PREFIX) is None
    board.keep_manifest(PREFIX, "one")
    clock.pass_by(5)
    board.keep_manifest(PREFIX, "two")
    assert board.manifest(PREFIX) == (1005.0, "two") and board.manifest(OTHER) is None


# ---- the user ----------------------------------------------------------------------------------


def test_what_was_told_last_is_known_to_the_next_program(
    board: Board, clock: Clock, tmp_path: Path
) -> None:
    board.tell(PREFIX, "broken cudnn-missing 10.000")
    clock.pass_by(7)
    board.tell(PREFIX, "broken driver-old 17.000")
    told = {PREFIX: ("broken driver-old 17.000", 1007.0)}
    assert board.told() == told == Board(open_database(tmp_path)).told()


def test_a_cause_is_silenced_here_and_nowhere_else(board: Board) -> None:
    board.silence(PREFIX, "a", Silence.IGNORED)
    board.silence(PREFIX, "a", Silence.ACKNOWLEDGED)
    board.silence(OTHER, "b", Silence.IGNORED)
    assert board.silenced() == {
        (PREFIX, "a"): Silence.ACKNOWLEDGED,
        (OTHER, "b"): Silence.IGNORED,
    }
    board.silence(PREFIX, "a", None)
    board.silence(PREFIX, "never said", None)
    assert board.silenced() == {(OTHER, "b"): Silence.IGNORED}


def test_a_pause_ends_in_time_and_when_it_is_ended(board: Board, clock: Clock) -> None:
    assert board.paused_until is None
    board.pause(1060.0)
    assert board.paused_until == 1060.0
    clock.pass_by(59.9)
    assert board.paused_until == 1060.0
    clock.pass_by(0.1)
    assert board.paused_until is None
    board.pause(5000.0)
    board.pause(None)
    assert board.paused_until is None


# ---- together ----------------------------------------------------------------------------------


def test_the_worst_environment_counts() -> None:
    def standing(*judgements: Judgement) -> Verdict:
        held = tuple(Condition(PREFIX, j, since=0.0, seen=0.0) for j in judgements)
        return Standing(True, held, (), None, {}).verdict

    unknown = Judgement(Verdict.UNKNOWN, "?")
    degraded = Judgement(Verdict.DEGRADED, "!")
    assert standing() is Verdict.UNKNOWN
    assert standing(OK) is Verdict.OK
    assert standing(OK, degraded) is Verdict.DEGRADED
    assert standing(degraded, unknown, OK) is Verdict.UNKNOWN
    assert standing(unknown, BROKEN, OK) is Verdict.BROKEN


def test_an_ignored_cause_is_no_fault(board: Board) -> None:
    def verdict() -> Verdict:
        return Standing(True, tuple(board.conditions()), (), None, board.silenced()).verdict

    board.hold(replace(HELD, settled=BROKEN))
    assert BROKEN.cause is not None
    board.silence(PREFIX, BROKEN.cause, Silence.ACKNOWLEDGED)
    assert verdict() is Verdict.BROKEN
    board.silence(PREFIX, BROKEN.cause, Silence.IGNORED)
    assert verdict() is Verdict.OK
    board.silence(PREFIX, "another-cause", Silence.IGNORED)
    board.silence(PREFIX, BROKEN.cause, None)
    assert verdict() is Verdict.BROKEN


def test_many_threads_may_write_at_once(board: Board) -> None:
    """One connection serves them all: no write ends up in the transaction of another."""
    errors: list[Exception] = []

    def write(number: int) -> None:
        prefix = Path(f"/envs/{number}")
        try:
            for turn in range(25):
                board.hold(replace(HELD, prefix=prefix), event(prefix=prefix))
                board.tell(prefix, f"{turn}")
                board.keep_manifest(prefix, f"{turn}")
                board.silence(prefix, "x", Silence.IGNORED)
                board.pause(5000.0)
                board.append(event("waiting", prefix))
                board.conditions()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(board.conditions()) == 4 and len(board.events(1000)) == 4 * 25 * 2
    assert {what for what, _ in board.told().values()} == {"24"}


def test_what_is_told_outlives_the_failed_transaction_of_another_thread(
    board: Board, database: sqlite3.Connection
) -> None:
    inside, written = threading.Event(), threading.Event()

    def tell() -> None:
        assert inside.wait(10)
        board.tell(PREFIX, "broken")
        written.set()

    thread = threading.Thread(target=tell)
    thread.start()
    with pytest.raises(ValueError), board._transaction():
        inside.set()
        written.wait(0.3)  # it must not come in
        raise ValueError
    thread.join(10)
    assert board.told().keys() == {PREFIX}
