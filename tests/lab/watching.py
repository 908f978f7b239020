"""The watcher at work on a simulated machine: started, ended, and seen through its store."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from tests.lab.clone import clone_environment
from tests.lab.desktop import Desktop, DesktopError
from tests.lab.desktop.parts import end_strays
from tests.lab.golden import HOOK
from tests.lab.lab import Lab
from tests.lab.machine import REPOSITORY, Machine
from tests.lab.toy_tensorflow import toy_wheel
from tfgpu_tray.model import Condition, Event, Verdict
from tfgpu_tray.store.board import Board
from tfgpu_tray.store.database import open_database

__all__ = ["Toys", "Watching", "hold_tensorflow", "suspended"]

T = TypeVar("T")

SECONDS = 20  # of patience
HOLD = """\
import os, sys, time
while os.path.exists(os.path.join(sys.prefix, "bin", "hold-tensorflow")): time.sleep(0.02)
"""


class WatchingError(AssertionError):
    """The watcher did not come to what was waited for; says what it held and printed."""


class Watching:
    """A context manager: the program runs inside it, and nothing is left behind.

    *options* are those of `run`. Without a desktop there is neither a display nor a session bus.
    *within* is a command that runs another one, such as `env`.
    """

    def __init__(
        self,
        machine: Machine,
        *options: str,
        desktop: Desktop | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.machine = machine
        self.environ = machine.environ() | (desktop.environ if desktop else {})
        self._desktop = desktop
        run = ("-m", "tests.lab.tool", str(machine.root), "run", *options)
        self.command = (*within, sys.executable, *run)
        self._printed = machine.root.with_name("printed.txt")
        self._database = open_database(machine.data)
        self._process: subprocess.Popen[bytes] | None = None
        self._orphans: list[psutil.Process] = []
        self.board = Board(self._database)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._explain(error)
        finally:
            self.kill()
            self._end_orphans()
            end_strays("TFGPU_DATA_DIR", str(self.machine.data))
            self._database.close()

    # ---- its life ------------------------------------------------------------------------------

    def start(self, command: Sequence[str] = ()) -> None:
        """*command* is another one than the usual."""
        with self._printed.open("ab") as out:
            self._process = subprocess.Popen(
                command or self.command,
                cwd=REPOSITORY,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def stop(self, number: int = signal.SIGTERM, seconds: float = SECONDS) -> float:
        """Asks it to end, and returns how many seconds that took; it must end well."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.wait("it ends", lambda: not self.is_running, seconds)
        took = time.monotonic() - start
        assert self.process.returncode == 0, self._report("it did not end well")
        return took

    def kill(self) -> None:
        """kill -9; what it started lives on until the end of the test."""
        if self.is_running:
            self._orphans += psutil.Process(self.pid).children(recursive=True)
            self.process.kill()
            self.process.wait()

    def _end_orphans(self) -> None:
        for orphan in self._orphans:
            try:
                orphan.kill()
            except psutil.Error:
                continue  # it has ended

    def printed(self) -> str:
        return self._printed.read_text(encoding="utf-8", errors="replace")

    # ---- what it knows -------------------------------------------------------------------------

    def condition(self, prefix: Path) -> Condition | None:
        return next((c for c in self.board.conditions() if c.prefix == prefix), None)

    def events(self, kind: str = "", text: str = "") -> list[Event]:
        """Those of the kind with *text* in them, oldest first."""
        found = reversed(self.board.events(10_000))
        return [e for e in found if kind in ("", e.kind) and text in e.text]

    def wait_for_event(self, kind: str, text: str = "", seconds: float = SECONDS) -> Event:
        return self.wait(
            f"the event {kind!r} with {text!r}", lambda: self.events(kind, text), seconds
        )[0]

    def wait_for_verdict(
        self, prefix: Path, verdict: Verdict, seconds: float = SECONDS
    ) -> Condition:
        """The condition, once TensorFlow itself has said so."""

        def look() -> Condition | None:
            held = self.condition(prefix)
            if held is None or held.settled is None or held.glimpse is not None:
                return None
            return held if held.settled.verdict is verdict else None

        return self.wait(f"{prefix.name} is {verdict.value}", look, seconds)

    def wait_for_watch(self, folder: Path, seconds: float = SECONDS) -> None:
        """Until the kernel tells it of changes in *folder*: its watches follow its first look."""
        inode = f" ino:{folder.stat().st_ino:x} "

        def look() -> bool:
            open_files = Path(f"/proc/{self.pid}/fdinfo").iterdir()
            try:
                return any(inode in file.read_text() for file in open_files)
            except OSError:
                return False  # one was closed

        self.wait(f"{folder} is watched", look, seconds)

    def wait(self, what: str, condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
        """The condition's first true value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise WatchingError(self._report(f"{what}: not within {seconds:g} s"))
            time.sleep(0.02)
        return value

    def _explain(self, error: BaseException) -> None:
        """What can still be seen of what went wrong."""
        if not isinstance(error, WatchingError):
            error.add_note(self._report(""))
        if self._desktop is not None and not isinstance(error, DesktopError):
            error.add_note(f"screen: {self._desktop.screenshot('failure')}")

    def _report(self, problem: str) -> str:
        code = self.process.poll()
        state = "is running" if code is None else f"ended with {code}"
        held = "\n".join(map(str, self.board.conditions()))
        return f"{problem}\nthe watcher {state}; it holds\n{held}\nand printed\n{self.printed()}"


# ---- environments in which everything takes a second ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Toys:
    """The article's environment with a small TensorFlow, and what pip gets there: no network."""

    shelf: Path
    golden: Path

    @classmethod
    def build(cls, lab: Lab, folder: Path) -> Toys:
        toys = cls(folder / "shelf", folder / "golden")
        toys.add("2.10.1", gpu=True)
        toys.add("2.15.1", gpu=False)
        toy_wheel(toys.shelf, "1.26.4", gpu=False, name="numpy")  # a repair holds it below 2
        machine = Machine(lab, folder / "machine")
        machine.extra |= toys.environ
        prefix = lab.bare_conda(toys.golden)
        machine.conda(prefix, "install", "-c", "conda-forge", "cudatoolkit=11.2", "cudnn=8.1.0")
        machine.pip(prefix, "install", "tensorflow==2.10.1")
        hook = prefix / "etc" / "conda" / "activate.d" / "env_vars.sh"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(HOOK, encoding="utf-8")
        return toys

    @property
    def environ(self) -> dict[str, str]:
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.shelf)}

    def add(self, version: str, *, gpu: bool) -> None:
        """Puts a TensorFlow on the shelf whose import can be held up."""
        wheel = toy_wheel(self.shelf, version, gpu=gpu)
        with zipfile.ZipFile(wheel) as archive:
            texts = {name: archive.read(name).decode() for name in archive.namelist()}
        texts["tensorflow/__init__.py"] = HOLD + texts["tensorflow/__init__.py"]
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)

    def environment(self, machine: Machine, name: str = "tf") -> Path:
        """One of the user's; *machine*'s pip takes everything from the shelf from now on."""
        machine.extra |= self.environ
        prefix = machine.home / ".conda" / "envs" / name
        clone_environment(self.golden, prefix)
        return prefix


def hold_tensorflow(prefix: Path) -> Callable[[], None]:
    """From now on an import of the toy in *prefix* waits until what is returned is called."""
    held = prefix / "bin" / "hold-tensorflow"
    held.touch()
    return held.unlink


def suspended(machine: Machine, *words: str, seconds: float = SECONDS) -> psutil.Process:
    """The first process of *machine* whose command line holds *words*, stopped where it is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for process in psutil.process_iter():
            try:
                if set(words) <= set(process.cmdline()) and _belongs(process, machine):
                    process.suspend()
                    return process
            except psutil.Error:
                continue
        time.sleep(0.005)
    raise AssertionError(f"no process with {words} within {seconds:g} s")


def _belongs(process: psutil.Process, machine: Machine) -> bool:
    return process.environ().get("TFGPU_DATA_DIR") == str(machine.data)
