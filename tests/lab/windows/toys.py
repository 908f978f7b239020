"""Small wheels that stand in for TensorFlow on Windows where time matters: no import of 12 s."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["toy_shelf", "toy_tensorflow"]

MODULE = Path(__file__).parent / "toy" / "__init__.py"


def toy_tensorflow(shelf: Path, version: str) -> Path:
    """Writes TensorFlow's wheel, or from 2.11 on its two, to the shelf; returns tensorflow's.

    Up to 2.10 a wheel looks for a GPU. From 2.11 on `tensorflow` is empty and needs
    tensorflow-intel, the CPU-only build.
    """
    old = tuple(map(int, version.split(".")[:2])) <= (2, 10)
    code = MODULE.read_text(encoding="utf-8").replace("{version}", version)
    if old:
        return _wheel(shelf, "tensorflow", version, {"tensorflow/__init__.py": code})
    code = code.replace("CUDA_BUILD = True", "CUDA_BUILD = False")
    _wheel(shelf, "tensorflow-intel", version, {"tensorflow/__init__.py": code})
    needs = f'tensorflow-intel=={version}; platform_system == "Windows"'
    return _wheel(shelf, "tensorflow", version, {}, [needs])


def toy_shelf(shelf: Path) -> None:
    """The versions that tests go to and fro between."""
    for version in ("2.9.3", "2.10.0", "2.10.1", "2.11.0", "2.12.0"):
        toy_tensorflow(shelf, version)


def _wheel(
    shelf: Path, name: str, version: str, files: Mapping[str, str], requires: Sequence[str] = ()
) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    shelf.mkdir(parents=True, exist_ok=True)
    wheel = shelf / f"{stem}-cp310-cp310-win_amd64.whl"
    info = f"{stem}.dist-info"
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    texts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: false\n"
        "Tag: cp310-cp310-win_amd64\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
        rows = [f"{path},,\n" for path in (*texts, f"{info}/RECORD")]
        archive.writestr(f"{info}/RECORD", "".join(rows))
    return wheel
