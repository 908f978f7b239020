"""Small wheels that stand in for TensorFlow where time matters: real pip, a second, no gigabyte."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

MODULE = """
__version__ = "{version}"


class _Device:
    name = "/physical_device:GPU:0"


class config:
    @staticmethod
    def list_physical_devices(kind):
        return [_Device()] if {gpu} and kind == "GPU" else []


class test:
    @staticmethod
    def is_built_with_cuda():
        return True
"""


def toy_wheel(
    shelf: Path,
    version: str,
    *,
    gpu: bool,
    files: int = 0,
    requires: Sequence[str] = (),
    name: str = "tensorflow",
) -> Path:
    """Write a wheel to *shelf* whose package lists one GPU or none when it is asked.

    *files* more modules make its installation last: about a second for 2,000.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    shelf.mkdir(parents=True, exist_ok=True)
    wheel = shelf / f"{stem}-py3-none-any.whl"
    package = name.replace("-", "_")
    info = f"{stem}.dist-info"
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    texts = {
        f"{package}/__init__.py": MODULE.format(version=version, gpu=gpu),
        **{f"{package}/part_{number}.py": f"x = {number}\n" for number in range(files)},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
        rows = [f"{path},,\n" for path in (*texts, f"{info}/RECORD")]
        archive.writestr(f"{info}/RECORD", "".join(rows))
    return wheel
