"""Puts files in the place of others, also where Windows resists.

A file that a program has loaded (a DLL, a .pyd) cannot be replaced or removed there, but it can be
renamed: it is moved out of the way, and the program goes on with it. One that is read-only has to
be made writable first. Paths are spelt with \\\\?\\ in front: an environment has some of more than
260 characters, which older programs and settings do not allow otherwise.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tfgpu_tray.installer.files import Patience

LONG, LONG_SHARE = "\\\\?\\", "\\\\?\\UNC\\"
ELSEWHERE = "elsewhere.txt"  # names the files that could not be moved to the folder itself


def long_form(path: str, windows: bool = sys.platform == "win32") -> str:
    """*path*, which is absolute, in the form that has no limit of length on Windows."""
    if not windows or path.startswith(LONG):
        return path
    return LONG_SHARE + path[2:] if path.startswith("\\\\") else LONG + path


def plain_form(path: str) -> str:
    """*path* as a person writes it."""
    if path.startswith(LONG_SHARE):
        return "\\\\" + path.removeprefix(LONG_SHARE)
    return path.removeprefix(LONG)


def remove_tree(path: str | Path) -> None:
    """Remove a folder with all that can be removed of it."""
    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=_again)
    else:
        shutil.rmtree(path, onerror=_again)


def _again(function: Callable[..., Any], path: str, _: object) -> None:
    """On Windows what is read-only is made writable first; what is in use stays."""
    try:
        if sys.platform == "win32" and function in (os.unlink, os.remove) and _made_writable(path):
            os.unlink(path)
    except OSError:
        pass


@dataclass(frozen=True, slots=True)
class Replacer:
    aside: Path  # where files that are in use are moved to
    patience: Patience = field(default_factory=Patience)
    windows: bool = sys.platform == "win32"

    def replace(self, fresh: str, path: str) -> None:
        """Move *fresh* to *path*, whatever file is there."""
        self._insist(lambda: os.replace(fresh, path), path)

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        self._insist(lambda: Path(path).unlink(missing_ok=True), path)

    def _insist(self, action: Callable[[], None], path: str) -> None:
        try:
            return action()
        except PermissionError:
            if not self.windows:
                raise
        if _made_writable(path):
            try:
                return action()
            except PermissionError:
                pass
        self._move_aside(path)
        return self.patience(action)

    def _move_aside(self, path: str) -> None:
        """Make the name *path* free, where whoever holds the file lets it be renamed."""
        self.aside.mkdir(parents=True, exist_ok=True)
        names = (os.path.join(self.aside, str(number)) for number in count())
        place = next(name for name in names if not os.path.lexists(name))
        try:
            os.rename(path, place)
            return
        except OSError:
            pass  # this folder is on another volume, or the file is held for good
        beside = f"{path}.tfgpu-held"
        try:
            os.rename(path, beside)
        except OSError:
            return
        with open(self.aside / ELSEWHERE, "a", encoding="utf-8") as file:
            file.write(f"{beside}\n")


def _made_writable(path: str) -> bool:
    """Whether *path* was read-only, and is not any more."""
    try:
        if os.lstat(path).st_mode & stat.S_IWRITE:
            return False
        os.chmod(path, stat.S_IWRITE | stat.S_IREAD)
    except OSError:
        return False
    return True


def sweep(aside: Path) -> None:
    """Remove what was moved aside, as far as nobody uses it any more."""
    notes = aside / ELSEWHERE
    try:
        places = notes.read_text(encoding="utf-8").splitlines()
    except OSError:
        places = []
    for place in places:
        try:
            os.unlink(place)
        except OSError:
            continue
    if not any(os.path.lexists(place) for place in places):
        remove_tree(aside)
    try:
        aside.parent.rmdir()
    except OSError:
        pass  # it still keeps what a repair replaced
