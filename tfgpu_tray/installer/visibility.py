"""Takes back what hides the GPU in an environment: CUDA_VISIBLE_DEVICES in a hook or a variable."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.installer.files import write
from tfgpu_tray.installer.situation import Situation
from tfgpu_tray.installer.step import Description, Kept, Step, Work, shown
from tfgpu_tray.observe import batch_text
from tfgpu_tray.observe.shell_text import MASK, MASK_LINE


def steps(situation: Situation) -> list[Step]:
    """One step for each place in the environment that sets it."""
    hooks = situation.snapshot.hooks
    found: list[Step] = []
    if MASK in hooks.variables:
        found.append(UnsetVariable(situation.environment.prefix))
    masking = (s for s in hooks.scripts if s.masks_gpu and not s.stray)
    found += [UnmaskHook(script.path) for script in masking]
    return found


@dataclass(frozen=True, slots=True)
class UnmaskHook(Kept):
    """Take the line that hides the GPU out of a hook. One of Windows gets its line ends."""

    path: Path
    chapter: str = "hooks"

    @property
    def _windows(self) -> bool:
        return self.path.suffix.lower() in (".bat", ".ps1")

    @property
    def _line(self) -> re.Pattern[str]:
        return batch_text.MASK_LINE if self._windows else MASK_LINE

    def _text(self) -> str:
        """Its bytes as characters, whatever encoding the others of them are in."""
        return self.path.read_bytes().decode("latin-1").replace("\r\n", "\n")

    def check(self) -> bool:
        try:
            return not self._line.search(self._text())
        except OSError:
            return True

    def describe(self) -> Description:
        return Description(
            title=f"Stop {self.path.name} from hiding the GPU",
            why=f"it sets {MASK} so that no program sees a GPU",
            commands=(f"comment out {MASK} in {self.path}",),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        return (self.path,)

    def apply(self, work: Work) -> None:
        comment = "rem" if self.path.suffix.lower() == ".bat" else "#"
        text = self._line.sub(lambda m: f"{comment} tfgpu-tray: {m[0].strip()}", self._text())
        if self._windows:
            text = text.replace("\n", "\r\n")
        write(self.path, text.encode("latin-1"))


@dataclass(frozen=True, slots=True)
class UnsetVariable(Kept):
    """Take CUDA_VISIBLE_DEVICES out of what `conda env config vars` sets."""

    prefix: Path
    chapter: str = "hooks"

    def _state(self) -> dict[str, object]:
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    @property
    def _path(self) -> Path:
        return self.prefix / "conda-meta" / "state"

    def check(self) -> bool:
        variables = self._state().get("env_vars")
        return not (isinstance(variables, dict) and MASK in variables)

    def describe(self) -> Description:
        return Description(
            title=f"Unset {MASK} for this environment",
            why="it hides every GPU from programs started in this environment",
            commands=(
                shown(["conda", "env", "config", "vars", "unset", "-p", str(self.prefix), MASK]),
            ),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        return (self._path,)

    def apply(self, work: Work) -> None:
        state = self._state()
        variables = state.get("env_vars")
        if isinstance(variables, dict):
            state["env_vars"] = {k: v for k, v in variables.items() if k != MASK}
            write(self._path, json.dumps(state))
