"""A look inside a WSL distribution: the GPU's way in, and the environments that hold TensorFlow.

Whatever is asked here starts the distribution when it does not run, and with it a virtual machine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.model import (
    Distribution,
    Driver,
    Environment,
    Host,
    Kind,
    Outcome,
    Packages,
    TensorFlow,
    WslDistribution,
    WslGpu,
)
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Result
from tfgpu_tray.observe.packages import RELATED, normalise
from tfgpu_tray.observe.tensorflow import as_answer
from tfgpu_tray.observe.wsl import WSL_FAILED, Wsl, why_it_failed

LOOK_DEADLINE = 60.0  # seconds, of which a cold start takes up to thirty
SLACK = 30.0  # beyond what the probe inside gives TensorFlow
# For a distribution without python3: the same words, from files alone.
SHELL = """
here() { if [ -e "$1" ]; then printf true; else printf false; fi; }
for folder in /usr/lib/x86_64-linux-gnu /usr/lib64; do
    if [ -e "$folder/libcuda.so.1" ]; then found="\\"$folder/libcuda.so.1\\""; fi
done
printf '\\n@tfgpu {"device": %s, "driver": %s, "linux_driver": [%s]}\\n' \\
    "$(here /dev/dxg)" "$(here /usr/lib/wsl/lib/libcuda.so.1)" "$found"
"""


@dataclass(frozen=True, slots=True)
class Inside:
    """What was found in one distribution."""

    distribution: WslDistribution
    host: Host  # the distribution as a machine of its own
    environments: tuple[tuple[Environment, Packages], ...] = ()  # those that hold TensorFlow


def look_into(wsl: Wsl, distribution: WslDistribution) -> Inside:
    """Everything that files and the driver tell, and no TensorFlow started."""
    result = _run_probe(wsl, distribution.name, {}, LOOK_DEADLINE)
    said = probing.merged(result.stdout)
    no_python = result.outcome is Outcome.FAILED and result.code not in WSL_FAILED
    if "device" not in said and no_python:
        result = wsl.call("-d", distribution.name, "-e", "sh", deadline=LOOK_DEADLINE, stdin=SHELL)
        said = probing.merged(result.stdout)
    if "device" not in said:
        failed = replace(distribution, error=why_it_failed(result))
        return Inside(failed, Host("linux", "", wsl=distribution.version))
    gpu = _gpu(said)
    host = Host(
        system="linux",
        architecture=said.get("architecture") or "",
        release=said.get("release"),
        kernel=said.get("kernel"),
        glibc=said.get("glibc"),
        wsl=distribution.version,
        wsl_gpu=gpu,
    )
    found = tuple(_environments(distribution.name, probing.facts(result.stdout)))
    return Inside(replace(distribution, running=True, gpu=gpu), host, found)


def _gpu(said: Mapping[str, Any]) -> WslGpu:
    error = said.get("libcuda_error")
    if error is None and said.get("stage") == "cuinit" and "cuinit" not in said:
        error = "the process ended, or hung, while CUDA started"
    return WslGpu(
        device=said["device"],
        driver=said.get("driver"),
        linux_driver=tuple(said.get("linux_driver", ())),
        libcuda=said.get("libcuda"),
        libcuda_error=error,
        cuinit=said.get("cuinit"),
    )


def _environments(
    name: str, facts: Iterable[dict[str, Any]]
) -> Iterator[tuple[Environment, Packages]]:
    seen: set[str] = set()
    for fact in facts:
        told = fact.get("environment")
        if not isinstance(told, dict) or told["prefix"] in seen:
            continue  # the system's Python has two folders; the user's own comes first, as it does
        packages = _packages(name, told)
        if not packages.tensorflow:
            continue
        seen.add(told["prefix"])
        environment = Environment(
            prefix=from_windows(name, told["prefix"]),
            kind=Kind(told["kind"]),
            python=from_windows(name, told["python"]),
            python_version=told["python_version"],
            site_packages=from_windows(name, told["site"]),
            found_by=f"in the WSL distribution {name}",
            distribution=name,
        )
        yield environment, packages


def _packages(name: str, told: Mapping[str, Any]) -> Packages:
    folder = from_windows(name, told["site"])
    found = [Distribution(normalise(n), version, folder) for n, version in told["packages"]]
    return Packages(
        tensorflow=tuple(d for d in found if d.name in providers()),
        related=tuple(d for d in found if d.name in RELATED or d.name.startswith("nvidia-")),
        count=len(found),
    )


def from_windows(distribution: str, path: str) -> Path:
    """The path by which Windows reaches a file of *distribution*."""
    return Path("\\\\wsl.localhost\\" + distribution + path.replace("/", "\\"))


def driver_inside(driver: Driver) -> Driver:
    """The driver of Windows, which is the one a distribution uses; what only concerns Windows is
    left out."""
    return Driver(driver.probe, version=driver.version, cuda=driver.cuda, gpus=driver.gpus)


def ask_tensorflow(wsl: Wsl, environment: Environment, *, deadline: float) -> TensorFlow:
    """Import TensorFlow and list its GPUs, as activated, for at most *deadline* seconds."""
    assert environment.distribution is not None and environment.python is not None
    request = {
        "prefix": environment.typed(environment.prefix),
        "python": environment.typed(environment.python),
        "probe": (probing.FOLDER / "tensorflow_probe.py").read_text(encoding="utf-8"),
        "deadline": deadline,
    }
    result = _run_probe(wsl, environment.distribution, request, deadline + SLACK)
    said = probing.merged(result.stdout)
    error = said.get("error")
    outcome = _outcome(result, said)
    if error is None and outcome is Outcome.TIMED_OUT:
        error = f"Python did not answer within {deadline:.0f} s and was stopped"
    elif error is None and outcome is not Outcome.COMPLETED:
        error = f"Python ended with exit status {said['code']}" if "code" in said else None
        error = error or why_it_failed(result)
    answer = as_answer(said, outcome, error, result)
    return replace(answer, file=None)  # of another system: no folder here compares with it


def _outcome(result: Result, said: Mapping[str, Any]) -> Outcome:
    if said.get("timed_out"):
        return Outcome.TIMED_OUT
    if "code" not in said:  # our probe did not come to its end
        return Outcome.FAILED if result.code in WSL_FAILED else result.outcome
    if said["code"] < 0 or said["code"] > 128:
        return Outcome.CRASHED
    if said["code"] or said.get("error") is not None:
        return Outcome.FAILED
    return Outcome.COMPLETED if said.get("stage") == "done" else Outcome.CRASHED


def _run_probe(wsl: Wsl, name: str, request: Mapping[str, Any], deadline: float) -> Result:
    source = (probing.FOLDER / "wsl_probe.py").read_text(encoding="utf-8")
    words = [base64.b64encode(json.dumps(request).encode()).decode()] if request else []
    # --cd ~ would be clearer, and older ones do not know it; -I keeps the folder out of sys.path.
    return wsl.call("-d", name, "-e", "python3", "-I", "-", *words, deadline=deadline, stdin=source)
