"""Which files matter, and who has them; what only Windows can tell is tested in the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import shared_library, write
from tests.observe.windows_prefix import conda, dll
from tests.windows_snapshots import NAMES
from tfgpu_tray.observe.processes import Process
from tfgpu_tray.repair import holders


def test_the_files_that_a_program_with_tensorflow_loads(tmp_path: Path) -> None:
    prefix = conda(tmp_path / "tf")
    for name in (*NAMES, "cudnn_ops_infer64_8.dll", "zlib.dll", "libcrypto-1_1-x64.dll"):
        dll(prefix / "Library" / "bin" / name)
    dll(prefix / "Lib" / "site-packages" / "nvidia" / "cudnn" / "bin" / "cudnn64_8.dll")
    dll(prefix / "python310.dll")
    found = [os.path.relpath(path, prefix) for path in holders.vital_files(prefix)]
    site = os.path.join("Lib", "site-packages")
    assert found[0] == os.path.join(site, "tensorflow", "python", holders.TENSORFLOW)
    assert os.path.join(site, "nvidia", "cudnn", "bin", "cudnn64_8.dll") in found
    names = {os.path.basename(path) for path in found[1:]}
    assert names == {*NAMES, "cudnn_ops_infer64_8.dll"}


@pytest.mark.parametrize(
    "message, paths",
    [
        (
            "ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: "
            "'c:\\\\users\\\\me\\\\tf\\\\lib\\\\x.pyd'",
            [r"c:\users\me\tf\lib\x.pyd"],
        ),
        (
            r"PermissionError: [WinError 32] 'C:\my env\a.dll' -> 'D:\b'",
            [r"C:\my env\a.dll", r"D:\b"],
        ),
        ("ERROR: No matching distribution found for 'numpy<2'", []),
    ],
)
def test_the_file_that_pip_complains_of(message: str, paths: list[str]) -> None:
    assert holders.named_in(message) == paths


def test_who_has_a_file_loaded_is_found_by_looking(tmp_path: Path) -> None:
    library = shared_library(tmp_path / "libheld.so")
    write(tmp_path / "libfree.so")
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, library], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None and program.stdin is not None
        assert program.stdout.readline() == b"ready\n"
        (found,) = holders.holders([str(library)])
        assert found.pid == program.pid and "libheld.so" in str(found)
        assert holders.holders([str(tmp_path / "libfree.so")]) == []
        program.stdin.write(b"\n")
        program.stdin.flush()


def test_somebody_without_a_name_is_still_somebody() -> None:
    assert "does not name, which holds C:\\a.dll," in str(holders.Unnamed(0, "C:\\a.dll"))
    assert isinstance(holders.Unnamed(0, "x"), Process)


@pytest.mark.skipif(sys.platform == "win32", reason="there, files in use cannot be replaced")
def test_elsewhere_no_file_is_held(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
    with path.open("rb"):
        assert holders.held_files([str(path)]) == []
    assert holders.told_by(f"Access is denied: '{path}'") == ""
