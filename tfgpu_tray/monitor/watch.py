"""Notices changes as they happen. A hint, never the truth: events get lost.

Folders are watched one by one, without what is below them: one `pip install keras` is thousands of
events in the whole of site-packages, and eight at its top.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from tfgpu_tray.model import Environment

# Opening and closing are left out: every Python that starts does that all the time.
EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
# File systems on which the kernel does not tell of changes made elsewhere (microsoft/WSL#4739).
SILENT = ("9p", "drvfs", "nfs", "cifs", "smb", "fuse.sshfs")
Owners = frozenset[
    Path | None
]  # the environments a folder belongs to; None: they come and go there


def folders_of(environments: Iterable[Environment], homes: Iterable[Path]) -> dict[Path, Owners]:
    """The folders to watch that exist, and whose they are; *homes* are those of environments."""
    owners: defaultdict[Path, set[Path | None]] = defaultdict(set)
    for environment in environments:
        prefix = environment.prefix
        for folder in (
            prefix,
            environment.site_packages,
            environment.user_site,
            prefix / "conda-meta",
            prefix / "etc/conda/activate.d",
        ):
            if folder is not None and folder.is_dir():
                owners[folder].add(prefix)
    for folder in homes:
        if folder.is_dir():
            owners[folder].add(None)
    return {folder: frozenset(of) for folder, of in owners.items()}


class Watcher:
    """Calls *touched* with the environment that something changed in, from a thread of its own."""

    def __init__(
        self,
        touched: Callable[[Path | None], None],
        say: Callable[[str], None],
        observer: Callable[[], BaseObserver] = Observer,
        mounts: Path = Path("/proc/self/mountinfo"),
    ):
        """*say* gets a sentence for the user when watching is not possible, each once."""
        self._touched, self._say, self._new, self._mounts = touched, say, observer, mounts
        self._observer: BaseObserver | None = None
        self._watches: dict[Path, tuple[Owners, ObservedWatch]] = {}
        self._said: set[str] = set()

    def watch(self, folders: Mapping[Path, Owners]) -> None:
        """From now on watch just *folders*. Called again it mends what has died meanwhile."""
        observer = self._living()
        if observer is None:
            return
        dead = {e.watch for e in observer.emitters if not e.is_alive()}
        for folder, (owners, watch) in list(self._watches.items()):
            if folders.get(folder) != owners or watch in dead:
                del self._watches[folder]
                observer.unschedule(watch)
        silent = self._silent_places() if folders.keys() - self._watches.keys() else ()
        for folder, owners in folders.items():
            if folder in self._watches:
                continue
            if place := next((p for p in silent if folder.is_relative_to(p)), None):
                self._tell(f"changes in {place} are not announced by its file system")
                continue
            handler = _Handler(owners, self._touched)
            try:
                watch = observer.schedule(handler, str(folder), event_filter=EVENTS)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue  # it has just gone
                self._tell(_limit(error))
                continue
            self._watches[folder] = owners, watch

    def stop(self) -> None:
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(1.0)
        self._observer = None
        self._watches.clear()

    def _living(self) -> BaseObserver | None:
        """The observer, started anew if it has died; None where the machine allows none."""
        if self._observer is None or not self._observer.is_alive():
            self._watches.clear()
            try:
                self._observer = self._new()
                self._observer.start()
            except OSError as error:
                self._observer = None
                self._tell(_limit(error))
        return self._observer

    def _tell(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(f"{what}; looking on the schedule instead")

    def _silent_places(self) -> list[Path]:
        """Mount points of file systems that announce nothing (proc(5), mountinfo)."""
        try:
            lines = self._mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            fields, _, kind = line.partition(" - ")
            words = fields.split()
            if len(words) > 4 and kind.startswith(SILENT):
                found.append(Path(words[4].replace("\\040", " ")))
        return found


class _Handler(FileSystemEventHandler):
    def __init__(self, owners: Owners, touched: Callable[[Path | None], None]):
        self._owners, self._call = owners, touched

    def on_any_event(self, event: FileSystemEvent) -> None:
        """An error here would end the watching of everything, so there is hardly anything here."""
        if os.path.basename(os.fsdecode(event.src_path)) == "__pycache__":
            return
        for owner in self._owners:
            self._call(owner)


def _limit(error: OSError) -> str:
    """Why the kernel takes no more watches, and how to let it."""
    if sys.platform == "linux" and error.errno in (errno.ENOSPC, errno.EMFILE):
        setting = "max_user_watches" if error.errno == errno.ENOSPC else "max_user_instances"
        return (
            f"the kernel's limit fs.inotify.{setting} is reached, so changes are not announced "
            f"(sudo sysctl fs.inotify.{setting}=524288 raises it)"
        )
    return f"changes cannot be watched: {error.strerror or error}"
