"""Which log line means what; the patterns are data in log_lines.toml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from tfgpu_tray.knowledge.tables import table


@dataclass(frozen=True, slots=True)
class Sign:
    """One recognised line: its id in log_lines.toml and what the pattern's groups caught."""

    id: str
    line: str
    groups: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, re.Pattern[str], re.Pattern[str] | None], ...]:
    return tuple(
        (
            name,
            re.compile(entry["pattern"]),
            re.compile(entry["ignore"]) if "ignore" in entry else None,
        )
        for name, entry in table("log_lines").items()
        if isinstance(entry, dict)
    )


def signs(lines: Iterable[str]) -> Iterator[Sign]:
    """The signs in *lines*, in order, each line at most once."""
    for line in lines:
        for name, pattern, ignore in _patterns():
            if match := pattern.search(line):
                groups = {k: v for k, v in match.groupdict().items() if v}
                if ignore is None or not ignore.search(groups.get("library", "")):
                    yield Sign(name, line, groups)
                break


def worth_keeping(text: str) -> tuple[str, ...]:
    """The lines of a log that carry a sign, without repeats, as they were logged."""
    return tuple(dict.fromkeys(sign.line.strip() for sign in signs(text.splitlines())))[:40]
