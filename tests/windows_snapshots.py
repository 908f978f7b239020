"""A healthy snapshot of native Windows, and ways to change one thing of it; made on any system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.snapshots import BLIND, DRIVER, GPU, SEES_GPU
from tfgpu_tray.model import (
    Activation,
    Conda,
    CondaPackage,
    Depth,
    Distribution,
    Environment,
    Hooks,
    HookScript,
    Host,
    Kind,
    Libraries,
    Library,
    LibraryState,
    Outcome,
    Packages,
    Snapshot,
)

ROOT = r"C:\Users\王 小明\miniconda3"
PREFIX = rf"{ROOT}\envs\tf"
SITE = rf"{PREFIX}\Lib\site-packages"
BIN = rf"{PREFIX}\Library\bin"
FOREIGN = r"C:\Program Files\NVIDIA GPU Computing Toolkit\CUDA\v11.8\bin"
SESSION = r"C:\Windows\System32;C:\Windows"
CUDNN = "cudnn64_8.dll"
NAMES = (
    "cudart64_110.dll",
    "cublas64_11.dll",
    "cublasLt64_11.dll",
    "cufft64_10.dll",
    "curand64_10.dll",
    "cusolver64_11.dll",
    "cusparse64_11.dll",
    CUDNN,
)
HOST = Host(
    system="windows",
    architecture="x86_64",
    release="Windows 11 Pro 23H2 (22631.4317)",
    windows_build=22631,
    nvidia_devices=1,
    avx=True,
    reboot_pending=(),
)
WINDOWS_DRIVER = replace(
    DRIVER, version="531.79", kernel_module=None, library_version="531.79", gpus=(GPU,)
)
ENVIRONMENT = Environment(
    prefix=Path(PREFIX),
    kind=Kind.CONDA,
    python=Path(rf"{PREFIX}\python.exe"),
    python_version="3.10",
    site_packages=Path(SITE),
    user_site=Path(r"C:\Users\王 小明\AppData\Roaming\Python\Python310\site-packages"),
)
SEES = replace(SEES_GPU, file=rf"{SITE}\tensorflow\__init__.py", build_cuda="64_112")
SEES_NONE = replace(SEES, gpus=(), capabilities=())
NOT_IMPORTED = replace(
    BLIND, outcome=Outcome.FAILED, stage="import", version=None, file=None, gpus=None
)
CONDA = Conda(
    packages=(
        CondaPackage("cudatoolkit", "11.2.2", "h933977f_10"),
        CondaPackage("cudnn", "8.1.0.77", "h3e0f4f4_0"),
        CondaPackage("python", "3.10.13", "h4de0772_0"),
    )
)


def dist(name: str, version: str, **facts: Any) -> Distribution:
    plain: dict[str, Any] = {"folder": Path(SITE), "installer": "pip"}
    return Distribution(name, version, **(plain | facts))


def packages(version: str = "2.10.1", *others: tuple[str, str], **facts: Any) -> Packages:
    """TensorFlow of that version, asked for by name, and *others* that provide it too."""
    found = (dist("tensorflow", version, requested=True), *(dist(n, v) for n, v in others))
    plain = Packages(
        tensorflow=found, related=(dist("numpy", "1.26.4"), dist("protobuf", "3.19.6")), count=40
    )
    return replace(plain, **facts)


def dll(name: str, state: LibraryState = LibraryState.FOUND, **facts: Any) -> Library:
    path = rf"{BIN}\{name}"
    plain: dict[str, Any] = {"path": path, "candidates": (path,), "without_activation": True}
    if state in (LibraryState.MISSING, LibraryState.UNREACHABLE):
        plain |= {"path": None, "without_activation": False}
    if state is LibraryState.MISSING:
        plain["candidates"] = ()
    return Library(name, state, **(plain | facts))


def dlls(*changed: Library, names: tuple[str, ...] = NAMES, **facts: Any) -> Libraries:
    """Every DLL found in Library\\bin, apart from those *changed*."""
    by_name = {library.soname: library for library in changed}
    every = [by_name.pop(name, dll(name)) for name in names]
    said: dict[str, Any] = {"libcuda": "", "cuinit": 0} | facts
    return Libraries("loaded", Outcome.COMPLETED, (*every, *by_name.values()), **said)


def activation(path: str = rf"{PREFIX};{BIN};{SESSION}", **facts: Any) -> Activation:
    environ = {"PATH": path, "CONDA_PREFIX": PREFIX, **facts.pop("variables", {})}
    plain = Activation(Outcome.COMPLETED, environ=environ, base={"PATH": SESSION})
    return replace(plain, **facts)


def bat(name: str = "env_vars.bat", **facts: Any) -> HookScript:
    return HookScript(Path(rf"{PREFIX}\etc\conda\activate.d\{name}"), "cmd", **facts)


def hooks(*scripts: HookScript, **facts: Any) -> Hooks:
    return Hooks(scripts=scripts, **({"activation": activation()} | facts))


def healthy(**changes: Any) -> Snapshot:
    """TensorFlow 2.10.1 by pip with conda's CUDA 11.2, which sees one GPU."""
    snapshot = Snapshot(
        depth=Depth.TENSORFLOW,
        host=HOST,
        driver=WINDOWS_DRIVER,
        environment=ENVIRONMENT,
        fingerprint="0123456789abcdef",
        packages=packages(),
        conda=CONDA,
        hooks=hooks(),
        libraries=dlls(),
        tensorflow=SEES,
    )
    return replace(snapshot, **changes)


def blind(**changes: Any) -> Snapshot:
    """TensorFlow imports and lists no GPU."""
    return healthy(**({"tensorflow": SEES_NONE} | changes))


def upgraded(version: str = "2.12.0", **changes: Any) -> Snapshot:
    """After `pip install tensorflow==2.12`: a build without GPU support."""
    facts: dict[str, Any] = {
        "packages": packages(version, ("tensorflow-intel", version)),
        "tensorflow": replace(SEES_NONE, version=version, cuda_build=False),
        "libraries": None,
    }
    related = (dist("numpy", "1.23.5"), dist("protobuf", "4.25.3"), dist("keras", "2.12.0"))
    facts["packages"] = replace(facts["packages"], related=related)
    return healthy(**(facts | changes))
