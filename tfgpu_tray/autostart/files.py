"""Desktop entries and units as files: their templates, their keys, and replacing them whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfgpu_tray.autostart.entry import NAME, AutostartError

PACKAGE = Path(__file__).parents[1]


def template(name: str) -> str:
    """The text of a file in service/.

    Raises:
        AutostartError: there is no such file.
    """
    for place in (PACKAGE, PACKAGE.parent):  # the wheel, the checkout
        if (text := read_file(place / "service" / name)) is not None:
            return text
    raise AutostartError(f"{name} is missing from this installation; install {NAME} again")


def get_key(text: str, group: str, key: str) -> str | None:
    """The value of *key* in [*group*] of a desktop entry or unit; the last one counts."""
    found = None
    for _, here, name, value in _lines(text):
        if (here, name) == (group, key):
            found = value
    return found


def with_keys(text: str, group: str, values: Mapping[str, str | None]) -> str:
    """*text* with *values* in [*group*], None taking a key out; other lines stay as they are."""
    kept: list[str] = []
    missing = {key: f"{key}={value}" for key, value in values.items() if value is not None}
    end = 0
    for line, here, name, _ in _lines(text):
        if here == group and name in values:
            if name not in missing:
                continue
            line = missing.pop(name)
        kept.append(line)
        if here == group and line.strip():
            end = len(kept)
    kept[end:end] = missing.values()
    return "\n".join(kept)


def _lines(text: str) -> Iterator[tuple[str, str, str, str]]:
    """(line, group, key, value); key and value are empty for headers, comments and blank lines."""
    group = ""
    for line in text.split("\n"):
        header = re.fullmatch(r"\s*\[(.*)\]\s*", line)
        group = header[1] if header else group
        pair = re.fullmatch(r"\s*([A-Za-z0-9-]+)\s*=\s*(.*?)\s*", line)
        yield line, group, pair[1] if pair else "", pair[2] if pair else ""


def read_file(path: Path) -> str | None:
    """What is in *path*; None when there is no such file. Bytes that are not UTF-8 survive."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def write_file(path: Path, text: str) -> None:
    """Replace *path* in one go. A link to a file stays one: its owner keeps the file elsewhere."""
    # Nothing but a file is ever replaced at a link's end: for root it may be /dev/null, a mask.
    real = Path(os.path.realpath(path))
    path = real if real.is_file() or not real.exists() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if path.is_file():
            shutil.copymode(path, fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
