"""Text files are opened by what outlives this program."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes import write
from tests.until import until
from tfgpu_tray.tray.opener import open_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows opens files itself")
OPENER = """#!/bin/sh
echo $$ "$1" > "$0.told.part"
mv "$0.told.part" "$0.told"
exec sleep 600
"""


@posix
def test_an_editor_is_no_child_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children end with this program, and with the editor would end what was typed into it."""
    opener = write(tmp_path / "bin" / "xdg-open", OPENER)
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "platform", "linux")
    open_file(tmp_path / "it's $HOME; 用户.txt")
    told = opener.with_name("xdg-open.told")
    until(told.exists)
    number, _, path = told.read_text().strip().partition(" ")
    editor = psutil.Process(int(number))
    try:
        assert path == str(tmp_path / "it's $HOME; 用户.txt")
        assert editor not in psutil.Process().children(recursive=True)
    finally:
        editor.kill()


@posix
def test_where_nothing_opens_files_the_path_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"details\.txt"):
        open_file(Path("/data/details.txt"))
