"""Conditions, events and repairs of a made-up machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tfgpu_tray.model import Condition, Judgement, Offer, Verdict
from tfgpu_tray.store.board import Silence
from tfgpu_tray.store.journal import Repair, State
from tfgpu_tray.tray.view import View

NOW = 1_700_000_000.0
TF, CPU, BASE = (Path("/opt/conda/envs/tf"), Path("/opt/conda/envs/cpu"), Path("/opt/conda"))
WELL = Judgement(Verdict.OK, "TensorFlow 2.10.1 sees a GPU")
UNASKED = Judgement(Verdict.UNKNOWN, "TensorFlow has to be asked")
SILENT = Judgement(Verdict.UNKNOWN, "TensorFlow did not answer within 60 s", "no-answer")
LEFTOVERS = Judgement(
    Verdict.DEGRADED, "a leftover of pip lies about", "leftovers", advice="Delete ~umpy."
)
OFFER = Offer("Install cuDNN", ("install cudnn 8.1.0.77", "ask TensorFlow"), 700)
NO_CUDNN = Judgement(
    Verdict.BROKEN,
    "libcudnn.so.8 is missing",
    "cudnn-missing",
    also=("libcublas.so.11 is old", "the hook is not found"),
    offer=OFFER,
    who="`conda remove cudnn` took it away at 14:02",
)
NO_DRIVER = Judgement(
    Verdict.BROKEN, "the driver is not loaded", "driver-not-loaded", advice="Restart the computer."
)


def holds(settled: Judgement | None, prefix: Path = TF, **changes: Any) -> Condition:
    given: dict[str, Any] = {"since": NOW - 3600, "seen": NOW - 180}
    return Condition(prefix, settled, **given | changes)


def view(*conditions: Condition, **changes: Any) -> View:
    return replace(View(NOW, conditions), **changes)


def at_work(
    prefix: Path = TF, phase: str = "installing cudnn", fraction: float | None = 0.5
) -> Repair:
    return Repair(
        7, prefix, "repair", State.APPLYING, NOW - 60, "broken", None, None, phase, fraction
    )


def done(prefix: Path = TF) -> Repair:
    return Repair(6, prefix, "repair", State.DONE, NOW - 7200, "broken", "ok", None)


def ignored(*conditions: Condition) -> dict[tuple[Path, str], Silence]:
    return {(c.prefix, c.shown.cause or ""): Silence.IGNORED for c in conditions}
