"""A machine that exists only in memory, and clocks that a test moves: days pass in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fakes import environment
from tfgpu_tray.model import Depth, Environment, Judgement, Offer, Verdict
from tfgpu_tray.monitor.looking import LookFailed, Sight
from tfgpu_tray.observe.manifest import Manifest
from tfgpu_tray.observe.processes import Manager

SEES_GPU = Judgement(Verdict.OK, "TensorFlow 2.10.1 sees a GPU")
UNASKED = Judgement(Verdict.UNKNOWN, "TensorFlow has to be asked")
NO_CUDNN = Judgement(
    Verdict.BROKEN,
    "CUDA libraries are missing: libcudnn.so.8",
    "cudnn-missing",
    offer=Offer("Install cuDNN", ("install cudnn 8.1.0.77",), 700),
)
CPU_ONLY = Judgement(Verdict.BROKEN, "this TensorFlow has no CUDA", "cpu-build")


@dataclass
class Clock:
    """What a wall clock shows, and time itself, as CLOCK_MONOTONIC counts it."""

    wall: float = 1_000_000.0
    steady: float = 5_000.0
    slept: float = 0.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def sleep(self, seconds: float) -> None:
        """The computer sleeps."""
        self.wall += seconds
        self.slept += seconds

    @property
    def elapsed(self) -> float:
        """What a watch beside the computer would show."""
        return self.steady + self.slept

    def set(self, seconds: float) -> None:
        """Somebody sets the clock by so much."""
        self.wall += seconds


@dataclass
class Place:
    """One environment, as the test sets it."""

    environment: Environment
    answer: Judgement = SEES_GPU  # of TensorFlow itself
    files: Judgement = UNASKED
    fingerprint: str = "as installed"
    manifest: Manifest = field(default_factory=Manifest)
    trace: str | None = None
    repaired: bool = False  # a repair of ours is at work
    error: Exception | None = None  # instead of an answer
    silent: bool = False  # a look does not mention it
    during: Callable[[Depth], None] | None = None  # happens while somebody looks
    remembered: tuple[str, Judgement] | None = None  # TensorFlow's last answer, and for what

    def seen(self, depth: Depth) -> Judgement:
        """As `examine` judges: files never overrule TensorFlow's last answer for the same files."""
        if depth >= Depth.TENSORFLOW:
            self.remembered = self.fingerprint, self.answer
            return self.answer
        if self.remembered is None or self.remembered[0] != self.fingerprint:
            return self.files
        told = self.remembered[1]
        if self.files.verdict is Verdict.UNKNOWN or (
            told.verdict is Verdict.OK and self.files.verdict is Verdict.BROKEN
        ):
            return replace(told, headline=f"{told.headline} (asked a while ago)")
        return self.files


@dataclass
class Machine:
    """The monitor's senses. What is slow in the world takes as long as *seconds* says here."""

    root: Path
    clock: Clock
    seconds: Callable[[Depth], float] = lambda depth: 0.0
    places: dict[Path, Place] = field(default_factory=dict)
    working: list[Manager] = field(default_factory=list)
    reason: str | None = None  # not to ask TensorFlow
    awaited: list[tuple[Sequence[Manager], Callable[[], None]]] = field(default_factory=list)
    lost: Exception | None = None  # instead of environments
    looks: list[tuple[str, Depth]] = field(default_factory=list)
    asked: Callable[[Path, Depth], None] = lambda prefix, depth: None  # hears of every look

    def add(self, name: str, answer: Judgement = SEES_GPU, files: Judgement = UNASKED) -> Place:
        place = Place(environment(self.root / name), answer, files)
        self.places[place.environment.prefix] = place
        return place

    def manager(self, pid: int, command: str, *places: Place) -> Manager:
        """A package manager that works on *places* from now on."""
        roots = tuple(str(place.environment.prefix) for place in places)
        words = tuple(command.split())
        found = Manager(pid, command, words, self.clock.wall, places=roots)
        self.working.append(found)
        return found

    def ends(self, manager: Manager) -> None:
        """It has ended, and everybody who waits for it hears of that."""
        self.working.remove(manager)
        for awaited in [a for a in self.awaited if manager in a[0]]:
            if not any(m in self.working for m in awaited[0]):
                self.awaited.remove(awaited)
                awaited[1]()

    # ---- what the monitor asks -----------------------------------------------------------------

    def look(self, environments: Sequence[Environment], depth: Depth) -> Iterator[Sight]:
        for one in environments:
            self.looks.append((one.name, depth))
            self.asked(one.prefix, depth)
            self.clock.pass_by(self.seconds(depth))
            place = self.places.get(one.prefix)
            if place is None:
                raise LookFailed(f"there is no environment at {one.prefix}")
            if place.during is not None:
                place.during(depth)
            if place.error is not None:
                raise place.error
            if not place.silent:
                yield Sight(one.prefix, place.seen(depth))

    def find(self) -> list[Environment]:
        if self.lost is not None:
            raise self.lost
        return [place.environment for place in self.places.values()]

    def fingerprint(self, environment: Environment) -> str:
        place = self.places.get(environment.prefix)
        return place.fingerprint if place else "gone"

    def manifest(self, environment: Environment) -> Manifest:
        return self.places[environment.prefix].manifest

    def managers(self) -> list[Manager]:
        return list(self.working)

    def unfinished(self, environment: Environment) -> str | None:
        place = self.places.get(environment.prefix)
        return place.trace if place else None

    def repairing(self, prefix: Path) -> str | None:
        place = self.places.get(prefix)
        return "repair" if place is not None and place.repaired else None

    def reluctance(self) -> str | None:
        return self.reason

    def await_exit(self, managers: Sequence[Manager], then: Callable[[], None]) -> None:
        self.awaited.append((managers, then))
