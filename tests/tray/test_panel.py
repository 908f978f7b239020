"""Whether the panel is dark, as the desktop's portal says."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the portal is Linux's", allow_module_level=True)

from tests.tray.fake_host import Bus
from tests.tray.fake_notifications import Service, portal
from tfgpu_tray.tray import panel
from tfgpu_tray.tray.panel import panel_is_dark


def is_dark(desktop: str = "XFCE") -> bool:
    return asyncio.run(panel_is_dark({"XDG_CURRENT_DESKTOP": desktop}))


@pytest.fixture
def service(bus: Bus, request: pytest.FixtureRequest) -> Iterator[Service]:
    service = portal(bus.address, request.param)
    yield service
    service.close()


@pytest.mark.parametrize("service, dark", [(0, False), (1, True), (2, False)], indirect=["service"])
def test_the_portal_says_what_is_preferred(service: Service, dark: bool) -> None:
    assert is_dark() is dark


@pytest.mark.parametrize("desktop", ["GNOME", "ubuntu:GNOME", "Unity", "Pantheon"])
@pytest.mark.parametrize("service", [2], indirect=True)
def test_some_panels_are_dark_whatever_is_preferred(service: Service, desktop: str) -> None:
    assert is_dark(desktop)


def test_without_a_portal_it_is_light(bus: Bus) -> None:
    assert not is_dark()


def test_without_a_bus_it_is_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert not is_dark() and not is_dark("")


@pytest.mark.parametrize("service", [1], indirect=True)
def test_a_portal_that_hangs_holds_the_icon_up_for_a_moment_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "SECONDS", 0.3)
    service.hangs = True
    start = time.monotonic()
    assert not is_dark()
    assert time.monotonic() - start < 2
