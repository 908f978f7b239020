"""A conda channel for win-64: packages named and laid out like conda-forge's, with stubs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.lab.channel import Package, pack
from tests.lab.wheels import bundled_wheels
from tests.lab.windows.stubs import CUDA, CUDNN, CUDNN_PARTS, build_dll
from tests.lab.windows.wheels import Site

__all__ = ["PYTHON", "build_channel"]

SUBDIR = "win-64"
PYTHON = "3.10"
RELEASE = "3.10.11"  # of the DLL, which panda3d's wheel decides


class WindowsPackage(Package):
    def index(self) -> dict[str, object]:
        return super().index() | {"subdir": SUBDIR, "platform": "win"}


def _dlls(names: tuple[str, ...], version: str) -> Callable[[Path], None]:
    def fill(content: Path) -> None:
        for name in names:
            build_dll(content / "Library" / "bin" / name, version)

    return fill


def _python(source: Path) -> Callable[[Path], None]:
    def fill(content: Path) -> None:
        shutil.copytree(source, content, dirs_exist_ok=True)
        site = Site(content, r"<launcher_dir>\..\python.exe", PYTHON)
        site.install(bundled_wheels(PYTHON), installer="conda")

    return fill


def _note(path: str) -> Callable[[Path], None]:
    def fill(content: Path) -> None:
        target = content / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("a stub\n", encoding="utf-8")

    return fill


def _packages(python: Path) -> tuple[Package, ...]:
    toolkit = ("cudatoolkit 11.*",)
    cudnn = (CUDNN, *CUDNN_PARTS)
    zlib = ("libzlib-wapi",)
    return (
        WindowsPackage("python", RELEASE, "h4de0772_0", _python(python)),
        # conda asks for it by name; in this channel pip's files come with python
        WindowsPackage("pip", "23.0.1", "pyhd8ed1ab_0", _note("Library/share/doc/pip/README")),
        WindowsPackage("cudatoolkit", "11.2.2", "h933977f_10", _dlls(CUDA, "11.2.2")),
        WindowsPackage("cudatoolkit", "11.8.0", "h09e9e62_11", _dlls(CUDA, "11.8.0")),
        WindowsPackage("cudnn", "8.1.0.77", "h3e0f4f4_0", _dlls(cudnn, "8.1.0"), toolkit),
        WindowsPackage("cudnn", "8.4.1.50", "he7b5db2_0", _dlls(cudnn, "8.4.1"), (*toolkit, *zlib)),
        WindowsPackage("libzlib-wapi", "1.2.13", "hcfcfb64_5", _dlls(("zlibwapi.dll",), "1.2.13")),
    )


def build_channel(channel: Path, python: Path) -> None:
    """Packs all packages and indexes the channel; `python` is the Windows Python to package."""
    from rattler.index import index_fs  # heavy, and needed only here

    for folder in ("noarch", SUBDIR):
        (channel / folder).mkdir(parents=True)
    for package in _packages(python):
        packed = pack(package, channel)
        packed.rename(channel / SUBDIR / packed.name)
    asyncio.run(index_fs(channel))
