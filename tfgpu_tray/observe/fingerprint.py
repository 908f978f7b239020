"""What an environment looks like from outside, in one short hash: cheap enough for every minute.

Covers names in site-packages, conda's records, hooks, the library folders' time stamps and the
driver as the kernel shows it. Content that changes without any of these moving is left to the
deeper looks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from tfgpu_tray.model import Environment
from tfgpu_tray.observe import dlls, libraries
from tfgpu_tray.observe.layout import HERE, WINDOWS, Layout

VISIBILITY = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES")


# Time stamps of these change with what they hold; "Library/bin" is conda's on Windows.
STAMPED = ("conda-meta/state", "pyvenv.cfg", "bin/activate", "lib")
STAMPED_ON_WINDOWS = ("conda-meta/state", "pyvenv.cfg", "Scripts/activate.bat", "Library/bin")


def fingerprint(
    environment: Environment, driver: str, session: Mapping[str, str], layout: Layout = HERE
) -> str:
    """16 hexadecimal digits; *driver* is `observe.driver.glance()`."""
    digest = hashlib.blake2b(digest_size=8)

    def add(*parts: object) -> None:
        digest.update("\0".join(map(str, parts)).encode("utf-8", "surrogateescape") + b"\n")

    add(driver, *(session.get(name) for name in VISIBILITY))
    windows = layout is WINDOWS
    prefix = environment.prefix
    for site in (environment.site_packages, environment.user_site):
        if site is not None:
            add(*_metadata_names(site))
            wheels = dlls.nvidia_folders(site) if windows else libraries.nvidia_folders(site)
            add(*_stamps([str(site / "tensorflow"), *wheels]))
    for folder in ("etc/conda/activate.d", "etc/conda/deactivate.d"):
        add(*_entries(prefix / folder))
    add(*_names(prefix / "conda-meta"))
    stamped = STAMPED_ON_WINDOWS if windows else STAMPED
    add(*_stamps([prefix / p for p in stamped]))
    if windows:  # PATH is what DLLs are looked for on; only folders with CUDA's own matter
        add(*dlls.cuda_on_path(session))
    return digest.hexdigest()


def _metadata_names(site: Path) -> list[str]:
    """dist-info names, `~` leftovers and .pth files: they change with every installation."""
    return [n for n in _names(site) if n.endswith(("-info", ".pth")) or n.startswith("~")]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _entries(folder: Path) -> list[str]:
    return [f"{name}:{stamp}" for name in _names(folder) for stamp in _stamps([folder / name])]


def _stamps(paths: list[str] | list[Path]) -> list[str]:
    found = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append("-")
        else:
            found.append(f"{status.st_mtime_ns}:{status.st_size}")
    return found
