"""How the environments that the lab clones are made: by real pip and the stand-in for conda."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.commands import run_apart
from tests.lab.interpreters import Interpreter
from tests.lab.stubs import CUDA12, build_stub

__all__ = [
    "HOOK",
    "NVIDIA_WHEELS",
    "TF_210",
    "TF_221",
    "article",
    "bare_conda",
    "bare_venv",
    "tf221",
    "tf221_conda",
]

TF_210 = ("tensorflow==2.10.1", "numpy<2")
TF_221 = ("tensorflow==2.21.0",)

#: The article's hook, word for word.
HOOK = "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$CONDA_PREFIX/lib/\n"

#: What pip resolved for tensorflow[and-cuda] 2.21.0 on 2026-11-23.
NVIDIA_WHEELS = {
    "nvidia-cublas-cu12": "12.9.3.13",
    "nvidia-cuda-cupti-cu12": "12.9.79",
    "nvidia-cuda-nvcc-cu12": "12.9.86",
    "nvidia-cuda-nvrtc-cu12": "12.9.86",
    "nvidia-cuda-runtime-cu12": "12.9.79",
    "nvidia-cudnn-cu12": "9.28.0.42",
    "nvidia-cufft-cu12": "11.4.1.4",
    "nvidia-curand-cu12": "10.3.10.19",
    "nvidia-cusolver-cu12": "11.7.5.82",
    "nvidia-cusparse-cu12": "12.5.10.65",
    "nvidia-nccl-cu12": "2.32.3",
    "nvidia-nvjitlink-cu12": "12.9.86",
}


def _conda(conda: Path, *arguments: str | Path) -> None:
    # a home of its own: the golden environments are not among the user's
    with tempfile.TemporaryDirectory() as home:
        run_apart([conda, *arguments, "--json", "-y"], HOME=home)


def _pip_install(prefix: Path, requirements: Sequence[str], *more: str | Path) -> None:
    options = ("--no-input", "--disable-pip-version-check", "--quiet", *more)
    run_apart([prefix / "bin" / "python", "-m", "pip", "install", *options, *requirements])


def bare_conda(prefix: Path, conda: Path) -> None:
    """A conda environment with Python 3.10 and its pip."""
    _conda(conda, "create", "-p", prefix, "-c", "conda-forge", "python=3.10")


def article(prefix: Path, conda: Path, shelf: Path) -> None:
    """The environment that the article ends with, its TensorFlow from *shelf*."""
    bare_conda(prefix, conda)
    wanted = ("cudatoolkit=11.2", "cudnn=8.1.0")
    _conda(conda, "install", "-p", prefix, "-c", "conda-forge", *wanted)
    _pip_install(prefix, TF_210, "--find-links", shelf)
    hook = prefix / "etc" / "conda" / "activate.d" / "env_vars.sh"
    hook.parent.mkdir(parents=True)
    hook.write_text(HOOK, encoding="utf-8")


def bare_venv(prefix: Path, python: Interpreter) -> None:
    """A venv with nothing but pip (and setuptools where this Python brings it)."""
    run_apart([python.executable, "-m", "venv", prefix])


def tf221(prefix: Path, python: Interpreter) -> None:
    """A venv with TensorFlow 2.21.0 and stubs where tensorflow[and-cuda] has NVIDIA's wheels."""
    bare_venv(prefix, python)
    _and_cuda(prefix)


def tf221_conda(prefix: Path, conda: Path) -> None:
    """The same in a conda environment, which has hooks."""
    bare_conda(prefix, conda)
    _and_cuda(prefix)


def _and_cuda(prefix: Path) -> None:
    _pip_install(prefix, TF_221)
    [site] = prefix.glob("lib/python3*/site-packages")
    for name, version in NVIDIA_WHEELS.items():
        _nvidia_wheel(site, name, version)


def _nvidia_wheel(site: Path, name: str, version: str) -> None:
    """Puts stubs where the wheel has its libraries, with a dist-info as pip writes it."""
    package = name.removeprefix("nvidia-").removesuffix("-cu12").replace("-", "_")
    files = [site / "nvidia" / "__init__.py", site / "nvidia" / package / "__init__.py"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for soname, folder in CUDA12:
        if folder == package:
            library = site / "nvidia" / package / "lib" / soname
            build_stub(library, soname)
            files.append(library)
    if package == "cuda_nvcc":
        bitcode = site / "nvidia" / package / "nvvm" / "libdevice" / "libdevice.10.bc"
        bitcode.parent.mkdir(parents=True)
        bitcode.write_bytes(b"BC\xc0\xde")
        files.append(bitcode)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-manylinux2014_x86_64\n",
        "INSTALLER": "pip\n",
        "REQUESTED": "",
    }
    for title, text in texts.items():
        (info / title).write_text(text, encoding="utf-8")
        files.append(info / title)
    rows = [_record_row(file, site) for file in files]
    rows.append(f"{info.name}/RECORD,,\n")
    (info / "RECORD").write_text("".join(rows), encoding="utf-8")


def _record_row(file: Path, site: Path) -> str:
    data = file.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{file.relative_to(site).as_posix()},sha256={digest},{len(data)}\n"
