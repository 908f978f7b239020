"""A small kernel on the GPU, only on request: a listed GPU can still run nothing."""

from __future__ import annotations

from collections.abc import Mapping

from tfgpu_tray.model import Compute, Environment, Outcome
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.observe.tensorflow import QUIET_PYTHON


def compute_something(
    environment: Environment,
    activated: Mapping[str, str],
    *,
    deadline: float = 120.0,
    runner: Runner = run,
) -> Compute:
    """Run the compute probe for at most *deadline* seconds (kernels may be compiled first)."""
    if environment.python is None:
        return Compute(Outcome.NOT_STARTED, error="the environment has no Python interpreter")
    result = runner(
        [environment.python, probing.FOLDER / "compute_probe.py"],
        deadline=deadline,
        environ={**activated, **QUIET_PYTHON},
        cwd=environment.prefix,
    )
    said = probing.merged(result.stdout)
    error = said.get("error")
    if error is None and result.outcome is not Outcome.COMPLETED:
        error = f"the compute probe {result.how_it_ended} at {said.get('stage', 'its start')}"
    return Compute(
        outcome=result.outcome,
        driver_kernel=said.get("driver_kernel"),
        driver_error=said.get("driver_error"),
        matmul=said.get("matmul"),
        convolution=said.get("convolution"),
        error=error,
        seconds=round(result.seconds, 2),
    )
