"""What conda keeps in an environment (records, history, pins), and the list of environments."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import CondaError

__all__ = ["SUBDIR", "VERSION", "Prefix", "known_environments"]

VERSION = "26.7.0"

#: The platform that packages are for; as with conda, CONDA_SUBDIR overrules this machine's own.
SUBDIR = os.environ.get("CONDA_SUBDIR") or ("win-64" if sys.platform == "win32" else "linux-64")

Record = dict[str, Any]  # a file of conda-meta, which is conda's own schema


def known_environments() -> Path:
    """~/.conda/environments.txt, of whatever HOME is now."""
    return Path.home() / ".conda" / "environments.txt"


class Prefix:
    """An environment, or the place of one to be."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.meta = self.path / "conda-meta"
        self.history = self.meta / "history"

    def exists(self) -> bool:
        return self.history.is_file()

    def require(self) -> None:
        """Raises CondaError unless this is an environment."""
        if not self.path.is_dir():
            message = f"Not a conda environment: {self.path}"
            raise CondaError("EnvironmentLocationNotFound", message, {"location": str(self.path)})
        if not self.exists():
            message = (
                "The target directory exists, but it is not a conda environment.\n"
                "Use 'conda create' to convert the directory to a conda environment.\n"
                f"  target directory: {self.path}\n"
            )
            name = "DirectoryNotACondaEnvironmentError"
            raise CondaError(name, message, {"target_directory": str(self.path)})

    def require_not_frozen(self) -> None:
        """Raises CondaError when conda-meta/frozen says hands off."""
        frozen = self.meta / "frozen"
        if not frozen.exists():
            return
        text = frozen.read_text(encoding="utf-8")
        reason = json.loads(text).get("message", "") if text.strip() else ""
        message = f"Cannot modify '{self.path}'. The environment is marked as frozen. "
        if reason:
            message += f"Reason:\n\n    {reason}\n\n"
        message += (
            "You can bypass these protections with the `--override-frozen` flag, at your own risk."
        )
        raise CondaError("EnvironmentIsFrozenError", message)

    def require_writable(self) -> None:
        """Raises CondaError when this user may not change the environment."""
        try:
            self.history.open("a+").close()  # conda's own test, which watchers of the file can see
        except OSError as error:
            message = (
                "The current user does not have write permissions to the target environment.\n"
                f"  environment location: {self.path}\n"
            )
            details = {"environment_location": str(self.path)}
            raise CondaError("EnvironmentNotWritableError", message, details) from error

    def record_files(self) -> list[Path]:
        return sorted(self.meta.glob("*.json"))

    def records(self) -> dict[str, Record]:
        """name → record of every conda package."""
        loaded = (json.loads(path.read_text(encoding="utf-8")) for path in self.record_files())
        return {record["name"]: record for record in loaded}

    def pip_packages(self) -> dict[str, str]:
        """name → version of what pip installed and conda has no record of."""
        found: dict[str, str] = {}
        pattern = "Lib" if SUBDIR.startswith("win") else "lib/python3*"
        for folder in self.path.glob(f"{pattern}/site-packages/*.dist-info"):
            name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
        return {name: version for name, version in found.items() if name not in self.records()}

    def pins(self) -> list[str]:
        file = self.meta / "pinned"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def requested(self) -> dict[str, str]:
        """name → the last spec that the history shows for it, of packages that are installed."""
        specs: dict[str, str] = {}
        text = self.history.read_text(encoding="utf-8") if self.exists() else ""
        for action, found in re.findall(r"^# (update|remove) specs: (\[.*\])$", text, re.MULTILINE):
            for spec in ast.literal_eval(found):
                name = spec_name(spec)
                specs.pop(name, None)
                if action == "update":
                    specs[name] = spec
        installed = self.records()
        return {name: spec for name, spec in specs.items() if name in installed}

    def write_history(
        self,
        command: Sequence[str],
        removed: Iterable[str],
        added: Iterable[str],
        specs: tuple[str, Sequence[str]],
    ) -> None:
        """Appends a section; `specs` is ("update" or "remove", the specs asked for)."""
        lines = [
            f"==> {time.strftime('%Y-%m-%d %H:%M:%S')} <==",
            f"# cmd: {' '.join(command)}",
            f"# conda version: {VERSION}",
            *(f"-{item}" for item in sorted(removed)),
            *(f"+{item}" for item in sorted(added)),
        ]
        action, asked = specs
        with self.history.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        if asked:  # a second opening, as conda does: a reader may find the section without it
            with self.history.open("a", encoding="utf-8") as file:
                file.write(f"# {action} specs: {list(asked)}\n")

    def register(self) -> None:
        """Adds the environment to ~/.conda/environments.txt."""
        file = known_environments()
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        if str(self.path) not in lines:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(f"{self.path}\n")


def spec_name(spec: str) -> str:
    """The package name in a spec, which may start with a channel ("conda-forge::cudnn=8.1")."""
    found = re.match(r"[\w.-]+", spec.rpartition("::")[2].strip())
    return found.group().lower() if found else spec
