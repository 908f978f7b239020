"""Rules about the TensorFlow build: can this one use a GPU here at all, and does it fit?"""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from tfgpu_tray.diagnose.case import Case, Finding, blemish, certain, likely
from tfgpu_tray.knowledge.providers import conda_build_has_gpu, gpu_kind


def native_windows(case: Case) -> Iterator[Finding]:
    if not case.beyond_windows:
        return
    evidence = [f"TensorFlow {case.version} on native Windows; 2.10 was the last with a GPU there"]
    if intel := case.snapshot.packages.find("tensorflow-intel"):
        evidence.append(f"{intel.name} {intel.version} came with it, a build for the CPU")
    yield certain("windows-native-tf-ge-2.11", *evidence, *case.origin)


def cpu_only(case: Case) -> Iterator[Finding]:
    """A build without GPU code, where one with it exists; `native_windows` has the others."""
    answer, effective = case.snapshot.tensorflow, case.tensorflow
    if effective is None or case.gpu_visible:
        return
    if case.beyond_windows:
        return
    evidence = []
    if gpu_kind(effective.name) == "none":
        evidence.append(f"{effective.name} {effective.version} is the CPU-only distribution")
    conda = case.snapshot.conda
    record = conda.find("tensorflow-base") or conda.find("tensorflow") if conda else None
    if record and effective.installer == "conda" and conda_build_has_gpu(record.build) is False:
        evidence.append(f"conda installed the build {record.build} of {record.name}")
    if answer is not None and answer.cuda_build is False:
        kind = "for ROCm" if answer.rocm_build else "without CUDA"
        evidence.append(f"TensorFlow says it was built {kind}")
    if evidence:
        yield certain("cpu-only-build", *evidence, *case.origin)


def removed_package(case: Case) -> Iterator[Finding]:
    effective = case.tensorflow
    if effective is None or effective.name != "tensorflow-gpu":
        return
    try:
        empty = Version(effective.version) >= Version("2.12")
    except InvalidVersion:
        return
    if empty:
        yield certain(
            "tensorflow-gpu-package-removed",
            f"tensorflow-gpu {effective.version} is an empty package that only says it was removed",
        )


def outside_pin(case: Case) -> Iterator[Finding]:
    pin = case.pin
    if pin is None or not case.outside_pin or (case.on_windows and not pin.configured):
        return
    allowed = f"tensorflow{pin.specifier}"
    summary = f"TensorFlow {case.version} is outside {allowed}"
    fits = f"{pin.reason}: {allowed} fits"
    evidence = (f"TensorFlow {case.version} is installed", *case.origin, fits)
    if case.gpu_visible or (pin.configured and case.libraries_found):
        yield blemish("tensorflow-outside-pin", *evidence, summary=summary)
    else:
        yield certain("tensorflow-outside-pin", *evidence, summary=summary)


def capability(case: Case) -> Iterator[Finding]:
    sign, release = case.sign("capability-too-old"), case.release
    if sign:
        yield certain(
            "gpu-compute-capability-too-old",
            f"TensorFlow {case.version} ignores a GPU of compute capability "
            f"{sign.groups['capability']}; it needs {sign.groups['minimum']}",
        )
    if release is None or not case.capabilities:
        return
    found = ", ".join(sorted(set(case.capabilities)))
    computed = case.snapshot.compute
    if not sign and all(c in release.gpu_none for c in case.capabilities) and not case.gpu_visible:
        yield likely(
            "gpu-compute-capability-too-old",
            f"compute capability {found}; TensorFlow {release.series} has no code for it",
        )
    works = computed is not None and computed.matmul and computed.convolution
    if any(c in release.gpu_broken for c in case.capabilities) and not works:
        evidence = (
            f"compute capability {found}; TensorFlow {release.series} has no code for it, and "
            "users report that compiling at first use fails"
        )
        if computed is not None:
            yield certain("gpu-compute-capability-too-new", evidence)
        else:
            yield blemish("gpu-compute-capability-too-new", evidence)


def cannot_compute(case: Case) -> Iterator[Finding]:
    """The GPU is listed, yet the small kernel failed."""
    computed = case.snapshot.compute
    if computed is None or not case.gpu_visible:
        return
    if computed.matmul and computed.convolution:
        return
    if computed.driver_kernel is False:
        yield certain(
            "gpu-cannot-compute",
            f"a kernel through the driver alone: {computed.driver_error or 'wrong result'}",
        )
    elif computed.error or computed.matmul is False or computed.convolution is False:
        what = "the convolution" if computed.matmul else "the matrix product"
        yield certain("gpu-cannot-compute", f"{what}: {computed.error or 'wrong result'}")
