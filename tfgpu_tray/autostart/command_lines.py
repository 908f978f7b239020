"""Command lines as desktop entries, systemd units and Windows' Run key write them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

from tfgpu_tray.autostart.entry import AutostartError

_PLAIN = re.compile(r"[A-Za-z0-9_./:,@+-]+")


def join_exec(words: Sequence[str]) -> str:
    """The value of a desktop entry's Exec key: words are quoted, then the value is escaped.

    Raises:
        AutostartError: no entry can hold *words*; the other two raise it too.
    """
    return _quoted(words, r'["`$\\]').replace("\\", "\\\\")


def split_exec(value: str) -> tuple[str, ...]:
    """The words of an Exec value, field codes left out; none when it breaks the rules."""
    escapes = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    line = re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[0]), value)
    # shlex knows \" and \\ between double quotes; the specification has \$ and \` too.
    line = re.sub(r"\\(.)", lambda m: m[1] if m[1] in "$`" else m[0], line)
    words = (word for word in _split(line) if not re.fullmatch(r"%[A-Za-z]", word))
    return tuple(word.replace("%%", "%") for word in words)


def join_exec_start(words: Sequence[str]) -> str:
    """The value of a unit's ExecStart."""
    if re.search(r"['\"\\]", words[0]):  # "Executable name contains special characters"
        raise AutostartError(
            f"systemd starts no program whose path holds quotes or backslashes: {words[0]}"
        )
    line = _quoted(words, r'["\\]')
    # ":" leaves $ alone, in the path of the program too, where $$ would not do. It is newer than
    # the systemd of some servers (244), so it stands only where it must.
    return f":{line}" if "$" in line else line


def split_exec_start(value: str) -> tuple[str, ...]:
    """The words of an ExecStart value; none when it breaks the rules."""
    line = value.lstrip("@-:+!")
    literal = ":" in value[: len(value) - len(line)]
    words = (word.replace("%%", "%") for word in _split(line))
    return tuple(word if literal else word.replace("$$", "$") for word in words)


def join_windows(words: Sequence[str]) -> str:
    """A line for CreateProcess, which takes what is in the first quotes for the program."""
    first, *rest = _writable(words)
    return f'"{first}" {subprocess.list2cmdline(rest)}'.rstrip()


def split_windows(line: str) -> tuple[str, ...]:
    """The words of a command line without escaped quotes, which no Windows path needs."""
    words = re.findall(r'(?:"[^"]*"|[^\s"])+', line)
    halved = (re.sub(r'(\\+)(?=")', lambda m: m[1][: len(m[1]) // 2], word) for word in words)
    return tuple(word.replace('"', "") for word in halved)


def _quoted(words: Sequence[str], special: str) -> str:
    """*words* in quotes where they need them, the *special* characters within escaped."""
    return " ".join(
        word if _PLAIN.fullmatch(word) else '"' + re.sub(special, r"\\\g<0>", word) + '"'
        for word in _writable(words)
    ).replace("%", "%%")


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote that nothing closes
        return []


def _writable(words: Sequence[str]) -> Sequence[str]:
    """*words*, which neither a line nor UTF-8 must refuse."""
    for word in words:
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", word):
            raise AutostartError(
                f"{word!r} holds characters that cannot be written into an entry; rename the folder"
            )
    return words
