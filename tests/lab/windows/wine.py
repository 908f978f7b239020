"""Runs Windows programs: one Wine prefix, its registry and the processes in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.windows.driver import HARDWARE
from tests.lab.windows.mingw import C, compile_windows
from tests.lab.windows.registry import Value, exported

__all__ = [
    "USER",
    "VERSION_KEY",
    "WINE",
    "Wine",
    "build_prefix",
    "clone_prefix",
    "to_linux",
    "to_windows",
    "version_values",
]

#: Not the `wine` on PATH, which first tells users to install a 32-bit Wine.
WINE = Path("/usr/lib/wine/wine64")
IDLE_SECONDS = 300  # after so long without a process the server of a forgotten machine ends

USER = "me"  # whose Windows it is, unless a test says otherwise

#: Windows 10 Home 22H2, unless a test makes it another.
VERSION_KEY = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion"


def version_values(build: int, revision: int) -> dict[str, Value]:
    """What that key holds of interest in some Windows 10, or from build 22000 on Windows 11."""
    text = str(build)
    return {
        "CurrentBuild": text,
        "CurrentBuildNumber": text,
        "UBR": revision,
        "EditionID": "Core",
        "InstallationType": "Client",
        "ProductName": "Windows 10 Home",  # on Windows 11, too
    }


class Wine:
    """The Windows in `folder`. Every wait has a deadline, in seconds."""

    def __init__(self, folder: Path, user: str) -> None:
        self.folder = folder
        self.drive = folder / "drive_c"
        self.user = user
        self.session: dict[str, str] = {}  #: more of what it needs, from its boot on: a DISPLAY

    def environ(self) -> dict[str, str]:
        """What Wine itself needs; Windows programs get the rest of their variables from it."""
        return {
            "WINEPREFIX": str(self.folder),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # no offers to download these two
            "HOME": str(self.folder),
            "PATH": "/usr/bin:/bin",
            "USER": self.user,
            "LC_ALL": "C.UTF-8",  # how Wine reads names that are not ASCII
            **self.session,
        }

    def start(
        self, command: Sequence[str], environ: Mapping[str, str], cwd: Path
    ) -> subprocess.Popen[bytes]:
        # a Windows Python does not start without streams that it knows: pipes, all three
        return subprocess.Popen(
            [str(WINE), *command],
            env=self.environ() | dict(environ),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        seconds: float = 120,
        encoding: str = "utf-8",
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end.

        Raises subprocess.TimeoutExpired, after everything that runs was killed: the program's
        children may hold its streams.
        """
        process = self.start(command, environ or {}, cwd or self.folder)
        with process:
            try:
                output, errors = process.communicate(b"", timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                self.stop()
                self.boot()
                raise
        return subprocess.CompletedProcess(
            list(command),
            process.returncode,
            output.decode(encoding, "replace").replace("\r\n", "\n"),
            errors.decode(encoding, "replace").replace("\r\n", "\n"),
        )

    def write_registry(self, keys: Mapping[str, Mapping[str, Value] | None]) -> None:
        """Writes values of keys ("HKLM\\…", "HKCU\\…"); None deletes a value, or a whole key."""
        file = self.drive / "windows" / "temp" / "changes.reg"
        file.write_text(exported(keys), encoding="utf-16", newline="")
        done = self.run(["regedit", "/S", r"C:\windows\temp\changes.reg"])
        file.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"regedit failed:\n{done.stdout}{done.stderr}")

    def boot(self) -> None:
        """Starts the services, which then outlive single programs.

        They inherit the streams of whoever needs them first, and would hold its pipes.
        """
        self._server(f"-p{IDLE_SECONDS}")
        self._silently([str(WINE), "wineboot"], seconds=60)

    def stop(self) -> None:
        """Kills every process of this Windows, as a power cut would."""
        self._server("-k")
        self._server("-w")

    def shut_down(self) -> None:
        """Waits until every process has ended and the registry is written."""
        self._server("-w")

    def _server(self, *options: str) -> None:
        self._silently([str(WINE.with_name("wineserver")), *options], seconds=30)

    def _silently(self, command: Sequence[str], seconds: float) -> None:
        subprocess.run(
            command,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        )


def build_prefix(folder: Path) -> None:
    """Installs Windows 10, with folders of its own instead of links into this user's home."""
    folder.mkdir(parents=True)
    wine = Wine(folder, USER)
    wine.boot()
    wine.write_registry(HARDWARE | {VERSION_KEY: version_values(19045, 3570)})
    wine.run(["wineboot", "-e", "-f"])
    wine.stop()
    for link in (folder / "drive_c" / "users").glob("*/*"):
        if link.is_symlink():
            link.unlink()
            link.mkdir()
    system = folder / "drive_c" / "windows" / "system32"
    # what Wine 8 lacks, and extensions written in Rust need
    compile_windows(system / "bcryptprimitives.dll", C / "bcryptprimitives.c", "-lbcrypt")


def clone_prefix(source: Path, target: Path, user: str = USER) -> None:
    """Copies a Windows that is not running; system files, which only ever get replaced, are links.

    The user, who has used nothing yet, gets another name.

    Raises OSError where the target exists.
    """

    def copy(origin: str, destination: str) -> None:
        if f"{os.sep}windows{os.sep}" in origin:
            try:
                os.link(origin, destination)
                return
            except OSError:
                pass  # another file system
        shutil.copy2(origin, destination)

    shutil.copytree(source, target, symlinks=True, copy_function=copy)
    if user != USER:
        users = target / "drive_c" / "users"
        (users / USER).rename(users / user)
        for file in target.glob("*.reg"):
            text = file.read_text(encoding="ascii")
            home = r"\\users\\"
            file.write_text(text.replace(f"{home}{USER}", f"{home}{_escaped(user)}"), "ascii")


def _escaped(name: str) -> str:
    """As Wine writes it into the files of its registry."""
    return "".join(c if c.isascii() else f"\\x{ord(c):04x}" for c in name)


def to_windows(path: Path, drive: Path) -> str:
    """C:\\… for what lies on the drive, Z:\\… for everything else. Links are not followed."""
    path = Path(os.path.abspath(path))
    if path.is_relative_to(drive):
        return "C:\\" + str(path.relative_to(drive)).replace("/", "\\").removeprefix(".")
    return "Z:" + str(path).replace("/", "\\")


def to_linux(text: str, drive: Path) -> Path:
    """The inverse; names are taken as they are written, although Windows ignores their case."""
    letter, _, rest = text.partition(":")
    path = rest.replace("\\", "/").lstrip("/")
    return Path("/", path) if letter.upper() == "Z" else drive / path
