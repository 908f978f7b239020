"""Which wheels the lab keeps, so that pip under Wine needs no index."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.lab.windows.wheels import download, resolve

__all__ = ["fill_shelves"]

PYTHON = "3.10"
H5PY = "h5py==3.7.0"  # later ones need more of the C runtime than Wine 8 has

OLD = ("tensorflow==2.10.1", "numpy<2", H5PY)
NEW = ("tensorflow==2.12.0", H5PY)
HEADERS = "tensorflow/include/"


def fill_shelves(folder: Path) -> None:
    """Downloads what TensorFlow 2.10.1 needs to "tf210"; "all" has 2.12.0 and its needs, too."""
    old, new = resolve(OLD, PYTHON), resolve(NEW, PYTHON)
    download(old, PYTHON, folder / "tf210")
    download(sorted({*new} - {*old}), PYTHON, folder / "all")
    for shelf in ("tf210", "all"):
        for name in ("tensorflow-2.10", "tensorflow_intel-"):
            for wheel in (folder / shelf).glob(f"{name}*.whl"):
                _leave_headers_out(wheel)
    for wheel in (folder / "tf210").iterdir():
        (folder / "all" / wheel.name).hardlink_to(wheel)


def _leave_headers_out(wheel: Path) -> None:
    """Four of five files are C++ headers, which no test needs and Wine takes minutes to write.

    The rest is stored as it is, so that it need not be inflated again and again.
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
