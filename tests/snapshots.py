"""A healthy snapshot, and ways to change one thing of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfgpu_tray.model import (
    Activation,
    Conda,
    CondaPackage,
    Depth,
    Distribution,
    Driver,
    Environment,
    Gpu,
    Hooks,
    Host,
    Kind,
    Libraries,
    Library,
    LibraryState,
    Outcome,
    Packages,
    Snapshot,
    TensorFlow,
)
from tfgpu_tray.observe.look import Observer

PREFIX = Path("/home/me/miniforge3/envs/tf")
SITE = PREFIX / "lib" / "python3.10" / "site-packages"
SONAMES = (
    "libcudart.so.11.0",
    "libcublas.so.11",
    "libcublasLt.so.11",
    "libcufft.so.10",
    "libcurand.so.10",
    "libcusolver.so.11",
    "libcusparse.so.11",
    "libcudnn.so.8",
)
HOST = Host(
    system="linux",
    architecture="x86_64",
    release="Ubuntu 22.04.5 LTS",
    kernel="6.8.0",
    glibc="2.35",
    nvidia_devices=1,
    avx=True,
)
GPU = Gpu(0, "NVIDIA GeForce RTX 3080", "8.6", 10240, 9000)
DRIVER = Driver(
    probe=Outcome.COMPLETED,
    version="535.183.01",
    kernel_module="535.183.01",
    library_version="535.183.01",
    cuda="12.2",
    gpus=(GPU,),
)
ENVIRONMENT = Environment(
    prefix=PREFIX,
    kind=Kind.CONDA,
    python=PREFIX / "bin" / "python",
    python_version="3.10",
    site_packages=SITE,
    user_site=Path("/home/me/.local/lib/python3.10/site-packages"),
)
SEES_GPU = TensorFlow(
    Outcome.COMPLETED,
    stage="done",
    version="2.10.1",
    file=str(SITE / "tensorflow" / "__init__.py"),
    cuda_build=True,
    build_cuda="11.2",
    build_cudnn="8",
    gpus=("/physical_device:GPU:0",),
    capabilities=("8.6",),
)
BLIND = replace(SEES_GPU, gpus=(), capabilities=())


def dist(name: str, version: str, **changes: Any) -> Distribution:
    return Distribution(name, version, folder=SITE, installer="pip", **changes)


def found(soname: str) -> Library:
    path = str(PREFIX / "lib" / soname)
    return Library(soname, LibraryState.FOUND, path, (path,), without_activation=True)


def libraries(*changed: Library, sonames: tuple[str, ...] = SONAMES, **facts: Any) -> Libraries:
    """Every library found, apart from those *changed*."""
    by_name = {library.soname: library for library in changed}
    said: dict[str, Any] = {"libcuda": "", "cuinit": 0} | facts
    return Libraries(
        "loaded",
        said.pop("outcome", Outcome.COMPLETED),
        tuple(by_name.get(name) or found(name) for name in sonames),
        **said,
    )


def activation(**variables: str) -> Activation:
    environ = {"PATH": f"{PREFIX}/bin:/usr/bin", "CONDA_PREFIX": str(PREFIX), **variables}
    return Activation(Outcome.COMPLETED, environ=environ, base={"PATH": "/usr/bin"})


CONDA = Conda(
    packages=(
        CondaPackage("cudatoolkit", "11.2.2", "hbe64b41_10"),
        CondaPackage("cudnn", "8.1.0.77", "h90431f1_0"),
        CondaPackage("python", "3.10.13", "hd12c33a_0"),
    )
)


def healthy(**changes: Any) -> Snapshot:
    """TensorFlow 2.10.1 by pip with conda's CUDA 11.2, which sees one GPU."""
    snapshot = Snapshot(
        depth=Depth.TENSORFLOW,
        host=HOST,
        driver=DRIVER,
        environment=ENVIRONMENT,
        fingerprint="0123456789abcdef",
        packages=Packages(
            tensorflow=(dist("tensorflow", "2.10.1"),),
            related=(dist("numpy", "1.26.4"), dist("protobuf", "3.19.6"), dist("keras", "2.10.0")),
            count=40,
        ),
        conda=CONDA,
        hooks=Hooks(activation=activation(LD_LIBRARY_PATH=f"{PREFIX}/lib")),
        libraries=libraries(),
        tensorflow=SEES_GPU,
    )
    return replace(snapshot, **changes)


def empty(environment: Environment = ENVIRONMENT, **changes: Any) -> Snapshot:
    """An environment without TensorFlow, looked at as deep as that goes."""
    plain: dict[str, Any] = {
        "environment": environment,
        "packages": Packages(),
        "conda": None,
        "libraries": None,
        "tensorflow": None,
        "hooks": Hooks(activation=activation()),
    }
    return healthy(**(plain | changes))


def tensorflow_is(version: str, name: str = "tensorflow", **changes: Any) -> dict[str, Any]:
    """Changes for a snapshot with another TensorFlow, not asked."""
    packages = Packages(tensorflow=(dist(name, version, **changes),), count=40)
    return {"packages": packages, "tensorflow": None, "libraries": None}


def moved(snapshot: Snapshot, environment: Environment, depth: Depth) -> Snapshot:
    """The same, seen in another environment."""
    answer = snapshot.tensorflow and replace(snapshot.tensorflow, file=None)
    return replace(snapshot, environment=environment, depth=depth, tensorflow=answer)


@dataclass(frozen=True, slots=True)
class FakeObserver(Observer):
    """Sees the same in every environment: *seen*, or what its last call left there."""

    seen: tuple[Snapshot, ...] = ()
    looks: Any = None  # a list that takes (prefix, depth) of every look

    def machine(self, depth: Depth) -> tuple[Host, Driver]:
        return self.seen[0].host, self.seen[0].driver

    def fingerprint(self, environment: Environment) -> str:
        return self.seen[0].fingerprint

    def look(self, environment: Environment, depth: Depth, host: Host, driver: Driver) -> Snapshot:
        if self.looks is not None:
            self.looks.append((environment.prefix, depth))
        place = min(len(self.looks or [1]), len(self.seen)) - 1
        return moved(self.seen[place], environment, depth)


class ObserverFailed(Exception):
    """What a failing observer raises; no part of the program knows it."""


@dataclass(frozen=True, slots=True)
class FailingObserver(FakeObserver):
    """Its looks end in a bug."""

    def look(self, environment: Environment, depth: Depth, host: Host, driver: Driver) -> Snapshot:
        raise ObserverFailed("the observer has a bug")
