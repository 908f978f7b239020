"""pip steps, through the environment's own pip (uv where it has none), never with --user."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.installer.step import Description, Kept, StepFailed, Work, shown
from tfgpu_tray.knowledge.releases import download_mb
from tfgpu_tray.model import Environment, Outcome

# A user's own settings that would send an installation somewhere else, or nowhere. Index, proxy
# and certificate settings stay: mirrors matter.
_ELSEWHERE = frozenset(
    [
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_DRY_RUN",
        "PIP_REPORT",
        "PIP_NO_DEPS",
        "PIP_CONSTRAINT",
        "PIP_PYTHON",
        "PYTHONPATH",
        "PYTHONHOME",
    ]
)


def pip_environ(session: Mapping[str, str], *, see_user_site: bool = False) -> dict[str, str]:
    """Environment variables for a pip that only sees and changes the environment itself."""
    environ = {k: v for k, v in session.items() if k not in _ELSEWHERE}
    environ |= {"PIP_USER": "0", "PYTHONUTF8": "1", "PIP_NO_INPUT": "1"}
    # What pip installs it compiles all the same; this keeps its run from leaving caches elsewhere.
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if not see_user_site:
        environ["PYTHONNOUSERSITE"] = "1"
    return environ


def _pip(environment: Environment, work: Work) -> list[str]:
    """The words that start this environment's package installer.

    Raises:
        StepFailed: it has neither pip nor can one be had.
    """
    python = str(environment.python)
    environ = pip_environ(work.session)
    found = work.runner([python, "-m", "pip", "--version"], deadline=60, environ=environ)
    if found.outcome is Outcome.COMPLETED:
        version = re.match(r"pip (\d+)\.(\d+)", found.stdout)
        words = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        if version and (int(version[1]), int(version[2])) >= (24, 1):
            words += ["--progress-bar", "raw"]
        return words
    if uv := shutil.which("uv", path=work.session.get("PATH")):
        return [uv, "pip"]
    filled = work.runner([python, "-m", "ensurepip"], deadline=120, environ=environ)
    if filled.outcome is not Outcome.COMPLETED:
        raise StepFailed(
            f"{environment.prefix} has no pip, and ensurepip {filled.how_it_ended}; "
            "install pip there, then repair again"
        )
    return [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def run_pip(
    environment: Environment, work: Work, arguments: Sequence[str], *, user_site: bool = False
) -> None:
    """Run one pip command in *environment*.

    Raises:
        StepFailed: pip said no; the text carries its own last word.
    """
    words = _pip(environment, work)
    command, *rest = arguments
    if words[-1] == "pip":  # uv pip: the target is named, and it never asks
        rest = [r for r in rest if r not in ("-y", "--prefer-binary")]
        where = ["--python", str(environment.python)]
    else:
        where = []
        if command != "install" and "--progress-bar" in words:
            words = words[: words.index("--progress-bar")]
    result = work.call(
        [*_placed(words, command), *where, *rest],
        pip_environ(work.session, see_user_site=user_site),
    )
    if result.outcome is not Outcome.COMPLETED:
        raise StepFailed(f"pip {command} {result.how_it_ended}: {last_word(result.stderr)}")


def _placed(words: list[str], command: str) -> list[str]:
    """--progress-bar belongs after the subcommand, the other options before it."""
    if "--progress-bar" in words:
        at = words.index("--progress-bar")
        return [*words[:at], command, *words[at:]]
    return [*words, command]


def downloads(text: str) -> list[tuple[int, int | None]]:
    """Bytes that have come and bytes in all (None: not known), from `--progress-bar raw` lines."""
    words = (line.split() for line in text.splitlines())
    return [
        (int(w[1]), int(w[3]) if w[3].isdigit() else None)
        for w in words
        if len(w) == 4 and w[0] == "Progress" and w[1].isdigit()
    ]


def last_word(text: str) -> str:
    """The line of a package manager's output that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "error", "×"))]
    return (errors[-1] if errors else lines[-1] if lines else "no message")[:500]


@dataclass(frozen=True, slots=True)
class PipInstall(Kept):
    """Install requirements; *settled* tells whether the environment already has them."""

    environment: Environment
    requirements: tuple[str, ...]
    why: str
    settled: Callable[[], bool]
    chapter: str = "tensorflow"
    title: str = ""
    options: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()  # requirements that are met already, so not downloaded

    def check(self) -> bool:
        return self.settled()

    def describe(self) -> Description:
        system = "windows" if sys.platform == "win32" else "linux"
        sizes = [download_mb(r, system) for r in self.requirements if r not in self.installed]
        known = [s for s in sizes if s is not None]
        python = str(self.environment.python)
        words = [python, "-m", "pip", "install", *self.options, *self.requirements]
        return Description(
            title=self.title or f"Install {', '.join(self.requirements)}",
            why=self.why,
            commands=(shown(words),),
            download_mb=sum(known) if known else None,
        )

    def touches(self) -> tuple[Path, ...]:
        return python_folders(self.environment)

    def apply(self, work: Work) -> None:
        arguments = ["install", "--prefer-binary", *self.options, *self.requirements]
        run_pip(self.environment, work, arguments)


@dataclass(frozen=True, slots=True)
class PipUninstall(Kept):
    """Remove distributions, from the environment or from the user site."""

    environment: Environment
    names: tuple[str, ...]
    why: str
    present: Callable[[], bool]
    from_user_site: bool = False
    chapter: str = "tensorflow"

    def check(self) -> bool:
        return not self.present()

    def describe(self) -> Description:
        where = " from the user site" if self.from_user_site else ""
        words = [str(self.environment.python), "-m", "pip", "uninstall", "-y", *self.names]
        return Description(
            title=f"Remove {', '.join(self.names)}{where}",
            why=self.why,
            commands=(shown(words),),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        if self.from_user_site and self.environment.user_site is not None:
            site = self.environment.user_site
            windows = sys.platform == "win32"
            return (site, site.parent / "Scripts" if windows else site.parents[2] / "bin")
        return python_folders(self.environment)

    def apply(self, work: Work) -> None:
        run_pip(
            self.environment,
            work,
            ["uninstall", "-y", *self.names],
            user_site=self.from_user_site,
        )


def python_folders(environment: Environment) -> tuple[Path, ...]:
    """What pip changes in an environment: packages, scripts, and the shared data of wheels."""
    prefix = environment.prefix
    site = environment.site_packages or prefix / "lib"
    return (site, prefix / "bin", prefix / "Scripts", prefix / "share", prefix / "include")
