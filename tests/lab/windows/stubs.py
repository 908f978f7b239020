"""DLLs that carry the name of a CUDA DLL and next to nothing else."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from tests.lab.stubs import ANSWERS
from tests.lab.windows.mingw import compile_windows

__all__ = ["CUDA", "CUDNN", "CUDNN_PARTS", "build_dll"]

#: What TensorFlow 2.5–2.10 opens on Windows, cuDNN apart.
CUDA = (
    "cudart64_110.dll",
    "cublas64_11.dll",
    "cublasLt64_11.dll",
    "cufft64_10.dll",
    "curand64_10.dll",
    "cusolver64_11.dll",
    "cusparse64_11.dll",
)
CUDNN = "cudnn64_8.dll"

#: What cuDNN 8 opens when it is first used; TensorFlow never names these.
CUDNN_PARTS = tuple(
    f"cudnn_{part}_{use}64_8.dll" for part in ("adv", "cnn", "ops") for use in ("infer", "train")
)


@cache
def _dll(stem: str, version: str) -> bytes:
    major, minor, patch = version.split(".")[:3]
    numbers = (f"-DMAJOR={major}", f"-DMINOR={minor}", f"-DPATCH={patch}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stub.c")
        start = "int DllMainCRTStartup(void *m, unsigned r, void *x) { (void)m, (void)r, (void)x;"
        answers = ANSWERS.get(f"lib{stem}", "")
        source.write_text(f"{answers}\n{start} return 1; }}\n", encoding="utf-8")
        return compile_windows(Path(folder, "stub.dll"), "-nostdlib", *numbers, source).read_bytes()


def build_dll(path: Path, version: str | None = None) -> None:
    """Writes a DLL without content; `version` is what cudart's and cuDNN's answer when asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.name.partition("64_")[0]
    default = {"cudart": "11.2.2", "cudnn": "8.1.0"}.get(stem, "0.0.0")
    path.write_bytes(_dll(stem if stem in ("cudart", "cudnn") else "", version or default))
