"""Entries are changed key by key and replaced whole; their templates are found."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.fakes import write
from tfgpu_tray.autostart import files
from tfgpu_tray.autostart.entry import AutostartError
from tfgpu_tray.autostart.files import get_key, template, with_keys, write_file

ENTRY = """# mine
[Desktop Entry]
Exec = old
Name=x
Hidden=true
Hidden=false

[Desktop Action a]
Exec=other
"""


def test_keys_are_set_in_their_group_and_the_rest_stays() -> None:
    text = with_keys(ENTRY, "Desktop Entry", {"Exec": "new", "Hidden": None, "Added": "1"})
    assert text == (
        "# mine\n[Desktop Entry]\nExec=new\nName=x\nAdded=1\n\n[Desktop Action a]\nExec=other\n"
    )
    assert get_key(ENTRY, "Desktop Entry", "Hidden") == "false"  # GKeyFile: the last one counts
    assert get_key(ENTRY, "Desktop Action a", "Exec") == "other"
    assert get_key(ENTRY, "Desktop Entry", "exec") is None


def test_a_file_is_replaced_through_its_link_and_keeps_its_mode(tmp_path: Path) -> None:
    kept = write(tmp_path / "dotfiles" / "x.desktop", "old")
    kept.chmod(0o600)
    (tmp_path / "x.desktop").symlink_to(kept)
    write_file(tmp_path / "x.desktop", "new")
    assert (tmp_path / "x.desktop").is_symlink() and kept.read_text() == "new"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_templates_are_found_installed_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ExecStart=" in template("tfgpu-tray.service")
    with pytest.raises(AutostartError, match=r"no-such\.file is missing.*install tfgpu-tray again"):
        template("no-such.file")
    write(tmp_path / "service" / "no-such.file", "found")
    monkeypatch.setattr(files, "PACKAGE", tmp_path)
    assert template("no-such.file") == "found"


def test_the_scheduled_task_avoids_the_defaults_that_end_daemons() -> None:
    task = ElementTree.fromstring(template("tfgpu-tray.xml"))
    space = {"": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    settings = task.find("Settings", space)
    principal = task.find("Principals/Principal", space)
    assert settings is not None and principal is not None
    told = {child.tag.partition("}")[2]: child.text for child in settings}
    assert told["ExecutionTimeLimit"] == "PT0S"
    assert told["DisallowStartIfOnBatteries"] == told["StopIfGoingOnBatteries"] == "false"
    assert told["Priority"] == "5" and told["MultipleInstancesPolicy"] == "IgnoreNew"
    assert settings.find("RestartOnFailure/Count", space) is not None
    assert settings.find("RestartOnFailure/Interval", space) is not None
    assert principal.findtext("LogonType", None, space) == "InteractiveToken"
    assert principal.findtext("RunLevel", None, space) == "LeastPrivilege"
    assert principal.findtext("UserId", None, space) == task.findtext(
        "Triggers/LogonTrigger/UserId", None, space
    )
