"""A simulated NVIDIA driver for Windows, which a machine has or has not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.lab.windows.mingw import C, compile_resource, compile_windows
from tests.lab.windows.registry import Value

__all__ = ["HARDWARE", "WindowsDriver", "build_driver"]

SIMGPU = Path(__file__).parents[1] / "simgpu" / "simgpu.c"

#: What the driver puts into System32, and what each is made of.
FILES: dict[str, tuple[str | Path, ...]] = {
    "nvcuda.dll": ("-DSIM_CUDA", SIMGPU),
    "nvml.dll": ("-DSIM_NVML", SIMGPU, C / "nvml_windows.c"),
    "nvidia-smi.exe": (C / "nvidia_smi.c",),
}

VERSION = "537.58"

DISPLAY = "{4d36e968-e325-11ce-bfc1-08002be10318}"
CLASS = rf"HKLM\SYSTEM\CurrentControlSet\Control\Class\{DISPLAY}\0000"
MODEL = "VEN_10DE&DEV_2504"
DEVICE = rf"HKLM\SYSTEM\CurrentControlSet\Enum\PCI\{MODEL}&SUBSYS_397D1462&REV_A1\4&2283f625&0&0019"

#: What Windows knows about the graphics card without a driver for it.
HARDWARE: dict[str, dict[str, Value]] = {
    DEVICE: {
        "DeviceDesc": "@display.inf,%vga.devicedesc%;Microsoft Basic Display Adapter",
        "HardwareID": [rf"PCI\{MODEL}&SUBSYS_397D1462&REV_A1", rf"PCI\{MODEL}&REV_A1"],
        "CompatibleIDs": [rf"PCI\{MODEL}&CC_030000", rf"PCI\{MODEL}&CC_0300", r"PCI\CC_030000"],
        "ClassGUID": DISPLAY,
        "Service": "BasicDisplay",
    }
}


def _registered(version: str) -> dict[str, dict[str, Value] | None]:
    """What the driver's installer adds to that."""
    digits = version.replace(".", "")
    long = f"31.0.1{digits[0]}.{digits[1:]}"  # 537.58 is 31.0.15.3758
    described = "NVIDIA Simulated GPU"
    return {
        DEVICE: {"DeviceDesc": described, "Driver": rf"{DISPLAY}\0000", "Service": "nvlddmkm"},
        CLASS: {"ProviderName": "NVIDIA", "DriverDesc": described, "DriverVersion": long},
    }


def build_driver(folder: Path) -> None:
    """Compiles the driver's files into the folder."""
    # PE knows no visibility: everything that is not static is exported
    options = ("-Wall", "-Wextra", "-Werror", "-Wno-attributes", "-I", C / "posix")
    folder.mkdir()
    numbers = "31,0,15,3758"
    version = compile_resource(
        f"1 VERSIONINFO\nFILEVERSION {numbers}\nPRODUCTVERSION {numbers}\nBEGIN\nEND\n", folder
    )
    for name, sources in FILES.items():
        compile_windows(folder / name, *options, *sources, version)


class WindowsDriver:
    """The driver of one machine. `write` changes the machine's registry, once that is running.

    `set` knows the keys of the Linux lab's SimulatedDriver: gpus, name, compute_capability,
    memory_mib, driver, cuda, cuinit and nvml (result codes), hang and crash ("cuda" or "nvml").
    """

    def __init__(
        self,
        built: Path,
        system32: Path,
        write: Callable[[Mapping[str, Mapping[str, Value] | None]], None],
    ) -> None:
        self._built = built
        self.folder = system32
        self._write = write
        self._settings = {"driver": VERSION}

    def install(self) -> None:
        """Puts the driver where a real one is, healthy."""
        for name in FILES:
            shutil.copy2(self._built / name, self.folder / name)
        self.reset()

    def remove(self) -> None:
        """Uninstalls it; the graphics card stays."""
        for name in (*FILES, "simgpu.conf"):
            (self.folder / name).unlink(missing_ok=True)
        self._write({CLASS: None, **{key: {**HARDWARE[key], "Driver": None} for key in HARDWARE}})

    def set(self, **settings: object) -> None:
        """Changes some settings for every process that initialises the driver from now on."""
        self._apply(self._settings | {key: str(value) for key, value in settings.items()})

    def reset(self) -> None:
        """Makes the driver healthy again."""
        self._apply({"driver": VERSION})
        self._write(_registered(VERSION))

    def _apply(self, settings: dict[str, str]) -> None:
        if settings["driver"] != self._settings["driver"]:
            self._write(_registered(settings["driver"]))
        self._settings = settings
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        draft = self.folder / "simgpu.conf.new"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.folder / "simgpu.conf")
