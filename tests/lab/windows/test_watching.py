"""The watcher without an icon on Windows: what it notices, whom it names, how it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.desktop.parts import start_display
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.tool import PYTHON
from tests.lab.windows.watching import TOOL, Watching
from tests.needs import tool
from tests.until import until

CLOCK = r"\d\d:\d\d"
RUN = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Run"
APPROVED = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
STOPS = 2.0  # seconds


@pytest.fixture
def windows(lab: WindowsLab, tmp_path: Path) -> Iterator[WindowsMachine]:
    """With a display: Wine makes no windows without one, and a window hears how a session ends."""
    tool("Xvfb")
    server, display = start_display({"PATH": "/usr/bin:/bin"}, tmp_path, "800x600x24")
    machine = WindowsMachine(lab, tmp_path / "machine")
    machine.wine.session["DISPLAY"] = display
    with machine:
        yield machine
    server.stop()


@pytest.fixture
def prefix(windows: WindowsMachine) -> Path:
    return windows.conda_environment("tf", kind="toy")


def test_who_broke_it_is_said_and_everything_ends_at_once(
    windows: WindowsMachine, prefix: Path
) -> None:
    with Watching(windows, "--headless") as watcher:
        found = watcher.wait_for_event("found")
        assert found["text"].startswith("ok: ") and Path(found["prefix"]) == Path(
            windows.to_windows(prefix)
        )
        windows.pip(prefix, "install", "-q", "--upgrade", "tensorflow==2.12.0")
        changed = watcher.wait_for_event("changed")
        broken = watcher.wait_for_event("transition", "→ broken")
        # This pip ends soon after its first change: its command line may not be seen any more.
        pip = "(`pip install --upgrade tensorflow==2.12.0`|pip)"
        replaced = f"{pip} replaced tensorflow 2.10.1 with 2.12.0 at {CLOCK}"
        assert re.fullmatch(replaced, changed["text"])
        assert broken["text"].endswith(changed["text"])

        second = windows.run(*TOOL, "run", "--headless")
        assert (second.returncode, second.stderr) == (0, "")
        assert second.stdout.startswith("The watcher is running.") and "x broken" in second.stdout
        assert watcher.is_running

        start = time.monotonic()
        windows.run("taskkill", "/im", "python.exe")
        assert watcher.wait_for_end() == 0
        assert time.monotonic() - start < STOPS
        assert watcher.events[-1]["kind"] == "stopped"


def test_what_is_deleted_by_hand_is_noticed(windows: WindowsMachine, prefix: Path) -> None:
    with Watching(windows, "--headless") as watcher:
        watcher.wait_for_event("found", "ok")
        lost = prefix / "Lib" / "site-packages" / "tensorflow"
        windows.run("cmd", "/c", "rmdir", "/s", "/q", windows.to_windows(lost))
        assert not lost.exists()
        changed = watcher.wait_for_event("changed")
        watcher.wait_for_event("transition", "→ broken")

        # Folders that are watched can be removed; what is being read cannot: this takes some tries.
        def is_removed() -> bool:
            windows.run("cmd", "/c", "rmdir", "/s", "/q", windows.to_windows(prefix))
            return not prefix.exists()

        until(is_removed, 60)
        watcher.wait_for_event("gone", seconds=120)
    assert re.fullmatch(
        f"tensorflow 2.10.1 was deleted at {CLOCK}, not by a package manager", changed["text"]
    )


def test_a_session_may_end(windows: WindowsMachine, prefix: Path) -> None:
    with Watching(windows, "--headless") as watcher:
        watcher.wait_for_event("found")
        windows.run("wineboot", "--end-session", "--shutdown")
        assert watcher.wait_for_end() == 0
        assert watcher.events[-1]["kind"] == "stopped"


def test_starting_at_login_is_written_carried_out_and_removed(windows: WindowsMachine) -> None:
    enabled = windows.tool("autostart", "enable")
    assert (enabled.code, enabled.json["enabled"], enabled.json["notes"]) == (0, True, [])
    assert enabled.json["command"].endswith("-m tfgpu_tray run")
    line = run_value(windows)
    assert line is not None and line.startswith(f'"{PYTHON}\\pythonw.exe" ')

    windows.set_registry(APPROVED, **{"tfgpu-tray": bytes([3, *[0] * 11])})  # in Task Manager
    status = windows.tool("autostart", "status")
    assert status.json["notes"] == ["disabled in Task Manager"] and not status.json["enabled"]
    assert windows.tool("autostart", "enable").json["enabled"]

    login = windows.start("wineboot")  # as at login, it runs what stands in the key
    until(lambda: "The watcher is running." in windows.run(*TOOL, "status").stdout, 60)
    windows.run("taskkill", "/im", "pythonw.exe")
    login.wait(60)

    disabled = windows.tool("autostart", "disable")
    assert (disabled.code, disabled.json["enabled"]) == (0, False)
    assert run_value(windows) is None


def run_value(windows: WindowsMachine) -> str | None:
    """What stands in the registry, as another program reads it."""
    done = windows.run("reg", "query", RUN, "/v", "tfgpu-tray")
    found = re.search(r"tfgpu-tray\s+REG_SZ\s+(.+)", done.stdout)
    return found[1].strip() if found else None
