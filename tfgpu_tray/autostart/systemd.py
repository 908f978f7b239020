"""A user unit, for accounts without a desktop: systemd.unit(5), systemd.service(5)."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.autostart.command_lines import join_exec_start, split_exec_start
from tfgpu_tray.autostart.entry import NAME, AutostartError, Found, Method
from tfgpu_tray.autostart.files import get_key, read_file, template, with_keys, write_file
from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.child import Result, Runner

UNIT = f"{NAME}.service"
DEADLINE = 20.0  # seconds that systemctl may take


@dataclass(frozen=True, slots=True)
class UserUnit:
    path: Path
    environ: Mapping[str, str]
    runner: Runner
    root: Path  # the file system that lingering is read from
    method = Method.SYSTEMD

    @property
    def place(self) -> str:
        return str(self.path)

    def read(self) -> Found | None:
        if self._masked():
            return Found((), "switched off (systemctl --user mask)")
        text = read_file(self.path)
        if text is None:
            return None
        words = split_exec_start(get_key(text, "Service", "ExecStart") or "")
        if not words:
            return Found(words, "its ExecStart cannot be read; enable rewrites it")
        return Found(words, "" if self._links() else "switched off (systemctl --user disable)")

    def write(self, words: Sequence[str]) -> None:
        if not self._program():
            raise AutostartError(
                "this machine has no systemctl; without systemd, start the program yourself, from"
                f" cron for example: @reboot {shlex.join(words)}"
            )
        before = None if self._masked() else read_file(self.path)
        unit = with_keys(template(UNIT), "Service", {"ExecStart": join_exec_start(words)})
        write_file(self.path, unit)
        for call in (["daemon-reload"], ["enable", UNIT]):
            result = self._systemctl(*call)
            if result.outcome is not Outcome.COMPLETED:
                self._put_back(before)
                raise AutostartError(_refusal(call, result))

    def retarget(self, words: Sequence[str]) -> None:
        text = read_file(self.path) or ""
        write_file(self.path, with_keys(text, "Service", {"ExecStart": join_exec_start(words)}))
        self._systemctl("daemon-reload")

    def remove(self) -> None:
        # Links and file are all there is to it, so this works without a running user manager too.
        for link in self._links():
            link.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self._systemctl("daemon-reload")

    def caveats(self, words: Sequence[str]) -> list[str]:
        user = self.environ.get("USER", "")
        if not user or (self.root / "var/lib/systemd/linger" / user).exists():
            return []
        return ["runs while you are logged in; `loginctl enable-linger` lets it run from boot"]

    def _put_back(self, before: str | None) -> None:
        if before is None:
            self.remove()
        else:
            write_file(self.path, before)

    def _masked(self) -> bool:
        return self.path.is_symlink() and os.path.realpath(self.path) == os.devnull

    def _links(self) -> list[Path]:
        folder = self.path.parent
        return [*folder.glob(f"*.wants/{UNIT}"), *folder.glob(f"*.requires/{UNIT}")]

    def _program(self) -> str | None:
        return shutil.which("systemctl", path=self.environ.get("PATH", os.defpath))

    def _systemctl(self, *words: str) -> Result:
        command = [self._program() or "systemctl", "--user", *words]
        return self.runner(command, deadline=DEADLINE, environ=self.environ)


def _refusal(call: Sequence[str], result: Result) -> str:
    said = result.stderr.strip().splitlines()
    why = said[-1] if said and result.outcome is Outcome.FAILED else result.how_it_ended
    hint = ""
    if "connect to bus" in why:
        hint = ". Log in as this user directly (ssh or console, not su or sudo) and try again"
    return f"`systemctl --user {' '.join(call)}` failed: {why}{hint}"
