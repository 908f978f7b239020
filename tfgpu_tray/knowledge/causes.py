"""The texts of root causes, from causes.toml: what it means, what to do, how safe that is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tfgpu_tray.knowledge.tables import table


@dataclass(frozen=True, slots=True)
class Cause:
    id: str
    link: str  # which link of the chain it breaks
    title: str
    why: str
    remedy: str
    steps: tuple[str, ...]
    safety: str  # "reversible", "guided", "reboot" or "none"
    chapters: tuple[str, ...]  # installer chapters that heal it
    scope: str  # "machine" or "environment"


@cache
def cause(identifier: str, system: str = "linux") -> Cause:
    """The texts of one cause, as a person on *system* reads them; only words and steps differ.

    Raises:
        KeyError: no such cause; a rule names one that causes.toml lacks.
    """
    row = table("causes")[identifier]
    row = row | row.get(system, {})
    return Cause(
        id=identifier,
        link=row["link"],
        title=row["title"],
        why=row["why"],
        remedy=row["remedy"],
        steps=tuple(row["steps"]),
        safety=row["safety"],
        chapters=tuple(row["chapters"]),
        scope=row["scope"],
    )


def cause_ids() -> list[str]:
    return [key for key, value in table("causes").items() if isinstance(value, dict)]
