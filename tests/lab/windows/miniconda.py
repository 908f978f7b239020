"""A miniconda3 for Windows machines: the stand-in for conda, at work on Windows' own Python."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.lab.clone import copy_tree
from tests.lab.wheels import download
from tests.lab.windows.mingw import C
from tests.lab.windows.mirror import mirror
from tests.lab.windows.wheels import PLATFORM, Site, console_launcher, resolve

__all__ = ["build_base", "install_miniconda"]

PYTHON = "3.11"
NEEDS = ("py-rattler>=0.28,<0.29", "pyyaml>=6,<7")

# As conda's conda-script.py; the interpreter is that of the installation which it lies in.
SCRIPT = """\
import os, sys
root = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
from conda_standin.cli import run
run([os.path.join(root, "Scripts", "conda-script.py"), *sys.argv[1:]])
"""


def build_base(folder: Path, python: Path, standin: Path) -> None:
    """The base environment: Python 3.11 with the stand-in and what that needs."""
    copy_tree(str(python), str(folder))
    site = Site(folder, r"<launcher_dir>\..\python.exe", PYTHON)
    with tempfile.TemporaryDirectory() as shelf:
        download(resolve(NEEDS, PYTHON), PLATFORM, PYTHON, Path(shelf))
        site.install(sorted(Path(shelf).glob("*.whl")), installer="conda")
    shutil.copytree(standin / "conda_standin", site.packages / "conda_standin")
    (folder / "Scripts").mkdir(exist_ok=True)
    (folder / "Scripts" / "conda.exe").write_bytes(
        console_launcher(r"<launcher_dir>\..\python.exe", SCRIPT)
    )
    for name, places in {
        "conda.bat": ("condabin", "Library/bin"),
        "activate.bat": ("condabin", "Scripts"),
    }.items():
        for place in places:
            (folder / place).mkdir(parents=True, exist_ok=True)
            text = (C / name).read_text(encoding="utf-8").replace("\n", "\r\n")
            (folder / place / name).write_text(text, encoding="utf-8", newline="")
    (folder / "conda-meta").mkdir()


def install_miniconda(base: Path, root: Path, channels: Path) -> None:
    """An installation at `root`, linked to the lab's `base`; conda-forge is in `channels`."""
    mirror(base, root, ("Scripts", "condabin", "conda-meta", "Library", "Library/bin"))
    for folder in ("envs", "pkgs"):
        (root / folder).mkdir()
    (root / "conda-meta" / "history").touch()
    alias = f"file:///Z:{channels}"
    (root / ".condarc").write_text(
        f"channels: [conda-forge]\nchannel_alias: {alias}\n"
        f"default_channels: [{alias}/conda-forge]\n",
        encoding="utf-8",
    )
