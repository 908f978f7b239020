"""Wheels of TensorFlow that the lab keeps: an index would send half a gigabyte each time."""

from __future__ import annotations

from pathlib import Path

from tests.lab.wheels import download, leave_headers_out

__all__ = ["fill_shelf"]

WHEELS = ("tensorflow==2.10.1", "tensorflow==2.15.1")


def fill_shelf(folder: Path) -> None:
    """With a build number, for which pip prefers them to the same version in an index."""
    for pin in WHEELS:
        download([pin], "manylinux2014_x86_64", "3.10", folder)
    for wheel in sorted(folder.glob("*.whl")):
        leave_headers_out(wheel)
        name, version, rest = wheel.name.split("-", 2)
        wheel.rename(wheel.with_name(f"{name}-{version}-1-{rest}"))
