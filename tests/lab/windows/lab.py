"""The Windows lab's entrance: what is costly is built once a machine, and cloned.

`python -m tests.lab.windows.lab` builds all of it and says how long each part took.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from tests.lab.clone import copy_tree
from tests.lab.lab import Lab
from tests.lab.windows import environments, tool
from tests.lab.windows.channel import build_channel
from tests.lab.windows.driver import WindowsDriver, build_driver
from tests.lab.windows.mingw import GCC
from tests.lab.windows.miniconda import build_base, install_miniconda
from tests.lab.windows.pythons import build_python
from tests.lab.windows.shelves import fill_shelves
from tests.lab.windows.toys import toy_shelf
from tests.lab.windows.wine import WINE, Wine, build_prefix, clone_prefix

__all__ = ["WindowsLab"]

PACKAGES = {str(WINE): "wine wine64", GCC: "gcc-mingw-w64-x86-64"}

# What shapes which part, seen from the lab's folder: a part is built anew once one of them changed.
COMPILED = ("windows/mingw.py", "windows/c/windows10.manifest")
WINDOWS = ("windows/wine.py", "windows/registry.py", "windows/c/bcryptprimitives.c", *COMPILED)
DRIVER = (
    "windows/driver.py",
    "windows/c/nvml_windows.c",
    "windows/c/nvidia_smi.c",
    "windows/c/posix/dlfcn.h",
)
PYTHON = ("windows/pythons.py", "windows/c/python.c", "windows/c/venvlauncher.c", *COMPILED)
CHANNEL = ("windows/channel.py", "windows/stubs.py", "windows/wheels.py", "channel.py", "stubs.py")
INSTALLED = ("windows/environments.py", "windows/wheels.py")


class WindowsLab(Lab):
    """Windows machines, in the cache of the Linux lab. Every part is built at its first use."""

    @staticmethod
    def missing() -> str | None:
        """Why this machine cannot have a Windows lab, in one line; None when it can."""
        lacking = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
        if lacking:
            return f"the Windows lab needs: apt-get install {' '.join(lacking)}"
        return Lab.missing()

    # machines

    @cached_property
    def windows(self) -> Path:
        """An installed Windows that has never been used."""
        return self._part("windows-windows", (*WINDOWS, *DRIVER), build_prefix)

    def install_windows(self, folder: Path, user: str) -> Wine:
        """Clones it to a folder that does not exist yet."""
        clone_prefix(self.windows, folder, user)
        return Wine(folder, user)

    def windows_driver(self, wine: Wine) -> WindowsDriver:
        """A driver for that Windows, not installed there yet."""
        sources = (*DRIVER, *COMPILED, "simgpu/simgpu.c")
        built = self._part("windows-driver", sources, build_driver)
        return WindowsDriver(built, wine.drive / "windows" / "system32", wine.write_registry)

    # Pythons

    @cached_property
    def windows_python310(self) -> Path:
        return self._windows_python("3.10")

    @cached_property
    def windows_python311(self) -> Path:
        return self._windows_python("3.11")

    def _windows_python(self, version: str) -> Path:
        name = f"windows-python{version.replace('.', '')}"
        return self._part(name, PYTHON, lambda folder: build_python(folder, version))

    @cached_property
    def tool_python(self) -> Path:
        """The Python that the tool runs on: 3.11 and all that the tool needs on Windows."""
        python = self.windows_python311
        sources = ("windows/tool.py", "windows/spy.py", "windows/wheels.py", "../../pyproject.toml")
        return self._part(
            "windows-tool", sources, lambda folder: tool.build(folder, python), python.name
        )

    # packages

    @cached_property
    def wheels(self) -> Path:
        """A folder of wheels with all that TensorFlow 2.10.1 and 2.12.0 need on Windows."""
        return (
            self._part("windows-wheels", ("windows/shelves.py", "wheels.py"), fill_shelves) / "all"
        )

    @cached_property
    def toys(self) -> Path:
        """A folder with toys of some versions of TensorFlow."""
        sources = ("windows/toys.py", "windows/toy/__init__.py")
        return self._part("windows-toys", sources, toy_shelf)

    @cached_property
    def _channels(self) -> Path:
        python = self.windows_python310
        return self._part(
            "windows-channels",
            CHANNEL,
            lambda folder: build_channel(folder / "conda-forge", python),
            python.name,
        )

    @cached_property
    def miniconda(self) -> Path:
        """The base environment of a miniconda3."""
        standin = self.standin
        python = self.windows_python311
        sources = ("windows/miniconda.py", "windows/c/conda.bat", "windows/c/activate.bat")
        return self._part(
            "windows-miniconda",
            sources,
            lambda folder: build_base(folder, python, standin),
            f"{python.name} {standin.name}",
        )

    def install_miniconda(self, root: Path) -> None:
        install_miniconda(self.miniconda, root, self._channels)

    # environments; `home` is the clone's path on its Windows machine

    def windows_conda(self, target: Path, home: str) -> None:
        """Clones a conda environment with Python 3.10 and pip only."""
        self._at_home(self._conda_environment("bare", ()), target, home)

    def windows_cuda(self, target: Path, home: str) -> None:
        """The same with CUDA 11.2 and cuDNN 8.1.0, without TensorFlow."""
        self._at_home(self._conda_environment("cuda", environments.CUDA), target, home)

    def windows_article(self, target: Path, home: str) -> None:
        """The same with TensorFlow 2.10.1: what the article ends with."""
        self._at_home(self._article, target, home)

    def windows_venv(self, target: Path, home: str, base: str) -> None:
        """Clones a venv with pip and setuptools; `base` is where its base Python is on Windows."""
        python = self.windows_python310
        golden = self._part(
            "windows-venv",
            INSTALLED,
            lambda prefix: environments.bare_venv(prefix, python),
            python.name,
        )
        self._at_home(golden, target, home)
        config = target / "pyvenv.cfg"
        config.write_text(f"home = {base}\n{config.read_text('utf-8')}", encoding="utf-8")

    def _conda_environment(self, name: str, specs: Sequence[str]) -> Path:
        conda = self.conda_root(self.cache / "windows-condaroot")
        return self._part(
            f"windows-{name}",
            INSTALLED,
            lambda prefix: environments.conda(prefix, conda, specs),
            self._channels.name,
        )

    @cached_property
    def _article(self) -> Path:
        source = self._conda_environment("cuda", environments.CUDA)
        shelf = self.wheels.with_name("tf210")
        return self._part(
            "windows-article",
            INSTALLED,
            lambda prefix: environments.with_tensorflow(prefix, source, shelf),
            f"{source.name} {shelf.parent.name}",
        )

    @staticmethod
    def _at_home(golden: Path, target: Path, home: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_tree(str(golden), str(target))
        environments.relocate(target, home)

    def build(self) -> None:
        """Builds every part, two at a time where one does not need the other."""
        alone = ("wheels", "windows_python310", "windows_python311", "windows")
        then = ("_channels", "tool_python", "_article", "miniconda", "toys")
        with ThreadPoolExecutor(2) as pool:
            for built in [pool.submit(getattr, self, name) for name in (*alone, *then)]:
                built.result()


def main() -> int:
    """Builds every part."""
    if reason := WindowsLab.missing():
        print(reason)
        return 1
    lab = WindowsLab()
    start = time.monotonic()
    lab.build()
    for name, seconds in lab.built.items():
        print(f"{name:20} built in {seconds:.1f} s")
    print(f"{'everything':20} in {time.monotonic() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
