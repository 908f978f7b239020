"""Keeps what a transaction is about to change, and puts it back exactly.

Files that installers replace as a whole are kept as hard links where the data folder is on the
same file system (no installer writes into a large file in place); small files, which some edit in
place, are copied. os.walk and os.stat instead of pathlib: an environment holds tens of thousands
of files. On Windows what is in use is moved out of the way, see `replacing`.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from tfgpu_tray.repair.inventory import Entry, Manifest, entry_of, is_link, same, scan
from tfgpu_tray.repair.replacing import Replacer, long_form, plain_form, remove_tree, sweep

COPY_BELOW = 256 * 1024  # bytes
SHELF = 1000  # kept files in one folder


class KeepFailed(Exception):
    """What is there could not be kept, so nothing may be changed; the text says why."""


class RestoreFailed(Exception):
    """Not everything could be put back; the text names what."""


class Keep:
    """What one transaction keeps, in a folder of its own."""

    def __init__(self, folder: Path, replacer: Replacer | None = None):
        """*folder* is its own; *replacer* is for tests."""
        self._folder = folder
        self._aside = folder / "held"
        self._replacer = replacer or Replacer(self._aside)
        self._before_file = folder / "before.json"
        self._after_file = folder / "after.json"

    @property
    def complete(self) -> bool:
        """Whether everything was kept; before that nothing was changed either."""
        return self._before_file.exists()

    def take(self, roots: Iterable[Path]) -> None:
        """Keep every file under *roots*; they are listed last, on disk, when all is kept.

        Raises:
            KeepFailed: no room, or something cannot be read.
        """
        roots = _outermost(_real(roots))
        try:
            manifest = scan(roots)
            files = [(p, e) for p, e in manifest.items() if e.kind == "file"]
            self._folder.mkdir(parents=True, exist_ok=True)
            self._check_room(files)
            for number, (path, entry) in enumerate(files):
                stored = self._stored(number)
                if number % SHELF == 0:
                    os.makedirs(os.path.dirname(stored), exist_ok=True)
                _double(path, entry, stored)
        except OSError as error:
            raise KeepFailed(
                f"what is there now could not be kept in {self._folder}: {error}"
            ) from error
        numbers = {path: number for number, (path, _) in enumerate(files)}
        self._write(self._before_file, manifest, roots, numbers)

    def _check_room(self, files: list[tuple[str, Entry]]) -> None:
        device = self._folder.stat().st_dev
        need = 0
        for path, entry in files:
            linked = _can_be_linked(entry) and os.lstat(path).st_dev == device
            need += 0 if linked else entry.size
        free = shutil.disk_usage(self._folder).free
        if need > free:
            raise KeepFailed(
                f"{self._folder} has {free // 2**20} MB free; keeping a copy of what is replaced "
                f"needs {need // 2**20} MB"
            )

    def _stored(self, number: int) -> str:
        return os.path.join(self._folder, f"{number // SHELF:03}", f"{number % SHELF:03}")

    def seal(self) -> None:
        """The change stands: note how things are now and drop what did not change."""
        before, roots, numbers = self._read(self._before_file)
        after = scan(roots)
        self._write(self._after_file, after, roots, {})
        for path, number in numbers.items():
            if before[path].same(after.get(path)):
                try:
                    os.unlink(self._stored(number))
                except OSError:
                    pass  # in use, by its other name: it goes with the rest one day

    def discard(self) -> None:
        """Everything is as it was; the kept copies are not needed any more."""
        sweep(self._aside)
        remove_tree(self._folder)

    def changed_since(self) -> list[str]:
        """Paths of the sealed change that somebody changed again afterwards."""
        before, roots, _ = self._read(self._before_file)
        after, _, _ = self._read(self._after_file)
        now = scan(roots)
        ours = {p for p in before.keys() | after.keys() if not same(before.get(p), after.get(p))}
        again = (p for p in ours if not same(after.get(p), now.get(p)) and not _is_cache(p))
        return sorted(map(plain_form, again))

    def restore(self, paths: Iterable[Path] | None = None) -> None:
        """Put everything back as it was, or only what lies under *paths*.

        After `seal`, only what the change itself changed is put back: files that others added
        since then stay.

        Raises:
            RestoreFailed: something could not be put back; everything else was.
        """
        before, roots, numbers = self._read(self._before_file)
        now = scan(roots)
        scope = before.keys() | now.keys()
        if self._after_file.exists():
            after, _, _ = self._read(self._after_file)
            scope = {
                p for p in before.keys() | after.keys() if not same(before.get(p), after.get(p))
            }
        if paths is not None:
            limits = [str(p) for p in _real(paths)]
            scope = {p for p in scope if any(_under(p, limit) for limit in limits)}
        failed = self._remove(sorted(scope - before.keys(), reverse=True))
        for path in sorted(scope & before.keys()):  # folders come before what is in them
            if not before[path].same(now.get(path)):
                failed += self._put_back(path, before[path], numbers)
        folders = [p for p, e in before.items() if e.kind == "folder"]
        for path in sorted(folders, reverse=True):
            _set_time(path, before[path])
        if failed:
            raise RestoreFailed("could not be put back: " + "; ".join(failed[:5]))

    def _remove(self, paths: list[str]) -> list[str]:
        """What the change added; deepest first. A folder that others put files in stays."""
        failed = []
        for path in paths:
            try:
                if os.path.isdir(path) and not is_link(path):
                    os.rmdir(path)
                elif os.path.lexists(path):
                    self._replacer.remove(path)
            except OSError as error:
                if not os.path.isdir(path):
                    failed.append(f"{plain_form(path)} ({error.strerror})")
        return failed

    def _put_back(self, path: str, entry: Entry, numbers: dict[str, int]) -> list[str]:
        try:
            if entry.kind == "folder":
                if is_link(path) or os.path.isfile(path):
                    self._replacer.remove(path)
                os.makedirs(path, exist_ok=True)
                os.chmod(path, entry.mode)
                return []
            if os.path.isdir(path) and not is_link(path):
                remove_tree(path)
            if entry.kind == "file" and self._is_kept_file(path, numbers):
                if _same_content(entry, entry_of(path)):
                    os.chmod(path, entry.mode)
                    return []
                why = "it was changed in place, so the kept copy changed with it"
                return [f"{plain_form(path)} ({why})"]
            fresh = f"{path}.tfgpu-restore"
            if entry.kind == "link":
                os.symlink(entry.target, fresh)
            else:
                stored = self._stored(numbers[path])
                if os.path.lexists(fresh):  # an earlier attempt was interrupted
                    self._replacer.remove(fresh)
                if not _double(stored, entry, fresh):
                    os.utime(fresh, ns=(entry.mtime, entry.mtime))
                os.chmod(fresh, entry.mode)
            self._replacer.replace(fresh, path)
        except (OSError, KeyError) as error:
            return [f"{plain_form(path)} ({error})"]
        return []

    def _is_kept_file(self, path: str, numbers: dict[str, int]) -> bool:
        """Whether *path* and what was kept of it are one and the same file, by a hard link."""
        try:
            return os.path.samefile(path, self._stored(numbers[path]))
        except (OSError, KeyError):
            return False

    def _write(
        self, file: Path, manifest: Manifest, roots: Iterable[Path], numbers: dict[str, int]
    ) -> None:
        content = {
            "roots": [str(r) for r in roots],
            "numbers": numbers,
            "entries": {
                p: [e.kind, e.mode, e.size, e.mtime, e.inode, e.target] for p, e in manifest.items()
            },
        }
        fresh = file.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8", errors="surrogateescape") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(file)

    @staticmethod
    def _read(file: Path) -> tuple[Manifest, list[Path], dict[str, int]]:
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            content = json.load(stream)
        entries = {path: Entry(*values) for path, values in content["entries"].items()}
        return entries, [Path(r) for r in content["roots"]], content["numbers"]


def _double(path: str, entry: Entry, second: str) -> bool:
    """Give the file *path* a second name, or else copy its content there: whether it is one file.
    Only the content: there are tens of thousands, and its entry tells the rest."""
    if _can_be_linked(entry):
        try:
            os.link(path, second, follow_symlinks=False)
            return True
        except OSError:
            pass  # another file system, or one without hard links
    with open(path, "rb") as source, open(second, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return False


def _can_be_linked(entry: Entry) -> bool:
    """Large, and on Windows writable: one that is not could only be removed by making its other
    names writable too."""
    writable = bool(entry.mode & stat.S_IWRITE) or sys.platform != "win32"
    return entry.size >= COPY_BELOW and writable


def _outermost(roots: Iterable[Path]) -> list[Path]:
    """Without roots that lie within another."""
    ordered = sorted(set(roots), key=lambda p: len(p.parts))
    kept: list[Path] = []
    for root in ordered:
        if not any(root.is_relative_to(k) for k in kept):
            kept.append(root)
    return kept


def _real(roots: Iterable[Path]) -> list[Path]:
    """*roots* with links in their parents resolved; a link to a folder stands for both."""
    found = []
    for root in roots:
        own = Path(os.path.realpath(root.parent)) / root.name
        found.append(own)
        if is_link(str(own)) and own.is_dir():
            found.append(Path(os.path.realpath(own)))
    return [Path(long_form(str(path))) for path in found]


def _same_content(one: Entry, other: Entry | None) -> bool:
    return other is not None and (one.size, one.mtime) == (other.size, other.mtime)


def _under(path: str, limit: str) -> bool:
    path, limit = os.path.normcase(path), os.path.normcase(limit)
    return path == limit or path.startswith(limit.rstrip(os.sep) + os.sep)


def _is_cache(path: str) -> bool:
    return f"{os.sep}__pycache__" in path


def _set_time(path: str, entry: Entry) -> None:
    try:
        os.utime(path, ns=(entry.mtime, entry.mtime))
    except OSError:
        pass  # a folder's time stamp is a courtesy
