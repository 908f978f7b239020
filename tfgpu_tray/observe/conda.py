"""What conda knows of an environment: records, pins, history. Read from files, never by conda."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tfgpu_tray.model import Conda, CondaPackage

# Records that matter here; the others are only counted by the fingerprint.
INTERESTING = re.compile(
    r"^(tensorflow|libtensorflow|cudatoolkit|cudnn|cuda-|cuda_|libcu|libnvj|libnpp|nccl|python$"
    r"|(lib)?zlib-wapi$|vc14_runtime$|vs2015_runtime$)"
)


def observe_conda(prefix: Path) -> Conda | None:
    """Facts from conda-meta, or None when *prefix* is no conda environment."""
    meta = prefix / "conda-meta"
    history = _text(meta / "history")
    if history is None:
        return None
    packages: list[CondaPackage] = []
    notes: list[str] = []
    for name in sorted(_names(meta)):
        parts = name[: -len(".json")].rsplit("-", 2)
        if len(parts) != 3 or not INTERESTING.match(parts[0]):
            continue
        record = _record(meta / name)
        if record is None:
            notes.append(f"conda-meta/{name} could not be read")
        packages.append(
            CondaPackage(
                name=parts[0],
                version=parts[1],
                build=parts[2],
                channel=str((record or {}).get("channel", "")),
                requested=bool(
                    (record or {}).get("requested_spec") or (record or {}).get("requested_specs")
                ),
            )
        )
    commands = re.findall(r"^# cmd: (.+)$", history, re.MULTILINE)
    return Conda(
        packages=tuple(packages),
        pinned=tuple(_lines(_text(meta / "pinned") or "")),
        frozen=(meta / "frozen").exists(),
        mentions_tensorflow="tensorflow" in history,
        removed=tuple(sorted(_ever_linked(history) - {p.name for p in packages})),
        last_command=commands[-1] if commands else None,
        notes=tuple(notes),
    )


def _ever_linked(history: str) -> set[str]:
    """Names that matter here among the history's + lines, `+channel::name-version-build`."""
    items = re.findall(r"^\+(?:.*::)?(\S+)-[^-\s]+-[^-\s]+$", history, re.MULTILINE)
    return {name for name in items if INTERESTING.match(name)}


def _names(meta: Path) -> list[str]:
    try:
        with os.scandir(meta) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    return [n for n in names if n.endswith(".json") and not n.startswith("._")]


def _record(path: Path) -> dict[str, object] | None:
    """One record; None when it is not complete JSON (conda writes records in place)."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _lines(text: str) -> list[str]:
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
