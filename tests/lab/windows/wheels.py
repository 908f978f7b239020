"""Windows wheels: resolved, downloaded and installed from Linux, as pip on Windows would do it."""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.lab.interpreters import interpreter
from tests.lab.wheels import bundled_pip

__all__ = [
    "PLATFORM",
    "Site",
    "compile_all",
    "console_launcher",
    "resolve",
]

PLATFORM = "win_amd64"
SCRIPT = """\
# -*- coding: utf-8 -*-
import re
import sys
from {module} import {first}
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit({function}())
"""


def resolve(requirements: Sequence[str | Path], version: str) -> list[str]:
    """The pins that satisfy requirements, or a pyproject.toml, on Windows with that Python.

    pip would take the environment markers of the machine that it runs on; uv does not.
    """
    platform = ("--python-platform", "x86_64-pc-windows-msvc", "--python-version", version)
    options = ("--no-header", "--no-annotate", "--only-binary", ":all:", "--quiet")
    command = [sys.executable, "-m", "uv", "pip", "compile", *platform, *options]
    files = [one for one in requirements if isinstance(one, Path)]
    lines = "".join(f"{one}\n" for one in requirements if isinstance(one, str))
    unwanted = ("VIRTUAL_ENV", "UV_PYTHON")
    environ = {key: text for key, text in os.environ.items() if key not in unwanted}
    done = subprocess.run(
        [*command, *map(str, files), *(["-"] if lines else [])],
        env=environ,
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode != 0:
        raise RuntimeError(f"uv could not resolve {requirements}:\n{done.stderr}")
    return done.stdout.split()


def compile_all(folder: Path, version: str) -> None:
    """Compiles every module to bytecode. Versions of Python share it within a minor version."""
    python = interpreter(version).executable
    # modules for other Pythons do not compile; pip passes over them, too
    subprocess.run(
        [python, "-I", "-m", "compileall", "-q", "-q", "-j", "2", folder],
        capture_output=True,
        timeout=600,
    )


@dataclass(frozen=True)
class Site:
    """A Windows Python's site-packages and Scripts below `prefix`.

    `python` is the path that launchers start: the interpreter's on its Windows machine.
    """

    prefix: Path
    python: str
    version: str

    @property
    def packages(self) -> Path:
        return self.prefix / "Lib" / "site-packages"

    def install(
        self, wheels: Iterable[Path], requested: Sequence[str] = (), installer: str = "pip"
    ) -> None:
        """Installs the wheels as pip does: launchers, bytecode, INSTALLER, REQUESTED, RECORD."""
        wanted: set[str] = {canonicalize_name(name) for name in requested}
        records = [self._unpack(wheel, wanted, installer) for wheel in wheels]
        compile_all(self.packages, self.version)
        for info, rows in records:
            self._write_record(info, rows)

    def _unpack(
        self, wheel: Path, requested: set[str], installer: str
    ) -> tuple[Path, list[list[str]]]:
        """Returns the dist-info folder and the rows of its RECORD, itself and bytecode left out."""
        self.packages.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.packages)
            folders = {name.partition("/")[0] for name in archive.namelist()}
        [info] = [self.packages / name for name in folders if name.endswith(".dist-info")]
        with (info / "RECORD").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if not row[0].endswith("RECORD")]
        rows = [self._move(row, info) for row in rows]
        shutil.rmtree(info.with_suffix(".data"), ignore_errors=True)
        added = list(self._launchers(info))
        (info / "INSTALLER").write_text(f"{installer}\n", encoding="utf-8")
        added.append(info / "INSTALLER")
        if canonicalize_name(info.name.split("-")[0]) in requested:
            (info / "REQUESTED").touch()
            added.append(info / "REQUESTED")
        return info, [*rows, *map(self._row, added)]

    def _move(self, row: list[str], info: Path) -> list[str]:
        """Puts a file of the wheel's .data where it belongs."""
        top, _, rest = row[0].partition("/")
        if top != info.with_suffix(".data").name:
            return row
        scheme, _, path = rest.partition("/")
        roots = {"purelib": self.packages, "platlib": self.packages, "data": self.prefix}
        target = roots.get(scheme, self.prefix / "Scripts") / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.packages / row[0], target)
        return [self._relative(target), *row[1:]]

    def _launchers(self, info: Path) -> Iterable[Path]:
        """Makes Scripts\\NAME.exe for each entry point: launcher, shebang and zipped script."""
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(info / "entry_points.txt", encoding="utf-8")
        for section, launcher in (("console_scripts", "t64.exe"), ("gui_scripts", "w64.exe")):
            if not parser.has_section(section):
                continue
            for name, reference in parser[section].items():
                module, _, function = reference.split("[")[0].strip().partition(":")
                path = self.prefix / "Scripts" / f"{name}.exe"
                path.parent.mkdir(parents=True, exist_ok=True)
                first = function.split(".")[0]
                script = SCRIPT.format(module=module, first=first, function=function)
                path.write_bytes(console_launcher(self.python, script, launcher))
                yield path

    def _write_record(self, info: Path, rows: list[list[str]]) -> None:
        tag = f".cpython-{self.version.replace('.', '')}.pyc"
        for name in [row[0] for row in rows if row[0].endswith(".py")]:
            folder, _, file = name.rpartition("/")
            code = f"{folder}/__pycache__/{file.removesuffix('.py')}{tag}".lstrip("/")
            if (self.packages / code).is_file():
                rows.append([code, "", ""])
        rows.append([f"{info.name}/RECORD", "", ""])
        with (info / "RECORD").open("w", encoding="utf-8", newline="") as record:
            csv.writer(record, lineterminator="\n").writerows(sorted(rows))

    def _row(self, path: Path) -> list[str]:
        data = path.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return [self._relative(path), f"sha256={digest}", str(len(data))]

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path, self.packages).replace(os.sep, "/")


def console_launcher(python: str, script: str, kind: str = "t64.exe") -> bytes:
    """An .exe that runs the script with that Python, as pip makes them."""
    with zipfile.ZipFile(bundled_pip()) as archive:
        launcher = archive.read(f"pip/_vendor/distlib/{kind}")
    quoted = f'"{python}"' if " " in python else python
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("__main__.py", script)
    return launcher + f"#!{quoted}\r\n".encode() + data.getvalue()
