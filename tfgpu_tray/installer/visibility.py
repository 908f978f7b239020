"""Takes back what hides the GPU in an environment: CUDA_VISIBLE_DEVICES in a hook or a variable."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.installer.files import write
from tfgpu_tray.installer.situation import Situation
from tfgpu_tray.installer.step import Description, Kept, Step, Work
from tfgpu_tray.observe.shell_text import MASK, MASK_LINE


def steps(situation: Situation) -> list[Step]:
    """One step for each place in the environment that sets it."""
    hooks = situation.snapshot.hooks
    found: list[Step] = []
    if MASK in hooks.variables:
        found.append(UnsetVariable(situation.environment.prefix))
    found += [UnmaskHook(script.path) for script in hooks.scripts if script.masks_gpu]
    return found


@dataclass(frozen=True, slots=True)
class UnmaskHook(Kept):
    """Take the line that hides the GPU out of a hook."""

    path: Path
    chapter: str = "hooks"

    def check(self) -> bool:
        try:
            return not MASK_LINE.search(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
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
        text = self.path.read_text(encoding="utf-8")
        write(self.path, MASK_LINE.sub(lambda m: f"# tfgpu-tray: {m[0].strip()}", text))


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
            commands=(f"conda env config vars unset -p {self.prefix} {MASK}",),
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
