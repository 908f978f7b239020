"""The few things that the icon can say."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    BROKEN = "broken"
    UNKNOWN = "unknown"  # also: being checked
    REPAIRING = "repairing"
    PAUSED = "paused"
