"""The Run key starts the program, and the switch of Task Manager is respected."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.autostart.machine import FailingRegistry, FakeRegistry, told
from tfgpu_tray.autostart.autostart import Autostart, State
from tfgpu_tray.autostart.command_lines import join_windows, split_windows
from tfgpu_tray.autostart.entry import AutostartError, Method
from tfgpu_tray.autostart.registry import APPROVED_KEY, RUN_KEY, this_registry


def test_windows_gets_a_run_value(windows: Autostart, registry: FakeRegistry) -> None:
    python = windows.executable.replace("python.exe", "pythonw.exe")  # without a console
    state = windows.enable()
    assert registry.values == {(RUN_KEY, "tfgpu-tray"): f'"{python}" -P -m tfgpu_tray run'}
    place = rf"HKEY_CURRENT_USER\{RUN_KEY}\tfgpu-tray"
    assert state == State(True, Method.REGISTRY, place, f"{python} -P -m tfgpu_tray run")
    assert windows.enable(headless=True).command.endswith("run --headless")
    assert windows.status().notes == ()
    assert windows.disable() == State(False, None, place, "") and not registry.values


def test_python_without_a_pythonw_is_used_as_it_is(windows: Autostart) -> None:
    Path(windows.executable).with_name("pythonw.exe").unlink()
    assert windows.command()[0] == windows.executable


@pytest.mark.parametrize(
    ("switch", "on"), [(b"\2" + bytes(11), True), (b"\6", True), (b"\3", False), (b"\7", False)]
)
def test_the_switch_of_task_manager_is_respected(
    windows: Autostart, registry: FakeRegistry, switch: bytes, on: bool
) -> None:
    windows.enable()
    registry.values[APPROVED_KEY, "tfgpu-tray"] = switch
    state = windows.status()
    assert (state.enabled, state.notes) == (on, () if on else ("disabled in Task Manager",))
    Path(windows.executable).with_name("pythonw.exe").unlink()
    assert windows.refresh() is on
    assert registry.values[APPROVED_KEY, "tfgpu-tray"] == switch
    assert windows.enable().enabled and (APPROVED_KEY, "tfgpu-tray") not in registry.values


def test_removing_the_run_value_removes_its_switch(
    windows: Autostart, registry: FakeRegistry
) -> None:
    windows.enable()
    registry.values[APPROVED_KEY, "tfgpu-tray"] = b"\3"
    windows.disable()
    assert not registry.values


def test_a_command_too_long_for_windows_is_refused(
    windows: Autostart, registry: FakeRegistry
) -> None:
    rest = len(join_windows([*windows.command(), "--config", "/"]))
    fits = replace(windows, config=Path("/" + "x" * (260 - rest)))
    assert fits.enable().enabled
    assert len(str(registry.values[RUN_KEY, "tfgpu-tray"])) == 260
    before = dict(registry.values)
    with pytest.raises(AutostartError, match=r"at most 260 characters.* has 261.*shorter path"):
        replace(windows, config=Path("/" + "x" * (261 - rest))).enable()
    assert registry.values == before


def test_a_moved_installation_is_corrected_in_the_registry(
    windows: Autostart, registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.write(
        RUN_KEY, "tfgpu-tray", r'"/gone/pythonw.exe" -P -m tfgpu_tray run --config "a b"'
    )
    assert windows.refresh()
    assert split_windows(str(registry.values[RUN_KEY, "tfgpu-tray"]))[1:] == (
        *("-P", "-m", "tfgpu_tray", "run", "--config", "a b"),
    )
    assert windows.status().notes == () and not windows.refresh()


def test_a_value_that_is_no_command_line_is_told(
    windows: Autostart, registry: FakeRegistry
) -> None:
    registry.values[RUN_KEY, "tfgpu-tray"] = b"\0"
    assert "not a command line" in told(windows.status()) and not windows.status().enabled
    assert windows.enable().enabled


@pytest.mark.parametrize("action", ["enable", "disable", "status", "refresh"])
def test_a_registry_that_refuses_is_told(windows: Autostart, action: str) -> None:
    with pytest.raises(AutostartError, match="Access is denied"):
        getattr(replace(windows, registry=FailingRegistry()), action)()


def test_the_real_registry_is_used_as_documented(
    windows: Autostart, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[tuple[str, str], tuple[object, int]] = {}

    class Key(str):
        def __enter__(self) -> str:
            return self

        def __exit__(self, *_: object) -> None: ...

    def open_key(root: str, key: str, reserved: int = 0, access: str = "read") -> Key:
        if not any(k == key for k, _ in values):
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return Key(key)

    def query(key: str, name: str) -> tuple[object, int]:
        if (key, name) not in values:
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return values[key, name]

    def delete(key: str, name: str) -> None:
        query(key, name)
        del values[key, name]

    winreg = SimpleNamespace(
        HKEY_CURRENT_USER="HKCU",
        KEY_SET_VALUE="write",
        REG_SZ=1,
        REG_EXPAND_SZ=2,
        REG_BINARY=3,
        OpenKey=open_key,
        CreateKey=lambda root, key: Key(key),
        QueryValueEx=query,
        SetValueEx=lambda key, name, _, kind, value: values.__setitem__((key, name), (value, kind)),
        DeleteValue=delete,
    )
    monkeypatch.setitem(sys.modules, "winreg", winreg)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        app = replace(windows, registry=this_registry())
        assert app.status().method is None
        assert app.enable().enabled
        assert values[RUN_KEY, "tfgpu-tray"][1] == winreg.REG_SZ
        values[APPROVED_KEY, "tfgpu-tray"] = (b"\3" + bytes(11), winreg.REG_BINARY)
        assert app.status().notes == ("disabled in Task Manager",)
        assert app.enable().enabled and len(values) == 1
        values[RUN_KEY, "tfgpu-tray"] = (7, 4)  # a REG_DWORD
        assert "not a command line" in told(app.status())
        assert app.disable().method is None and not values
