"""The arbiter: the environment's own TensorFlow, asked in a child process, as activated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgpu_tray.knowledge import log_lines
from tfgpu_tray.model import Environment, Outcome, TensorFlow
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Result, Runner, run

# From 2.12 on the names of missing libraries are only logged at verbose level 1.
VERBOSE = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_MAX_VLOG_LEVEL": "1"}
QUIET_PYTHON = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}


def ask_tensorflow(
    environment: Environment,
    activated: Mapping[str, str],
    *,
    deadline: float = 60.0,
    runner: Runner = run,
) -> TensorFlow:
    """Import TensorFlow and list its GPUs, for at most *deadline* seconds."""
    if environment.python is None:
        return TensorFlow(Outcome.NOT_STARTED, error="the environment has no Python interpreter")
    result = runner(
        [environment.python, probing.FOLDER / "tensorflow_probe.py"],
        deadline=deadline,
        environ={**activated, **QUIET_PYTHON, **VERBOSE},
        cwd=environment.prefix,
    )
    said = probing.merged(result.stdout)
    error = said.get("error")
    outcome = result.outcome
    if outcome is Outcome.COMPLETED and error is not None:
        outcome = Outcome.FAILED
    elif outcome is Outcome.COMPLETED and said.get("stage") != "done":
        outcome = Outcome.CRASHED  # something called exit() under us
    if error is None and outcome is not Outcome.COMPLETED:
        error = f"Python {result.how_it_ended}"
    return as_answer(said, outcome, error, result)


def as_answer(
    said: Mapping[str, Any], outcome: Outcome, error: object, result: Result
) -> TensorFlow:
    """What the probe *said* before it ended so."""
    gpus = said.get("gpus")
    return TensorFlow(
        outcome=outcome,
        stage=str(said.get("stage", "start")),
        version=said.get("version"),
        file=said.get("file"),
        cuda_build=said.get("cuda_build"),
        rocm_build=said.get("rocm_build"),
        build_cuda=said.get("build_cuda"),
        build_cudnn=said.get("build_cudnn"),
        gpus=tuple(gpus) if gpus is not None else None,
        capabilities=tuple(said.get("capabilities", ())),
        error_type=said.get("error_type"),
        error=error[:2000] if isinstance(error, str) else None,
        log=log_lines.worth_keeping(result.stderr),
        seconds=round(result.seconds, 2),
    )
