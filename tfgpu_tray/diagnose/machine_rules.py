"""Rules about the machine: GPU, driver, container, WSL, and what hides a GPU from a program."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tray.diagnose.case import Case, Finding, blemish, certain, likely, remark
from tfgpu_tray.knowledge.cuda import cuda_error, driver_floor, nvml_error, older, wsl_driver
from tfgpu_tray.knowledge.releases import NATIVE_WINDOWS_LAST, release
from tfgpu_tray.model import Depth, Libraries, Outcome, Pending

LIBRARY_NOT_FOUND = 12  # NVML_ERROR_LIBRARY_NOT_FOUND
MASK = "CUDA_VISIBLE_DEVICES"
CUDA_UNKNOWN, CUDA_NO_DEVICE, CUDA_DRIVER_MISMATCH = 999, 100, 803


def wsl1(case: Case) -> Iterator[Finding]:
    if case.snapshot.host.wsl == 1:
        yield certain("wsl1-not-wsl2", "this distribution runs under WSL 1, which has no GPU")


def driver_error(case: Case) -> Iterator[Finding]:
    """What NVML's error code says; the code's meaning and cause are data."""
    driver, host = case.snapshot.driver, case.snapshot.host
    if driver.nvml_error is None:
        return
    meaning = nvml_error(driver.nvml_error, **_place(case))
    evidence = [f"NVML: {driver.nvml_error_text or meaning.text} (code {driver.nvml_error})"]
    if host.nvidia_devices == 0:
        evidence.append("no NVIDIA device is on the PCI bus: it may be absent or switched off")
    waiting = _waiting_for_a_restart(case)
    if (
        waiting and driver.files != ()
    ):  # without files it was removed, and no restart brings it back
        yield likely("driver-reboot-pending", *evidence, *waiting)
        return
    if driver.nvml_error == LIBRARY_NOT_FOUND:
        yield _no_driver(case, evidence)
        return
    if driver.kernel_module and driver.library_version:
        evidence.append(
            f"the loaded kernel module is {driver.kernel_module}, "
            f"the driver files are {driver.library_version}"
        )
    if meaning.cause:
        yield certain(meaning.cause, *evidence)


def _place(case: Case) -> dict[str, bool]:
    host = case.snapshot.host
    return {
        "wsl": host.wsl == 2,
        "container": host.container is not None,
        "windows": host.system == "windows",
    }


def _no_driver(case: Case, evidence: list[str]) -> Finding:
    host = case.snapshot.host
    if host.wsl == 2:
        return likely("wsl-libcuda-not-on-path", *evidence)
    if host.container:
        evidence.append(f"this is a container ({host.container})")
        return likely("docker-no-gpu-access", *evidence)
    if host.nvidia_devices == 0:
        return certain("no-nvidia-gpu", *evidence)
    files = case.snapshot.driver.files
    if files:
        evidence += [f"{file} is there" for file in files]
        return likely("windows-driver-not-running", *evidence)
    if files is not None:
        evidence.append(
            "neither System32 nor Program Files\\NVIDIA Corporation\\NVSMI holds nvml.dll, "
            "and System32 holds no nvcuda.dll"
        )
    if host.nvidia_devices is None:
        return likely("nvidia-driver-missing", *evidence)
    return certain("nvidia-driver-missing", *evidence)


def no_gpu(case: Case) -> Iterator[Finding]:
    driver, libraries = case.snapshot.driver, case.snapshot.libraries
    if driver.nvml_error is None and driver.gpus == ():
        yield certain("no-nvidia-gpu", "the driver answers and lists no GPU")
    elif (
        libraries is not None
        and libraries.cuinit == CUDA_NO_DEVICE
        and driver.nvml_error is None
        and not _mask(case)
    ):
        yield likely("no-nvidia-gpu", "cuInit: no CUDA-capable device (code 100)")


def driver_mismatch(case: Case) -> Iterator[Finding]:
    """The driver that runs is not the one that is installed."""
    if case.snapshot.host.system == "windows":
        yield from _mismatch_on_windows(case)
        return
    driver, libraries = case.snapshot.driver, case.snapshot.libraries
    sign = case.sign("version-mismatch")
    if sign:
        yield certain(
            "driver-library-mismatch",
            f"the kernel module is {sign.groups['kernel']}, libcuda is {sign.groups['library']}",
        )
    elif libraries is not None and _compat(libraries):
        return  # `cuinit_failed` speaks of it
    elif libraries is not None and libraries.cuinit == CUDA_DRIVER_MISMATCH:
        yield certain("driver-library-mismatch", f"cuInit: {_cuda_text(CUDA_DRIVER_MISMATCH)}")
    elif (
        driver.nvml_error is None
        and driver.kernel_module
        and driver.library_version
        and driver.kernel_module != driver.library_version
    ):
        yield blemish(
            "driver-reboot-pending",
            f"driver {driver.library_version} is installed, {driver.kernel_module} is loaded",
        )


def _mismatch_on_windows(case: Case) -> Iterator[Finding]:
    """An update there needs no restart as a rule: what runs shows whether this one does."""
    driver, libraries = case.snapshot.driver, case.snapshot.libraries
    waiting = _waiting_for_a_restart(case)
    if libraries is not None and libraries.cuinit == CUDA_DRIVER_MISMATCH:
        yield certain(
            "driver-reboot-pending", f"cuInit: {_cuda_text(CUDA_DRIVER_MISMATCH)}", *waiting
        )
    elif driver.nvml_error is not None:
        return  # `driver_error` speaks of it
    elif driver.version and driver.library_version and driver.version != driver.library_version:
        yield blemish(
            "driver-reboot-pending",
            f"driver {driver.library_version} is installed, {driver.version} is loaded",
            *waiting,
        )
    elif waiting:
        yield remark("driver-reboot-pending", *waiting)


def _waiting_for_a_restart(case: Case) -> list[str]:
    if Pending.NVIDIA_DRIVER in (case.snapshot.host.reboot_pending or ()):
        return ["Windows replaces files of the NVIDIA driver at its next start"]
    return []


def driver_too_old(case: Case) -> Iterator[Finding]:
    version, wanted, host = case.snapshot.driver.version, case.release, case.snapshot.host
    if version is None or wanted is None or case.gpu_visible:
        return
    if host.system == "windows" and not wanted.windows_gpu:
        wanted = release(str(NATIVE_WINDOWS_LAST))  # the one whose GPU support can be had there
    if wanted is None:
        return
    floor = driver_floor(wanted.cuda, host.driver_system)
    asked = wsl_driver(wanted.cuda) if host.wsl == 2 else None
    cuda = f"CUDA {wanted.cuda_family}"
    if floor and older(version, floor):
        yield certain("driver-too-old", f"driver {version}; {cuda} needs {floor} or newer")
    elif asked and older(version, asked):
        evidence = f"driver {version}; TensorFlow asks for {asked} or newer for {cuda} in WSL"
        yield likely("driver-too-old", evidence)


def cuinit_failed(case: Case) -> Iterator[Finding]:
    """The driver's own start-up in the environment's Python."""
    libraries, driver = case.snapshot.libraries, case.snapshot.driver
    if libraries is None or not libraries.cuinit or case.gpu_visible:
        return
    code = libraries.cuinit
    evidence = [f"cuInit: {_cuda_text(code)}"]
    if _compat(libraries):
        evidence.append(f"libcuda comes from {libraries.libcuda_path}")
        yield likely("cuda-compat-libcuda-shadowing", *evidence)
    elif (
        code == CUDA_UNKNOWN
        and driver.nvml_error is None
        and driver.gpus
        and case.snapshot.host.system != "windows"
    ):
        yield likely("nvidia-uvm-unusable", *evidence, "NVML works, CUDA does not start")
    elif code not in (CUDA_NO_DEVICE, CUDA_DRIVER_MISMATCH) and (
        cause := cuda_error(code, **_place(case)).cause
    ):
        yield likely(cause, *evidence)


def _compat(libraries: Libraries) -> bool:
    """libcuda of a cuda-compat package stands before the driver's own."""
    return "/compat/" in (libraries.libcuda_path or "")


def masked(case: Case) -> Iterator[Finding]:
    found = _mask(case)
    if found is None or case.gpu_visible:
        return
    value, origin = found
    shown = f"“{value}”" if value else "empty"
    yield certain("cuda-visible-devices-masked", f"{MASK} is {shown}, {origin}")


def _mask(case: Case) -> tuple[str, str] | None:
    """The value of CUDA_VISIBLE_DEVICES that hides every GPU, and where it comes from."""
    hooks = case.snapshot.hooks
    environ = hooks.activation.environ if hooks.activation else hooks.variables
    value = environ.get(MASK)
    shell = "cmd" if case.snapshot.host.system == "windows" else "posix"
    script = next((s for s in hooks.scripts if s.masks_gpu and s.shell == shell), None)
    if value is None and hooks.activation is None and script is not None:
        value = "-1"
    if value is None or not _hides_all(value, len(case.snapshot.driver.gpus or ())):
        return None
    if MASK in hooks.variables:
        return value, "set for this environment with `conda env config vars`"
    if script is not None:
        return value, f"set by the hook {script.path}"
    return value, "set in the session that starts the programs"


def _hides_all(value: str, count: int) -> bool:
    """CUDA reads the list up to the first invalid entry; an empty or negative start hides all."""
    first = value.split(",")[0].strip()
    if first.isdigit():
        return bool(count) and int(first) >= count
    return not first.startswith(("GPU-", "MIG-"))


def probe_failed(case: Case) -> Iterator[Finding]:
    """NVML or TensorFlow hung or crashed; ranked last, so it only stands when nothing explains."""
    driver, answer = case.snapshot.driver, case.snapshot.tensorflow
    libraries = case.snapshot.libraries
    evidence: list[str] = []
    if case.snapshot.depth >= Depth.STATIC and driver.probe is not Outcome.COMPLETED:
        evidence += driver.notes
    if answer is not None and answer.outcome in (Outcome.TIMED_OUT, Outcome.CRASHED):
        evidence.append(f"TensorFlow, at stage “{answer.stage}”: {answer.error}")
    if libraries is not None and libraries.outcome is not Outcome.COMPLETED:
        evidence += libraries.notes
    if evidence:
        finding = blemish if case.gpu_visible else certain
        yield finding("probe-did-not-complete", *evidence)


def _cuda_text(code: int) -> str:
    return f"{cuda_error(code).text} (code {code})"
