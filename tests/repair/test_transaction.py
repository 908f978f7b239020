"""Whatever happens on the way, an environment ends better or as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.fakes import conda_prefix, described, write
from tests.repair.test_keep import tree_hash
from tests.snapshots import (
    BLIND,
    FailingObserver,
    FakeObserver,
    ObserverFailed,
    healthy,
    libraries,
    moved,
)
from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.installer.step import Description, Kept, Step, StepFailed, Work
from tfgpu_tray.model import Depth, Library, LibraryState, Report, Snapshot, Verdict
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.observe.processes import Process
from tfgpu_tray.repair.keep import Keep
from tfgpu_tray.repair.transaction import Ended, Refused, Telling, Workshop
from tfgpu_tray.store.database import open_database
from tfgpu_tray.store.journal import Journal, Repair, State

MISSING = Library("libcudnn.so.8", LibraryState.MISSING)
BROKEN = healthy(tensorflow=BLIND, libraries=libraries(MISSING))


@dataclass
class FakeStep(Kept):
    """Writes one file, or does what *action* does."""

    path: Path
    action: Callable[[Path], object] = lambda path: path.write_text("after")
    chapter: str = "cuda"
    done: bool = False
    applied: list[Path] = field(default_factory=list)

    def check(self) -> bool:
        return self.done

    def describe(self) -> Description:
        return Description(f"Change {self.path.name}", "for the test", ())

    def touches(self) -> tuple[Path, ...]:
        return (self.path,)

    def apply(self, work: Work) -> None:
        self.applied.append(self.path)
        self.action(self.path)


def says_no(path: Path) -> None:
    path.write_text("half")
    raise StepFailed("pip said no")


def is_interrupted(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def has_a_bug(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError("a bug")


@dataclass
class Bench:
    """An environment, and a workshop beside it."""

    prefix: Path
    folder: Path
    database: sqlite3.Connection
    said: list[str] = field(default_factory=list)

    def shop(self, *seen: Snapshot, observer: Observer | None = None) -> Workshop:
        return Workshop(
            self.folder,
            Journal(self.database, clock=lambda: 1000.0),
            observer or FakeObserver({}, seen=seen or (healthy(),), looks=[]),
            Telling(
                step=lambda number, count, title: self.said.append(f"{number}/{count} {title}"),
                phase=self.said.append,
            ),
            working=lambda prefix: [],
            using=lambda prefix: [],
        )

    @property
    def before(self) -> Report:
        return diagnose(moved(BROKEN, described(self.prefix), Depth.TENSORFLOW))

    def run(self, shop: Workshop, *steps: Step, healed: tuple[str, ...] = ()) -> Ended:
        environment = described(self.prefix)
        return shop.run_steps(environment, steps, self.before, healed, "repair")

    def path(self, name: str = "lib/file") -> Path:
        return self.prefix / name

    def state(self) -> str:
        row = self.database.execute("SELECT state FROM repairs ORDER BY id DESC").fetchone()
        return str(row["state"])

    def steps(self) -> list[str]:
        rows = self.database.execute("SELECT state FROM steps ORDER BY repair, number")
        return [row["state"] for row in rows]

    def last(self) -> Repair:
        found = Journal(self.database).last_done(self.prefix)
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    prefix = conda_prefix(tmp_path / "envs" / "tf")
    write(prefix / "lib" / "file", "before")
    write(prefix / "lib" / "other", "before")
    return Bench(prefix, tmp_path / "data", open_database(tmp_path / "data"))


def test_a_repair_that_helps_stands(bench: Bench) -> None:
    ended = bench.run(bench.shop(), FakeStep(bench.path()), FakeStep(bench.path("lib/other")))
    assert ended.state is State.DONE and ended.after is not None
    assert ended.after.verdict is Verdict.OK
    assert bench.path().read_text() == "after"
    assert (bench.state(), bench.steps()) == ("done", ["done", "done"])
    assert "1/2 Change file" in bench.said and "2/2 Change other" in bench.said


def test_a_step_that_is_no_longer_needed_is_skipped(bench: Bench) -> None:
    idle = FakeStep(bench.path("lib/other"), done=True)
    assert bench.run(bench.shop(), FakeStep(bench.path()), idle).state is State.DONE
    assert not idle.applied
    assert bench.steps() == ["done", "skipped"]


def test_a_step_that_fails_puts_everything_back(bench: Bench) -> None:
    before = tree_hash(bench.prefix)
    later = FakeStep(bench.path("lib/later"))
    steps = (FakeStep(bench.path()), FakeStep(bench.path("lib/other"), says_no), later)
    ended = bench.run(bench.shop(), *steps)
    assert (ended.state, ended.note) == (State.ROLLED_BACK, "pip said no")
    assert tree_hash(bench.prefix) == before
    assert not later.applied
    assert bench.state() == "rolled-back"


def test_no_improvement_puts_everything_back(bench: Bench) -> None:
    before = tree_hash(bench.prefix)
    ended = bench.run(bench.shop(BROKEN), FakeStep(bench.path()), healed=("cudnn-missing",))
    assert ended.state is State.ROLLED_BACK
    assert ended.note.startswith("no better afterwards: ")
    assert tree_hash(bench.prefix) == before


def test_what_completes_a_healthy_set_up_stands(bench: Bench) -> None:
    """The preload that `install` adds: nothing was wrong, and nothing is."""
    whole = diagnose(moved(healthy(), described(bench.prefix), Depth.TENSORFLOW))
    step = FakeStep(bench.path())
    for seen, state in ((BROKEN, State.ROLLED_BACK), (healthy(), State.DONE)):
        shop = bench.shop(seen)
        ended = shop.run_steps(described(bench.prefix), [step], whole, (), "install")
        assert ended.state is state
    assert bench.path().read_text() == "after"


def test_another_break_of_the_environment_is_no_improvement(bench: Bench) -> None:
    other = replace(BROKEN, libraries=libraries(Library("libcublas.so.11", LibraryState.MISSING)))
    ended = bench.run(bench.shop(other), FakeStep(bench.path()), healed=("cudnn-missing",))
    assert ended.state is State.ROLLED_BACK


def test_a_healed_cause_stands_when_only_the_machine_is_left_to_blame(bench: Bench) -> None:
    gone = replace(healthy().driver, nvml_error=12, nvml_error_text="not found", gpus=None)
    after = healthy(tensorflow=BLIND, driver=gone)
    ended = bench.run(bench.shop(after), FakeStep(bench.path()), healed=("cudnn-missing",))
    assert ended.state is State.DONE and ended.after is not None
    assert ended.after.verdict is Verdict.BROKEN


@pytest.mark.parametrize("action, error", [(is_interrupted, KeyboardInterrupt), (has_a_bug, None)])
def test_an_exception_puts_everything_back_and_is_heard(
    bench: Bench, action: Callable[[Path], object], error: type[BaseException] | None
) -> None:
    before = tree_hash(bench.prefix)
    with pytest.raises(error or ZeroDivisionError):
        bench.run(bench.shop(), FakeStep(bench.path("lib/other")), FakeStep(bench.path(), action))
    assert tree_hash(bench.prefix) == before
    assert bench.state() == "rolled-back"


def test_an_observer_that_fails_afterwards_puts_everything_back(bench: Bench) -> None:
    before = tree_hash(bench.prefix)
    observer = FailingObserver({}, seen=(healthy(),))
    with pytest.raises(ObserverFailed):
        bench.run(bench.shop(observer=observer), FakeStep(bench.path()))
    assert tree_hash(bench.prefix) == before
    assert bench.state() == "rolled-back"


def test_an_environment_that_is_gone_afterwards_comes_back(bench: Bench) -> None:
    import shutil

    before = tree_hash(bench.prefix)
    ended = bench.run(bench.shop(), FakeStep(bench.prefix, lambda path: shutil.rmtree(path)))
    assert ended.state is State.ROLLED_BACK and "gone" in ended.note
    assert tree_hash(bench.prefix) == before


def test_what_cannot_be_put_back_is_said(bench: Bench) -> None:
    def spoil(path: Path) -> None:
        path.unlink()
        for kept in (bench.folder / "repairs").glob("*/000/*"):
            kept.unlink()
        raise StepFailed("the disk is failing")

    ended = bench.run(bench.shop(), FakeStep(bench.path(), spoil))
    assert ended.state is State.STUCK
    assert "the disk is failing" in ended.note and str(bench.path()) in ended.note
    assert bench.state() == "stuck"


def test_what_can_be_put_back_is_put_back_when_something_cannot(bench: Bench) -> None:
    last = write(bench.path("lib/last"), "only this")

    def spoil(path: Path) -> None:
        last.unlink()
        for kept in (bench.folder / "repairs").glob("*/000/*"):
            if kept.read_text() == "only this":
                kept.unlink()
        raise StepFailed("the disk is failing")

    steps = (FakeStep(bench.path()), FakeStep(bench.path("lib/other")), FakeStep(last, spoil))
    ended = bench.run(bench.shop(), *steps)
    assert ended.state is State.STUCK and str(last) in ended.note
    assert bench.path().read_text() == "before"
    assert bench.path("lib/other").read_text() == "before"


def test_the_copies_of_a_repair_that_was_put_back_are_removed(bench: Bench) -> None:
    bench.run(bench.shop(), FakeStep(bench.path(), says_no))
    assert not list((bench.folder / "repairs").iterdir())


def test_what_cannot_be_kept_is_not_changed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(bench.prefix)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    step = FakeStep(bench.path())
    with pytest.raises(Refused, match="0 MB free"):
        bench.run(bench.shop(), step)
    assert not step.applied
    assert bench.state() == "rolled-back"


# ---- one at a time -----------------------------------------------------------------------------


def test_a_second_repair_of_the_same_prefix_is_refused(bench: Bench) -> None:
    refusals: list[str] = []

    def meanwhile(path: Path) -> None:
        with pytest.raises(Refused) as caught:
            bench.run(bench.shop(), FakeStep(bench.path("lib/other")))
        refusals.append(str(caught.value))
        path.write_text("after")

    assert bench.run(bench.shop(), FakeStep(bench.path(), meanwhile)).state is State.DONE
    assert refusals == [f"another repair of {bench.prefix} is running"]
    assert bench.path("lib/other").read_text() == "before"


def test_a_second_repair_through_a_link_to_the_prefix_is_refused(bench: Bench) -> None:
    link = bench.prefix.with_name("link")
    link.symlink_to(bench.prefix)
    second = replace_prefix(bench, link)

    def meanwhile(path: Path) -> None:
        with pytest.raises(Refused):
            second.run(second.shop(), FakeStep(link / "lib" / "other"))

    assert bench.run(bench.shop(), FakeStep(bench.path(), meanwhile)).state is State.DONE


def replace_prefix(bench: Bench, prefix: Path) -> Bench:
    return Bench(prefix, bench.folder, bench.database)


def test_repairs_of_two_prefixes_do_not_wait_for_each_other(bench: Bench) -> None:
    other = replace_prefix(bench, conda_prefix(bench.prefix.with_name("other")))
    write(other.path(), "before")

    def meanwhile(path: Path) -> None:
        assert other.run(other.shop(), FakeStep(other.path())).state is State.DONE

    assert bench.run(bench.shop(), FakeStep(bench.path(), meanwhile)).state is State.DONE


@pytest.mark.parametrize("who", ["working", "using"])
def test_while_somebody_is_at_work_there_nothing_is_done(bench: Bench, who: str) -> None:
    done = bench.run(bench.shop(), FakeStep(bench.path()))

    def busy(prefix: Path) -> list[Process]:
        return [Process(42, "pip install keras")]

    shop = bench.shop()
    shop = replace(shop, working=busy) if who == "working" else replace(shop, using=busy)
    step = FakeStep(bench.path("lib/other"))
    with pytest.raises(Refused, match=r"pip install keras \(process 42\)"):
        bench.run(shop, step)
    with pytest.raises(Refused, match="process 42"):
        shop.undo(bench.last())
    assert done.state is State.DONE and not step.applied
    assert bench.path().read_text() == "after"


def waiting(bench: Bench, *answers: list[Process]) -> tuple[Workshop, list[float]]:
    """A workshop in a prefix that is in use, as often as there are *answers*; and its pauses."""
    left, pauses = list(answers), list[float]()
    shop = replace(bench.shop(), using=lambda prefix: left.pop(0) if left else [])
    return shop, pauses


TRAINING = [Process(4711, "python train.py")]


def test_it_waits_until_nobody_uses_the_environment(bench: Bench) -> None:
    shop, pauses = waiting(bench, TRAINING, TRAINING)
    shop.wait(bench.prefix, 60, sleep=pauses.append, clock=lambda: 2 * len(pauses))
    assert pauses == [2.0, 2.0]
    assert bench.said == ["Waiting: python train.py (process 4711) is using TensorFlow here"] * 2


def test_it_does_not_wait_for_ever(bench: Bench) -> None:
    shop, pauses = waiting(bench, *([TRAINING] * 9))
    with pytest.raises(Refused, match=r"process 4711.*repair --wait"):
        shop.wait(bench.prefix, 5, sleep=pauses.append, clock=lambda: sum(pauses))
    assert pauses == [2.0, 2.0, 1.0]


def test_where_nobody_is_at_work_nothing_is_waited_for(bench: Bench) -> None:
    shop, pauses = waiting(bench)
    shop.wait(bench.prefix, 0, sleep=pauses.append)
    assert (pauses, bench.said) == ([], [])


def test_what_was_moved_out_of_the_way_goes_when_it_is_free(bench: Bench) -> None:
    held = write(bench.folder / "repairs" / "000007" / "held" / "0", "a DLL of an older repair")
    bench.run(bench.shop(), FakeStep(bench.path()))
    assert not held.exists() and not held.parent.parent.exists()


# ---- interrupted -------------------------------------------------------------------------------


def interrupt(bench: Bench, *, while_keeping: bool = False) -> int:
    """What a machine that lost power in the middle of a repair leaves behind."""
    number = Journal(bench.database).begin(bench.prefix, "repair", "broken", ["Change file"])
    if not while_keeping:
        Keep(bench.folder / "repairs" / f"{number:06}").take([bench.prefix / "lib"])
        bench.path().write_text("half")
    return number


def test_an_interrupted_repair_is_put_back(bench: Bench) -> None:
    before = tree_hash(bench.prefix)
    number = interrupt(bench)
    (recovered,) = bench.shop().recover()
    assert (recovered.id, recovered.prefix) == (number, bench.prefix)
    assert tree_hash(bench.prefix) == before
    assert bench.state() == "rolled-back"
    assert bench.shop().recover() == []


def test_a_repair_interrupted_while_keeping_changed_nothing(bench: Bench) -> None:
    interrupt(bench, while_keeping=True)
    before = tree_hash(bench.prefix)
    bench.shop().recover()
    assert tree_hash(bench.prefix) == before
    assert bench.state() == "rolled-back"


def test_the_next_repair_first_puts_an_interrupted_one_back(bench: Bench) -> None:
    interrupt(bench)
    ended = bench.run(bench.shop(BROKEN), FakeStep(bench.path("lib/other")))
    assert ended.state is State.ROLLED_BACK
    assert bench.path().read_text() == "before"


def test_a_repair_that_is_still_running_is_not_recovered(bench: Bench) -> None:
    def meanwhile(path: Path) -> None:
        assert bench.shop().recover() == []
        path.write_text("after")

    assert bench.run(bench.shop(), FakeStep(bench.path(), meanwhile)).state is State.DONE
    assert bench.path().read_text() == "after"


def test_one_repair_that_cannot_be_recovered_does_not_hold_up_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace_prefix(bench, conda_prefix(bench.prefix.with_name("other")))
    write(other.path(), "before")
    interrupt(bench)
    newest = interrupt(other)
    manifest = bench.folder / "repairs" / f"{newest:06}" / "before.json"
    manifest.write_text("{ not JSON")
    bench.shop().recover()
    assert bench.path().read_text() == "before"
    states = bench.database.execute("SELECT state FROM repairs ORDER BY id").fetchall()
    assert [row["state"] for row in states] == ["rolled-back", "stuck"]


# ---- taken back --------------------------------------------------------------------------------


def test_a_repair_can_be_taken_back(bench: Bench) -> None:
    before = tree_hash(bench.prefix)
    bench.run(bench.shop(), FakeStep(bench.path()), FakeStep(bench.path("lib/new")))
    ended = bench.shop(BROKEN).undo(bench.last())
    assert ended.state is State.UNDONE
    assert ended.after is not None and ended.after.verdict is Verdict.BROKEN
    assert tree_hash(bench.prefix) == before
    assert Journal(bench.database).last_done() is None


def test_files_changed_since_are_not_taken_back_unasked(bench: Bench) -> None:
    bench.run(bench.shop(), FakeStep(bench.path()))
    repair = bench.last()
    bench.path().write_text("mine, later")
    with pytest.raises(Refused, match=r"changed again since, for example .*lib/file"):
        bench.shop().undo(repair)
    assert bench.path().read_text() == "mine, later"
    assert bench.state() == "done"
    assert bench.shop().undo(repair, force=True).state is State.UNDONE
    assert bench.path().read_text() == "before"


def test_an_undo_without_kept_files_is_refused(bench: Bench) -> None:
    import shutil

    bench.run(bench.shop(), FakeStep(bench.path()))
    shutil.rmtree(bench.folder / "repairs")
    with pytest.raises(Refused, match="are gone"):
        bench.shop().undo(bench.last())
    assert bench.path().read_text() == "after"


def test_an_undo_whose_lists_are_damaged_is_refused(bench: Bench) -> None:
    bench.run(bench.shop(), FakeStep(bench.path()))
    (after,) = (bench.folder / "repairs").glob("*/after.json")
    after.write_text("{ not JSON")
    with pytest.raises(Refused):
        bench.shop().undo(bench.last())
    assert bench.path().read_text() == "after"


def test_taking_back_the_creation_of_an_environment_leaves_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    prefix = tmp_path / "envs" / "fresh"
    environment = replace(described(bench.prefix), prefix=prefix)
    create = FakeStep(prefix, conda_prefix)
    shop = bench.shop()
    assert shop.run_steps(environment, [create], bench.before, (), "install").state is State.DONE
    repair = Journal(bench.database).last_done(prefix)
    assert repair is not None
    ended = shop.undo(repair)
    assert (ended.state, ended.after) == (State.UNDONE, None)
    assert not prefix.exists()
