"""Native Windows: one change to a healthy snapshot each, and what is concluded from it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.windows_snapshots import (
    BIN,
    CONDA,
    CUDNN,
    ENVIRONMENT,
    FOREIGN,
    HOST,
    NAMES,
    NOT_IMPORTED,
    PREFIX,
    ROOT,
    SEES,
    SEES_NONE,
    SESSION,
    SITE,
    activation,
    bat,
    blind,
    dist,
    dll,
    dlls,
    healthy,
    hooks,
    packages,
    upgraded,
)
from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.model import (
    Activation,
    Compute,
    CondaPackage,
    Depth,
    HookScript,
    Kind,
    LibraryState,
    Outcome,
    Packages,
    Report,
    Role,
    Snapshot,
    Verdict,
)

HERE = ENVIRONMENT
UNREACHABLE = tuple(dll(n, LibraryState.UNREACHABLE) for n in NAMES)
MISSING = tuple(dll(n, LibraryState.MISSING) for n in NAMES)
OTHER = rf"C:\bad\{CUDNN}"
HIDDEN = dll(CUDNN, LibraryState.HIDDEN, path=OTHER, candidates=(rf"{BIN}\{CUDNN}", OTHER))
IN_FRONT = dll(
    CUDNN, path=rf"{FOREIGN}\{CUDNN}", candidates=(rf"{BIN}\{CUDNN}", rf"{FOREIGN}\{CUDNN}")
)
WHEEL = rf"{SITE}\nvidia\cudnn\bin\{CUDNN}"
ZLIB = dll("zlibwapi.dll", LibraryState.MISSING)
CUDNN_89 = replace(CONDA, packages=(CondaPackage("cudnn", "8.9.2.26", "h_0"), *CONDA.packages[::2]))
USER = dist("tensorflow", "2.12.0", in_user_site=True, folder=HERE.user_site)
MISMATCH = "E cuda_dnn.cc:378] Loaded runtime CuDNN library: 8.0.5 but source was compiled with: "
NOT_LOADED = "W dso_loader.cc:64] Could not load dynamic library '{0}'; dlerror: {0} not found"


def on(python: str, **facts: Any) -> dict[str, Any]:
    return {"environment": replace(HERE, python_version=python, **facts)}


def import_error(error: str) -> dict[str, Any]:
    return {"tensorflow": replace(NOT_IMPORTED, error_type="ImportError", error=error)}


# what is wrong -> snapshot, primary cause
BROKEN: dict[str, tuple[Snapshot, str]] = {
    "2.12": (upgraded(), "windows-native-tf-ge-2.11"),
    "2.18.1, which brings no tensorflow-intel": (
        upgraded("2.18.1", packages=packages("2.18.1")),
        "windows-native-tf-ge-2.11",
    ),
    "2.12, whose files pip took away with those of 2.10": (
        upgraded(**import_error("module 'tensorflow' has no attribute 'test'")),
        "windows-native-tf-ge-2.11",
    ),
    "2.12 beside NumPy 2": (
        upgraded(
            packages=packages("2.12.0", related=(dist("numpy", "2.1.0"),)),
            **import_error("_ARRAY_API not found"),
        ),
        "windows-native-tf-ge-2.11",
    ),
    "2.12, and no card": (
        upgraded(
            host=replace(HOST, nvidia_devices=0),
            driver=replace(healthy().driver, nvml_error=12, version=None, gpus=None, files=()),
        ),
        "no-nvidia-gpu",
    ),
    "2.12, not asked": (upgraded(tensorflow=None), "windows-native-tf-ge-2.11"),
    "2.12 in an environment with Python 3.11": (
        upgraded(**on("3.11")),
        "windows-native-tf-ge-2.11",
    ),
    "no TensorFlow, and none with a GPU for this Python": (
        healthy(packages=Packages(), tensorflow=None, libraries=None, **on("3.11")),
        "tensorflow-missing",
    ),
    "tensorflow-cpu 2.10": (
        blind(packages=Packages(tensorflow=(dist("tensorflow-cpu", "2.10.1"),))),
        "cpu-only-build",
    ),
    "conda's build of 2.10": (
        blind(
            packages=Packages(tensorflow=(dist("tensorflow", "2.10.0", installer="conda"),)),
            conda=replace(
                CONDA, packages=(CondaPackage("tensorflow-base", "2.10.0", "mkl_py310h1_0"),)
            ),
        ),
        "cpu-only-build",
    ),
    "another in the user site": (
        blind(
            packages=Packages(tensorflow=(USER, dist("tensorflow", "2.10.1"))),
            tensorflow=replace(SEES_NONE, version="2.12.0"),
        ),
        "multiple-tensorflow-shadowing",
    ),
    "no CUDA": (blind(libraries=dlls(*MISSING)), "cuda-runtime-missing"),
    "CUDA 10 instead of 11": (
        blind(
            libraries=dlls(
                *(replace(x, relatives=(x.soname.replace("64_11", "64_10"),)) for x in MISSING)
            )
        ),
        "cuda-toolkit-version-mismatch",
    ),
    "no cuDNN": (blind(libraries=dlls(dll(CUDNN, LibraryState.MISSING))), "cudnn-missing"),
    "no cuFFT": (
        blind(libraries=dlls(dll("cufft64_10.dll", LibraryState.MISSING))),
        "cuda-libs-incomplete-or-mixed",
    ),
    "an empty DLL": (
        blind(libraries=dlls(dll(CUDNN, LibraryState.DAMAGED))),
        "cuda-library-damaged",
    ),
    "a DLL that TensorFlow itself could not open": (
        blind(
            libraries=dlls(dll(CUDNN, candidates=())),
            tensorflow=replace(SEES_NONE, log=(NOT_LOADED.format(CUDNN),)),
        ),
        "cudnn-missing",
    ),
    "DLLs that no searched folder holds": (
        blind(libraries=dlls(*UNREACHABLE), **on("3.10", kind=Kind.VENV)),
        "windows-dll-dir-not-searched",
    ),
    "Python from the Microsoft Store": (
        blind(libraries=dlls(*UNREACHABLE), **on("3.10", kind=Kind.SYSTEM, packaged_python=True)),
        "windows-dll-dir-not-searched",
    ),
    "wheels": (
        blind(
            libraries=dlls(dll(CUDNN, LibraryState.UNREACHABLE, candidates=(WHEEL,))),
        ),
        "windows-dll-dir-not-searched",
    ),
    "a hook that replaces PATH": (
        blind(
            hooks=hooks(bat(loader_path="overwrites"), activation=activation(SESSION)),
            libraries=dlls(*UNREACHABLE),
        ),
        "activate-hook-harmful",
    ),
    "a hook that takes the folder off PATH, nobody sees how": (
        blind(hooks=hooks(bat(), activation=activation(SESSION)), libraries=dlls(*UNREACHABLE)),
        "activate-hook-harmful",
    ),
    "a hook that fails": (
        blind(
            hooks=hooks(
                bat(),
                activation=Activation(
                    Outcome.FAILED,
                    base={"PATH": SESSION},
                    failed_script=str(bat().path),
                    messages=("The system cannot find the path specified.",),
                ),
            ),
            libraries=dlls(*UNREACHABLE),
        ),
        "activate-hook-broken",
    ),
    "a hook in UTF-16": (
        blind(
            hooks=hooks(bat(problems=("is UTF-16",)), activation=activation(SESSION)),
            libraries=dlls(*UNREACHABLE),
        ),
        "activate-hook-broken",
    ),
    "a hook that puts a broken DLL in front": (
        blind(
            hooks=hooks(
                bat(folders=(r"c:\BAD",)), activation=activation(rf"C:\bad;{BIN};{SESSION}")
            ),
            libraries=dlls(HIDDEN),
        ),
        "activate-hook-harmful",
    ),
    "a broken DLL in front, by the session": (
        blind(
            hooks=hooks(activation=replace(activation(), base={"PATH": rf"C:\bad;{SESSION}"})),
            libraries=dlls(HIDDEN),
        ),
        "ld-library-path-broken",
    ),
    "no driver": (
        blind(
            driver=replace(healthy().driver, nvml_error=12, version=None, gpus=None, files=()),
            libraries=dlls(libcuda="not found", cuinit=None),
        ),
        "nvidia-driver-missing",
    ),
    "no Visual C++ runtime": (
        healthy(**import_error("Could not find the DLL(s) 'msvcp140.dll or msvcp140_1.dll'.")),
        "msvc-runtime-missing",
    ),
    "no Visual C++ runtime, in Spanish": (
        healthy(
            **import_error(
                "DLL load failed while importing _pywrap_tensorflow_internal: No se puede "
                "encontrar el módulo especificado."
            )
        ),
        "msvc-runtime-missing",
    ),
    "a processor without AVX": (
        healthy(
            host=replace(HOST, avx=False),
            **import_error(
                "DLL load failed while importing _pywrap_tensorflow_internal: Error en una "
                "rutina de inicialización de biblioteca de vínculos dinámicos (DLL)."
            ),
        ),
        "cpu-lacks-avx",
    ),
    "cuDNN without its helper, and nothing computes": (
        healthy(
            conda=CUDNN_89,
            libraries=dlls(ZLIB),
            compute=Compute(Outcome.CRASHED, driver_kernel=True, matmul=True, error="ended"),
        ),
        "zlibwapi-missing",
    ),
    "a cuDNN that TensorFlow refuses, and nothing computes": (
        healthy(
            compute=Compute(Outcome.COMPLETED, driver_kernel=True, error="no algorithm worked")
        ),
        "gpu-cannot-compute",
    ),
    "nothing that anybody knows": (blind(), "gpu-not-visible"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(name: str) -> None:
    snapshot, expected = BROKEN[name]
    report = diagnose(snapshot)
    assert report.verdict is Verdict.BROKEN
    assert report.primary is not None and report.primary.cause == expected
    assert report.primary.evidence and all(report.primary.evidence)


def test_what_is_healthy_is_healthy() -> None:
    report = diagnose(healthy())
    assert (report.verdict, report.diagnoses) == (Verdict.OK, ())


def named(report: Report) -> dict[str, Role]:
    return {d.cause: d.role for d in report.diagnoses}


def test_what_came_with_tensorflow_is_named() -> None:
    report = diagnose(upgraded())
    assert report.primary is not None
    text = "\n".join(report.primary.evidence)
    assert "tensorflow-intel 2.12.0 came with it" in text
    assert "pip was asked for tensorflow by name" in text
    assert named(report) == {"windows-native-tf-ge-2.11": Role.PRIMARY}, "the two belong together"


def test_two_tensorflows_that_do_not_belong_together_are_named() -> None:
    snapshot = healthy(packages=packages("2.10.1", ("tensorflow-intel", "2.12.0")))
    assert "multiple-tensorflow-shadowing" in named(diagnose(snapshot))


def test_a_python_without_such_a_tensorflow_leads_to_a_new_environment() -> None:
    report = diagnose(upgraded(**on("3.11")))
    assert named(report)["python-version-unsupported"] is Role.CONTRIBUTING
    (python,) = [d for d in report.diagnoses if d.cause == "python-version-unsupported"]
    assert python.summary == "No TensorFlow with a GPU exists for this Python"
    assert f'tfgpu-tray install --env "{PREFIX}-gpu"' in python.remedy.steps[0]
    root = diagnose(upgraded(**on("3.12", prefix=Path(ROOT))))
    (python,) = [d for d in root.diagnoses if d.cause == "python-version-unsupported"]
    assert "tf-gpu" in python.remedy.steps[0] and "miniconda3-gpu" not in python.remedy.steps[0]


# ---- both ways ---------------------------------------------------------------------------------


def test_for_a_newer_tensorflow_there_are_two_ways_each_with_its_price() -> None:
    report = diagnose(upgraded(host=replace(HOST, wsl_installed=False, wsl_distributions=())))
    assert report.primary is not None
    back, inside = report.primary.remedy.ways
    assert back.title == "Back to TensorFlow 2.10.1" and back.steps == ()
    assert "Python 3.7 to 3.10 (here it is 3.10)" in back.costs and "456 MB" in back.costs
    assert "CUDA and cuDNN are there" in back.costs and "no restart" in back.costs
    assert "WSL 2" in inside.title and "restart" in inside.costs and inside.steps
    text = "\n".join(report.primary.remedy.steps)
    assert 'install "tensorflow==2.10.1" "numpy<2"' in text
    assert "cudatoolkit=11.2 cudnn=8.1.0" in text


def test_what_the_way_back_costs_depends_on_the_environment() -> None:
    report = diagnose(upgraded(conda=None, **on("3.11", kind=Kind.VENV)))
    assert report.primary is not None
    back = report.primary.remedy.ways[0]
    assert "a new environment: here it is 3.11" in back.costs and "over 1 GB more" in back.costs


def test_an_old_windows_closes_the_way_into_wsl_and_not_the_way_back() -> None:
    old = replace(HOST, windows_build=18363)
    report = diagnose(upgraded(host=old))
    assert report.primary is not None
    back, inside = report.primary.remedy.ways
    assert "18363" in inside.costs and "not possible" in inside.costs and not inside.steps
    assert "not possible" not in back.costs
    assert diagnose(healthy(host=old)).verdict is Verdict.OK, "the native path needs no such build"


# ---- blemishes and remarks ---------------------------------------------------------------------


def test_a_foreign_cudnn_is_a_blemish_while_the_gpu_is_listed() -> None:
    front = activation(rf"{FOREIGN};{BIN};{SESSION}")
    snapshot = healthy(
        libraries=dlls(IN_FRONT), hooks=hooks(bat(folders=(FOREIGN,)), activation=front)
    )
    report = diagnose(snapshot)
    assert report.verdict is Verdict.DEGRADED
    assert named(report) == {"cudnn-version-mismatch": Role.CONTRIBUTING}
    text = "\n".join(report.diagnoses[0].evidence)
    assert rf"{FOREIGN}\{CUDNN} is loaded instead of {BIN}\{CUDNN}" in text
    assert "env_vars.bat puts" in text


def test_a_foreign_cudnn_that_tensorflow_refuses_is_the_cause() -> None:
    snapshot = blind(
        libraries=dlls(IN_FRONT), tensorflow=replace(SEES_NONE, log=(f"{MISMATCH}8.1.0.",))
    )
    report = diagnose(snapshot)
    assert report.primary is not None and report.primary.cause == "cudnn-version-mismatch"


def test_cuda_from_a_toolkit_alone_is_not_foreign() -> None:
    elsewhere = dll(CUDNN, path=rf"{FOREIGN}\{CUDNN}", candidates=(rf"{FOREIGN}\{CUDNN}",))
    assert diagnose(healthy(libraries=dlls(elsewhere))).verdict is Verdict.OK
    upper = dll(CUDNN, path=rf"{BIN}\{CUDNN}".upper())
    assert diagnose(healthy(libraries=dlls(upper))).verdict is Verdict.OK, "case says nothing"


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"conda": CUDNN_89}, {"zlibwapi-missing": Role.CONTRIBUTING}),
        ({}, {}),  # cuDNN 8.1 needs no helper
        (
            {
                "libraries": dlls(ZLIB, dll(CUDNN, path=WHEEL, candidates=(WHEEL,))),
                "packages": packages(related=(dist("nvidia-cudnn-cu11", "8.9.5.29"),)),
            },
            {"zlibwapi-missing": Role.CONTRIBUTING},
        ),
    ],
)
def test_a_cudnn_that_needs_its_helper(changes: dict[str, Any], expected: dict[str, Role]) -> None:
    assert named(diagnose(healthy(**({"libraries": dlls(ZLIB)} | changes)))) == expected


def test_the_helper_of_cudnn_is_no_library_of_tensorflow() -> None:
    assert diagnose(blind(libraries=dlls(ZLIB))).primary is not None
    assert "cuda-libs-incomplete-or-mixed" not in named(diagnose(blind(libraries=dlls(ZLIB))))


def test_what_is_seen_only_in_an_activated_shell_is_said() -> None:
    report = diagnose(healthy(libraries=dlls(dll(CUDNN, without_activation=False))))
    assert report.verdict is Verdict.OK
    assert named(report) == {"visible-only-when-activated": Role.POSSIBLE}


STRAY = HookScript(
    Path(r"C:\etc\conda\activate.d\env_vars.sh"),
    "posix",
    problems=("lies at the drive's root, where conda never reads it", "is UTF-16"),
    stray=True,
)


def test_a_stray_hook_is_a_remark_and_no_broken_hook() -> None:
    report = diagnose(healthy(hooks=hooks(STRAY, bat())))
    assert report.verdict is Verdict.OK
    assert named(report) == {"stray-activation-hook": Role.POSSIBLE}
    assert r"C:\etc\conda\activate.d\env_vars.sh" in report.diagnoses[0].remedy.steps[0]
    assert len(report.diagnoses[0].evidence) == 2


def test_hooks_of_other_shells_count_for_nothing() -> None:
    posix = HookScript(
        Path(rf"{PREFIX}\etc\conda\activate.d\env_vars.sh"),
        "posix",
        loader_path="overwrites",
        problems=("has Windows line ends",),
    )
    assert named(diagnose(healthy(hooks=hooks(posix)))) == {}
    assert "activate-hook-harmful" not in named(
        diagnose(blind(hooks=hooks(posix), libraries=dlls(*UNREACHABLE)))
    )


def test_a_configured_range_holds_on_windows_too() -> None:
    snapshot = blind(libraries=dlls(*MISSING), **on("3.10", pin="==2.9.*"))
    assert "tensorflow-outside-pin" in named(diagnose(snapshot))
    assert "tensorflow-outside-pin" not in named(diagnose(upgraded()))


# ---- the words ---------------------------------------------------------------------------------

OF_LINUX = re.compile(
    r"\b(sudo|apt|modprobe|dkms|unset|grep|LD_LIBRARY_PATH|ldconfig|ln -s)\b|\$|/etc"
)


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_of_linux_is_advised_on_windows(name: str) -> None:
    for found in diagnose(BROKEN[name][0]).diagnoses:
        text = "\n".join((found.summary, *found.evidence, *found.remedy.steps))
        assert not OF_LINUX.search(text.replace("conda env config vars unset", "")), text
        assert "<hook>" not in text and "{" not in text


def test_paths_are_quoted_as_windows_reads_them() -> None:
    report = diagnose(blind(libraries=dlls(*MISSING)))
    assert report.primary is not None
    assert f'conda install -p "{PREFIX}" -c conda-forge' in report.primary.remedy.steps[0]
    odd = replace(HERE, prefix=Path(r"C:\R&D\tf"), python=Path(r"C:\plain\python.exe"))
    report = diagnose(blind(libraries=dlls(*MISSING), environment=odd))
    assert report.primary is not None
    assert r'-p "C:\R&D\tf"' in report.primary.remedy.steps[0]
    assert r"Run `C:\plain\python.exe -m pip" in report.primary.remedy.steps[1] or (
        r"`C:\plain\python.exe -m pip" in report.primary.remedy.steps[1]
    )


@pytest.mark.parametrize("name", ["nvinfer.dll", "cupti64_112.dll", "nvcuda.dll"])
def test_what_tensorflow_can_do_without_is_no_missing_library(name: str) -> None:
    report = diagnose(healthy(tensorflow=replace(SEES, log=(NOT_LOADED.format(name),))))
    assert report.diagnoses == ()


def test_a_look_at_files_alone_says_the_same() -> None:
    shallow = upgraded(depth=Depth.STATIC, tensorflow=None)
    assert named(diagnose(shallow)) == {"windows-native-tf-ge-2.11": Role.PRIMARY}
    assert SEES.version == "2.10.1"
