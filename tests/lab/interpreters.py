"""Finds the Pythons that the lab builds on; none is ever downloaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Interpreter", "find_python", "interpreter"]

ASK = (
    "import json, sys, sysconfig, ensurepip, venv;"
    "print(json.dumps([sys.base_prefix, '.'.join(map(str, sys.version_info[:3]))]))"
)


@dataclass(frozen=True)
class Interpreter:
    """A base interpreter, not one of a venv."""

    executable: Path
    prefix: Path
    version: str  #: such as "3.10.13"


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield Path(sys.base_prefix, "bin", name)
    for tree in sorted(Path.home().glob(f".pyenv/versions/{version}.*"), reverse=True):
        yield tree / "bin" / name
    if on_path := shutil.which(name):
        yield Path(on_path)
    if uv := shutil.which("uv"):
        command = [uv, "python", "find", "--no-project", "--no-python-downloads", version]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            yield Path(found.stdout.strip())


@cache
def find_python(version: str) -> Interpreter | None:
    """The first base interpreter of that minor version ("3.10") that has venv and ensurepip.

    Looked for where this Python came from, then in pyenv, on PATH and with uv.
    """
    for candidate in _candidates(version):
        if not candidate.is_file():
            continue
        # -I: the user's PYTHONPATH must not decide what a lab is made of
        command = [str(candidate), "-I", "-c", ASK]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode != 0:
            continue  # a pyenv shim whose version is not selected, or a Python without venv
        prefix, full = json.loads(asked.stdout)
        if full.startswith(f"{version}."):
            return Interpreter(Path(prefix, "bin", f"python{version}"), Path(prefix), full)
    return None


def interpreter(version: str) -> Interpreter:
    """The same; raises LookupError when there is none."""
    found = find_python(version)
    if found is None:
        raise LookupError(f"no Python {version} with venv in pyenv, on PATH or from uv")
    return found
