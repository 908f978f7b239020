"""Which wheels the lab keeps, so that pip under Wine needs no index."""

from __future__ import annotations

from pathlib import Path

from tests.lab.wheels import download, leave_headers_out
from tests.lab.windows.wheels import PLATFORM, resolve

__all__ = ["fill_shelves"]

PYTHON = "3.10"
H5PY = "h5py==3.7.0"  # later ones need more of the C runtime than Wine 8 has

OLD = ("tensorflow==2.10.1", "numpy<2", H5PY)
NEW = ("tensorflow==2.12.0", H5PY)


def fill_shelves(folder: Path) -> None:
    """Downloads what TensorFlow 2.10.1 needs to "tf210"; "all" has 2.12.0 and its needs, too."""
    old, new = resolve(OLD, PYTHON), resolve(NEW, PYTHON)
    download(old, PLATFORM, PYTHON, folder / "tf210")
    download(sorted({*new} - {*old}), PLATFORM, PYTHON, folder / "all")
    for shelf in ("tf210", "all"):
        for name in ("tensorflow-2.10", "tensorflow_intel-"):
            for wheel in (folder / shelf).glob(f"{name}*.whl"):
                leave_headers_out(wheel)
    for wheel in (folder / "tf210").iterdir():
        (folder / "all" / wheel.name).hardlink_to(wheel)
