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
from tfgpu_tray.observe.libraries import nvidia_folders

VISIBILITY = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES")


def fingerprint(environment: Environment, driver: str, session: Mapping[str, str]) -> str:
    """16 hexadecimal digits; *driver* is `observe.driver.glance()`."""
    digest = hashlib.blake2b(digest_size=8)

    def add(*parts: object) -> None:
        digest.update("\0".join(map(str, parts)).encode("utf-8", "surrogateescape") + b"\n")

    add(driver, *(session.get(name) for name in VISIBILITY))
    prefix = environment.prefix
    for site in (environment.site_packages, environment.user_site):
        if site is not None:
            add(*_metadata_names(site))
            add(*_stamps([str(site / "tensorflow"), *nvidia_folders(site)]))
    for folder in ("etc/conda/activate.d", "etc/conda/deactivate.d"):
        add(*_entries(prefix / folder))
    add(*_names(prefix / "conda-meta"))
    add(*_stamps([prefix / p for p in ("conda-meta/state", "pyvenv.cfg", "bin/activate", "lib")]))
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
