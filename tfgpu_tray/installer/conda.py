"""conda steps, through the user's own conda, mamba or micromamba, always with -p PREFIX."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tfgpu_tray.installer.conda_command import command_line, named, run_environ
from tfgpu_tray.installer.pip import last_word
from tfgpu_tray.installer.step import Description, Kept, StepFailed, Work, shown
from tfgpu_tray.model import Outcome

MEASURING = 60.0  # seconds that conda gets to say how much it would download


def run_conda(conda: Path, work: Work, arguments: list[str]) -> None:
    """Run one conda command with --json, which never asks a question.

    Raises:
        StepFailed: conda said no; the text carries its own message.
    """
    command, *rest = arguments
    words = command_line(conda, [command, "--json", "-y", *rest])
    result = work.call(words, run_environ(conda, work.session))
    if result.outcome is Outcome.COMPLETED:
        return
    raise StepFailed(
        f"conda {command} {result.how_it_ended}: {_message(result.stdout, result.stderr)}"
    )


def _download_mb(conda: Path, work: Work, arguments: list[str]) -> int | None:
    """What conda would fetch for *arguments*, by its own dry run; None when it does not say."""
    command, *rest = arguments
    words = command_line(conda, [command, "--dry-run", "--json", "-y", *rest])
    result = work.runner(words, deadline=MEASURING, environ=run_environ(conda, work.session))
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
            title=f"Install {', '.join(self.specs)} with {named(self.conda)}",
            why=self.why,
            commands=(shown([named(self.conda), *self._arguments()]),),
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
            commands=(shown([named(self.conda), *self._arguments()]),),
        )

    def _arguments(self) -> list[str]:
        packages = [f"python={self.python_version}", "pip"]
        return ["create", "-p", str(self.prefix), "-c", self.channel, *packages]

    def touches(self) -> tuple[Path, ...]:
        return (self.prefix,)

    def apply(self, work: Work) -> None:
        run_conda(self.conda, work, self._arguments())


@dataclass(frozen=True, slots=True)
class CondaRemove(Kept):
    """Take conda's own packages out, alone: what else is installed stays."""

    conda: Path
    prefix: Path
    names: tuple[str, ...]
    why: str
    present: Callable[[], bool]
    chapter: str = "tensorflow"

    def check(self) -> bool:
        return not self.present()

    def describe(self) -> Description:
        return Description(
            title=f"Remove conda's {', '.join(self.names)}",
            why=self.why,
            commands=(shown([named(self.conda), *self._arguments()]),),
            download_mb=0,
        )

    def _arguments(self) -> list[str]:
        return ["remove", "-p", str(self.prefix), "--force", *self.names]

    def touches(self) -> tuple[Path, ...]:
        return (self.prefix,)

    def apply(self, work: Work) -> None:
        run_conda(self.conda, work, self._arguments())
