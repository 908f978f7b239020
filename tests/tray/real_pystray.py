"""pystray itself, for tests that make up only the desktop below it."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from tfgpu_tray.tray import backends


@cache
def pystray() -> Any:
    before = os.environ.get("PYSTRAY_BACKEND")
    os.environ["PYSTRAY_BACKEND"] = "dummy"
    import pystray

    if before is None:
        del os.environ["PYSTRAY_BACKEND"]
    else:
        os.environ["PYSTRAY_BACKEND"] = before
    backends._unload()
    return pystray
