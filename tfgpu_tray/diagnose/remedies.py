"""What to do about a cause, written out for this environment and machine."""

from __future__ import annotations

from pathlib import Path

from tfgpu_tray.diagnose.case import Case
from tfgpu_tray.diagnose.wsl_way import wsl_way
from tfgpu_tray.knowledge.causes import Cause
from tfgpu_tray.knowledge.cuda import conda_specs, driver_floor, wsl_driver
from tfgpu_tray.knowledge.releases import (
    NATIVE_WINDOWS_LAST,
    Release,
    download_mb,
    release,
)
from tfgpu_tray.knowledge.shells import typed
from tfgpu_tray.model import Kind, Remedy, Way

CHOICE = frozenset({"windows-native-tf-ge-2.11"})  # the causes that leave a choice of ways


class _Values(dict[str, str]):
    """Placeholders of a remedy's steps; one without a value reads as <name>."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"


def remedy(case: Case, text: Cause) -> Remedy:
    values = _values(case, text)
    return Remedy(
        title=text.remedy,
        steps=tuple(step.format_map(values) for step in text.steps),
        safety=text.safety,
        ways=_ways(case) if text.id in CHOICE else (),
    )


def _values(case: Case, text: Cause) -> _Values:
    environment, host = case.snapshot.environment, case.snapshot.host
    inside = "python.exe" if case.on_windows else "bin/python"
    values = _Values(
        prefix=_typed(case, environment.prefix),
        python=_typed(case, environment.python or environment.prefix / inside),
        fresh=_quoted(case, _fresh(case)),
        channel="conda-forge",
    )
    if case.version is not None:
        values["tensorflow"] = case.version
    if (found := _wanted(case)) is not None:
        requirements = (f"tensorflow=={found.latest}", *found.extra_requirements)
        values.setdefault("tensorflow", found.latest)
        values["requirements"] = " ".join(f'"{r}"' for r in requirements)
        values["libraries"] = " ".join(conda_specs(found.latest)) or "cudatoolkit cudnn"
        asked = wsl_driver(found.cuda) if host.wsl == 2 else None
        asked = asked or driver_floor(found.cuda, host.driver_system)
        values["driver"] = asked or "a current driver"
    stray = text.id == "stray-activation-hook"
    hooks = (s.path for s in case.snapshot.hooks.scripts if not s.ours and s.stray is stray)
    if (hook := next(hooks, None)) is not None:
        values["hook"] = _typed(case, hook)
    if environment.distribution is not None:
        values["distribution"] = environment.distribution
    if environment.user_site is not None:
        values["user_site"] = _typed(case, environment.user_site)
    return values


def _wanted(case: Case) -> Release | None:
    """The series that the environment should hold: its own, unless no GPU comes with that."""
    if case.on_windows and (case.release is None or not case.release.windows_gpu):
        return release(str(NATIVE_WINDOWS_LAST))
    return case.release


def _fresh(case: Case) -> str:
    """Where a new environment could be made: beside this one, or in the envs folder of a root."""
    environment, rules = case.snapshot.environment, case.rules
    prefix = environment.typed(environment.prefix)
    folder, name = rules.split(prefix)
    if environment.kind is Kind.CONDA and rules.basename(folder) != "envs":
        return str(rules.join(prefix, "envs", "tf-gpu"))
    return str(rules.join(folder, f"{name}-gpu"))


def _typed(case: Case, path: Path) -> str:
    return _quoted(case, case.snapshot.environment.typed(path))


def _quoted(case: Case, text: str) -> str:
    return typed([text], case.snapshot.host.system)


# ---- where there is a choice -------------------------------------------------------------------


def _ways(case: Case) -> tuple[Way, ...]:
    return (_back(case), _into_wsl(case))


def _back(case: Case) -> Way:
    """To the last TensorFlow with a GPU on native Windows."""
    found = release(str(NATIVE_WINDOWS_LAST))
    assert found is not None  # it is in the table
    here = case.snapshot.environment.python_version
    pythons = f"Python {found.python[0]} to {found.python[-1]}"
    if here in found.python:
        pythons += f" (here it is {here})"
    elif here is not None:
        pythons += f", so a new environment: here it is {here}"
    cuda = "CUDA and cuDNN are there" if _has_cuda(case) else "CUDA and cuDNN, over 1 GB more"
    size = download_mb(f"tensorflow=={found.latest}", "windows")
    return Way(
        title=f"Back to TensorFlow {found.latest}",
        costs=f"{pythons}; downloads {size} MB for TensorFlow, {cuda}; no restart",
    )


def _has_cuda(case: Case) -> bool:
    conda = case.snapshot.conda
    return conda is not None and all(conda.find(name) for name in ("cudatoolkit", "cudnn"))


def _into_wsl(case: Case) -> Way:
    """Into Linux on the same machine, where every TensorFlow has its GPU."""
    title, way = "TensorFlow inside WSL 2, of any version", wsl_way(case.snapshot.host)
    if not way.open:
        return Way(title, costs=f"not possible here: {way.reason}")
    return Way(title, costs=f"programs then run in Linux; {way.price}", steps=way.steps)
