"""Rules about WSL: how the GPU gets into a distribution, and what bars its way."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tray.diagnose.case import Case, Finding, blemish, certain, likely, remark
from tfgpu_tray.knowledge.cuda import cuda_error
from tfgpu_tray.knowledge.windows import wsl2_possible
from tfgpu_tray.model import WslGpu

WINDOWS_DRIVER = "/usr/lib/wsl/lib"


def way_in(case: Case) -> Iterator[Finding]:
    """Seen from inside a distribution; a container has links of its own."""
    host = case.snapshot.host
    if host.wsl != 2 or host.wsl_gpu is None or host.container is not None:
        return
    if host.wsl_gpu.linux_driver:
        yield _linux_driver(host.wsl_gpu)
    elif finding := _barred(host.wsl_gpu):
        yield finding


def _linux_driver(gpu: WslGpu) -> Finding:
    evidence = [f"{found} is installed in the distribution" for found in gpu.linux_driver]
    if gpu.libcuda:
        evidence.append(f"programs get {gpu.libcuda}")
    if gpu.cuinit:
        evidence.append(_cuinit(gpu.cuinit))
    if gpu.cuinit == 0:
        return blemish("wsl-linux-driver-installed", *evidence, "CUDA starts in spite of it")
    finding = likely if gpu.libcuda is None else certain
    return finding("wsl-linux-driver-installed", *evidence)


def _barred(gpu: WslGpu) -> Finding | None:
    """The first thing on the way from the driver of Windows to a program that is not right."""
    if gpu.device is False:
        return certain("wsl-gpu-not-passed-on", "/dev/dxg does not exist in the distribution")
    if gpu.driver is False:
        return certain(
            "wsl-gpu-not-passed-on",
            f"{WINDOWS_DRIVER} holds no libcuda.so.1: Windows has no NVIDIA driver that serves WSL",
        )
    if gpu.libcuda == "":
        there = f"{WINDOWS_DRIVER}/libcuda.so.1 is there, and programs do not find it"
        return certain("wsl-libcuda-not-on-path", there, *filter(None, [gpu.libcuda_error]))
    if gpu.cuinit:
        cause = cuda_error(gpu.cuinit, wsl=True).cause or "wsl-windows-build-bug"
        return likely(cause, _cuinit(gpu.cuinit))
    if gpu.libcuda_error:
        return likely("wsl-windows-build-bug", gpu.libcuda_error)
    return None


def _cuinit(code: int) -> str:
    return f"cuInit: {cuda_error(code, wsl=True).text} (code {code})"


def not_started(error: str) -> Finding:
    """wsl.exe could not start a distribution that it lists."""
    return certain("wsl-does-not-start", error)


def not_there(case: Case) -> Iterator[Finding]:
    """On Windows: a remark, because nobody has to have it."""
    host = case.snapshot.host
    possible, reason = wsl2_possible(host)
    evidence = [] if possible else [f"it could not be used: {reason}"]
    if host.wsl_installed is False:
        yield remark("wsl-not-installed", "there is no WSL on this Windows", *evidence)
    elif host.wsl_distributions == ():
        yield remark("wsl-not-installed", "WSL is installed, without a distribution", *evidence)
