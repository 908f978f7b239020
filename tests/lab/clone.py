"""Copies an environment to another path, where it is then at home."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

__all__ = ["clone_environment", "copy_tree"]

#: Larger files are libraries and data, which programs replace rather than write into.
SHARED_SIZE = 64 * 1024

#: Runs the Python beside the script, wherever that is (the trampoline of uv's relocatable venvs).
TRAMPOLINE = (
    b"#!/bin/sh\n"
    b'\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")"/\'python\' "$0" "$@"\n'
    b"' '''\n"
)


def clone_environment(source: Path, target: Path) -> None:
    """Clones a conda environment or venv into `target`, which must not exist.

    Files of 64 KiB and more, and bytecode, are hard links where the file system allows it. Scripts,
    activate files, pyvenv.cfg and conda's history are rewritten for the new path.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    copy_tree(str(source), str(target))
    _relocate(source, target)


def copy_tree(source: str, target: str) -> None:
    """Copies a folder to `target`, which must not exist; large files and bytecode are linked."""
    # os.scandir: thousands of files are looked at, and this is most of a test's set-up time
    os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            destination = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), destination)
            elif entry.is_dir():
                copy_tree(entry.path, destination)
            elif entry.name.endswith(".pyc") or entry.stat().st_size >= SHARED_SIZE:
                _link(entry.path, destination)
            else:
                shutil.copy2(entry.path, destination)
    shutil.copystat(source, target)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, destination)


def _relocate(source: Path, target: Path) -> None:
    old, new = str(source), str(target)
    for script in (target / "bin").iterdir():
        if script.is_symlink() or not script.is_file() or script.stat().st_size >= SHARED_SIZE:
            continue
        data = script.read_bytes()
        if script.name.lower().startswith("activate"):
            script.write_text(_activate(data.decode(), old, new), encoding="utf-8")
        elif data.startswith(b"#!") and old.encode() in data.split(b"\n", 2)[0]:
            script.write_bytes(_shebang(data, new))
    for name in ("pyvenv.cfg", "conda-meta/history"):
        file = target / name
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(old, new), encoding="utf-8")


def _shebang(data: bytes, prefix: str) -> bytes:
    line, _, rest = data.partition(b"\n")
    interpreter = f"{prefix}/bin/{line.decode().rpartition('/')[2]}"
    plain = len(interpreter) < 126 and re.fullmatch(r"[\w./+-]+", interpreter, re.ASCII)
    return (f"#!{interpreter}\n".encode() if plain else TRAMPOLINE) + rest


def _activate(text: str, old: str, new: str) -> str:
    """Replaces the prefix, which venv put in double quotes, by the new one properly quoted."""
    text = text.replace(f'"{old}"', shlex.quote(new)).replace(f"'{old}'", shlex.quote(new))
    return text.replace(f"({Path(old).name}) ", f"({Path(new).name}) ")
