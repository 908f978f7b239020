"""Creating an environment that does not exist yet, with a Python its TensorFlow exists for."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.installer.step import Description, Kept, StepFailed, Work
from tfgpu_tray.model import Outcome


def find_python(version: str, environ: Mapping[str, str], home: Path) -> list[str] | None:
    """The command that creates a venv with Python *version* ("3.10"), without its last word, the
    prefix: an interpreter on PATH or of pyenv, else uv, which can fetch one. None: neither."""
    if found := shutil.which(f"python{version}", path=environ.get("PATH")):
        candidate = Path(found)
        if "shims" not in candidate.parts:  # a pyenv shim only works when that version is chosen
            return [str(candidate), "-m", "venv"]
    root = Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    built = sorted(root.glob(f"{version}.*/bin/python"), reverse=True)
    if built:
        return [str(built[0]), "-m", "venv"]
    if uv := shutil.which("uv", path=environ.get("PATH")):
        return [uv, "venv", "--seed", "--python", version]
    return None


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
            commands=(shlex.join([*self.command, str(self.prefix)]),),
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
