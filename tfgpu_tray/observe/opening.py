"""Lets an environment's Python really open libraries: activated, and as started without that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tfgpu_tray.model import Environment, Libraries, Library, LibraryState, Outcome
from tfgpu_tray.observe import probing
from tfgpu_tray.observe.child import Runner, run


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of opening one library."""

    path: str | None  # what was opened, or tripped over
    error: str | None = None
    code: int = 0  # Windows' error code


Judge = Callable[[str, Attempt | None], Library]


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens *names* with a probe, and judges what came of each."""

    environment: Environment
    probe: str  # its file
    names: Sequence[str]
    request: Mapping[str, object]  # what else that probe wants to know
    judge: Judge
    deadline: float = 20.0
    runner: Runner = run

    def open(self, activated: Mapping[str, str], session: Mapping[str, str]) -> Libraries:
        opened = self._ask(activated, driver=True)
        # The driver is the same without activation, and a hanging one need not be waited for twice.
        bare = {
            lib.soname: lib.state is LibraryState.FOUND
            for lib in self._ask(session, driver=False).libraries
            if lib.state is not LibraryState.UNKNOWN
        }
        libraries = tuple(
            replace(lib, without_activation=bare.get(lib.soname)) for lib in opened.libraries
        )
        return replace(opened, libraries=libraries)

    def _ask(self, environ: Mapping[str, str], *, driver: bool) -> Libraries:
        request = {"names": self.names, "driver": driver, **self.request}
        result = self.runner(
            [
                self.environment.python or "python",
                probing.FOLDER / self.probe,
                json.dumps(request),
            ],
            deadline=self.deadline,
            environ={**environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"},
            cwd=self.environment.prefix,
        )
        attempts: dict[str, Attempt] = {}
        said: dict[str, object] = {}
        for fact in probing.facts(result.stdout):
            if isinstance(library := fact.get("library"), dict):
                name = library.pop("name")
                attempts[name] = Attempt(**library)
            said.update(fact)
        notes = []
        if result.outcome is not Outcome.COMPLETED:
            stage = said.get("stage", "its start")
            notes.append(f"the loader probe {result.how_it_ended} at {stage}")
        cuinit, trouble, at = said.get("cuinit"), said.get("libcuda"), said.get("libcuda_path")
        return Libraries(
            "loaded",
            result.outcome,
            tuple(self.judge(name, attempts.get(name)) for name in self.names),
            libcuda=trouble if isinstance(trouble, str) else None,
            cuinit=cuinit if isinstance(cuinit, int) else None,
            libcuda_path=at if isinstance(at, str) else None,
            notes=tuple(notes),
        )
