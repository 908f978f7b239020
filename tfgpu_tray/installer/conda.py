"""conda steps, through the user's own conda, mamba or micromamba, always with -p PREFIX."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tfgpu_tray.installer.pip import last_word
from tfgpu_tray.installer.step import Description, Kept, StepFailed, Work
from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.environments import conda_roots

NAMES = ("conda", "mamba", "micromamba")
MEASURING = 60.0  # seconds that conda gets to say how much it would download


def find_conda(
    environ: Mapping[str, str], home: Path, prefix: Path | None = None, wanted: str | None = None
) -> Path | None:
    """The conda, mamba or micromamba command to use, or None when there is none.

    In order: the configuration, CONDA_EXE and MAMBA_EXE, PATH, the root that holds *prefix*, the
    command that made it (conda-meta/history), the default install folders.
    """
    if wanted:
        found = shutil.which(wanted, path=environ.get("PATH"))
        return Path(found) if found else None
    candidates: list[Path] = []
    for variable in ("CONDA_EXE", "MAMBA_EXE"):
        if value := environ.get(variable):
            candidates.append(Path(value))
    for name in NAMES:
        if found := shutil.which(name, path=environ.get("PATH")):
            candidates.append(Path(found))
    if prefix is not None:
        candidates += [prefix.parent.parent / "bin" / name for name in NAMES]
        candidates += _named_in_history(prefix)
    for root in conda_roots(environ, home):
        candidates += [root / "bin" / name for name in NAMES]
    return next((c for c in candidates if c.is_file() and os.access(c, os.X_OK)), None)


def _named_in_history(prefix: Path) -> list[Path]:
    try:
        text = (prefix / "conda-meta" / "history").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    words = re.findall(r"^# cmd: (\S+)", text, re.MULTILINE)
    return [Path(word) for word in reversed(words) if Path(word).name in NAMES]


def run_conda(conda: Path, work: Work, arguments: list[str]) -> None:
    """Run one conda command with --json, which never asks a question.

    Raises:
        StepFailed: conda said no; the text carries its own message.
    """
    environ = dict(work.session) | {"PYTHONUTF8": "1", "NO_COLOR": "1"}
    command, *rest = arguments
    result = work.call([conda, command, "--json", "-y", *rest], environ)
    if result.outcome is Outcome.COMPLETED:
        return
    raise StepFailed(
        f"conda {command} {result.how_it_ended}: {_message(result.stdout, result.stderr)}"
    )


def _download_mb(conda: Path, work: Work, arguments: list[str]) -> int | None:
    """What conda would fetch for *arguments*, by its own dry run; None when it does not say."""
    command, *rest = arguments
    environ = dict(work.session) | {"PYTHONUTF8": "1", "NO_COLOR": "1"}
    result = work.runner(
        [conda, command, "--dry-run", "--json", "-y", *rest], deadline=MEASURING, environ=environ
    )
    try:
        actions = json.loads(result.stdout.split("\0")[-1])["actions"]
        sizes = [int(record["size"]) for record in actions.get("FETCH", ())]
    except (ValueError, KeyError, TypeError):
        return None
    return round(sum(sizes) / 1e6)


def _message(stdout: str, stderr: str) -> str:
    """conda's JSON error; mamba logs text instead."""
    for part in reversed(stdout.split("\0")):
        try:
            answer = json.loads(part)
        except ValueError:
            continue
        if isinstance(answer, dict) and (text := answer.get("message") or answer.get("error")):
            return " ".join(str(text).split())[:500]
    return last_word(stderr or stdout)


@dataclass(frozen=True, slots=True)
class CondaInstall(Kept):
    conda: Path
    prefix: Path
    specs: tuple[str, ...]
    channel: str
    why: str
    settled: Callable[[], bool]
    reinstall: Callable[[], bool] = lambda: False  # records are there, files are not
    chapter: str = "cuda"
    download_mb: int | None = None

    def check(self) -> bool:
        return self.settled()

    def measured(self, work: Work) -> CondaInstall:
        """The same step, with the size of its download where conda can tell."""
        if not self.prefix.exists():
            return self
        return replace(self, download_mb=_download_mb(self.conda, work, self._arguments()))

    def describe(self) -> Description:
        return Description(
            title=f"Install {', '.join(self.specs)} with {self.conda.name}",
            why=self.why,
            commands=(shlex.join([self.conda.name, *self._arguments()]),),
            download_mb=self.download_mb,
        )

    def _arguments(self) -> list[str]:
        again = ["--force-reinstall"] if self.reinstall() else []
        return ["install", "-p", str(self.prefix), "-c", self.channel, *again, *self.specs]

    def touches(self) -> tuple[Path, ...]:
        return (self.prefix,)

    def apply(self, work: Work) -> None:
        run_conda(self.conda, work, self._arguments())


@dataclass(frozen=True, slots=True)
class CondaCreate(Kept):
    """Create the environment itself, with Python and pip."""

    conda: Path
    prefix: Path
    python_version: str
    channel: str
    chapter: str = "environment"

    def check(self) -> bool:
        return (self.prefix / "conda-meta" / "history").is_file()

    def describe(self) -> Description:
        return Description(
            title=f"Create {self.prefix} with Python {self.python_version}",
            why="the environment does not exist yet",
            commands=(shlex.join([self.conda.name, *self._arguments()]),),
        )

    def _arguments(self) -> list[str]:
        packages = [f"python={self.python_version}", "pip"]
        return ["create", "-p", str(self.prefix), "-c", self.channel, *packages]

    def touches(self) -> tuple[Path, ...]:
        return (self.prefix,)

    def apply(self, work: Work) -> None:
        run_conda(self.conda, work, self._arguments())
