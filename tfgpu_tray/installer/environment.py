"""Creating an environment that does not exist yet, with a Python its TensorFlow exists for."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.installer.step import Description, Kept, StepFailed, Work, shown
from tfgpu_tray.model import Outcome


def find_python(version: str, environ: Mapping[str, str], home: Path) -> list[str] | None:
    """The command that creates a venv with Python *version* ("3.10"), without its last word, the
    prefix: an interpreter on PATH, of Windows' registry or of pyenv, else uv, which can fetch one.
    None: none of them."""
    if python := next(_interpreters(version, environ, home), None):
        return [str(python), "-m", "venv"]
    if uv := shutil.which("uv", path=environ.get("PATH")):
        return [uv, "venv", "--seed", "--python", version]
    return None


def _interpreters(version: str, environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    if found := shutil.which(f"python{version}", path=environ.get("PATH")):
        candidate = Path(found)
        # A pyenv shim only works when that version is chosen; Microsoft Store's Python searches
        # no PATH for DLLs, and its name may be a mere link to the shop.
        if not {"shims", "WindowsApps"}.intersection(candidate.parts):
            yield candidate
    yield from (p for p in _registered(version) if p.is_file())
    if sys.platform == "win32":
        root = Path(environ.get("PYENV_ROOT") or home / ".pyenv" / "pyenv-win") / "versions"
        yield from sorted(root.glob(f"{version}.*/python.exe"), reverse=True)
    else:
        root = Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
        yield from sorted(root.glob(f"{version}.*/bin/python"), reverse=True)


def _registered(version: str) -> list[Path]:
    """python.org's Pythons of that version, which Windows' registry lists (PEP 514)."""
    found: list[Path] = []
    if sys.platform == "win32":
        import winreg

        key = rf"Software\Python\PythonCore\{version}\InstallPath"
        for hive in (winreg.HKEY_CURRENT_USER, winreg.HKEY_LOCAL_MACHINE):
            try:
                found.append(Path(winreg.QueryValue(hive, key), "python.exe"))
            except OSError:
                continue
    return found


@dataclass(frozen=True, slots=True)
class CreateVenv(Kept):
    prefix: Path
    command: tuple[str, ...]
    python_version: str
    chapter: str = "environment"

    def check(self) -> bool:
        return (self.prefix / "pyvenv.cfg").is_file()

    def describe(self) -> Description:
        return Description(
            title=f"Create {self.prefix} with Python {self.python_version}",
            why="the environment does not exist yet",
            commands=(shown([*self.command, str(self.prefix)]),),
        )

    def touches(self) -> tuple[Path, ...]:
        return (self.prefix,)

    def apply(self, work: Work) -> None:
        result = work.call([*self.command, str(self.prefix)], work.session)
        if result.outcome is not Outcome.COMPLETED:
            raise StepFailed(
                f"the environment could not be created: {self.command[0]} {result.how_it_ended}: "
                f"{(result.stderr or result.stdout).strip()[-300:]}"
            )
