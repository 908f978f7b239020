"""Looks deeper than the fingerprint, through the command line in a process of its own.

What judges needs the tables, the rules and the installers. A process that stays for weeks should
not carry them, and a look that crashes should not take it along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfgpu_tray.model import Depth, Environment, Judgement, Offer, Outcome, Verdict
from tfgpu_tray.observe.child import Runner, run

SHARE = 25  # environments for which another process is worth its start


class LookFailed(Exception):
    """A look brought no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at one environment brought."""

    prefix: Path
    judgement: Judgement


class Looker(Protocol):
    def __call__(self, environments: Sequence[Environment], depth: Depth) -> Iterator[Sight]:
        """Look at each of *environments* to *depth*.

        Raises:
            LookFailed: there is no answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class CommandLooker:
    """Asks `check --plan --json`."""

    command: tuple[str, ...]  # the program, with the options that every command takes
    deadline: float  # seconds for one environment, above what its probes may take together
    runner: Runner = run

    def __call__(self, environments: Sequence[Environment], depth: Depth) -> Iterator[Sight]:
        if depth > Depth.STATIC:  # seconds of processor each: one by one
            for environment in environments:
                yield from self._look([environment], depth)
            return
        shares = max(1, min(os.cpu_count() or 1, len(environments) // SHARE))
        with ThreadPoolExecutor(shares) as pool:
            parts = [environments[start::shares] for start in range(shares)]
            for sights in pool.map(lambda part: list(self._look(part, depth)), parts):
                yield from sights

    def _look(self, environments: Sequence[Environment], depth: Depth) -> Iterator[Sight]:
        words = [*self.command, "check", "--json", "--plan", "--depth", depth.word]
        for environment in environments:
            words += ["--env", str(environment.prefix)]
        result = self.runner(words, deadline=self.deadline * max(1, len(environments)))
        try:
            content = json.loads(result.stdout)
            found = content["environments"]
        except (ValueError, KeyError, TypeError):
            said = result.stderr.strip().splitlines()
            because = said[-1] if said and result.outcome is not Outcome.TIMED_OUT else ""
            raise LookFailed(because or f"check {result.how_it_ended}") from None
        yield from (_sight(entry) for entry in found)


def _sight(entry: dict[str, Any]) -> Sight:
    diagnoses = entry["diagnoses"]
    primary = next((d for d in diagnoses if d["role"] == "primary"), None)
    blemishes = [d for d in diagnoses if d["role"] == "contributing"]
    first = primary or (blemishes[0] if blemishes else None)
    plan = entry.get("plan")
    offer = None
    if first and plan and plan["steps"]:
        offer = _offer(first["remedy"], plan)
    advice = ""
    if first and offer is None:
        told = plan["guidance"] if plan else []
        advice = " ".join(told or first["remedy"]["steps"]) or first["remedy"]["title"]
    judgement = Judgement(
        verdict=Verdict(entry["verdict"]),
        headline=entry["headline"],
        cause=first["cause"] if first else None,
        also=tuple(d["summary"] for d in blemishes if d is not first),
        offer=offer,
        advice=advice,
    )
    return Sight(Path(entry["prefix"]), judgement)


def _offer(remedy: dict[str, Any], plan: dict[str, Any]) -> Offer:
    """Where there is a choice, a repair goes the first way."""
    titles = tuple(step["title"] for step in plan["steps"])
    own, *others = remedy.get("ways") or [remedy]
    instead = tuple(f"{way['title']}: {way['costs']}" for way in others)
    return Offer(own["title"], titles, plan["download_mb"], instead)
