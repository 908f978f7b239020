"""Notices changes as they happen. A hint, never the truth: events get lost.

Folders are watched one by one, without what is below them: one `pip install keras` is thousands of
events in the whole of site-packages, and eight at its top.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty

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
# On Windows those are the folders of WSL, which looking at them would start.
WSL = ("\\\\wsl$\\", "\\\\wsl.localhost\\")
# Each folder costs a thread, 22 kB; on Windows two threads and 64 kB more. With more environments
# than this, only folders in which package managers work are watched, and the fingerprint finds what
# is done by hand, up to a minute later.
MANY = 15 if sys.platform == "win32" else 50
# Seconds without a change after which watchdog tells of those before, on Windows. At its own one
# second a small pip has come and gone, and nobody knows what was typed.
PROMPT = 0.25
STUCK = 1.0  # seconds that the end waits for threads that watch
# The environments a folder belongs to; None: they come and go there.
Owners = frozenset[Path | None]

log = logging.getLogger(__name__)


def folders_of(environments: Iterable[Environment], homes: Iterable[Path]) -> dict[Path, Owners]:
    """The folders to watch that exist, and whose they are; *homes* are those of environments."""
    owners: defaultdict[Path, set[Path | None]] = defaultdict(set)
    found = [e for e in environments if not str(e.prefix).lower().startswith(WSL)]
    for environment in found:
        prefix = environment.prefix
        folders = [environment.site_packages, prefix / "conda-meta"]
        if len(found) <= MANY:
            folders += [prefix, environment.user_site, prefix / "etc/conda/activate.d"]
        for folder in folders:
            if folder is not None and _is_there(folder):
                owners[folder].add(prefix)
    for folder in homes:
        if folder.is_dir():
            owners[folder].add(None)
    return {folder: frozenset(of) for folder, of in owners.items()}


def _is_there(folder: Path) -> bool:
    """Whether it is to be watched. On Windows that keeps a folder from going, and one that is empty
    may be about to: whoever removes an environment meets it last."""
    if sys.platform != "win32":
        return folder.is_dir()
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Place:
    """One folder, however it is named; another that takes its name is another place."""

    path: str
    device: int
    inode: int


class Watcher:
    """Calls *touched* with the environment that something changed in, from a thread of its own."""

    def __init__(
        self,
        touched: Callable[[Path | None], None],
        say: Callable[[str], None],
        observer: Callable[[], BaseObserver] | None = None,
        mounts: Path = Path("/proc/self/mountinfo"),
    ):
        """*say* gets a sentence for the user when watching is not possible, each once."""
        self._touched, self._say, self._mounts = touched, say, mounts
        self._new = observer or _usual_observer
        self._observer: BaseObserver | None = None
        self._watches: dict[_Place, tuple[Owners, ObservedWatch]] = {}
        self._said: set[str] = set()
        self._lock = threading.Lock()  # whoever stops is not the one who watches
        self._stopped = False

    def watch(self, folders: Mapping[Path, Owners]) -> None:
        """From now on watch just *folders*. Called again it mends what has died meanwhile."""
        with self._lock:
            observer = None if self._stopped else self._living()
            if observer is not None:
                wanted = _places(folders)
                self._unwatch(observer, wanted)
                self._watch(observer, wanted)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            # Windows may lose the word that ends a thread of it (watchdog asks once).
            ending = threading.Thread(target=self._end, name="stop watching", daemon=True)
            ending.start()
            ending.join(STUCK)

    def _unwatch(self, observer: BaseObserver, wanted: Mapping[_Place, Owners]) -> None:
        """What is not wanted any more, and what has died."""
        dead = {e.watch for e in observer.emitters if not e.is_alive()}
        for place, (owners, watch) in list(self._watches.items()):
            if wanted.get(place) != owners or watch in dead:
                del self._watches[place]
                observer.unschedule(watch)

    def _watch(self, observer: BaseObserver, wanted: Mapping[_Place, Owners]) -> None:
        mounts = self._read_mounts() if wanted.keys() - self._watches.keys() else {}
        for place, owners in wanted.items():
            if place in self._watches:
                continue
            if mount := _silent_mount(Path(place.path), mounts):
                self._tell(f"changes in {mount} are not announced by its file system")
                continue
            handler = _Handler(owners, self._touched)
            try:
                os.scandir(place.path).close()  # what cannot be listed cannot be watched
                watch = observer.schedule(handler, place.path, event_filter=EVENTS)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue  # it has just gone
                self._tell(_limit(error))
                continue
            except Empty:  # watchdog's word on Windows for a folder that cannot be opened
                self._tell("changes cannot be watched: a folder does not let itself be opened")
                continue
            self._watches[place] = owners, watch

    def _living(self) -> BaseObserver | None:
        """The observer, started anew if it has died; None where the machine allows none."""
        if self._observer is None or not self._observer.is_alive():
            self._end()
            try:
                self._observer = self._new()
                self._observer.start()
            except OSError as error:
                self._observer = None
                self._tell(_limit(error))
        return self._observer

    def _end(self) -> None:
        """Of one that has died its helpers live on until it is stopped."""
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None:
            observer.stop()
            with suppress(RuntimeError):  # it never started
                observer.join(1.0)

    def _tell(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(f"{what}; looking on the schedule instead")

    def _read_mounts(self) -> dict[Path, str]:
        """File system types by mount point (proc(5), mountinfo); the last mounted is on top."""
        try:
            lines = self._mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return {}
        found = {}
        for line in lines:
            fields, _, kind = line.partition(" - ")
            words = fields.split()
            if len(words) > 4:
                found[Path(words[4].replace("\\040", " "))] = kind.split(" ")[0]
        return found


def _usual_observer() -> BaseObserver:
    return Observer(timeout=PROMPT) if sys.platform == "win32" else Observer()


def _places(folders: Mapping[Path, Owners]) -> dict[_Place, Owners]:
    """Without links: the kernel would watch a link itself, not the folder that it points to."""
    found: dict[_Place, Owners] = {}
    for folder, owners in folders.items():
        try:
            status = os.stat(folder)
        except OSError:
            continue  # it has just gone
        place = _Place(os.path.realpath(folder), status.st_dev, status.st_ino)
        found[place] = found.get(place, frozenset()) | owners
    return found


def _silent_mount(folder: Path, mounts: Mapping[Path, str]) -> Path | None:
    """The mount point that holds *folder*, if its file system announces nothing."""
    holder = next((place for place in (folder, *folder.parents) if place in mounts), None)
    return holder if holder is not None and mounts[holder].startswith(SILENT) else None


class _Handler(FileSystemEventHandler):
    def __init__(self, owners: Owners, touched: Callable[[Path | None], None]):
        self._owners, self._call = owners, touched

    def on_any_event(self, event: FileSystemEvent) -> None:
        """An error that got out of here would end the watching of everything."""
        if os.path.basename(os.fsdecode(event.src_path)) == "__pycache__":
            return
        try:
            for owner in self._owners:
                self._call(owner)
        except Exception:
            log.exception("a change could not be passed on")


def _limit(error: OSError) -> str:
    """Why the kernel takes no more watches, and how to let it."""
    if sys.platform == "linux" and error.errno in (errno.ENOSPC, errno.EMFILE):
        setting = "max_user_watches" if error.errno == errno.ENOSPC else "max_user_instances"
        return (
            f"the kernel's limit fs.inotify.{setting} is reached, so changes are not announced "
            f"(sudo sysctl fs.inotify.{setting}=524288 raises it)"
        )
    return f"changes cannot be watched: {error.strerror or error}"
