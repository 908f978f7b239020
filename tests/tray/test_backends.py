"""What shows the icon: which back-end is taken."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfgpu_tray.tray import backends
from tfgpu_tray.tray.backends import NoTray, has_session_bus, open_icon
from tfgpu_tray.tray.loop import LoopThread

RED = (2, 2, b"\xff\x01\x02\x03" * 4)
linux = pytest.mark.skipif(sys.platform != "linux", reason="how Linux chooses")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.stop()


def opened(loop: LoopThread, environ: Mapping[str, str]) -> backends.TrayIcon:
    return open_icon(environ, loop, [RED], "tfgpu-tray", hosted=lambda _: None)


# ---- choosing ----------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("asked_for", ["xorg", "dummy", "appindicator", "gtk", "nonsense"])
@pytest.mark.parametrize("before", [None, "win32"])
def test_a_backend_that_cannot_be_used_says_why(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, asked_for: str, before: str | None
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    if before is None:
        monkeypatch.delenv("PYSTRAY_BACKEND", raising=False)
    else:
        monkeypatch.setenv("PYSTRAY_BACKEND", before)
    with pytest.raises(NoTray, match=f"pystray's {asked_for}"):
        opened(loop, {"PYSTRAY_BACKEND": asked_for, "DISPLAY": ":7"})
    assert os.environ.get("PYSTRAY_BACKEND") == before
    assert not [name for name in sys.modules if name.partition(".")[0] == "pystray"]


@linux
def test_a_backend_without_a_menu_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """xorg, on an X server: its icon would have nothing to click."""
    fake = SimpleNamespace(Icon=SimpleNamespace(HAS_MENU=False))
    monkeypatch.setitem(sys.modules, "pystray", fake)
    with pytest.raises(NoTray, match="pystray's xorg shows no menu"):
        backends._pystray("xorg")
    assert "pystray" not in sys.modules  # the next one is asked for anew


@linux
def test_without_a_desktop_nothing_is_tried(loop: LoopThread) -> None:
    with pytest.raises(NoTray, match="no desktop session"):
        opened(loop, {})


@linux
def test_without_a_session_bus_the_others_are_tried_in_turn(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def icon(pystray: str, *_: object) -> str:
        if pystray == "appindicator":
            raise RuntimeError("Gtk could not be initialised")
        return pystray

    monkeypatch.setattr(backends, "_pystray", lambda name: name)
    monkeypatch.setattr(backends, "PystrayIcon", icon)
    assert opened(loop, {"DISPLAY": ":7"}) == "gtk"  # type: ignore[comparison-overlap]
    monkeypatch.setattr(backends, "_backends", lambda: ["appindicator"])
    with pytest.raises(NoTray, match="could not be initialised"):
        opened(loop, {"DISPLAY": ":7"})


def test_a_session_bus_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    assert has_session_bus({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"})
    assert not has_session_bus({}) and not has_session_bus({"XDG_RUNTIME_DIR": ""})
    assert not has_session_bus({"XDG_RUNTIME_DIR": str(tmp_path)})
    (tmp_path / "bus").touch()
    assert has_session_bus({"XDG_RUNTIME_DIR": str(tmp_path)})
