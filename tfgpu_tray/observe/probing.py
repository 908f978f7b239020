"""Reads what the probes print (see `tfgpu_tray.observe.probes`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "@tfgpu "
FOLDER = Path(__file__).with_name("probes")


def facts(stdout: str) -> Iterator[dict[str, Any]]:
    """Every complete fact line; a line cut short by a crash is left out."""
    for line in stdout.splitlines():
        if line.startswith(MARK):
            try:
                value = json.loads(line[len(MARK) :])
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def merged(stdout: str) -> dict[str, Any]:
    """All fact lines in one mapping, later ones winning."""
    result: dict[str, Any] = {}
    for fact in facts(stdout):
        result.update(fact)
    return result
