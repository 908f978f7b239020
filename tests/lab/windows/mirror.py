"""Folders that show what another holds, at the cost of some links."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

__all__ = ["mirror"]


def mirror(source: Path, target: Path, own: Collection[str] = ()) -> None:
    """Makes a folder of its own: files are hard links, other folders are symbolic ones.

    Windows programs that ask for the true path of something below a symbolic link are told that of
    the source. Folders in `own` ("Lib", "Lib/site-packages") are mirrored in turn.
    """
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and entry.name in own:
            deeper = [one.partition("/")[2] for one in own if one.startswith(f"{entry.name}/")]
            mirror(entry, place, deeper)
        elif entry.is_dir():
            place.symlink_to(entry)
        else:
            try:
                os.link(entry, place)
            except OSError:  # another file system
                shutil.copy2(entry, place)
