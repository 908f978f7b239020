"""Wheels that the lab downloads, makes smaller, or makes up."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.commands import run_apart
from tests.lab.interpreters import interpreter
from tests.lab.stubs import build_stub

HEADERS = "tensorflow/include/"


def bundled_wheels(version: str) -> list[Path]:
    """pip's wheel, and setuptools' where there is one, which that Python brings for its venvs."""
    python = interpreter(version)
    folder = python.prefix / "lib" / f"python{version}" / "ensurepip" / "_bundled"
    return sorted(folder.glob("*.whl"))


def bundled_pip() -> Path:
    [pip] = [wheel for wheel in bundled_wheels("3.11") if wheel.name.startswith("pip-")]
    return pip


def download(pins: Sequence[str], platform: str, version: str, shelf: Path) -> None:
    """Downloads the wheels of exactly these packages, for a platform as wheels call it."""
    shelf.mkdir(parents=True, exist_ok=True)
    target = ("--platform", platform, "--python-version", version, "--only-binary", ":all:")
    options = ("--no-deps", "--quiet", "--disable-pip-version-check", "--dest", shelf)
    python = interpreter("3.11").executable
    run_apart([python, bundled_pip() / "pip", "download", *target, *options, *pins])


def leave_headers_out(wheel: Path) -> None:
    """Makes TensorFlow's wheel fast to install.

    A third of its files, and four of five on Windows, are C++ headers, which no test needs. The
    rest is stored as it is, so that it need not be inflated again and again.
    """
    slim = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as full, zipfile.ZipFile(slim, "w") as archive:
        for entry in full.infolist():
            if entry.filename.startswith(HEADERS):
                continue
            data = full.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                rows = data.decode().splitlines(keepends=True)
                data = "".join(row for row in rows if not row.startswith(HEADERS)).encode()
            archive.writestr(entry.filename, data)
    slim.replace(wheel)


def stub_wheel(shelf: Path, requirement: str, folder: str, sonames: Sequence[str]) -> Path:
    """Writes a small wheel named and laid out like NVIDIA's, with stubs for libraries.

    *requirement* is like "nvidia-cufft-cu11==10.9.0.58".
    """
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
