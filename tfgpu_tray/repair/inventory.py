"""What is in a tree of files, in enough detail to tell later what changed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One path as it was: enough to tell later whether it is still the same."""

    kind: str  # "file", "link" or "folder"
    mode: int
    size: int
    mtime: int  # nanoseconds
    inode: int
    target: str = ""  # of a symbolic link

    def same(self, other: Entry | None) -> bool:
        """Whether the content is unchanged. Folders compare by kind and mode: their time stamps
        follow from what is in them."""
        if other is None or (self.kind, self.mode) != (other.kind, other.mode):
            return False
        if self.kind == "folder":
            return True
        if self.kind == "link":
            return self.target == other.target
        return (self.size, self.mtime, self.inode) == (other.size, other.mtime, other.inode)


Manifest = dict[str, Entry]


def scan(roots: Iterable[Path]) -> Manifest:
    """Every path at or under *roots*, links not followed.

    Raises:
        OSError: a folder cannot be read, so what it holds could be neither kept nor compared.
    """
    found: Manifest = {}
    for root in roots:
        for path in _walk(str(root)):
            if path not in found and (entry := entry_of(path)) is not None:
                found[path] = entry
    return found


def _walk(root: str) -> Iterator[str]:
    yield root
    if os.path.isdir(root) and not is_link(root):
        for folder, folders, files in os.walk(root, onerror=_refuse):
            for name in (*folders, *files):
                yield os.path.join(folder, name)
            if sys.platform == "win32":  # os.walk goes into junctions before Python 3.12
                folders[:] = [f for f in folders if not is_link(os.path.join(folder, f))]


def _refuse(error: OSError) -> None:
    raise error


def entry_of(path: str) -> Entry | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    mode = stat.S_IMODE(status.st_mode)
    if leads_elsewhere(status):
        return Entry("link", mode, 0, status.st_mtime_ns, status.st_ino, os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry("folder", mode, 0, status.st_mtime_ns, status.st_ino)
    return Entry("file", mode, status.st_size, status.st_mtime_ns, status.st_ino)


def same(one: Entry | None, other: Entry | None) -> bool:
    return other is None if one is None else one.same(other)


def is_link(path: str) -> bool:
    """Whether *path* is a symbolic link or a junction: what it leads to lies elsewhere."""
    try:
        return leads_elsewhere(os.lstat(path))
    except OSError:
        return False


def leads_elsewhere(status: os.stat_result) -> bool:
    mount_point = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)  # a junction, on Windows
    tag = getattr(status, "st_reparse_tag", 0)
    return stat.S_ISLNK(status.st_mode) or (mount_point is not None and tag == mount_point)
