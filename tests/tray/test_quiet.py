"""Whether a notification would disturb, asked of a real bus, a real X server, and Windows' word."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes import FailingRunner, FakeRunner, completed, crashed, failed
from tests.lab.desktop.parts import start_display, start_window_manager
from tests.needs import tool
from tests.until import until
from tfgpu_tray.observe.child import Result, Runner, run
from tfgpu_tray.tray import quiet as room
from tfgpu_tray.tray.quiet import quiet

if sys.platform != "linux":
    pytest.skip("the session bus and X11 are Linux's", allow_module_level=True)

from tests.tray.fake_host import Bus
from tests.tray.fake_notifications import Notifications, Screen

NOBODY = FakeRunner({})
FILLED = "a program fills the screen"
X11 = {"DISPLAY": ":7"}


def asked(environ: dict[str, str] | None = None, runner: Runner = NOBODY) -> str | None:
    return asyncio.run(quiet(environ or {}, runner))


@pytest.fixture
def service(bus: Bus) -> Iterator[Notifications]:
    service = Notifications(bus.address, Screen())
    yield service
    service.close()


@pytest.fixture
def no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")


# ---- the desktop's switch ----------------------------------------------------------------------


def test_a_desktop_that_takes_notifications_is_not_quiet(service: Notifications) -> None:
    assert asked() is None


@pytest.mark.parametrize("switch", ["inhibited", "paused"])
def test_a_desktop_that_is_set_to_not_disturb_is(service: Notifications, switch: str) -> None:
    setattr(service.screen, switch, True)
    assert asked() == "the desktop is set to not disturb"
    setattr(service.screen, switch, False)
    assert asked() is None


def test_without_a_service_nothing_speaks_against_it(bus: Bus) -> None:
    assert asked() is None


def test_without_a_bus_nothing_speaks_against_it(no_bus: None) -> None:
    assert asked() is None


def test_a_service_that_hangs_holds_nobody_up(
    service: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SECONDS", 0.3)
    service.hangs = True
    start = time.monotonic()
    assert asked() is None
    assert time.monotonic() - start < 2


# ---- the screen --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result, reason",
    [
        (completed("yes\n"), FILLED),
        (completed("no\n"), None),
        (completed("yes, or so\n"), None),
        (failed(1, "yes\n"), None),
        (crashed(11), None),
    ],
)
def test_the_child_says_whether_a_program_fills_the_screen(
    no_bus: None, result: Result, reason: str | None
) -> None:
    runner = FakeRunner({"tfgpu_tray.tray.fullscreen": result})
    assert asked(X11, runner) == reason
    assert runner.environs == [X11]


def test_an_x_server_that_hangs_speaks_not_against_it(no_bus: None) -> None:
    assert asked(X11, FailingRunner()) is None


def test_without_an_x_server_nobody_asks_one(no_bus: None) -> None:
    runner = FakeRunner({})
    assert asked({"WAYLAND_DISPLAY": "wayland-0"}, runner) is None
    assert runner.calls == []


@pytest.fixture(scope="module")
def x_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A screen with a window manager; the environment to see it with."""
    for name in ("Xvfb", "openbox", "setpriv"):
        tool(name)
    home = tmp_path_factory.mktemp("home")
    environ = {**os.environ, "HOME": str(home)}
    with ExitStack() as stack:
        server, environ["DISPLAY"] = start_display(environ, home, "320x240x24")
        stack.callback(server.stop)
        manager = start_window_manager(environ, home)
        stack.callback(manager.stop)
        yield environ


WINDOW = """
import signal
import sys
from Xlib import X
from Xlib.display import Display
display = Display()
screen = display.screen()
depth, mask = screen.root_depth, X.FocusChangeMask
window = screen.root.create_window(0, 0, 100, 80, 0, depth, event_mask=mask)
if "full" in sys.argv:
    state = display.intern_atom("_NET_WM_STATE")
    full = display.intern_atom("_NET_WM_STATE_FULLSCREEN")
    window.change_property(state, display.intern_atom("ATOM"), 32, [full])
window.map()
display.flush()
signal.alarm(10)
while display.next_event().type != X.FocusIn:
    pass
signal.alarm(0)
print("there", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("size, reason", [("full", FILLED), ("small", None)])
def test_a_window_that_fills_the_screen(
    no_bus: None, x_server: dict[str, str], size: str, reason: str | None
) -> None:
    words = [sys.executable, "-c", WINDOW, size]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=x_server, stdin=pipe, stdout=pipe) as window:
        assert window.stdout is not None and window.stdout.readline() == b"there\n"
        until(lambda: asked(x_server, run) == reason)
        assert asked(x_server, run) == reason
        window.communicate(b"")
    until(lambda: asked(x_server, run) is None)


def test_no_window_fills_an_empty_screen(no_bus: None, x_server: dict[str, str]) -> None:
    assert asked(x_server, run) is None


def test_an_x_server_that_is_gone_speaks_not_against_it(no_bus: None) -> None:
    assert asked({**os.environ, "DISPLAY": ":987"}, run) is None


# ---- Windows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, reason",
    [
        (0, None),  # no answer
        (1, None),  # nobody is there: it waits in the notification centre
        (2, FILLED),
        (3, FILLED),
        (4, FILLED),
        (5, None),
        (6, "Windows is set to not disturb"),
        (7, FILLED),
    ],
)
def test_windows_says_what_the_user_is_doing(state: int, reason: str | None) -> None:
    assert room._windows(state) == reason
