"""How soon the icon tells after pip has ended, on the virtual desktop.

`python -m tests.lab.latency` upgrades and downgrades twenty times with small wheels, one of the
runs failing and one killed half-way, and three times with the real TensorFlow.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.lab.desktop import Desktop
from tests.lab.lab import Lab
from tests.lab.machine import REPOSITORY, Machine
from tests.lab.toy_tensorflow import toy_wheel
from tfgpu_tray.model import Condition, Verdict
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import open_database

GOOD, BAD = "2.10.1", "2.15.1"
FILES = 2000  # so that pip's work on the environment lasts a second
BUDGET = 1.0  # seconds, for 95 of 100 runs
PATIENCE = 120.0


@dataclass
class Figures:
    seconds: list[float] = field(default_factory=list)  # from pip's end to another icon
    alarms: list[str] = field(default_factory=list)  # verdicts that came while pip was at work

    @property
    def p95(self) -> float:
        ordered = sorted(self.seconds)
        return ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]

    def __str__(self) -> str:
        return (
            f"{len(self.seconds)} runs: median {statistics.median(self.seconds):.2f} s, "
            f"p95 {self.p95:.2f} s, worst {max(self.seconds):.2f} s; "
            f"{len(self.alarms)} false alarms"
        )


class Bench:
    """A tray that watches one environment, and pip at work there."""

    def __init__(self, machine: Machine, desktop: Desktop, prefix: Path):
        self.prefix, self._desktop = prefix, desktop
        self._environ = machine.environ() | desktop.environ | {"HOME": str(machine.home)}
        self._machine = machine
        self.board = Board(open_database(machine.data))
        self.figures = Figures()

    @contextmanager
    def tray(self) -> Iterator[None]:
        words = [sys.executable, "-m", "tests.lab.tool", str(self._machine.root), "run"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            words, cwd=REPOSITORY, env=self._environ, stdout=quiet, stderr=quiet
        )
        try:
            self.settle()
            yield
        finally:
            process.terminate()
            process.wait(10)

    def pip(self, *arguments: str, kill: bool = False, same: bool = False) -> None:
        """Run the environment's pip and time the icon; *same*: the icon is not to change."""
        before, colour = self._shown(), self._desktop.icon_colour()
        words = [str(self.prefix / "bin" / "python"), "-m", "pip", "install", "-q", *arguments]
        quiet = subprocess.DEVNULL
        pip = subprocess.Popen(words, env=self._environ, stdout=quiet, stderr=quiet)
        while pip.poll() is None:
            if kill and self._is_half_way():
                pip.kill()
                pip.wait()
            elif self._shown() != before:
                self.figures.alarms.append(f"{before} → {self._shown()} during {arguments}")
                before = self._shown()
            time.sleep(0.02)
        ended, at = time.monotonic(), time.time()
        while not same and self._desktop.icon_colour() in (colour, None):
            assert time.monotonic() - ended < PATIENCE, f"the icon did not change: {arguments}"
            time.sleep(0.01)
        if not same:
            self.figures.seconds.append(time.monotonic() - ended)
        self.settle(at)

    def settle(self, after: float = 0.0) -> Condition:
        """Wait until TensorFlow itself has been asked, *after* some time since the epoch."""
        end = time.monotonic() + PATIENCE
        while True:
            for condition in self.board.conditions():
                settled = condition.settled is not None and condition.glimpse is None
                settled = settled and condition.seen >= after
                if settled and self._desktop.icon_colour() is not None and self._is_idle():
                    return condition
            assert time.monotonic() < end, "it did not settle"
            time.sleep(0.1)

    def _is_idle(self) -> bool:
        """Nothing is being looked at."""
        return not any(
            "--plan" in process.info["cmdline"] if process.info["cmdline"] else False
            for process in psutil.process_iter(["cmdline"])
        )

    def _shown(self) -> tuple[Verdict, str | None] | None:
        found = self.board.conditions()
        return found[0].shown.key if found else None

    def _is_half_way(self) -> bool:
        """The old package is set aside, and half of the new one is there."""
        site = next((self.prefix / "lib").glob("python3.*/site-packages"))
        half = site / "tensorflow" / f"part_{FILES // 2}.py"
        return half.exists() and (site / "~ensorflow").exists()


@contextmanager
def bench(lab: Lab, folder: Path) -> Iterator[Bench]:
    """The article's environment, watched; its TensorFlow is the real one."""
    machine = Machine(lab, folder)
    envs = machine.home / ".conda" / "envs"
    envs.mkdir(parents=True)
    prefix = lab.article(envs / "tf")
    with Desktop(home=machine.home) as desktop:
        yield Bench(machine, desktop, prefix)


def with_toys(bench: Bench, shelf: Path, runs: int) -> Figures:
    """*runs* upgrades and downgrades, the last two of them failing and killed."""
    toy_wheel(shelf, GOOD, gpu=True, files=FILES)
    toy_wheel(shelf, BAD, gpu=False, files=FILES)
    damaged = toy_wheel(shelf, "1.0", gpu=False, name="damaged", files=FILES)
    damaged.write_bytes(
        damaged.read_bytes().replace(b"x = 7\n", b"x = 8\n")
    )  # its CRC is wrong now
    # Isolated from PIP_FIND_LINKS, where the lab offers the real TensorFlow of the same version.
    offline = ["--isolated", "--no-index", "--find-links", str(shelf)]
    offline += ["--no-deps", "--force-reinstall"]
    quiet = subprocess.DEVNULL
    subprocess.run(
        [bench.prefix / "bin/python", "-m", "pip", "install", *offline, f"tensorflow=={GOOD}"],
        check=True,
        stdout=quiet,
    )
    with bench.tray():
        for run in range(runs - 2):
            bench.pip(*offline, f"tensorflow=={GOOD if run % 2 else BAD}")
        bench.pip(*offline, f"tensorflow=={GOOD}", same=runs % 2 == 0)
        bench.pip(*offline, f"tensorflow=={BAD}", "damaged==1.0")
        bench.pip(*offline, f"tensorflow=={GOOD}")
        bench.pip(*offline, f"tensorflow=={GOOD}", kill=True)
    return bench.figures


def with_the_real_one(bench: Bench, runs: int) -> Figures:
    with bench.tray():
        for run in range(runs):
            bench.pip(f"tensorflow=={GOOD if run % 2 else BAD}", "numpy<2")
    return bench.figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--real", type=int, default=3)
    options = parser.parse_args()
    exceeded = False
    for name, runs in (("small wheels", options.runs), ("real TensorFlow", options.real)):
        if not runs:
            continue
        with tempfile.TemporaryDirectory() as folder, bench(Lab(), Path(folder)) as measured:
            if name == "small wheels":
                figures = with_toys(measured, Path(folder) / "shelf", runs)
            else:
                figures = with_the_real_one(measured, runs)
        print(f"{name}: {figures}", flush=True)
        for alarm in figures.alarms:
            print(f"  {alarm}")
        exceeded |= figures.p95 > BUDGET or bool(figures.alarms)
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
