"""Commands that make the lab's parts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run_apart"]

UNWANTED = ("PYTHON", "CONDA", "LD_", "VIRTUAL_ENV", "PIP_TARGET", "PIP_USER", "PIP_REQUIRE")


def run_apart(command: Sequence[str | Path], **variables: str) -> str:
    """What a command prints, free of any environment that the caller may have activated.

    Where the package index is, the caller's variables say. Raises RuntimeError when it fails.
    """
    environ = {key: text for key, text in os.environ.items() if not key.startswith(UNWANTED)}
    done = subprocess.run(
        list(map(str, command)),
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise RuntimeError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
