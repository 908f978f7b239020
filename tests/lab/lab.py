"""The lab's entrance: what is costly is built once a machine, outside the checkout, and cloned.

`python -m tests.lab.lab` builds all of it and says how long each part took.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from tests.lab import golden
from tests.lab.channel import build_channel
from tests.lab.clone import clone_environment
from tests.lab.driver import LIBRARIES, SimulatedDriver, build_driver
from tests.lab.interpreters import find_python, interpreter
from tests.lab.shelf import fill_shelf

__all__ = ["Lab"]

HERE = Path(__file__).parent
UNUSED_DAYS = 3  # a part that an older version of the lab built is deleted after so long


class Lab:
    """Simulated machines. Every part is built at its first use, under a lock, and kept.

    A part's folder carries a digest of the sources that shaped it. It counts once the file
    `<folder>.done` exists, which is written last: what an interruption left is built anew. (Golden
    environments hold their own path, so they cannot be built elsewhere and renamed into place.)
    """

    def __init__(self, cache: Path | None = None) -> None:
        configured = os.environ.get("TFGPU_LAB_CACHE", "~/.cache/tfgpu-tray-lab")
        self.cache = Path(cache or configured).expanduser().absolute()
        self.built: dict[str, float] = {}  #: part → seconds, of what this object had to build

    @staticmethod
    def missing() -> str | None:
        """Why this machine cannot have a lab, in one line; None when it can."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return "the lab needs Linux on x86-64"
        if shutil.which("gcc") is None:
            return "the lab needs gcc"
        if importlib.util.find_spec("rattler") is None:
            return "the lab needs py-rattler (pip install py-rattler)"
        for version in ("3.10", "3.11"):
            if find_python(version) is None:
                return f"the lab needs Python {version} with venv, in pyenv, on PATH or from uv"
        if not set(" \t\n:'\"").isdisjoint(str(Lab().cache)):
            return f"the lab's cache {Lab().cache} has a blank, colon or quote: set TFGPU_LAB_CACHE"
        return None

    @cached_property
    def python310(self) -> Path:
        return interpreter("3.10").executable

    @cached_property
    def python311(self) -> Path:
        return interpreter("3.11").executable

    def driver(self, folder: Path) -> SimulatedDriver:
        """A driver of one's own in `folder`, healthy."""
        built = self._part("driver", ("driver.py", "simgpu/simgpu.c"), build_driver)
        folder.mkdir(parents=True, exist_ok=True)
        for soname in LIBRARIES:
            shutil.copy2(built / soname, folder / soname)
        driver = SimulatedDriver(folder)
        driver.reset()
        return driver

    @cached_property
    def _channels(self) -> Path:
        sources = ("channel.py", "stubs.py", "interpreters.py")
        python = interpreter("3.10")
        return self._part(
            "channels",
            sources,
            lambda folder: build_channel(folder / "conda-forge", python),
            python.version,
        )

    @property
    def channel_url(self) -> str:
        """The channel that the stand-in knows as conda-forge."""
        return (self._channels / "conda-forge").as_uri()

    @cached_property
    def standin(self) -> Path:
        """A folder with the stand-in's code."""
        return self._part("standin", tuple(_sources("conda_standin")), _copy_standin)

    @cached_property
    def conda(self) -> Path:
        """The stand-in's command, of an installation that is shared: its base is not for tests."""
        return self.conda_root(self.cache / "condaroot")

    def conda_root(self, root: Path) -> Path:
        """Writes an installation of the stand-in to `root` and returns its conda command."""
        code = self.standin
        run = (
            f"import sys; sys.path.insert(0, {str(code)!r}); "
            "from conda_standin.cli import run; run(sys.argv[1:])"
        )
        # a shebang could not name an interpreter whose path is long or has blanks
        wrapper = (
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -c {shlex.quote(run)} "$0" "$@"\n'
        )
        alias = self._channels.as_uri()
        condarc = (
            f"channels: [conda-forge]\nchannel_alias: {alias}\n"
            f"default_channels: [{self.channel_url}]\n"
        )
        _write(root / ".condarc", condarc)
        _write(root / "bin" / "conda", wrapper, mode=0o755)
        (root / "condabin").mkdir(exist_ok=True)
        if not (root / "condabin" / "conda").exists():
            (root / "condabin" / "conda").symlink_to("../bin/conda")
        for folder in ("envs", "pkgs", "conda-meta"):
            (root / folder).mkdir(exist_ok=True)
        (root / "conda-meta" / "history").touch()
        return root / "bin" / "conda"

    @cached_property
    def shelf(self) -> Path:
        """A folder of wheels that pip takes instead of the index' own."""
        return self._part("shelf", ("shelf.py", "wheels.py"), fill_shelf)

    def bare_conda(self, target: Path) -> Path:
        """Clones a conda environment with Python 3.10 and pip only."""
        return self._clone(
            "bare_conda", lambda prefix: golden.bare_conda(prefix, self.conda), target
        )

    def article(self, target: Path) -> Path:
        """Clones the article's environment: CUDA 11.2, cuDNN 8.1.0, TensorFlow 2.10.1, the hook."""
        shelf = self.shelf
        return self._clone(
            "article", lambda prefix: golden.article(prefix, self.conda, shelf), target
        )

    def bare_venv(self, target: Path) -> Path:
        """Clones a venv of Python 3.11 with pip only."""
        return self._clone(
            "bare_venv", lambda prefix: golden.bare_venv(prefix, interpreter("3.11")), target
        )

    def tf221(self, target: Path) -> Path:
        """Clones a venv with TensorFlow 2.21.0 and stubs of the CUDA 12 wheels."""
        return self._clone(
            "tf221", lambda prefix: golden.tf221(prefix, interpreter("3.11")), target
        )

    def tf221_conda(self, target: Path) -> Path:
        """Clones a conda environment with the same, on Python 3.10."""
        return self._clone(
            "tf221_conda", lambda prefix: golden.tf221_conda(prefix, self.conda), target
        )

    def _clone(self, name: str, build: Callable[[Path], None], target: Path) -> Path:
        sources = ["golden.py", "stubs.py", "interpreters.py"]
        salt = interpreter("3.11").version
        if name in ("bare_conda", "article", "tf221_conda"):
            salt = self._channels.name
        if name == "article":
            salt += self.shelf.name
        clone_environment(self._part(name, sources, build, salt), target)
        return target

    def _part(
        self, name: str, sources: Sequence[str], build: Callable[[Path], None], salt: str = ""
    ) -> Path:
        digest = hashlib.sha256(salt.encode())
        for source in sorted(sources):
            digest.update((HERE / source).read_bytes())
        folder = self.cache / f"{name}-{digest.hexdigest()[:12]}"
        done = folder.with_name(f"{folder.name}.done")
        if not done.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache / f"{name}.lock"):
                if not done.exists():
                    self._build(name, folder, done, build)
        os.utime(done)
        return folder

    def _build(self, name: str, folder: Path, done: Path, build: Callable[[Path], None]) -> None:
        for old in self.cache.glob(f"{name}-????????????"):
            used = old.with_name(f"{old.name}.done")
            since = (used if used.exists() else old).stat().st_mtime
            if time.time() - since > UNUSED_DAYS * 86400:
                used.unlink(missing_ok=True)
                shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        build(folder)
        self.built[name] = time.monotonic() - start
        done.write_text(json.dumps({"seconds": round(self.built[name], 1)}), encoding="utf-8")


def _sources(folder: str) -> list[str]:
    return [path.relative_to(HERE).as_posix() for path in sorted((HERE / folder).glob("*.py"))]


def _copy_standin(folder: Path) -> None:
    # a copy: the command must outlive the checkout that wrote it
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / "conda_standin", folder / "conda_standin", ignore=ignore)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes the file unless it says so already; readers never see half of it."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(mode)
    draft.replace(path)


def _size(folder: Path) -> float:
    inodes = {file.lstat().st_ino: file.lstat().st_size for file in folder.rglob("*")}
    return sum(inodes.values()) / 1e6


def main() -> int:
    """Builds every part and clones each environment once."""
    if reason := Lab.missing():
        print(reason)
        return 1
    lab = Lab()
    scratch = lab.cache / f"scratch-{os.getpid()}"
    try:
        lab.driver(scratch / "driver")
        print(f"conda stand-in  {lab.conda}\nchannel         {lab.channel_url}")
        for name in ("bare_conda", "bare_venv", "article", "tf221", "tf221_conda"):
            start = time.monotonic()
            prefix: Path = getattr(lab, name)(scratch / name)
            seconds = time.monotonic() - start - lab.built.get(name, 0)
            print(f"{name:15} {_size(prefix):7.0f} MB, cloned in {seconds:.1f} s", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name, seconds in lab.built.items():
        print(f"{name:15} built in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
