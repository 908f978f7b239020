"""Small wheels named and laid out like NVIDIA's, with stubs for libraries."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.stubs import build_stub


def stub_wheel(shelf: Path, requirement: str, folder: str, sonames: Sequence[str]) -> Path:
    """Write the wheel for a requirement like "nvidia-cufft-cu11==10.9.0.58" to *shelf*."""
    name, _, version = requirement.partition("==")
    stem = f"{name.replace('-', '_')}-{version}"
    shelf.mkdir(exist_ok=True)
    wheel = shelf / f"{stem}-py3-none-manylinux1_x86_64.whl"
    info = f"{stem}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-manylinux1_x86_64\n",
        "nvidia/__init__.py": "",
        f"nvidia/{folder}/__init__.py": "",
    }
    libraries = [f"nvidia/{folder}/lib/{soname}" for soname in sonames]
    with TemporaryDirectory() as scratch, zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
        for path, soname in zip(libraries, sonames, strict=True):
            build_stub(Path(scratch) / soname, soname)
            archive.write(Path(scratch) / soname, path)
        rows = [f"{path},,\n" for path in (*texts, *libraries, f"{info}/RECORD")]
        archive.writestr(f"{info}/RECORD", "".join(rows))
    return wheel
