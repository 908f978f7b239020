"""A simulated NVIDIA driver in a folder of its own, with faults that can be switched on."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.stubs import compile_library

__all__ = ["LIBRARIES", "SimulatedDriver", "build_driver"]

SOURCE = Path(__file__).parent / "simgpu" / "simgpu.c"

#: soname → what its half of simgpu.c is called.
LIBRARIES = {"libcuda.so.1": "SIM_CUDA", "libnvidia-ml.so.1": "SIM_NVML"}


def build_driver(folder: Path) -> None:
    """Compiles both libraries of the driver into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for soname, half in LIBRARIES.items():
        options = ("-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", f"-D{half}")
        compile_library(folder / soname, soname, *options, str(SOURCE), "-ldl")


class SimulatedDriver:
    """The driver in `folder`, which holds the libraries and what they read at every init.

    Keys of `set` and their healthy values: gpus=1, name="NVIDIA Simulated GPU",
    compute_capability="8.6", memory_mib=8192, driver="535.183.01", cuda=12020, cuinit=0 and nvml=0
    (result codes of cuInit and nvmlInit), hang and crash = "none" ("cuda" or "nvml": inside init).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if not set(" \t\n:").isdisjoint(str(self.folder)):
            raise ValueError(
                f"LD_PRELOAD cannot name {self.folder}: blanks and colons separate its items"
            )
        self._settings: dict[str, str] = {}

    def environ(self) -> dict[str, str]:
        """What a process needs to have this driver: LD_PRELOAD, added to the present value.

        A preloaded library answers a later dlopen of its soname, so it stands for a driver in the
        system's loader path: overwriting LD_LIBRARY_PATH cannot hide it.
        """
        libraries = [str(self.folder / soname) for soname in LIBRARIES]
        present = os.environ.get("LD_PRELOAD", "")
        return {"LD_PRELOAD": ":".join([present, *libraries] if present else libraries)}

    def set(self, **settings: object) -> None:
        """Changes some settings for every process that initialises the driver from now on."""
        self._settings.update({key: str(value) for key, value in settings.items()})
        text = "".join(f"{key}={value}\n" for key, value in self._settings.items())
        draft = self.folder / "simgpu.conf.new"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.folder / "simgpu.conf")

    def reset(self) -> None:
        """Makes the driver healthy again."""
        self._settings.clear()
        (self.folder / "simgpu.conf").unlink(missing_ok=True)
