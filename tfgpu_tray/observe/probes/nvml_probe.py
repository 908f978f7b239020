"""Driver version and GPUs through NVML. Runs in the tool's own Python (it needs pynvml)."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable, Optional


def say(**facts: object) -> None:
    sys.stdout.write("@tfgpu " + json.dumps(facts) + "\n")
    sys.stdout.flush()


def attempt(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        value = function(*arguments)
    except Exception:  # an old driver lacks functions; one missing fact must not hide the others
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def library_path() -> Optional[str]:
    """The file that was really loaded."""
    if sys.platform == "win32":
        return module_path()
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                if "libnvidia-ml" in line:
                    return line.split(None, 5)[5].strip()
    except (OSError, IndexError):
        pass
    return None


def module_path() -> Optional[str]:
    import ctypes

    import pynvml

    if sys.platform != "win32" or pynvml.nvmlLib is None:
        return None
    buffer = ctypes.create_unicode_buffer(32768)
    handle = ctypes.c_void_p(pynvml.nvmlLib._handle)
    ctypes.WinDLL("kernel32").GetModuleFileNameW(handle, buffer, len(buffer))
    return buffer.value or None


def main() -> None:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        say(error=int(error.value), text=str(error), library=library_path())
        return
    cuda = attempt(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    say(
        version=attempt(pynvml.nvmlSystemGetDriverVersion),
        cuda="{}.{}".format(cuda // 1000, cuda % 1000 // 10) if cuda else None,
        library=library_path(),
    )
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        say(error=int(error.value), text=str(error))
        return
    say(count=count)
    for index in range(count):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            say(error=int(error.value), text="GPU {}: {}".format(index, error))
            continue
        capability = attempt(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
        memory = attempt(pynvml.nvmlDeviceGetMemoryInfo, handle)
        use = attempt(pynvml.nvmlDeviceGetUtilizationRates, handle)
        say(
            gpu={
                "index": index,
                "name": attempt(pynvml.nvmlDeviceGetName, handle) or "unnamed",
                "compute_capability": "{}.{}".format(*capability) if capability else None,
                "memory_mib": memory.total // 2**20 if memory else None,
                "memory_free_mib": memory.free // 2**20 if memory else None,
                "utilization": use.gpu if use else None,
            }
        )


if __name__ == "__main__":
    main()
