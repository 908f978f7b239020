"""Distributions that provide `import tensorflow`, and what each can do with a GPU."""

from __future__ import annotations

import re
from functools import cache

from tfgpu_tray.knowledge.tables import table


@cache
def providers() -> frozenset[str]:
    return frozenset(table("packages")["provider"])


def gpu_kind(distribution: str) -> str:
    """ "cuda", "none", "rocm", "directml", "metal", "stub" or "broken" on Linux x86_64."""
    return str(table("packages")["provider"].get(distribution, {}).get("gpu_linux", "none"))


def conda_build_has_gpu(build: str) -> bool | None:
    """From a conda build string: True for cuda*/gpu_*, False for cpu_*/mkl_*/eigen_*."""
    if re.match(r"(cuda\d|gpu_)", build):
        return True
    return False if re.match(r"(cpu_|mkl_|eigen_)", build) else None
