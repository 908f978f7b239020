"""What watching costs when nothing happens. `uv run python -m tests.benchmark_watcher` prints it.

Starts the program headless, or with `--tray` on a virtual desktop, over environments made of small
files, lets it come to rest, and measures it and everything it starts: processor time, memory,
wake-ups (voluntary context switches). Exit status 1 when a budget is exceeded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmark import make_environment
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import open_database

MANY = 200  # environments, for which there are other budgets than for a handful
CPU = 0.1  # per cent of one core, its children included; for less than many environments
WAKEUPS = 1.0  # a second
MEMORY = 45  # megabytes of resident memory
MEMORY_MANY = 60
REST = 40.0  # seconds from the last look to the first measurement
SCAN = 3.0  # seconds until every one of many environments has been looked at


@dataclass(frozen=True)
class Use:
    """What a process and all that it started have used so far."""

    seconds: float
    switches: int
    memory: int

    @classmethod
    def of(cls, process: psutil.Process) -> Use:
        times = process.cpu_times()
        used = times.user + times.system + times.children_user + times.children_system
        switches = 0
        for thread in process.threads():
            status = Path(f"/proc/{process.pid}/task/{thread.id}/status").read_text()
            line = next(x for x in status.splitlines() if x.startswith("voluntary_ctxt"))
            switches += int(line.split()[1])
        return cls(used, switches, process.memory_info().rss)


@contextmanager
def watcher(home: Path, environ: dict[str, str], *, tray: bool) -> Iterator[psutil.Process]:
    command = [sys.executable, "-P", "-m", "tfgpu_tray", "run", *([] if tray else ["--headless"])]
    environ = environ | {"HOME": str(home), "TFGPU_DATA_DIR": str(home / "data")}
    said = home / "said"
    with said.open("w") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    try:
        while not said.stat().st_size:  # its store is its own until it has started
            time.sleep(0.01)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def looked_at(board: Board, count: int, *, settled: bool, deadline: float = 900.0) -> float:
    """Seconds until all *count* environments have been looked at, or TensorFlow been asked."""
    start = time.monotonic()
    while True:
        found = board.conditions()
        done = [c for c in found if not settled or (c.settled and not c.glimpse)]
        if len(done) >= count:
            return time.monotonic() - start
        if time.monotonic() - start > deadline:
            raise TimeoutError(f"{len(done)} of {count} after {deadline:.0f} s")
        time.sleep(0.05)


def measure(count: int, minutes: float, *, tray: bool) -> bool:
    """Prints one line; whether a budget was exceeded."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(count):
            make_environment(home / ".conda" / "envs" / f"env{number}")
        environ = dict(os.environ)
        if tray:
            from tests.lab.desktop import Desktop

            environ |= stack.enter_context(Desktop(home=home)).environ
        process = stack.enter_context(watcher(home, environ, tray=tray))
        board = Board(open_database(home / "data"))
        scan = looked_at(board, count, settled=False)
        print(f"{count} environments: all looked at after {scan:.1f} s", flush=True)
        looked_at(board, count, settled=True)
        time.sleep(REST)
        before, start = Use.of(process), time.monotonic()
        highest = before.memory
        while time.monotonic() - start < minutes * 60:
            time.sleep(min(10.0, minutes * 60))
            highest = max(highest, process.memory_info().rss)
        after, passed = Use.of(process), time.monotonic() - start
        cpu = 100 * (after.seconds - before.seconds) / passed
        wakeups = (after.switches - before.switches) / passed
        memory = highest / 1e6
        print(
            f"{count} environments, {'tray' if tray else 'headless'}, {passed / 60:.1f} min: "
            f"{cpu:.3f} % of a core, {wakeups:.2f} wake-ups a second, {memory:.1f} MB",
            flush=True,
        )
    if count < MANY:
        return cpu > CPU or wakeups > WAKEUPS or memory > MEMORY
    return scan > SCAN or wakeups > WAKEUPS or memory > MEMORY_MANY


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--environments", type=int, nargs="+", default=[5, MANY])
    parser.add_argument("--tray", action="store_true")
    options = parser.parse_args()
    exceeded = []
    for count in options.environments:
        minutes = options.minutes if count < MANY else min(1.0, options.minutes)
        exceeded.append(measure(count, minutes, tray=options.tray))
    return int(any(exceeded))


if __name__ == "__main__":
    sys.exit(main())
