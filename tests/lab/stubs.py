"""Shared libraries that carry the name of a CUDA library and next to nothing else.

TensorFlow opens the libraries of its CUDA by soname and lists a GPU once all of them opened; it
asks them for hardly more than a version before a device is created.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["CUDA11", "CUDA12", "build_stub", "compile_library"]

#: (soname, folder that NVIDIA's wheels keep it in) of what TensorFlow 2.5–2.11 opens.
CUDA11 = (
    ("libcudart.so.11.0", "cuda_runtime"),
    ("libcublas.so.11", "cublas"),
    ("libcublasLt.so.11", "cublas"),
    ("libcufft.so.10", "cufft"),
    ("libcurand.so.10", "curand"),
    ("libcusolver.so.11", "cusolver"),
    ("libcusparse.so.11", "cusparse"),
    ("libcudnn.so.8", "cudnn"),
)

#: The same for TensorFlow 2.18–2.21, with the libraries that the CUDA 12 wheels bring besides.
CUDA12 = (
    ("libcudart.so.12", "cuda_runtime"),
    ("libcublas.so.12", "cublas"),
    ("libcublasLt.so.12", "cublas"),
    ("libcufft.so.11", "cufft"),
    ("libcurand.so.10", "curand"),
    ("libcusolver.so.11", "cusolver"),
    ("libcusparse.so.12", "cusparse"),
    ("libcudnn.so.9", "cudnn"),
    ("libnccl.so.2", "nccl"),
    ("libcupti.so.12", "cuda_cupti"),
    ("libnvJitLink.so.12", "nvjitlink"),
    ("libnvrtc.so.12", "cuda_nvrtc"),
)


def compile_library(path: Path, soname: str, *arguments: str) -> None:
    """Links a shared library with gcc; `arguments` are its sources and further options."""
    command = ["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{soname}", "-o", str(path)]
    subprocess.run([*command, *arguments], check=True)


#: What TensorFlow 2.17 and later ask a library about itself. Without an answer they print errors
#: that no real machine prints.
ANSWERS = {
    "libcudart": "int cudaRuntimeGetVersion(int *v) { *v = MAJOR * 1000 + MINOR * 10; return 0; }",
    "libcudnn": (
        "unsigned long cudnnGetVersion(void)"
        " { return MAJOR * (MAJOR < 9 ? 1000 : 10000) + MINOR * 100 + PATCH; }"
        "int cudnnGetProperty(int k, int *v)"
        " { *v = k == 0 ? MAJOR : k == 1 ? MINOR : PATCH; return 0; }"
    ),
}

#: The version that a stub claims unless told otherwise.
VERSIONS = {
    "libcudart.so.11.0": "11.2.2",
    "libcudart.so.12": "12.9.79",
    "libcudnn.so.8": "8.1.0",
    "libcudnn.so.9": "9.28.0",
}


@cache
def _stub(soname: str, version: str) -> bytes:
    major, minor, patch = version.split(".")[:3]
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "stub.c"), Path(folder, "stub.so")
        source.write_text(ANSWERS.get(soname.split(".so")[0], "") + "\n", encoding="utf-8")
        numbers = (f"-DMAJOR={major}", f"-DMINOR={minor}", f"-DPATCH={patch}")
        compile_library(library, soname, "-nostdlib", *numbers, str(source))
        return library.read_bytes()


def build_stub(path: Path, soname: str, version: str | None = None) -> None:
    """Writes a shared library with that soname, which need not be the file's name, and no content.

    `version` is what the stubs of cudart and cuDNN answer when asked for theirs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_stub(soname, version or VERSIONS.get(soname, "0.0.0")))
    path.chmod(0o755)
