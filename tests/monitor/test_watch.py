"""Changes are announced as they happen, and what cannot be announced is said."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from watchdog.events import FileCreatedEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from tests.fakes import conda_prefix, environment, write
from tests.until import until
from tfgpu_tray.monitor import watch
from tfgpu_tray.monitor.watch import Owners, Watcher, folders_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts on inotify")

ENV = Path("/envs/tf")
OWN: Owners = frozenset({ENV})
AGAIN = Path("/envs/again")
DEADLINE = 10.0


class Heard:
    """What the watcher told, from whatever thread."""

    def __init__(self) -> None:
        self.touched: SimpleQueue[Path | None] = SimpleQueue()
        self.said: list[str] = []

    def next(self) -> Path | None:
        return self.touched.get(timeout=DEADLINE)

    def hears(self, owner: Path) -> bool:
        """Whether the next are of *owner* in the end; what was under way before may come first."""
        return any(self.next() == owner for _ in range(20))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watcher(heard: Heard, tmp_path: Path) -> Iterator[Watcher]:
    before = set(threading.enumerate())
    watcher = Watcher(heard.touched.put, heard.said.append, mounts=tmp_path / "no mounts")
    yield watcher
    watcher.stop()
    until(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


# ---- what is watched ---------------------------------------------------------------------------


def test_folders_know_whose_they_are(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "envs" / "tf")
    (prefix / "etc/conda/activate.d").mkdir(parents=True)
    shared = tmp_path / "user"
    shared.mkdir()
    here = environment(prefix, user_site=shared)
    other = environment(tmp_path / "gone", user_site=shared)
    homes = [tmp_path / "envs", tmp_path / "no home"]
    assert folders_of([here, other], homes) == {
        prefix: {prefix},
        here.site_packages: {prefix},
        prefix / "conda-meta": {prefix},
        prefix / "etc/conda/activate.d": {prefix},
        shared: {prefix, other.prefix},
        tmp_path / "envs": {None},
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "keras").mkdir(),
        lambda folder: write(folder / "new.pth"),
        lambda folder: (folder / "old").rename(folder / "~ld"),
        lambda folder: (folder / "old").rename(folder.with_name("elsewhere")),
        lambda folder: (folder.with_name("other")).rename(folder / "old"),
        lambda folder: (folder / "old").rmdir(),
        lambda folder: write(folder / "x.pth", "changed"),
        lambda folder: (folder / "x.pth").unlink(),
    ],
)
def test_what_is_made_deleted_renamed_and_written_is_told(
    watcher: Watcher, heard: Heard, folder: Path, change: Callable[[Path], object]
) -> None:
    (folder / "old").mkdir()
    folder.with_name("other").mkdir()
    write(folder / "x.pth")
    watcher.watch({folder: OWN})
    change(folder)
    assert heard.next() == ENV


def test_caches_and_what_lies_deeper_are_not_told(
    watcher: Watcher, heard: Heard, folder: Path, tmp_path: Path
) -> None:
    (folder / "keras").mkdir()
    marked = tmp_path / "marked"
    marked.mkdir()
    watcher.watch({folder: OWN, marked: frozenset({None})})
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__").rmdir()
    write(folder / "keras" / "deep.py")
    list(folder.iterdir())  # neither is reading
    write(marked / "now")
    assert heard.next() is None


def test_a_folder_of_several_tells_of_each(watcher: Watcher, heard: Heard, folder: Path) -> None:
    watcher.watch({folder: frozenset({ENV, None})})
    (folder / "x").mkdir()
    assert {heard.next(), heard.next()} == {ENV, None}


def test_a_link_is_watched_where_it_points_to(
    watcher: Watcher, heard: Heard, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(folder)
    watcher.watch({tmp_path / "link": OWN})
    (folder / "x").mkdir()
    assert heard.next() == ENV


def test_two_names_of_one_folder_are_one_watch(
    watcher: Watcher, heard: Heard, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(folder)
    watcher.watch({tmp_path / "link": OWN, folder: frozenset({None})})
    (folder / "x").mkdir()
    assert {heard.next(), heard.next()} == {ENV, None}
    watcher.watch({folder: frozenset({None})})
    (folder / "y").mkdir()
    assert heard.next() is None


def test_what_is_not_wanted_any_more_is_not_told(
    watcher: Watcher, heard: Heard, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    watcher.watch({folder: OWN, other: OWN})
    watcher.watch({other: frozenset({None})})
    (folder / "x").mkdir()
    (other / "x").mkdir()
    assert heard.next() is None


# ---- what dies and comes back ------------------------------------------------------------------


def test_a_folder_that_was_deleted_and_made_again_is_watched_again(
    watcher: Watcher, heard: Heard, folder: Path
) -> None:
    watcher.watch({folder: OWN})
    folder.rmdir()
    assert heard.next() == ENV
    watcher.watch({})
    folder.mkdir()
    watcher.watch({folder: frozenset({AGAIN})})
    (folder / "x").mkdir()
    assert heard.hears(AGAIN)


def test_a_folder_that_was_made_again_between_two_looks_is_watched_again(
    watcher: Watcher, heard: Heard, folder: Path
) -> None:
    """The library may take a moment to notice that it is gone; there is a next look."""
    watcher.watch({folder: OWN})
    folder.rmdir()
    assert heard.next() == ENV
    folder.mkdir()

    def heard_anew() -> bool:
        watcher.watch({folder: OWN})
        (folder / f"{time.monotonic()}").mkdir()
        return not heard.touched.empty()

    until(heard_anew)


def test_a_folder_that_was_replaced_between_two_looks_is_watched_again(
    watcher: Watcher, heard: Heard, folder: Path
) -> None:
    watcher.watch({folder: OWN})
    folder.rename(folder.with_name("old"))
    folder.mkdir()
    watcher.watch({folder: OWN})
    (folder / "x").mkdir()
    assert heard.next() == ENV


def test_a_folder_that_has_just_gone_is_nothing_to_tell(
    watcher: Watcher, heard: Heard, folder: Path, tmp_path: Path
) -> None:
    watcher.watch({tmp_path / "gone": OWN, folder: OWN})
    (folder / "x").mkdir()
    assert heard.next() == ENV and heard.said == []


def test_what_passes_a_change_on_may_fail(folder: Path, heard: Heard) -> None:
    """The library's thread would end with it, and nothing be announced any more."""
    fails = [ValueError("first")]

    def touched(prefix: Path | None) -> None:
        heard.touched.put(prefix)
        if fails:
            raise fails.pop()

    watcher = Watcher(touched, heard.said.append)
    try:
        watcher.watch({folder: OWN})
        (folder / "x").mkdir()
        heard.next()
        (folder / "y").mkdir()
        assert heard.next() == ENV and not fails
    finally:
        watcher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_observer_that_died_is_made_anew_and_leaves_nothing(folder: Path, heard: Heard) -> None:
    before = set(threading.enumerate())
    made: list[BaseObserver] = []

    def observer() -> BaseObserver:
        made.append(Observer())
        return made[-1]

    class Fatal(FileSystemEventHandler):
        def on_any_event(self, event: object) -> None:
            raise SystemExit

    watcher = Watcher(heard.touched.put, heard.said.append, observer)
    watcher.watch({folder: OWN})
    (watch,) = (emitter.watch for emitter in made[0].emitters)
    made[0].add_handler_for_watch(Fatal(), watch)
    (folder / "x").mkdir()
    until(lambda: not made[0].is_alive())
    watcher.watch({folder: frozenset({AGAIN})})
    (folder / "y").mkdir()
    assert heard.hears(AGAIN) and len(made) == 2 and heard.said == []
    watcher.stop()
    until(lambda: set(threading.enumerate()) <= before)


def test_nothing_is_watched_after_the_stop(folder: Path, heard: Heard) -> None:
    """The worker may be a moment behind."""
    before = set(threading.enumerate())
    files = len(os.listdir("/proc/self/fd"))
    watcher = Watcher(heard.touched.put, heard.said.append)
    watcher.watch({folder: OWN})
    watcher.stop()
    watcher.watch({folder: OWN})
    until(lambda: set(threading.enumerate()) <= before)
    until(lambda: len(os.listdir("/proc/self/fd")) <= files)
    watcher.stop()


# ---- what cannot be watched --------------------------------------------------------------------


class Refusing:
    """An observer that takes no more than so many folders."""

    def __init__(self, code: int, takes: int = 0):
        self.code, self.takes = code, takes
        self.emitters: set[object] = set()
        self.taken: list[str] = []
        self.handlers: list[FileSystemEventHandler] = []

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout: float) -> None: ...
    def unschedule(self, watch: object) -> None: ...

    def is_alive(self) -> bool:
        return True

    def schedule(self, handler: FileSystemEventHandler, path: str, **_: object) -> ObservedWatch:
        if len(self.taken) >= self.takes:
            raise OSError(self.code, os.strerror(self.code))
        self.taken.append(path)
        self.handlers.append(handler)
        return ObservedWatch(path, recursive=False)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "limit fs.inotify.max_user_watches is reached"),
        (errno.EMFILE, "limit fs.inotify.max_user_instances is reached"),
        (errno.EACCES, "changes cannot be watched: Permission denied"),
    ],
)
def test_a_limit_is_said_once_and_the_rest_is_watched(
    tmp_path: Path, heard: Heard, code: int, words: str
) -> None:
    folders = {tmp_path / name: OWN for name in "abc"}
    for folder in folders:
        folder.mkdir()
    refusing = Refusing(code, takes=1)
    watcher = Watcher(heard.touched.put, heard.said.append, lambda: refusing)  # type: ignore[arg-type,return-value]
    for _ in range(3):
        watcher.watch(folders)
    (said,) = heard.said
    assert words in said and said.endswith("; looking on the schedule instead")
    assert refusing.taken == [str(tmp_path / "a")]
    refusing.handlers[0].dispatch(FileCreatedEvent(str(tmp_path / "a" / "x")))
    assert heard.next() == ENV
    refusing.takes = 3  # somebody raised the limit
    watcher.watch(folders)
    assert len(refusing.taken) == 3


def test_an_observer_that_cannot_start_is_said_once(folder: Path, heard: Heard) -> None:
    def observer() -> BaseObserver:
        raise OSError(errno.EMFILE, "Too many open files")

    watcher = Watcher(heard.touched.put, heard.said.append, observer)
    watcher.watch({folder: OWN})
    watcher.watch({folder: OWN})
    assert len(heard.said) == 1 and "max_user_instances" in heard.said[0]
    watcher.stop()


def test_a_folder_that_windows_does_not_open_is_said(folder: Path, heard: Heard) -> None:
    """watchdog waits in vain for the thread that opens it, and raises its queue's exception."""

    class Closed(Refusing):
        def schedule(self, *_: object, **__: object) -> ObservedWatch:
            raise Empty

    watcher = Watcher(heard.touched.put, heard.said.append, lambda: Closed(0))  # type: ignore[arg-type,return-value]
    watcher.watch({folder: OWN})
    watcher.watch({folder: OWN})
    (said,) = heard.said
    assert said.startswith("changes cannot be watched: ")


def test_an_observer_that_does_not_end_holds_nobody_up(
    folder: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    class Stuck(Refusing):
        def stop(self) -> None:
            ended.wait(DEADLINE)

    monkeypatch.setattr(watch, "STUCK", 0.05)
    watcher = Watcher(heard.touched.put, heard.said.append, lambda: Stuck(0, takes=9))  # type: ignore[arg-type,return-value]
    watcher.watch({folder: OWN})
    start = time.monotonic()
    watcher.stop()
    assert time.monotonic() - start < 2
    ended.set()


@pytest.mark.parametrize("root", ["\\\\wsl$\\Ubuntu", "\\\\WSL.localhost\\Ubuntu"])
def test_folders_of_wsl_are_not_even_looked_at(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That would start it, and keep it running."""
    asked: list[Path] = []

    def is_dir(folder: Path) -> bool:
        asked.append(folder)
        return True

    monkeypatch.setattr(Path, "is_dir", is_dir)
    inside = environment(Path(f"{root}\\envs\\tf"), user_site=None)
    assert folders_of([inside], []) == {} and asked == []


def mounts(tmp_path: Path, *lines: tuple[Path, str]) -> Path:
    text = "".join(
        f"36 35 98:0 / {str(place).replace(' ', chr(92) + '040')} rw,noatime - {kind} x rw\n"
        for place, kind in lines
    )
    return write(tmp_path / "mountinfo", text)


@pytest.mark.parametrize("kind", ["9p", "drvfs", "nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_a_silent_file_system_is_said(
    folder: Path, tmp_path: Path, heard: Heard, kind: str
) -> None:
    table = mounts(tmp_path, (Path("/"), "ext4"), (folder, kind))
    watcher = Watcher(heard.touched.put, heard.said.append, lambda: Refusing(0), table)  # type: ignore[arg-type,return-value]
    watcher.watch({folder: OWN, folder / "deeper": OWN})
    assert heard.said == [
        f"changes in {folder} are not announced by its file system; looking on the schedule instead"
    ]


def test_what_is_mounted_in_a_silent_place_is_watched(tmp_path: Path, heard: Heard) -> None:
    loud, silent = tmp_path / "a b" / "loud", tmp_path / "a b" / "silent"
    for folder in (loud, silent):
        folder.mkdir(parents=True)
    table = mounts(tmp_path, (Path("/"), "ext4"), (tmp_path / "a b", "nfs4"), (loud, "xfs"))
    refusing = Refusing(0, takes=9)
    watcher = Watcher(heard.touched.put, heard.said.append, lambda: refusing, table)  # type: ignore[arg-type,return-value]
    watcher.watch({loud: OWN, silent: OWN})
    assert refusing.taken == [str(loud)] and len(heard.said) == 1


def test_an_ordinary_file_system_is_watched(folder: Path, tmp_path: Path, heard: Heard) -> None:
    table = mounts(tmp_path, (Path("/"), "overlay"), (Path("/mnt/c"), "9p"))
    refusing = Refusing(0, takes=9)
    watcher = Watcher(heard.touched.put, heard.said.append, lambda: refusing, table)  # type: ignore[arg-type,return-value]
    watcher.watch({folder: OWN})
    assert refusing.taken == [str(folder)] and heard.said == []
