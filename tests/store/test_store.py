"""What is remembered, and that it is still there."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.snapshots import BLIND, ENVIRONMENT, PREFIX, SEES_GPU, healthy
from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.examine import Remembered
from tfgpu_tray.model import Depth, Event, Verdict
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import MIGRATIONS, SCHEMA, StoreUnusable, open_database
from tfgpu_tray.store.journal import Journal, State
from tfgpu_tray.store.looks import Looks


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    return open_database(tmp_path / "data")


@pytest.fixture
def looks(database: sqlite3.Connection, clock: Clock) -> Looks:
    return Looks(database, clock)


@pytest.fixture
def journal(database: sqlite3.Connection, clock: Clock) -> Journal:
    return Journal(database, clock)


# ---- the file ----------------------------------------------------------------------------------


def test_the_data_folder_is_made(tmp_path: Path) -> None:
    open_database(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b" / "tfgpu.db").is_file()


def test_a_second_opening_finds_what_the_first_wrote(tmp_path: Path) -> None:
    Looks(open_database(tmp_path)).keep(diagnose(healthy()))
    assert Looks(open_database(tmp_path)).known_prefixes() == {str(PREFIX)}


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = open_database(tmp_path)
    connection.execute(f"PRAGMA user_version={SCHEMA + 1}")
    connection.close()
    with pytest.raises(StoreUnusable, match="written by a newer tfgpu-tray"):
        open_database(tmp_path)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "tfgpu.db").write_bytes(b"this is no database, and long enough to tell" * 100)
    with pytest.raises(StoreUnusable, match=r"tfgpu\.db cannot be used"):
        open_database(tmp_path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match="cannot be used"):
        open_database(tmp_path / "file" / "data")


def test_every_commit_is_on_disk_when_it_returns(database: sqlite3.Connection) -> None:
    assert database.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert database.in_transaction is False


def of_version_1(folder: Path) -> None:
    """What the first version left behind, one row in every table."""
    folder.mkdir()
    connection = sqlite3.connect(folder / "tfgpu.db")
    connection.executescript(MIGRATIONS[0])
    connection.executescript(
        f"""
        INSERT INTO looks VALUES ('{PREFIX}', 'abc', 5.0, 'ok', 'it''s fine', '2.10.1');
        INSERT INTO good VALUES ('{PREFIX}', '2.10.1', 5.0);
        INSERT INTO events VALUES (7, 5.0, 'found', '{PREFIX}', 'ok');
        INSERT INTO repairs VALUES
          (3, '{PREFIX}', 'repair', 'done', 6.0, 7.0, 'broken', 'ok', 'note'),
          (4, '{PREFIX}', 'repair', 'applying', 8.0, NULL, 'broken', NULL, NULL);
        INSERT INTO steps VALUES (3, 0, 'one', 'done', 6.0, 7.0, NULL);
        PRAGMA user_version=1;
        """
    )
    connection.close()


def test_what_the_first_version_stored_is_kept(tmp_path: Path) -> None:
    of_version_1(tmp_path / "data")
    database = open_database(tmp_path / "data")
    assert database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA
    assert Looks(database).known_prefixes() == {str(PREFIX)}
    assert Looks(database).last_good(PREFIX) == "2.10.1"
    journal = Journal(database)
    (done,), (unfinished,) = journal.done(), journal.unfinished()
    assert (done.id, done.before, done.after, done.note) == (3, "broken", "ok", "note")
    assert (done.phase, done.fraction) == ("", None) and unfinished.id == 4
    journal.progress(4, "installing", 0.5)
    assert journal.unfinished()[0].fraction == 0.5
    assert database.execute("SELECT title FROM steps").fetchall()[0][0] == "one"
    board = Board(database)
    assert board.events() == [Event("found", PREFIX, "ok", 5.0)]
    assert (board.conditions(), board.told(), board.paused_until) == ([], {}, None)


def test_an_upgraded_database_is_as_a_new_one(tmp_path: Path) -> None:
    def tables(database: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
        names = [r[0] for r in database.execute("SELECT name FROM sqlite_master WHERE sql > ''")]
        return {
            name: [tuple(r)[1:] for r in database.execute(f"PRAGMA table_info({name})")]
            for name in names
        }

    of_version_1(tmp_path / "old")
    assert tables(open_database(tmp_path / "old")) == tables(open_database(tmp_path / "new"))


def test_an_upgrade_that_fails_leaves_the_old_version_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_version_1(tmp_path / "data")
    broken = (MIGRATIONS[0], MIGRATIONS[1] + "INSERT INTO nowhere VALUES (1);\n")
    monkeypatch.setattr("tfgpu_tray.store.database.MIGRATIONS", broken)
    with pytest.raises(StoreUnusable, match="nowhere"):
        open_database(tmp_path / "data")
    monkeypatch.undo()
    assert len(Journal(open_database(tmp_path / "data")).done()) == 1


def test_programs_that_start_together_upgrade_once(tmp_path: Path) -> None:
    of_version_1(tmp_path / "data")
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: open_database(tmp_path / "data"), range(6)))
    assert {len(Journal(database).done()) for database in opened} == {1}


# ---- looks -------------------------------------------------------------------------------------


def test_an_answer_is_remembered_with_its_age(looks: Looks, clock: Clock) -> None:
    snapshot = healthy()
    looks.keep(diagnose(snapshot))
    clock.now += 90
    assert looks.recall(snapshot) == Remembered(Verdict.OK, "TensorFlow 2.10.1 sees a GPU", 90)


def test_an_answer_does_not_outlive_a_change(looks: Looks) -> None:
    looks.keep(diagnose(healthy()))
    assert looks.recall(healthy(fingerprint="fedcba9876543210")) is None
    elsewhere = replace(ENVIRONMENT, prefix=Path("/other"))
    assert looks.recall(healthy(environment=elsewhere)) is None


def test_only_the_newest_answer_counts(looks: Looks) -> None:
    looks.keep(diagnose(healthy()))
    looks.keep(diagnose(healthy(tensorflow=BLIND)))
    held = looks.recall(healthy())
    assert held is not None and held.verdict is Verdict.BROKEN


def test_a_look_without_an_answer_is_not_remembered(looks: Looks) -> None:
    looks.keep(diagnose(healthy(tensorflow=None, depth=Depth.STATIC)))
    assert looks.recall(healthy()) is None and looks.known_prefixes() == set()


def test_a_clock_that_was_set_back_makes_no_negative_age(looks: Looks, clock: Clock) -> None:
    looks.keep(diagnose(healthy()))
    clock.now -= 5000
    held = looks.recall(healthy())
    assert held is not None and held.age == 0


def test_the_last_version_that_saw_a_gpu_outlives_a_break(looks: Looks) -> None:
    assert looks.last_good(PREFIX) is None
    looks.keep(diagnose(healthy()))
    newer = replace(BLIND, version="2.16.1")
    looks.keep(diagnose(healthy(tensorflow=newer)))
    assert looks.last_good(PREFIX) == "2.10.1"
    looks.keep(diagnose(healthy(tensorflow=replace(SEES_GPU, version="2.9.3"))))
    assert looks.last_good(PREFIX) == "2.9.3"


def test_events_are_only_appended(database: sqlite3.Connection, clock: Clock) -> None:
    board = Board(database, clock)
    board.append(Event("start", None, "hello", 1000.0))
    board.append(Event("found", PREFIX, "ok: it's fine", 1000.0))
    board.drop(PREFIX)
    rows = database.execute("SELECT at, kind, prefix, text FROM events ORDER BY id").fetchall()
    assert [tuple(r) for r in rows] == [
        (1000.0, "start", None, "hello"),
        (1000.0, "found", str(PREFIX), "ok: it's fine"),
    ]


# ---- the journal -------------------------------------------------------------------------------


def test_a_repair_is_unfinished_until_it_ends(journal: Journal) -> None:
    number = journal.begin(PREFIX, "repair", "broken", ["one", "two"])
    (found,) = journal.unfinished(PREFIX)
    assert (found.id, found.state, found.before, found.after) == (
        number,
        State.APPLYING,
        "broken",
        None,
    )
    assert journal.unfinished(Path("/other")) == [] and len(journal.unfinished()) == 1
    journal.end(number, State.DONE, after="ok")
    assert journal.unfinished() == []
    last = journal.last_done(PREFIX)
    assert last is not None and (last.after, last.note) == ("ok", None)


@pytest.mark.parametrize("state", [State.UNDONE, State.ROLLED_BACK, State.STUCK])
def test_only_a_repair_that_stands_can_be_taken_back(journal: Journal, state: State) -> None:
    number = journal.begin(PREFIX, "repair", "broken", [])
    journal.end(number, state)
    assert journal.last_done() is None


def test_the_newest_repair_is_taken_back_first(journal: Journal) -> None:
    other = Path("/other")
    first = journal.begin(PREFIX, "install", "broken", [])
    second = journal.begin(PREFIX, "repair", "broken", [])
    third = journal.begin(other, "repair", "broken", [])
    for number in (first, second, third):
        journal.end(number, State.DONE)
    found = [journal.last_done(p) for p in (PREFIX, other, None, Path("/none"))]
    assert [r.id if r else None for r in found] == [second, third, third, None]


def test_steps_are_written_down_before_and_after(
    journal: Journal, database: sqlite3.Connection, clock: Clock
) -> None:
    number = journal.begin(PREFIX, "repair", "broken", ["one", "two"])
    clock.now = 1001
    journal.step_begins(number, 0)
    clock.now = 1002
    journal.step_ends(number, 0, "done")
    journal.step_begins(number, 1)
    rows = database.execute("SELECT title, state, started, ended FROM steps ORDER BY number")
    assert [tuple(r) for r in rows] == [
        ("one", "done", 1001.0, 1002.0),
        ("two", "applying", 1002.0, None),
    ]


def test_a_note_once_written_is_not_lost(journal: Journal, database: sqlite3.Connection) -> None:
    number = journal.begin(PREFIX, "repair", "broken", [])
    journal.end(number, State.DONE, after="ok", note="first")
    journal.end(number, State.UNDONE)
    row = database.execute("SELECT after, note, state FROM repairs").fetchone()
    assert tuple(row) == ("ok", "first", "undone")


def test_another_process_sees_a_repair_at_once(journal: Journal, tmp_path: Path) -> None:
    journal.begin(PREFIX, "repair", "broken", ["one"])
    other = Journal(open_database(tmp_path / "data"))
    assert len(other.unfinished(PREFIX)) == 1


def test_a_journal_that_cannot_be_written_stops_the_repair(
    journal: Journal, database: sqlite3.Connection
) -> None:
    database.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.Error):
        journal.begin(PREFIX, "repair", "broken", ["one"])
    database.execute("PRAGMA query_only=0")
    assert journal.unfinished() == []
