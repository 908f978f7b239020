"""Whether the files of TensorFlow fit below a prefix where Windows ends paths at 260 characters."""

from __future__ import annotations

from tfgpu_tray.knowledge.releases import longest_path
from tfgpu_tray.model import Environment
from tfgpu_tray.observe.windows import Registry

MAX_PATH = 260  # with the zero at the end; learn.microsoft.com/windows/win32/fileio
KEY, NAME = r"HKLM\SYSTEM\CurrentControlSet\Control\FileSystem", "LongPathsEnabled"


def too_long(environment: Environment, registry: Registry) -> str | None:
    """What is too long, in one sentence; None where everything fits or longer paths are allowed."""
    site = environment.site_packages
    longest = len(str(site)) + 1 + longest_path() if site is not None else 0
    if longest < MAX_PATH:
        return None
    try:
        if registry.value(KEY, NAME) == 1:
            return None
    except OSError:
        return None  # nobody can tell
    return (
        f"the longest file of TensorFlow has {longest} characters here, and Windows takes "
        f"{MAX_PATH - 1} at most unless {NAME} is set"
    )
