"""A value of Windows' Run key, and its switch in Task Manager."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tfgpu_tray.autostart.command_lines import join_windows, split_windows
from tfgpu_tray.autostart.entry import NAME, AutostartError, Found, Method

RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
# Undocumented: twelve bytes, the first odd when the program is switched off
APPROVED_KEY = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
RUN_LIMIT = 260  # characters of a Run value; Microsoft, "Run and RunOnce Registry Keys"


class Registry(Protocol):
    """Values below HKEY_CURRENT_USER."""

    def read(self, key: str, name: str) -> str | bytes | None: ...

    def write(self, key: str, name: str, value: str) -> None: ...

    def delete(self, key: str, name: str) -> None:
        """Without complaint when there is no such value."""


@dataclass(frozen=True, slots=True)
class RunValue:
    registry: Registry
    method = Method.REGISTRY

    @property
    def place(self) -> str:
        return rf"HKEY_CURRENT_USER\{RUN_KEY}\{NAME}"

    def read(self) -> Found | None:
        value = self.registry.read(RUN_KEY, NAME)
        if value is None:
            return None
        if not isinstance(value, str) or not (words := split_windows(value)):
            return Found((), "not a command line; enable rewrites it")
        switch = self.registry.read(APPROVED_KEY, NAME)
        off = isinstance(switch, bytes) and bool(switch) and switch[0] % 2 == 1
        return Found(words, "disabled in Task Manager" if off else "")

    def write(self, words: Sequence[str]) -> None:
        self.retarget(words)
        self.registry.delete(APPROVED_KEY, NAME)

    def retarget(self, words: Sequence[str]) -> None:
        line = join_windows(words)
        if (length := len(line.encode("utf-16-le")) // 2) > RUN_LIMIT:
            raise AutostartError(
                f"Windows starts commands of at most {RUN_LIMIT} characters at login, and this one"
                f" has {length}: {line}. Install {NAME} in a folder with a shorter path."
            )
        self.registry.write(RUN_KEY, NAME, line)

    def remove(self) -> None:
        self.registry.delete(RUN_KEY, NAME)
        self.registry.delete(APPROVED_KEY, NAME)  # without the other it is litter

    def caveats(self, words: Sequence[str]) -> list[str]:
        return []


def this_registry() -> Registry | None:
    """That of this machine; None where there is none."""
    if sys.platform != "win32":
        return None
    import winreg

    class CurrentUser:
        def read(self, key: str, name: str) -> str | bytes | None:
            try:
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                    value, kind = winreg.QueryValueEx(opened, name)
            except FileNotFoundError:
                return None
            known = (winreg.REG_SZ, winreg.REG_EXPAND_SZ, winreg.REG_BINARY)
            return value if kind in known and isinstance(value, str | bytes) else b""

        def write(self, key: str, name: str, value: str) -> None:
            with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as opened:
                winreg.SetValueEx(opened, name, 0, winreg.REG_SZ, value)

        def delete(self, key: str, name: str) -> None:
            try:
                access = winreg.KEY_SET_VALUE
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key, 0, access) as opened:
                    winreg.DeleteValue(opened, name)
            except FileNotFoundError:
                pass

    return CurrentUser()
