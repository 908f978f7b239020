"""How far a repair is, as the tray reads it from the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.monitor.simulation import Clock
from tfgpu_tray.repair.gauge import EVERY, Gauge
from tfgpu_tray.store.database import open_database
from tfgpu_tray.store.journal import Journal, Repair, State

PREFIX = Path("/envs/tf")
STEPS = 3  # and asking TensorFlow: four parts


@dataclass
class Bench:
    journal: Journal
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.number = self.journal.begin(PREFIX, "repair", "broken", ["one", "two", "three"])
        self.gauge = Gauge(self.journal, self.number, STEPS, lambda: self.clock.steady)

    @property
    def repair(self) -> Repair:
        (repair,) = self.journal.unfinished(PREFIX)
        return repair

    def output(self, came: int, of: int | str = 1000) -> None:
        self.clock.pass_by(EVERY)
        self.gauge.output(f"Progress {came} of {of}\n")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Journal(open_database(tmp_path)))


def test_before_the_first_step_nothing_is_known(bench: Bench) -> None:
    assert (bench.repair.phase, bench.repair.fraction) == ("", None)


def test_a_step_tells_what_it_does_and_how_much_is_behind(bench: Bench) -> None:
    told = []
    for done, title in enumerate(["one", "two", "three", "asking TensorFlow"]):
        bench.gauge.step(done, title)
        told.append((bench.repair.phase, bench.repair.fraction))
    assert told == [("one", 0.0), ("two", 0.25), ("three", 0.5), ("asking TensorFlow", 0.75)]


def test_a_download_moves_within_its_step(bench: Bench) -> None:
    bench.gauge.step(1, "two")
    bench.output(500)
    assert (bench.repair.phase, bench.repair.fraction) == ("two", 0.375)
    bench.output(1000)
    assert bench.repair.fraction == 0.5


def test_the_last_of_several_lines_counts(bench: Bench) -> None:
    bench.gauge.step(0, "one")
    bench.clock.pass_by(EVERY)
    bench.gauge.output("Collecting x\nProgress 1 of 4\nProgress 2 of 4\nInstalling\n")
    assert bench.repair.fraction == 0.125


@pytest.mark.parametrize("text", ["Collecting x\n", "Progress 5 of ?\n", "Progress 5 of 0\n", ""])
def test_what_tells_no_size_moves_nothing(bench: Bench, text: str) -> None:
    bench.gauge.step(1, "two")
    bench.clock.pass_by(EVERY)
    bench.gauge.output(text)
    assert bench.repair.fraction == 0.25


def test_more_than_all_is_all(bench: Bench) -> None:
    """A server may announce less than it sends."""
    bench.gauge.step(0, "one")
    bench.output(5000)
    assert bench.repair.fraction == 0.25


def test_the_journal_is_not_written_with_every_line(bench: Bench) -> None:
    """Each entry is flushed to the disk that pip writes to."""
    bench.gauge.step(0, "one")
    bench.gauge.output("Progress 500 of 1000\n")
    assert bench.repair.fraction == 0.0
    bench.output(600)
    bench.gauge.output("Progress 900 of 1000\n")
    assert bench.repair.fraction == pytest.approx(0.15)
    bench.clock.pass_by(EVERY * 0.9)
    bench.gauge.output("Progress 901 of 1000\n")
    assert bench.repair.fraction == pytest.approx(0.15)
    bench.clock.pass_by(EVERY * 0.2)
    bench.gauge.output("Progress 1000 of 1000\n")
    assert bench.repair.fraction == 0.25


def test_a_repair_that_has_ended_keeps_its_last_word(bench: Bench) -> None:
    bench.gauge.step(2, "three")
    bench.journal.end(bench.number, State.DONE, after="ok")
    (repair,) = bench.journal.done(PREFIX)
    assert (repair.phase, repair.fraction, repair.state) == ("three", 0.5, State.DONE)
