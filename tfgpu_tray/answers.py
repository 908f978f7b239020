"""What --json prints: reports and plans as JSON-ready data; nothing is judged here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tfgpu_tray.model import Activation, Report, plain

if TYPE_CHECKING:
    from tfgpu_tray.installer.wsl import Installation
    from tfgpu_tray.repair.plan import Plan
    from tfgpu_tray.repair.transaction import Ended
    from tfgpu_tray.store.board import Standing
    from tfgpu_tray.subsystem import Subsystem
    from tfgpu_tray.survey import Overview

SCHEMA = 1
# The variables of an activated shell that matter here; the others may hold secrets.
SHOWN = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "XLA_FLAGS", "LD_PRELOAD")


def overview_json(
    overview: Overview, plans: Mapping[Path, Plan] = MappingProxyType({})
) -> dict[str, Any]:
    """*plans* says what a repair of these environments would do."""
    return {
        "schema": SCHEMA,
        "verdict": overview.verdict.value,
        "host": plain(overview.host),
        "driver": plain(overview.driver),
        "environments": [
            report_json(r) | ({"plan": plan_json(plans[r.prefix])} if r.prefix in plans else {})
            for r in overview.reports
        ],
        "others": [
            {"prefix": str(e.prefix), "kind": e.kind.value, "python_version": e.python_version}
            for e in overview.others
        ],
        "wsl": _wsl_json(overview.wsl) if overview.wsl else None,
    }


def _wsl_json(wsl: Subsystem) -> dict[str, Any]:
    return {
        "installed": wsl.host.wsl_installed,
        "distributions": [
            {
                **plain(judged.distribution),
                "ready": judged.ready,
                "headline": judged.headline,
                "diagnoses": plain(judged.diagnoses),
            }
            for judged in wsl.distributions
        ],
        "diagnoses": plain(wsl.diagnoses),
    }


def report_json(report: Report) -> dict[str, Any]:
    snapshot = report.snapshot
    environment = snapshot.environment
    hooks = plain(snapshot.hooks)
    hooks["variables"] = {
        name: value if name in SHOWN else "(not shown)"
        for name, value in snapshot.hooks.variables.items()
    }
    if snapshot.hooks.activation is not None:
        hooks["activation"] = _activation_json(snapshot.hooks.activation)
    return {
        "prefix": str(environment.prefix),
        "kind": environment.kind.value,
        "verdict": report.verdict.value,
        "headline": report.headline,
        "facts": {
            "depth": snapshot.depth.word,
            "fingerprint": snapshot.fingerprint,
            "environment": plain(environment),
            "packages": plain(snapshot.packages),
            "conda": plain(snapshot.conda),
            "hooks": hooks,
            "libraries": plain(snapshot.libraries),
            "tensorflow": plain(snapshot.tensorflow),
            "compute": plain(snapshot.compute),
            "notes": plain(snapshot.notes),
        },
        "diagnoses": plain(report.diagnoses),
    }


def _activation_json(activation: Activation) -> dict[str, Any]:
    return {
        "outcome": activation.outcome.value,
        "failed_script": activation.failed_script,
        "messages": list(activation.messages),
        "seconds": round(activation.seconds, 3),
        "variables": {k: activation.environ[k] for k in SHOWN if k in activation.environ},
    }


def plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "environment": str(plan.environment.prefix),
        "target": plain(plan.target),
        "heals": list(plan.healed),
        "steps": [{"chapter": step.chapter, **plain(step.describe())} for step in plan.steps],
        "download_mb": plan.download_mb,
        "safety": "reversible" if plan.steps else "none",
        "guidance": list(plan.guidance),
        "instead": plain(plan.instead),
        "reason": plan.reason,
    }


def ended_json(ended: Ended) -> dict[str, Any]:
    return {
        "state": ended.state.value,
        "number": ended.number,
        "note": ended.note,
        "before": report_json(ended.before) if ended.before else None,
        "after": report_json(ended.after) if ended.after else None,
    }


def installation_json(installation: Installation) -> dict[str, Any]:
    return {"schema": SCHEMA, **plain(installation)}


def standing_json(standing: Standing) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "verdict": standing.verdict.value,
        "running": standing.running,
        "paused_until": standing.paused_until,
        "environments": [
            {
                "prefix": str(c.prefix),
                "since": c.since,
                "seen": c.seen,
                "asked": c.glimpse is None and c.settled is not None,
                "silence": standing.silence(c),
                **plain(c.shown),
            }
            for c in standing.conditions
        ],
        "repairs": [
            {"prefix": str(r.prefix), "phase": r.phase, "fraction": r.fraction}
            for r in standing.repairs
        ],
    }
