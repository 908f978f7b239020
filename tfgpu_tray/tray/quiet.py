"""Whether a notification would disturb: a full-screen program runs, or the desktop is told not to.

Each question has a deadline, and no answer means that nothing speaks against it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.child import Runner, run

# (bus name, path, interface, property): KDE and newer servers, dunst.
SWITCHES = (
    (
        "org.freedesktop.Notifications",
        "/org/freedesktop/Notifications",
        "org.freedesktop.Notifications",
        "Inhibited",
    ),
    (
        "org.freedesktop.Notifications",
        "/org/freedesktop/Notifications",
        "org.dunstproject.cmd0",
        "paused",
    ),
)
ACCEPTS = 5  # QUNS_ACCEPTS_NOTIFICATIONS, SHQueryUserNotificationState


async def quiet(environ: Mapping[str, str], runner: Runner = run) -> str | None:
    """Why it would disturb, as a clause; None when it would not."""
    if sys.platform == "win32":
        return _windows()
    if await _do_not_disturb():
        return "the desktop is set to not disturb"
    if environ.get("DISPLAY") and _full_screen(runner):
        return "a program fills the screen"
    return None


async def _do_not_disturb() -> bool:
    import asyncio

    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

    try:
        bus = await asyncio.wait_for(MessageBus().connect(), 2)
    except Exception:  # no bus, no switch
        return False
    try:
        for name, path, interface, switch in SWITCHES:
            asked = Message(
                destination=name,
                path=path,
                interface="org.freedesktop.DBus.Properties",
                member="Get",
                signature="ss",
                body=[interface, switch],
            )
            try:
                answer = await asyncio.wait_for(bus.call(asked), 2)
            except (TimeoutError, OSError, EOFError):
                continue
            if answer is not None and answer.signature == "v" and answer.body[0].value is True:
                return True
    finally:
        bus.disconnect()
    return False


def _full_screen(runner: Runner) -> bool:
    """Asked in a child: a dead X server would end this process."""
    asked = runner([sys.executable, "-P", "-m", "tfgpu_tray.tray.fullscreen"], deadline=3.0)
    return asked.outcome is Outcome.COMPLETED and asked.stdout.strip() == "yes"


def _windows(ask: Callable[[], int] | None = None) -> str | None:
    state = (ask or _user_state)()
    if state in (2, 3, 4):
        return "a program fills the screen"
    return None if state in (0, 1, ACCEPTS) else "Windows is set to not disturb"


def _user_state() -> int:
    """0 when Windows does not answer."""
    if sys.platform != "win32":
        return 0
    import ctypes

    state = ctypes.c_int(0)
    failed = ctypes.windll.shell32.SHQueryUserNotificationState(ctypes.byref(state))
    return 0 if failed else state.value
