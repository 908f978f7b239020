"""What `import tensorflow` finds in the toy's wheel: it looks for a GPU as TensorFlow 2.10 does.

On Windows, by the same calls and in the same words. The DLLs are real files, which Windows finds or
does not find.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from datetime import datetime
from typing import Any, ClassVar

__version__ = "{version}"
CUDA_BUILD = True  #: the wheel of a CPU-only build says False

assert sys.platform == "win32"

NAMES = ("cudart64_110", "cublas64_11", "cublasLt64_11", "cufft64_10", "curand64_10")
CUDA = (*NAMES, "cusolver64_11", "cusparse64_11", "cudnn64_8")
ALTERED_SEARCH_PATH = 0x8  # what TensorFlow passes to LoadLibraryExW, with bare names

kernel = ctypes.WinDLL("kernel32")
kernel.LoadLibraryExW.argtypes = [ctypes.c_wchar_p, ctypes.c_void_p, ctypes.c_uint32]
kernel.LoadLibraryExW.restype = ctypes.c_void_p


def log(level: str, place: str, text: str) -> None:
    now = datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")
    sys.stderr.write(f"{now}: {level} tensorflow/{place}] {text}\n")
    sys.stderr.flush()


def load(name: str) -> bool:
    if kernel.LoadLibraryExW(f"{name}.dll", None, ALTERED_SEARCH_PATH):
        return True
    text = f"Could not load dynamic library '{name}.dll'; dlerror: {name}.dll not found"
    log("W", "stream_executor/platform/default/dso_loader.cc:64", text)
    return False


def start_driver() -> int:
    """How many GPUs the driver has; 0 where it does not start, with the reason in the log."""
    if not load("nvcuda"):
        return refused("W", "263", "UNKNOWN ERROR (303)")
    driver = ctypes.CDLL("nvcuda.dll")
    code, count = driver.cuInit(0), ctypes.c_int()
    if code:
        name, text = ctypes.c_char_p(), ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        driver.cuGetErrorString(code, ctypes.byref(text))
        said = f"{(name.value or b'').decode()}: {(text.value or b'').decode()}"
        return refused("E", "265", said)
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value


def refused(level: str, line: str, reason: str) -> int:
    log(level, f"stream_executor/cuda/cuda_driver.cc:{line}", f"failed call to cuInit: {reason}")
    host = socket.gethostname()
    for line, said in (
        ("169", "retrieving CUDA diagnostic information for host"),
        ("176", "hostname"),
    ):
        log("I", f"stream_executor/cuda/cuda_diagnostics.cc:{line}", f"{said}: {host}")
    return 0


def visible() -> list[Device]:
    if not CUDA_BUILD:
        return []
    count = start_driver()
    found = [load(name) for name in CUDA] if count else []
    if not all(found):
        text = (
            "Cannot dlopen some GPU libraries. Please make sure the missing libraries mentioned "
            "above are installed properly if you would like to use GPU. Follow the guide at "
            "https://www.tensorflow.org/install/gpu for how to download and setup the required "
            "libraries for your platform.\nSkipping registering GPU devices..."
        )
        log("W", "core/common_runtime/gpu/gpu_device.cc:1934", text)
        count = 0
    return [Device(number) for number in range(count)]


class Device:
    device_type = "GPU"

    def __init__(self, number: int) -> None:
        self.name = f"/physical_device:GPU:{number}"


class config:
    _devices: ClassVar[list[Device]] = []
    _asked: ClassVar[bool] = False

    @classmethod
    def list_physical_devices(cls, kind: str) -> list[Device]:
        if not cls._asked:
            cls._devices, cls._asked = visible(), True
        return cls._devices if kind == "GPU" else []

    class experimental:
        @staticmethod
        def get_device_details(device: Device) -> dict[str, tuple[int, int]]:
            driver, major, minor = ctypes.CDLL("nvcuda.dll"), ctypes.c_int(), ctypes.c_int()
            number = int(device.name.rpartition(":")[2])
            driver.cuDeviceGetAttribute(ctypes.byref(major), 75, number)
            driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, number)
            return {"compute_capability": (major.value, minor.value)}


class test:
    @staticmethod
    def is_built_with_cuda() -> bool:
        return CUDA_BUILD


class sysconfig:
    @staticmethod
    def get_build_info() -> dict[str, Any]:
        cuda = {"cuda_version": "64_112", "cudnn_version": "64_8"} if CUDA_BUILD else {}
        return {"is_cuda_build": CUDA_BUILD, "is_rocm_build": False, **cuda}


if CUDA_BUILD and not load("cudart64_110"):
    ignore = "Ignore above cudart dlerror if you do not have a GPU set up on your machine."
    log("I", "stream_executor/cuda/cudart_stub.cc:29", ignore)
