"""Whether a notification would disturb: a full-screen program runs, or the desktop is told not to.

Each question has a deadline, and no answer means that nothing speaks against it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.child import Runner, run

SECONDS = 2.0  # for the desktop's answer
CHILD_SECONDS = 3.0  # for the X server's
# Seconds for which notices are held back at most. Windows calls some windows without a border busy
# for ever, and keeps silent by itself where it should; None: as long as there is a reason.
LONGEST = 30 * 60.0 if sys.platform == "win32" else None
# Interface and property: KDE and newer servers, dunst.
SWITCHES = (
    ("org.freedesktop.Notifications", "Inhibited"),
    ("org.dunstproject.cmd0", "paused"),
)
# States of SHQueryUserNotificationState (shellapi.h)
BUSY, FULL_SCREEN, PRESENTING, QUIET_TIME, STORE_APP = 2, 3, 4, 6, 7


async def quiet(environ: Mapping[str, str], runner: Runner = run) -> str | None:
    """Why it would disturb, as a clause; None when it would not."""
    if sys.platform == "win32":
        return _windows(_user_state())
    if await _do_not_disturb():
        return "the desktop is set to not disturb"
    if not environ.get("DISPLAY"):
        return None
    filled = await asyncio.to_thread(_full_screen, environ, runner)
    return "a program fills the screen" if filled else None


async def _do_not_disturb() -> bool:
    from tfgpu_tray.tray.statusnotifier import NOTIFICATIONS, NoBus, call, close, connect

    properties = NOTIFICATIONS._replace(interface="org.freedesktop.DBus.Properties")
    try:
        async with asyncio.timeout(SECONDS):
            bus = await connect()
            try:
                for switch in SWITCHES:
                    answer = await call(bus, properties, "Get", "ss", *switch)
                    if answer is not None and answer[0].value is True:
                        return True
            finally:
                await close(bus)
    except (NoBus, TimeoutError):
        pass  # no bus, no switch
    return False


def _full_screen(environ: Mapping[str, str], runner: Runner) -> bool:
    """Asked in a child: a dead X server would end this process."""
    words = [sys.executable, "-P", "-m", "tfgpu_tray.tray.fullscreen"]
    asked = runner(words, deadline=CHILD_SECONDS, environ=environ)
    return asked.outcome is Outcome.COMPLETED and asked.stdout.strip() == "yes"


def _windows(state: int) -> str | None:
    if state in (BUSY, FULL_SCREEN, PRESENTING, STORE_APP):
        return "a program fills the screen"
    return "Windows is set to not disturb" if state == QUIET_TIME else None


def _user_state() -> int:
    """0 when Windows does not answer."""
    if sys.platform != "win32":
        return 0
    import ctypes

    state = ctypes.c_int(0)
    failed = ctypes.windll.shell32.SHQueryUserNotificationState(ctypes.byref(state))
    return 0 if failed else state.value
