"""One change to a healthy snapshot each, and what is concluded from it."""

from __future__ import annotations

import ast
import dataclasses
import types
import typing
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.snapshots import (
    BLIND,
    CONDA,
    DRIVER,
    ENVIRONMENT,
    GPU,
    HOST,
    PREFIX,
    SEES_GPU,
    SITE,
    SONAMES,
    activation,
    dist,
    empty,
    healthy,
    libraries,
    tensorflow_is,
)
from tfgpu_tray import diagnose as package
from tfgpu_tray.diagnose.python_rules import IMPORT_ERRORS
from tfgpu_tray.diagnose.resolve import PRECEDENCE, RULES, diagnose
from tfgpu_tray.knowledge.causes import cause, cause_ids
from tfgpu_tray.knowledge.tables import table
from tfgpu_tray.model import (
    Activation,
    Compute,
    CondaPackage,
    Depth,
    Hooks,
    HookScript,
    Kind,
    Libraries,
    Library,
    LibraryState,
    Outcome,
    Packages,
    Report,
    Role,
    Snapshot,
    TensorFlow,
    Verdict,
)


def lib(soname: str, state: LibraryState, **facts: Any) -> Library:
    path = str(PREFIX / "lib" / soname)
    missing = {"path": None, "candidates": ()}
    there = {"path": path, "candidates": (path,)}
    return Library(soname, state, **((missing if state == "missing" else there) | facts))


def blind(**changes: Any) -> Snapshot:
    """TensorFlow imports and lists no GPU."""
    return healthy(**({"tensorflow": BLIND} | changes))


def import_error(error: str, kind: str = "ImportError") -> TensorFlow:
    return TensorFlow(Outcome.FAILED, stage="import", error_type=kind, error=error)


def nvml(code: int, text: str = "said NVML", **changes: Any) -> dict[str, Any]:
    driver = replace(DRIVER, nvml_error=code, nvml_error_text=text, gpus=None, version=None)
    return {"driver": replace(driver, **changes)}


def with_hook(**facts: Any) -> dict[str, Any]:
    script = HookScript(PREFIX / "etc/conda/activate.d/env_vars.sh", "posix", **facts)
    return {"hooks": Hooks(scripts=(script,), activation=activation())}


def packages(*related: tuple[str, str], version: str = "2.10.1", **facts: Any) -> dict[str, Any]:
    found = Packages(
        tensorflow=(dist("tensorflow", version),),
        related=tuple(dist(n, v) for n, v in related),
        count=40,
    )
    return {"packages": replace(found, **facts)}


def log(*lines: str) -> dict[str, Any]:
    return {"tensorflow": replace(BLIND, log=lines)}


USER = replace(dist("tensorflow", "2.15.1", in_user_site=True), folder=Path("/home/me/.local"))
UNREACHABLE = tuple(lib(s, LibraryState.UNREACHABLE) for s in SONAMES)
MISSING = tuple(lib(s, LibraryState.MISSING) for s in SONAMES)
WHEEL = f"{SITE}/nvidia/cudnn/lib/libcudnn.so.8"
CUDNN_WHEEL = lib("libcudnn.so.8", LibraryState.UNREACHABLE, path=WHEEL, candidates=(WHEEL,))
BAD = "/opt/bad/libcudnn.so.8"
HIDDEN = lib("libcudnn.so.8", LibraryState.HIDDEN, path=BAD, candidates=(BAD, WHEEL))
SEEN_216 = replace(SEES_GPU, version="2.16.1")
CUDNN_TOO_OLD = (
    "E cuda_dnn.cc:378] Loaded runtime CuDNN library: 8.0.5 but source was compiled with: 8.1.0."
)
TOO_OLD = (
    "I gpu_device.cc:1] Ignoring visible gpu device (device: 0, name: K80) with Cuda compute "
    "capability 3.0. The minimum required Cuda capability is 3.5."
)
KERNEL = "E cuda_diagnostics.cc:1] kernel version 535.1.0 does not match DSO version 550.2.0"
NOT_LOADED = "W dso_loader.cc:64] Could not load dynamic library '{}'; dlerror: {}: cannot open"

# what is wrong -> snapshot, primary cause, verdict
BROKEN: dict[str, tuple[Snapshot, str]] = {
    "no interpreter": (
        healthy(environment=replace(ENVIRONMENT, python=None), tensorflow=None),
        "environment-unusable",
    ),
    "an interpreter that does not start": (
        healthy(tensorflow=TensorFlow(Outcome.NOT_STARTED, stage="start", error="no such file")),
        "environment-unusable",
    ),
    "no TensorFlow": (empty(), "tensorflow-missing"),
    "no TensorFlow, and none for this Python": (
        empty(replace(ENVIRONMENT, python_version="3.15")),
        "tensorflow-missing",
    ),
    "TensorFlow without a record": (
        empty(packages=Packages(shadowing=(str(SITE / "tensorflow"),))),
        "tensorflow-files-damaged",
    ),
    "files gone": (
        healthy(
            packages=Packages(tensorflow=(dist("tensorflow", "2.10.1", missing_files=("a.so",)),)),
            tensorflow=import_error("No module named 'tensorflow.python'"),
        ),
        "tensorflow-files-damaged",
    ),
    "another in the user site": (
        blind(packages=Packages(tensorflow=(USER, dist("tensorflow", "2.10.1")))),
        "multiple-tensorflow-shadowing",
    ),
    "a file named like it": (
        blind(tensorflow=replace(BLIND, file="/home/me/work/tensorflow.py")),
        "local-file-shadows-tensorflow",
    ),
    "NumPy 2": (
        healthy(**packages(("numpy", "2.1.0")), tensorflow=import_error("_ARRAY_API not found")),
        "numpy2-abi",
    ),
    "NumPy 2, not asked": (healthy(**packages(("numpy", "2.1.0")), tensorflow=None), "numpy2-abi"),
    "a NumPy that is too new": (
        healthy(
            **packages(("numpy", "1.26.4"), version="2.4.4"),
            tensorflow=import_error("module 'numpy' has no attribute 'object'", "AttributeError"),
        ),
        "numpy-version-mismatch",
    ),
    "protobuf 4": (
        healthy(
            **packages(("protobuf", "4.25.3")),
            tensorflow=import_error("Descriptors cannot be created directly.", "TypeError"),
        ),
        "protobuf-too-new",
    ),
    "an old protobuf": (
        healthy(
            **packages(("protobuf", "3.8.0")),
            tensorflow=import_error("cannot import name 'builder' from 'google.protobuf.internal'"),
        ),
        "protobuf-too-old",
    ),
    "an old C library": (
        healthy(host=replace(HOST, glibc="2.11"), tensorflow=import_error("GLIBC_2.12' not found")),
        "libstdcxx-too-old",
    ),
    "a processor without AVX": (
        healthy(
            tensorflow=TensorFlow(
                Outcome.CRASHED, stage="import", error="Python was ended by SIGILL"
            )
        ),
        "cpu-lacks-avx",
    ),
    "some other import error": (
        healthy(tensorflow=import_error("something nobody ever saw", "RuntimeError")),
        "tensorflow-files-damaged",
    ),
    "WSL 1": (blind(host=replace(HOST, wsl=1)), "wsl1-not-wsl2"),
    "no driver": (blind(**nvml(12)), "nvidia-driver-missing"),
    "no driver, the bus cannot be read": (
        blind(host=replace(HOST, nvidia_devices=None), **nvml(12)),
        "nvidia-driver-missing",
    ),
    "no card": (blind(host=replace(HOST, nvidia_devices=0), **nvml(12)), "no-nvidia-gpu"),
    "no libcuda in WSL": (blind(host=replace(HOST, wsl=2), **nvml(12)), "wsl-libcuda-not-on-path"),
    "a container without the GPU": (
        blind(host=replace(HOST, container="docker"), **nvml(12)),
        "docker-no-gpu-access",
    ),
    "a driver updated under a running kernel": (blind(**nvml(18)), "driver-library-mismatch"),
    "a module that is not loaded": (blind(**nvml(9)), "kernel-module-not-loaded"),
    "a GPU off the bus": (blind(**nvml(15)), "gpu-fallen-off-bus"),
    "no permission": (blind(**nvml(4)), "device-node-permission"),
    "a container that lost its devices": (
        blind(host=replace(HOST, container="docker"), **nvml(999)),
        "container-gpu-cgroup-revoked",
    ),
    "a driver that lists no GPU": (blind(driver=replace(DRIVER, gpus=())), "no-nvidia-gpu"),
    "versions that differ, says TensorFlow": (blind(**log(KERNEL)), "driver-library-mismatch"),
    "versions that differ, says cuInit": (
        blind(libraries=libraries(cuinit=803)),
        "driver-library-mismatch",
    ),
    "a compat libcuda": (
        blind(libraries=libraries(cuinit=803, libcuda_path="/usr/local/cuda/compat/libcuda.so.1")),
        "cuda-compat-libcuda-shadowing",
    ),
    "no nvidia-uvm": (blind(libraries=libraries(cuinit=999)), "nvidia-uvm-unusable"),
    "a mask in the session": (
        blind(hooks=Hooks(activation=activation(CUDA_VISIBLE_DEVICES="-1"))),
        "cuda-visible-devices-masked",
    ),
    "an empty mask": (
        blind(hooks=Hooks(activation=activation(CUDA_VISIBLE_DEVICES=""))),
        "cuda-visible-devices-masked",
    ),
    "a GPU that is not there": (
        blind(hooks=Hooks(activation=activation(CUDA_VISIBLE_DEVICES="1"))),
        "cuda-visible-devices-masked",
    ),
    "a mask in conda's variables": (
        blind(
            hooks=Hooks(
                variables={"CUDA_VISIBLE_DEVICES": "-1"},
                activation=activation(CUDA_VISIBLE_DEVICES="-1"),
            )
        ),
        "cuda-visible-devices-masked",
    ),
    "an old driver": (
        blind(driver=replace(DRIVER, version="440.33.01")),
        "driver-too-old",
    ),
    "2.11 on Windows": (
        blind(
            host=replace(HOST, system="windows", glibc=None),
            **packages(version="2.11.0"),
            tensorflow=replace(BLIND, version="2.11.0", cuda_build=False),
        ),
        "windows-native-tf-ge-2.11",
    ),
    "tensorflow-cpu": (
        blind(packages=Packages(tensorflow=(dist("tensorflow-cpu", "2.10.1"),))),
        "cpu-only-build",
    ),
    "a build without CUDA, by its own word": (
        blind(tensorflow=replace(BLIND, cuda_build=False)),
        "cpu-only-build",
    ),
    "conda's CPU build": (
        blind(
            packages=Packages(
                tensorflow=(replace(dist("tensorflow", "2.10.1"), installer="conda"),)
            ),
            conda=replace(
                CONDA, packages=(CondaPackage("tensorflow-base", "2.10.0", "cpu_py310h1_0"),)
            ),
        ),
        "cpu-only-build",
    ),
    "tensorflow-gpu, the empty one": (
        blind(
            packages=Packages(tensorflow=(dist("tensorflow-gpu", "2.12.0"),)),
            tensorflow=import_error("No module named 'tensorflow'", "ModuleNotFoundError"),
        ),
        "tensorflow-gpu-package-removed",
    ),
    "an upgrade past conda's CUDA": (
        blind(
            **packages(version="2.16.1"),
            tensorflow=replace(BLIND, version="2.16.1"),
            libraries=libraries(*(lib("libcudart.so.12", LibraryState.MISSING),), sonames=()),
        ),
        "tensorflow-outside-pin",
    ),
    "outside what the configuration asks for": (
        blind(
            environment=replace(ENVIRONMENT, pin="==2.9.*"),
            libraries=libraries(*MISSING),
        ),
        "tensorflow-outside-pin",
    ),
    "an old GPU, by TensorFlow's word": (blind(**log(TOO_OLD)), "gpu-compute-capability-too-old"),
    "an old GPU, by the table": (
        blind(
            **packages(version="2.17.1"),
            conda=None,
            driver=replace(DRIVER, gpus=(replace(GPU, compute_capability="5.2"),)),
            tensorflow=replace(BLIND, version="2.17.1"),
        ),
        "gpu-compute-capability-too-old",
    ),
    "a hook that ends the shell": (
        blind(
            hooks=Hooks(activation=Activation(Outcome.FAILED, failed_script="/x/a.sh")),
            libraries=libraries(*UNREACHABLE),
        ),
        "activate-hook-broken",
    ),
    "a hook that fails before it sets the path": (
        blind(
            hooks=Hooks(activation=replace(activation(), failed_script="/x/a.sh")),
            libraries=libraries(*UNREACHABLE),
        ),
        "activate-hook-broken",
    ),
    "a hook with Windows line ends": (
        blind(**with_hook(problems=("has Windows line ends",)), libraries=libraries(*UNREACHABLE)),
        "activate-hook-broken",
    ),
    "a hook that puts a broken library in front": (
        blind(**with_hook(folders=("/opt/bad",)), libraries=libraries(HIDDEN)),
        "activate-hook-harmful",
    ),
    "a session that puts a broken library in front": (
        blind(
            hooks=Hooks(
                activation=replace(
                    activation(LD_LIBRARY_PATH="/opt/bad"), base={"LD_LIBRARY_PATH": "/opt/bad"}
                )
            ),
            libraries=libraries(HIDDEN),
        ),
        "ld-library-path-broken",
    ),
    "libraries that nobody points to": (
        blind(libraries=libraries(*UNREACHABLE)),
        "ld-library-path-unset",
    ),
    "a hook that overwrites the path": (
        blind(**with_hook(loader_path="overwrites"), libraries=libraries(*UNREACHABLE)),
        "ld-library-path-broken",
    ),
    "wheels for a TensorFlow that does not search them": (
        blind(libraries=libraries(CUDNN_WHEEL)),
        "ld-library-path-unset",
    ),
    "wheels that 2.16.1 does not search": (
        blind(
            **packages(version="2.16.1"),
            conda=None,
            tensorflow=replace(BLIND, version="2.16.1"),
            libraries=libraries(CUDNN_WHEEL),
        ),
        "pip-nvidia-libs-not-on-path",
    ),
    "no CUDA": (blind(libraries=libraries(*MISSING)), "cuda-runtime-missing"),
    "CUDA 12 instead of 11": (
        blind(
            libraries=libraries(
                *(replace(x, relatives=(f"/usr/lib/{x.soname}2",)) for x in MISSING)
            )
        ),
        "cuda-toolkit-version-mismatch",
    ),
    "no cuDNN": (
        blind(libraries=libraries(lib("libcudnn.so.8", LibraryState.MISSING))),
        "cudnn-missing",
    ),
    "no cuFFT": (
        blind(libraries=libraries(lib("libcufft.so.10", LibraryState.MISSING))),
        "cuda-libs-incomplete-or-mixed",
    ),
    "an empty library": (
        blind(libraries=libraries(lib("libcudnn.so.8", LibraryState.DAMAGED))),
        "cuda-library-damaged",
    ),
    "a library whose own needs are not met": (
        blind(
            libraries=libraries(
                lib(
                    "libcudnn.so.8",
                    LibraryState.DAMAGED,
                    error="libz.so.1: cannot open shared object file: No such file or directory",
                )
            )
        ),
        "cuda-libs-incomplete-or-mixed",
    ),
    "an old cuDNN": (blind(**log(CUDNN_TOO_OLD)), "cudnn-version-mismatch"),
    "a library that TensorFlow itself could not open": (
        blind(**log(NOT_LOADED.format("libcudnn.so.8", "libcudnn.so.8"))),
        "ld-library-path-unset",
    ),
    "nothing that anybody knows": (blind(), "gpu-not-visible"),
    "a crash at the devices": (
        healthy(tensorflow=replace(SEES_GPU, outcome=Outcome.CRASHED, stage="devices", gpus=None)),
        "probe-did-not-complete",
    ),
    "a GPU that computes nothing": (
        healthy(compute=Compute(Outcome.COMPLETED, driver_kernel=False, driver_error="999")),
        "gpu-cannot-compute",
    ),
    "a GPU that TensorFlow cannot use": (
        healthy(compute=Compute(Outcome.COMPLETED, driver_kernel=True, error="no kernel image")),
        "gpu-cannot-compute",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_has_one_root(name: str) -> None:
    snapshot, expected = BROKEN[name]
    report = diagnose(snapshot)
    assert report.primary is not None
    assert (report.primary.cause, report.verdict) == (expected, Verdict.BROKEN)
    assert [d.role for d in report.diagnoses].count(Role.PRIMARY) == 1
    assert report.diagnoses[0] is report.primary
    assert report.headline == report.primary.summary
    assert all(d.evidence for d in report.diagnoses)


def test_a_healthy_environment_is_ok() -> None:
    report = diagnose(healthy())
    assert (report.verdict, report.diagnoses) == (Verdict.OK, ())
    assert report.headline == "TensorFlow 2.10.1 sees a GPU"


COMPUTED = Compute(Outcome.COMPLETED, driver_kernel=True, matmul=True, convolution=True)
REPORT_OK: dict[str, Snapshot] = {
    "a GPU that computes": healthy(compute=COMPUTED),
    "a partial mask": healthy(hooks=Hooks(activation=activation(CUDA_VISIBLE_DEVICES="0"))),
    "a mask by name": healthy(hooks=Hooks(activation=activation(CUDA_VISIBLE_DEVICES="GPU-1a"))),
    "tables know nothing of this version": healthy(
        **packages(version="3.1.0"), tensorflow=replace(SEES_GPU, version="3.1.0"), conda=None
    ),
    "a version that is no version": healthy(tensorflow=replace(SEES_GPU, version="custom")),
    "no network of facts at all": healthy(
        driver=replace(DRIVER, version=None, gpus=None), libraries=None, conda=None, hooks=Hooks()
    ),
    "a protobuf that the table forbids and that works": healthy(**packages(("protobuf", "4.25"))),
    "an old driver that works": healthy(driver=replace(DRIVER, version="440.33")),
}


@pytest.mark.parametrize("name", REPORT_OK)
def test_what_works_is_ok(name: str) -> None:
    report = diagnose(REPORT_OK[name])
    assert (report.verdict, [d.cause for d in report.diagnoses]) == (Verdict.OK, [])


DEGRADED: dict[str, tuple[Snapshot, str]] = {
    "leftovers": (
        healthy(**packages(leftovers=("~ensorflow",))),
        "corrupt-dist-info",
    ),
    "two over each other": (
        healthy(
            packages=Packages(
                tensorflow=(dist("tensorflow", "2.10.1"), dist("tensorflow-cpu", "2.10.1"))
            )
        ),
        "multiple-tensorflow-shadowing",
    ),
    "Keras 3": (healthy(**packages(("keras", "3.5.0"))), "keras-version-mismatch"),
    "a restart that is due": (
        healthy(driver=replace(DRIVER, library_version="550.120")),
        "driver-reboot-pending",
    ),
    "outside the pin, and working": (
        healthy(environment=replace(ENVIRONMENT, pin="==2.9.*")),
        "tensorflow-outside-pin",
    ),
    "pip over conda": (
        healthy(
            conda=replace(
                CONDA, packages=(CondaPackage("tensorflow-base", "2.9.1", "cuda112py310h_0"),)
            )
        ),
        "conda-pip-mixed-packages",
    ),
    "NumPy 2, and working": (healthy(**packages(("numpy", "2.1.0"))), "numpy2-abi"),
    "a GPU that is newer than the build": (
        healthy(
            **packages(version="2.16.2"),
            conda=None,
            driver=replace(DRIVER, gpus=(replace(GPU, compute_capability="12.0"),)),
            tensorflow=replace(SEES_GPU, version="2.16.2"),
        ),
        "gpu-compute-capability-too-new",
    ),
    "NVML hangs": (
        healthy(driver=replace(DRIVER, probe=Outcome.TIMED_OUT, notes=("NVML did not answer",))),
        "probe-did-not-complete",
    ),
    "a hook that fails": (
        healthy(hooks=Hooks(activation=replace(activation(), failed_script="/x/a.sh"))),
        "activate-hook-broken",
    ),
}


@pytest.mark.parametrize("name", DEGRADED)
def test_a_blemish_beside_a_visible_gpu_degrades(name: str) -> None:
    snapshot, expected = DEGRADED[name]
    report = diagnose(snapshot)
    assert report.verdict is Verdict.DEGRADED
    assert [(d.cause, d.role) for d in report.diagnoses] == [(expected, Role.CONTRIBUTING)]
    assert report.primary is None and "sees a GPU, but: " in report.headline


@pytest.mark.parametrize(
    "snapshot, expected",
    [
        (
            healthy(**with_hook(problems=("leaves an empty entry in LD_LIBRARY_PATH",))),
            "activate-hook-sloppy",
        ),
        (
            healthy(
                libraries=libraries(
                    lib("libcudnn.so.8", LibraryState.FOUND, without_activation=False)
                )
            ),
            "visible-only-when-activated",
        ),
    ],
)
def test_a_remark_changes_no_verdict(snapshot: Snapshot, expected: str) -> None:
    report = diagnose(snapshot)
    assert report.verdict is Verdict.OK
    assert [(d.cause, d.role) for d in report.diagnoses] == [(expected, Role.POSSIBLE)]


HUNG = TensorFlow(Outcome.TIMED_OUT, stage="devices", version="2.10.1", error="did not answer")
UNKNOWN: dict[str, Snapshot] = {
    "TensorFlow was not asked": healthy(tensorflow=None, depth=Depth.LOADER),
    "files only": healthy(tensorflow=None, depth=Depth.STATIC),
    "TensorFlow hangs": healthy(tensorflow=HUNG),
    "the loader probe hangs": healthy(
        tensorflow=None,
        libraries=Libraries("loaded", Outcome.TIMED_OUT, notes=("did not answer",)),
    ),
    "nothing was looked at": Snapshot(Depth.FINGERPRINT, HOST, DRIVER, ENVIRONMENT),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_without_an_answer_nothing_is_claimed(name: str) -> None:
    report = diagnose(UNKNOWN[name])
    assert report.verdict is Verdict.UNKNOWN
    assert report.headline


def test_what_was_not_looked_at_is_not_called_missing() -> None:
    shallow = Snapshot(Depth.FINGERPRINT, HOST, DRIVER, ENVIRONMENT)
    assert diagnose(shallow).diagnoses == ()


# ---- several at once ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, expected, also",
    [
        # without a driver no build helps
        (
            {**nvml(12), **tensorflow_is("2.10.1", "tensorflow-cpu"), "tensorflow": BLIND},
            "nvidia-driver-missing",
            {"cpu-only-build"},
        ),
        # the wrong build makes talk of its libraries idle
        (
            {
                "packages": Packages(tensorflow=(dist("tensorflow-cpu", "2.10.1"),)),
                "libraries": libraries(*MISSING),
            },
            "cpu-only-build",
            {"cuda-runtime-missing"},
        ),
        # what does not import says nothing of GPUs
        (
            {
                **packages(("numpy", "2.1.0")),
                **nvml(12),
                "tensorflow": import_error("_ARRAY_API not found"),
            },
            "numpy2-abi",
            {"nvidia-driver-missing"},
        ),
        # a container that lost its devices has no use for libraries
        (
            {
                "host": replace(HOST, container="docker"),
                **nvml(999),
                "libraries": libraries(*MISSING),
            },
            "container-gpu-cgroup-revoked",
            {"cuda-runtime-missing"},
        ),
        # a Linux driver inside WSL hides the one of Windows
        (
            {"host": replace(HOST, wsl=2), **nvml(17), "libraries": libraries(*MISSING)},
            "wsl-linux-driver-installed",
            {"cuda-runtime-missing"},
        ),
    ],
)
def test_the_root_is_the_one_that_must_be_mended_first(
    changes: dict[str, Any], expected: str, also: set[str]
) -> None:
    report = diagnose(blind(**changes))
    assert report.primary is not None and report.primary.cause == expected
    rest = {d.cause: d.role for d in report.diagnoses[1:]}
    assert also <= rest.keys() and set(rest.values()) <= {Role.CONTRIBUTING, Role.POSSIBLE}


def test_a_cause_is_named_once_with_all_its_evidence() -> None:
    two = tuple(lib(s, LibraryState.DAMAGED) for s in SONAMES[:2])
    report = diagnose(blind(libraries=libraries(*two)))
    (found,) = [d for d in report.diagnoses if d.cause == "cuda-library-damaged"]
    assert len(found.evidence) == 2


def test_remedies_are_filled_in_for_this_environment() -> None:
    odd = Path("/home/me/it's 用户's env")
    environment = replace(ENVIRONMENT, prefix=odd, python=odd / "bin" / "python")
    report = diagnose(blind(environment=environment, libraries=libraries(*MISSING)))
    assert report.primary is not None
    text = "\n".join(report.primary.remedy.steps)
    assert "'/home/me/it'\"'\"'s 用户'\"'\"'s env'" in text
    assert "cudatoolkit=11.2 cudnn=8.1.0" in text and "tensorflow==2.10.1" in text
    assert "{" not in text and "<" not in text.replace('"numpy<2"', "")


# ---- whatever is seen --------------------------------------------------------------------------


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field of the model, None wherever it may be."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([st.none(), *(strategy(a) for a in arguments if a is not type(None))])
    if origin is tuple:
        return st.lists(strategy(arguments[0]), max_size=2).map(tuple)
    if origin is not None:  # a mapping of variables
        names = st.sampled_from(["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PATH"])
        return st.dictionaries(names, TEXTS, max_size=2)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return whole(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    return {
        str: TEXTS,
        int: st.sampled_from([0, 1, 2, 12, 18, 100, 803, 999, -1]),
        bool: st.booleans(),
        float: st.floats(0, 100),
        Path: st.sampled_from([PREFIX, SITE, Path("/opt/bad")]),
    }[kind]


TEXTS = st.sampled_from(
    [
        *("", "tensorflow", "tensorflow-cpu", "numpy", "protobuf", "keras", "cudatoolkit", "cudnn"),
        *("2.10.1", "2.16.1", "2.12.0", "1.26.4", "11.2", "8.6", "5.2", "12.0", "not a version"),
        *("libcudart.so.11.0", "libcudnn.so.8", "libnvidia-ml.so.1", "linux", "windows", "docker"),
        *("conda", "pip", "posix", "overwrites", "leaves an empty entry", "start", "import", "-1"),
        *("/opt/bad", BAD, WHEEL, CUDNN_TOO_OLD, TOO_OLD, KERNEL, "_ARRAY_API not found", "SIGILL"),
        NOT_LOADED.format("libcudnn.so.8", "libcudnn.so.8"),
        "libz.so.1: cannot open shared object file: No such file or directory",
    ]
)
PINS = st.sampled_from([None, "==2.10.*", ">=2.5,<2.11", ""])


def whole(kind: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    parts = {f.name: strategy(hints[f.name]) for f in dataclasses.fields(kind)}
    if "pin" in parts:
        parts["pin"] = PINS
    return st.builds(kind, **parts)


PHASES = tuple(set(Phase) - {Phase.explain})  # explaining so large a value takes a minute
SNAPSHOTS: st.SearchStrategy[Snapshot] = whole(Snapshot)


@settings(max_examples=300, deadline=None, phases=PHASES)
@given(SNAPSHOTS)
def test_whatever_is_seen_is_judged_the_same_each_time(snapshot: Snapshot) -> None:
    report = diagnose(snapshot)
    assert report == diagnose(snapshot)
    assert report.headline
    answer = snapshot.tensorflow
    if report.verdict in (Verdict.OK, Verdict.DEGRADED):
        assert answer is not None and answer.gpus, "a green that TensorFlow did not give"
    if answer is not None and answer.gpus == ():
        assert report.verdict in (Verdict.BROKEN, Verdict.UNKNOWN) and report.primary
    primaries = [d for d in report.diagnoses if d.role is Role.PRIMARY]
    assert len(primaries) <= 1 and primaries == list(report.diagnoses[: len(primaries)])
    assert len({d.cause for d in report.diagnoses}) == len(report.diagnoses)


@settings(max_examples=300, deadline=None, phases=PHASES)
@given(SNAPSHOTS, st.sampled_from(["host", "driver", "packages", "conda", "hooks", "libraries"]))
def test_no_table_overrules_a_gpu_that_tensorflow_uses(other: Snapshot, part: str) -> None:
    """Whatever else is seen: while TensorFlow lists a GPU and nothing was computed on it, the
    worst is degraded."""
    report = diagnose(healthy(**{part: getattr(other, part)}))
    assert report.verdict in (Verdict.OK, Verdict.DEGRADED), report.headline


def test_a_tensorflow_from_elsewhere_that_sees_a_gpu_is_not_broken() -> None:
    """A venv that sees the system's packages, an editable build, PYTHONPATH."""
    report = diagnose(healthy(tensorflow=replace(SEES_GPU, file="/src/tensorflow/__init__.py")))
    assert report.verdict in (Verdict.OK, Verdict.DEGRADED)


def test_the_order_of_the_rules_does_not_matter() -> None:
    for snapshot, _ in BROKEN.values():
        assert same(diagnose(snapshot), diagnose(snapshot, tuple(reversed(RULES))))


def same(one: Report, other: Report) -> bool:
    causes = [(d.cause, d.role, sorted(d.evidence)) for d in one.diagnoses]
    return one.verdict is other.verdict and causes == [
        (d.cause, d.role, sorted(d.evidence)) for d in other.diagnoses
    ]


# ---- rules, causes and their order -------------------------------------------------------------


def named_by_rules() -> dict[str, bool]:
    """Every cause that a rule names, and whether it may explain a GPU that is not seen."""
    found: dict[str, bool] = {}
    explaining = {"certain", "likely", "finding", "_finding"}
    for path in sorted(Path(package.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in explaining | {"blemish", "remark"} and isinstance(
                    first, ast.Constant
                ):
                    name = str(first.value)
                    found[name] = found.get(name, False) or node.func.id in explaining
    found.update(dict.fromkeys((name for _, name in IMPORT_ERRORS), True))
    for source in ("nvml", "cuda"):
        for row in table("errors")[source].values():
            for place in ("cause", "wsl", "container"):
                if name := row.get(place):
                    found[name] = True
    return found


def test_every_cause_that_a_rule_names_has_its_texts() -> None:
    named = named_by_rules()
    assert len(named) > 40
    assert named.keys() <= set(cause_ids())


def test_every_cause_of_the_order_has_its_texts_once() -> None:
    assert set(PRECEDENCE) <= set(cause_ids())
    assert len(set(PRECEDENCE)) == len(PRECEDENCE)


def test_every_cause_that_may_explain_has_a_place_in_the_order() -> None:
    """One without a place ranks behind all that follows from it."""
    explaining = {name for name, explains in named_by_rules().items() if explains}
    assert explaining - set(PRECEDENCE) == set()


def test_every_cause_says_what_to_do() -> None:
    for identifier in cause_ids():
        text = cause(identifier)
        assert text.title and text.why and text.remedy, identifier
        assert text.steps or text.safety == "none", identifier


def test_no_cause_of_a_system_python_depends_on_activation() -> None:
    system = replace(ENVIRONMENT, kind=Kind.SYSTEM)
    bare = lib("libcudnn.so.8", LibraryState.FOUND, without_activation=False)
    assert diagnose(healthy(environment=system, libraries=libraries(bare))).diagnoses == ()
