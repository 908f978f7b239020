"""How the Windows environments that the lab clones are made, and how a clone becomes at home."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.clone import copy_tree
from tests.lab.wheels import bundled_wheels
from tests.lab.windows.channel import PYTHON
from tests.lab.windows.wheels import Site

__all__ = ["CUDA", "bare_venv", "conda", "relocate", "with_tensorflow"]

CUDA = ("cudatoolkit=11.2", "cudnn=8.1.0")

#: Where the golden environments pretend to be; nothing else in them has this name.
HOME = r"C:\golden\prefix"

ACTIVATE = r"""@echo off
set "VIRTUAL_ENV={prefix}"
if not defined PROMPT set PROMPT=$P$G
set "_OLD_VIRTUAL_PROMPT=%PROMPT%"
set "PROMPT=({name}) %PROMPT%"
if not defined _OLD_VIRTUAL_PATH set "_OLD_VIRTUAL_PATH=%PATH%"
set "PATH=%VIRTUAL_ENV%\Scripts;%_OLD_VIRTUAL_PATH%"
"""


def _conda(conda: Path, command: str, prefix: Path, *specs: str) -> None:
    """Runs the stand-in on Linux for Windows, with a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        unwanted = ("PYTHON", "CONDA", "LD_")
        environ = {key: text for key, text in os.environ.items() if not key.startswith(unwanted)}
        done = subprocess.run(
            [conda, command, "-p", prefix, "-c", "conda-forge", *specs, "--json", "-y"],
            env=environ | {"HOME": home, "CONDA_SUBDIR": "win-64"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    if done.returncode != 0:
        raise RuntimeError(f"conda {command} {specs} failed:\n{done.stdout}{done.stderr}")


def conda(prefix: Path, command: Path, specs: Sequence[str] = ()) -> None:
    """A conda environment with Python 3.10 and its pip, and what else is asked for."""
    _conda(command, "create", prefix, f"python={PYTHON}")
    if specs:
        _conda(command, "install", prefix, *specs)
    _for_windows(prefix, command)


def _for_windows(prefix: Path, conda: Path) -> None:
    """Lets conda's records say what they would, had conda run on the Windows machine."""
    root = HOME.rpartition("\\")[0]
    for file in (prefix / "conda-meta").iterdir():
        text = file.read_text(encoding="utf-8").replace("file:///", "file:///Z:/")
        if file.name == "history":
            text = text.replace(str(conda), rf"{root}\Scripts\conda-script.py")
            text = text.replace(str(prefix), HOME)
        file.write_text(text, encoding="utf-8")


def with_tensorflow(prefix: Path, source: Path, shelf: Path) -> None:
    """The environment in `source` and all wheels of the shelf, as pip would have installed them."""
    copy_tree(str(source), str(prefix))
    site = Site(prefix, rf"{HOME}\python.exe", PYTHON)
    site.install(sorted(shelf.glob("*.whl")), requested=("tensorflow", "numpy", "h5py"))


def bare_venv(prefix: Path, python: Path) -> None:
    """A venv with pip and setuptools, but for the `home` in pyvenv.cfg."""
    scripts = prefix / "Scripts"
    scripts.mkdir(parents=True)
    for name in ("python.exe", "pythonw.exe"):
        launcher = python / "Lib" / "venv" / "scripts" / "nt" / name
        (scripts / name).write_bytes(launcher.read_bytes())
    (scripts / "activate.bat").write_text(
        ACTIVATE.format(prefix=HOME, name=HOME.rpartition("\\")[2]), encoding="utf-8"
    )
    (prefix / "pyvenv.cfg").write_text(
        "include-system-site-packages = false\nversion = 3.10.11\n",
        encoding="utf-8",
    )
    Site(prefix, rf"{HOME}\Scripts\python.exe", PYTHON).install(bundled_wheels(PYTHON))


def relocate(prefix: Path, home: str) -> None:
    """Writes the path `home` where a clone still says that it is a golden environment."""
    old, new = HOME, home
    for script in (prefix / "Scripts").glob("*.exe"):
        data = script.read_bytes()
        start = data.find(f"#!{old}".encode())
        if start >= 0:
            line, _, rest = data[start:].partition(b"\r\n")
            python = line.decode().removeprefix("#!").replace(old, new)
            quoted = f'"{python}"' if " " in python else python
            script.write_bytes(data[:start] + f"#!{quoted}\r\n".encode() + rest)
    root, name = old.rpartition("\\")[0], old.rpartition("\\")[2]
    for file in (prefix / "conda-meta" / "history", prefix / "Scripts" / "activate.bat"):
        if file.is_file():
            text = file.read_text(encoding="utf-8").replace(old, new)
            text = text.replace(f"({name}) ", "({}) ".format(new.rpartition("\\")[2]))
            file.write_text(text.replace(root, _root(new)), encoding="utf-8")


def _root(home: str) -> str:
    """The conda installation of an environment in its `envs` folder; else the folder above it."""
    above = home.rpartition("\\")[0]
    return above.removesuffix("\\envs")
