"""The monitor tells what changes, once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.fakes import conda_prefix, distribution, forget, site_of
from tests.snapshots import BLIND, DRIVER, HOST, healthy, libraries, moved
from tfgpu_tray.config import Config
from tfgpu_tray.model import Depth, Driver, Environment, Host, Library, LibraryState, Snapshot
from tfgpu_tray.monitor.monitor import Event, Monitor
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.observe.processes import Process
from tfgpu_tray.survey import Survey

NO_CUDNN = healthy(
    tensorflow=BLIND, libraries=libraries(Library("libcudnn.so.8", LibraryState.MISSING))
)


@dataclass(frozen=True, slots=True)
class World(Observer):
    """Environments as the test sets them; a look at one that is set to fail has a bug."""

    seen: dict[str, Snapshot] = field(default_factory=dict)
    prints: dict[str, str] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    looks: list[tuple[str, Depth]] = field(default_factory=list)

    def machine(self, depth: Depth) -> tuple[Host, Driver]:
        return HOST, DRIVER

    def fingerprint(self, environment: Environment) -> str:
        return self.prints.get(environment.name, "same")

    def look(self, environment: Environment, depth: Depth, host: Host, driver: Driver) -> Snapshot:
        self.looks.append((environment.name, depth))
        if environment.name in self.failing:
            raise OSError(5, "Input/output error")
        found = moved(self.seen[environment.name], environment, depth)
        if depth < Depth.TENSORFLOW:
            found = replace(found, tensorflow=None)
        return replace(found, fingerprint=self.fingerprint(environment))


@dataclass
class Bench:
    root: Path
    world: World
    told: list[Event] = field(default_factory=list)
    busy: dict[Path, list[Process]] = field(default_factory=dict)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.monitor = Monitor(
            self.survey, self.told.append, lambda: self.now, lambda p: self.busy.get(p, [])
        )

    def survey(self) -> Survey:
        environ = {"CONDA_ENVS_DIRS": str(self.root)}
        return Survey(Config(), self.world, environ, self.root / "home")

    def add(self, name: str, snapshot: Snapshot) -> Path:
        prefix = conda_prefix(self.root / name)
        distribution(site_of(prefix), "tensorflow", "2.10.1")
        self.world.seen[name] = snapshot
        return prefix

    def look(self, depth: Depth = Depth.FINGERPRINT) -> list[tuple[str, str]]:
        """Look, and return what was told: kind and text."""
        del self.told[:]
        self.monitor.look(depth)
        return [(e.kind, e.text) for e in self.told]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    from tfgpu_tray.observe import environments

    monkeypatch.setattr(environments, "CONDA_ROOTS", ())
    monkeypatch.setattr(environments, "CONDARC", ())
    root = tmp_path / "envs"
    root.mkdir()
    return Bench(root, World({}))


OK = ("found", "ok: TensorFlow 2.10.1 sees a GPU")


def test_nothing_to_watch_is_nothing_to_tell(bench: Bench) -> None:
    assert bench.look() == []


def test_what_is_found_is_told_once(bench: Bench) -> None:
    bench.add("tf", healthy())
    assert bench.look() == [OK]
    assert bench.look() == []
    assert bench.look(Depth.STATIC) == []
    assert bench.look(Depth.TENSORFLOW) == []


def test_a_condition_knows_since_when_it_holds(bench: Bench) -> None:
    prefix = bench.add("tf", healthy())
    bench.look()
    bench.now = 2000
    bench.look(Depth.TENSORFLOW)
    assert bench.monitor.conditions[prefix].since == 1000
    bench.world.seen["tf"] = NO_CUDNN
    bench.look(Depth.TENSORFLOW)
    held = bench.monitor.conditions[prefix]
    assert (held.since, held.cause) == (2000, "cudnn-missing")


def test_a_transition_is_told_once_in_each_direction(bench: Bench) -> None:
    bench.add("tf", healthy())
    bench.look()
    bench.world.seen["tf"] = NO_CUDNN
    (told,) = bench.look(Depth.TENSORFLOW)
    assert told == ("transition", "ok → broken: CUDA libraries are missing: libcudnn.so.8")
    assert bench.look(Depth.TENSORFLOW) == []
    bench.world.seen["tf"] = healthy()
    (told,) = bench.look(Depth.TENSORFLOW)
    assert told == ("transition", "broken → ok: TensorFlow 2.10.1 sees a GPU")


def test_another_cause_is_a_transition_too(bench: Bench) -> None:
    bench.add("tf", NO_CUDNN)
    bench.look()
    bench.world.seen["tf"] = healthy(tensorflow=BLIND)
    ((kind, text),) = bench.look(Depth.TENSORFLOW)
    assert kind == "transition" and text.startswith("broken → broken: ")


def test_a_fingerprint_that_holds_costs_no_look(bench: Bench) -> None:
    bench.add("tf", healthy())
    bench.look()
    bench.world.looks.clear()
    bench.look()
    assert bench.world.looks == []


def test_a_fingerprint_that_changed_asks_tensorflow_at_once(bench: Bench) -> None:
    bench.add("tf", healthy())
    bench.add("other", healthy())
    bench.look()
    bench.world.looks.clear()
    bench.world.prints["tf"] = "changed"
    bench.world.seen["tf"] = NO_CUDNN
    assert [kind for kind, _ in bench.look()] == ["transition"]
    assert bench.world.looks == [("tf", Depth.TENSORFLOW)]


def test_a_shallow_look_that_settles_nothing_goes_deeper(bench: Bench) -> None:
    bench.add("tf", healthy())
    assert bench.look(Depth.STATIC) == [OK]
    assert bench.world.looks == [("tf", Depth.STATIC), ("tf", Depth.TENSORFLOW)]


def test_an_environment_that_is_gone_is_told_once_and_forgotten(bench: Bench) -> None:
    prefix = bench.add("tf", healthy())
    bench.look()
    forget(prefix)
    assert bench.look() == [("gone", "the environment is gone; not watched any more")]
    assert bench.look() == [] and bench.monitor.conditions == {}
    bench.add("tf", healthy())
    assert bench.look() == [OK]


def test_while_pip_works_it_waits_and_then_looks_at_once(bench: Bench) -> None:
    prefix = bench.add("tf", healthy())
    bench.look()
    bench.world.looks.clear()
    bench.busy[prefix] = [Process(42, "pip install keras")]
    bench.world.prints["tf"] = "half installed"
    (told,) = bench.look()
    assert told == (
        "waiting",
        "pip install keras (process 42) is at work; looking when it has finished",
    )
    assert bench.look() == [] and bench.look(Depth.STATIC) == []
    assert bench.world.looks == []
    bench.busy.clear()
    bench.world.seen["tf"] = NO_CUDNN
    assert [kind for kind, _ in bench.look()] == ["transition"]


def test_waiting_for_one_does_not_hold_up_another(bench: Bench) -> None:
    busy = bench.add("a", healthy())
    bench.add("b", healthy())
    bench.busy[busy] = [Process(42, "pip install keras")]
    assert [kind for kind, _ in bench.look()] == ["waiting", "found"]


def test_after_waiting_it_looks_even_if_the_fingerprint_is_as_before(bench: Bench) -> None:
    prefix = bench.add("tf", healthy())
    bench.look()
    bench.busy[prefix] = [Process(42, "pip install --force-reinstall tensorflow")]
    bench.world.prints["tf"] = "busy"
    bench.look()
    bench.busy.clear()
    bench.world.prints["tf"] = "same"
    bench.world.looks.clear()
    bench.look()
    assert bench.world.looks == [("tf", Depth.TENSORFLOW)]


def test_a_look_that_fails_is_an_event_and_the_next_one_comes(bench: Bench) -> None:
    bench.add("tf", healthy())
    bench.world.failing.add("tf")
    ((kind, text),) = bench.look()
    assert kind == "failed" and "Input/output error" in text
    bench.world.failing.clear()
    assert bench.look() == [OK]


def test_a_look_that_fails_does_not_keep_others_from_being_looked_at(bench: Bench) -> None:
    bench.add("a", healthy())
    bench.add("b", healthy())
    bench.world.failing.add("a")
    assert sorted(kind for kind, _ in bench.look()) == ["failed", "found"]


def test_a_look_that_keeps_failing_is_told_once(bench: Bench) -> None:
    """Each minute the same words would be repetition."""
    bench.add("tf", healthy())
    bench.world.failing.add("tf")
    assert [kind for kind, _ in bench.look()] == ["failed"]
    assert bench.look() == []


def test_a_survey_that_cannot_be_made_is_an_event(bench: Bench) -> None:
    def broken() -> Survey:
        raise PermissionError(13, "Permission denied")

    monitor = Monitor(broken, bench.told.append, lambda: 1.0, lambda p: [])
    monitor.look(Depth.STATIC)
    assert [e.kind for e in bench.told] == ["failed"]


def test_a_blemish_is_named_beside_the_root(bench: Bench) -> None:
    odd = replace(NO_CUDNN, packages=replace(NO_CUDNN.packages, leftovers=("~umpy",)))
    bench.add("tf", odd)
    ((_, text),) = bench.look()
    assert text.startswith("broken: CUDA libraries are missing: libcudnn.so.8 (also: ")


def test_conditions_given_out_are_a_copy(bench: Bench) -> None:
    bench.add("tf", healthy())
    bench.look()
    bench.monitor.conditions.clear()
    assert len(bench.monitor.conditions) == 1
