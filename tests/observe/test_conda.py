"""What conda knows of an environment, read from its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import conda_prefix, record, venv_prefix, write
from tfgpu_tray.observe.conda import observe_conda


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return conda_prefix(tmp_path / "tf")


def test_a_venv_is_not_condas(tmp_path: Path) -> None:
    assert observe_conda(venv_prefix(tmp_path / "venv")) is None


def test_records_that_matter_are_read(prefix: Path) -> None:
    record(prefix, "cudatoolkit", "11.2.2", "hbe64b41_10", channel="conda-forge")
    record(prefix, "tensorflow-base", "2.10.0", "cuda112py310h_0", requested_spec="tensorflow")
    record(prefix, "python", "3.10.13", "h_0", requested_specs=["python=3.10"])
    record(prefix, "python-dateutil", "2.9", "py_0")
    record(prefix, "zlib", "1.3", "h_0")
    found = observe_conda(prefix)
    assert found is not None
    assert [p.name for p in found.packages] == ["cudatoolkit", "python", "tensorflow-base"]
    toolkit, base, python = (found.find(n) for n in ("cudatoolkit", "tensorflow-base", "python"))
    assert toolkit is not None and base is not None and python is not None
    assert (toolkit.version, toolkit.build, toolkit.channel) == (
        "11.2.2",
        "hbe64b41_10",
        "conda-forge",
    )
    assert (toolkit.requested, base.requested, python.requested) == (False, True, True)
    assert found.find("zlib") is None and found.notes == ()


@pytest.mark.parametrize("text", ["", '{"channel": "conda-fo', "[]", "\xff"])
def test_a_truncated_record_is_still_a_package_and_a_note(prefix: Path, text: str) -> None:
    path = record(prefix, "cudatoolkit", "11.2.2", "hbe64b41_10")
    write(path, text)
    found = observe_conda(prefix)
    assert found is not None
    toolkit = found.find("cudatoolkit")
    assert toolkit is not None and (toolkit.version, toolkit.channel) == ("11.2.2", "")
    assert found.notes == (f"conda-meta/{path.name} could not be read",)


def test_files_beside_the_records_are_ignored(prefix: Path) -> None:
    for name in ("._cudnn-8-h_0.json", "state", "cudnn.json", "cudnn-8.1-h_0.json.c~"):
        write(prefix / "conda-meta" / name, "{}")
    found = observe_conda(prefix)
    assert found is not None and found.packages == () and found.notes == ()


def test_pins_are_read(prefix: Path) -> None:
    write(prefix / "conda-meta" / "pinned", "# keep\n\n  cudatoolkit 11.2.*  \nnumpy<2\n")
    found = observe_conda(prefix)
    assert found is not None and found.pinned == ("cudatoolkit 11.2.*", "numpy<2")


def test_a_frozen_environment(prefix: Path) -> None:
    write(prefix / "conda-meta" / "frozen", "{}")
    found = observe_conda(prefix)
    assert found is not None and found.frozen


def test_the_history_tells_the_last_command(prefix: Path) -> None:
    write(
        prefix / "conda-meta" / "history",
        "==> 2026-01-01 10:00:00 <==\n# cmd: /opt/conda/bin/conda create -n tf python=3.10\n"
        "+conda-forge/linux-64::python-3.10.13-h_0\n"
        "==> 2026-01-02 10:00:00 <==\n# cmd: /opt/conda/bin/conda install tensorflow\n",
    )
    found = observe_conda(prefix)
    assert found is not None and found.mentions_tensorflow
    assert found.last_command == "/opt/conda/bin/conda install tensorflow"


def test_an_empty_history(prefix: Path) -> None:
    found = observe_conda(prefix)
    assert found is not None
    assert (found.last_command, found.mentions_tensorflow, found.frozen) == (None, False, False)
