"""Tools that a test needs; where one is missing it skips, or fails under TFGPU_TEST_STRICT=1."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

STRICT = os.environ.get("TFGPU_TEST_STRICT") == "1"


def lacking(reason: str) -> NoReturn:
    """The machine lacks something: a skip with its reason, a failure in CI."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str) -> str:
    """The full path of a program."""
    found = shutil.which(name)
    return found if found is not None else lacking(f"{name} is not installed")


@cache
def pythons() -> tuple[Path, ...]:
    """One interpreter for each Python 3.7 or newer that pyenv holds, oldest first."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found: dict[tuple[int, int], Path] = {}
    for python in sorted(root.glob("3.*/bin/python")):
        ask = "import sys; print(*sys.version_info[:2])"
        answer = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True)
        major, _, minor = answer.stdout.strip().partition(" ")
        if answer.returncode == 0 and (version := (int(major), int(minor))) >= (3, 7):
            found[version] = python
    return tuple(found[version] for version in sorted(found))


def every_python() -> tuple[Path, ...]:
    return pythons() or lacking("pyenv holds no Python 3.7 or newer")
