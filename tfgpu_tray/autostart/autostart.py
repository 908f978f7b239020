"""Whether the program starts at login, and what exactly does.

One entry at a time; a user's own switch (Hidden=true, Task Manager, `systemctl --user disable`)
stands until the user asks for `enable`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tfgpu_tray.autostart import systemd, xdg
from tfgpu_tray.autostart.entry import NAME, AutostartError, Entry, Method
from tfgpu_tray.autostart.registry import Registry, RunValue, this_registry
from tfgpu_tray.observe.child import Runner, run


@dataclass(frozen=True, slots=True)
class State:
    enabled: bool
    method: Method | None  # None: there is no entry
    place: str  # file or registry value; without an entry, where `enable` would put one
    command: str  # what is started, as a person would type it
    notes: tuple[str, ...] = ()  # what else to know, a clause each


@dataclass(frozen=True)
class Autostart:
    """Starting *executable* `-m tfgpu_tray run` at login. Every method may raise AutostartError.

    *config* and *data_dir* are those that the program was told to use, None for the usual ones.
    """

    environ: Mapping[str, str]
    home: Path
    config: Path | None = None
    data_dir: Path | None = None
    executable: str = sys.executable
    registry: Registry | None = field(default_factory=this_registry)  # None: this is no Windows
    runner: Runner = run
    root: Path = Path("/")  # the file system that lingering is read from

    def enable(self, headless: bool = False) -> State:
        wanted = self._entries()[-1 if headless else 0]
        words = self.command(headless)
        with _told(wanted.place):
            wanted.write(words)
        for other in self._entries():
            if other.method is not wanted.method:
                with _told(other.place):
                    if (found := other.read()) and not found.off:
                        other.remove()  # started twice, the second would just end
        return self.status()

    def disable(self) -> State:
        for entry in self._entries():
            with _told(entry.place):
                if entry.read() is not None:
                    entry.remove()
        return self.status()

    def status(self) -> State:
        there = []
        for entry in self._entries():
            with _told(entry.place):
                if (found := entry.read()) is not None:
                    there.append((entry, found))
        there.sort(key=lambda pair: pair[1].off != "")
        if not there:
            return State(False, None, self._entries()[0].place, "")
        entry, found = there[0]
        notes = [found.off, self._about(found.words)]
        notes += entry.caveats(found.words) if not found.off else []
        notes += [f"{e.place} starts it too" for e, f in there[1:] if not f.off]
        join = shlex.join if self.registry is None else subprocess.list2cmdline
        command = join(found.words)
        return State(not found.off, entry.method, entry.place, command, tuple(filter(None, notes)))

    def refresh(self) -> bool:
        """Correct entries whose interpreter is gone; True when one was corrected.

        Options in the entry stay as they are. What the user switched off, and what starts another
        installation that is still there, is left alone.
        """
        changed = False
        for entry in self._entries():
            with _told(entry.place):
                found = entry.read()
                if found is None or found.off:
                    continue
                place = _interpreter(found.words)
                if place is not None and _gone(found.words[place]):
                    before, after = found.words[:place], found.words[place + 1 :]
                    entry.retarget([*before, self._python(), *after])
                    changed = True
        return changed

    def command(self, headless: bool = False) -> list[str]:
        """What an entry is to start."""
        # -P: at login the working folder is the home folder, and a random.py there would be ours.
        words = [self._python(), "-P", "-m", "tfgpu_tray", "run"]
        words += ["--headless"] if headless else []
        for option, path in (("--config", self.config), ("--data-dir", self.data_dir)):
            words += [option, str(path.expanduser().absolute())] if path else []
        return words

    def _python(self) -> str:
        if not self.executable:
            raise AutostartError("Python does not know where it is, so nothing can start it")
        python = Path(os.path.abspath(self.executable))
        without_console = python.with_name("pythonw.exe")
        on_windows = self.registry is not None
        return str(without_console if on_windows and without_console.exists() else python)

    def _entries(self) -> list[Entry]:
        """The usual one first, the one of servers last."""
        if self.registry is not None:
            return [RunValue(self.registry)]
        given = Path(self.environ.get("XDG_CONFIG_HOME", ""))
        folder = given if given.is_absolute() else self.home / ".config"
        unit = folder / "systemd" / "user" / systemd.UNIT
        return [
            xdg.DesktopFile(folder / "autostart" / xdg.FILE, self.environ),
            systemd.UserUnit(unit, self.environ, self.runner, self.root),
        ]

    def _about(self, words: Sequence[str]) -> str:
        """How an entry's *words* differ from what `enable` would write; "" when they do not."""
        place = _interpreter(words)
        if place is None:
            ours = not words or Path(words[0]).stem == NAME
            return "" if ours else "it was changed to start something else; enable rewrites it"
        theirs = words[place]
        if _gone(theirs):
            return f"{theirs} is gone; enable rewrites it"
        if os.path.isabs(theirs) and _folder(theirs) != _folder(self._python()):
            return f"points to another installation: {theirs}; enable rewrites it"
        options = set(words[place + 1 :]) - {"--headless"}
        if (self.config or self.data_dir) and options != set(self.command()[1:]):
            return "starts with other options than given now; enable rewrites it"
        return ""


def _interpreter(words: Sequence[str]) -> int | None:
    """Where in `[env X=1] PYTHON [options] -m tfgpu_tray run` the interpreter stands."""
    for place, pair in enumerate(pairwise(words)):
        if pair == ("-m", "tfgpu_tray"):
            before = [i for i, word in enumerate(words[:place]) if not word.startswith("-")]
            return before[-1] if before else None
    return None


def _gone(python: str) -> bool:
    return os.path.isabs(python) and not os.path.exists(python)


def _folder(python: str) -> str:
    """What two interpreters of one installation have in common: python3 and pythonw.exe as well."""
    return os.path.normcase(os.path.realpath(os.path.dirname(python)))


@contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise AutostartError(f"{place} cannot be used: {reason}") from error
