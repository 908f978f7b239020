"""Chapter 4 of the article: the loader path, only where this TensorFlow needs it.

A hook serves every program of an activated shell; the preload serves programs that start the
environment's Python without activation. Both only ever write files of our own name; a user's own
hook that does harm is set aside, not edited, and comes back with undo. Windows needs no hook:
conda's activation puts the folder of the DLLs on PATH.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.installer import files, hook_texts, visibility
from tfgpu_tray.installer.situation import Situation
from tfgpu_tray.installer.step import Description, Kept, Step, Work
from tfgpu_tray.installer.target import CudaSource
from tfgpu_tray.knowledge.cuda import component
from tfgpu_tray.knowledge.releases import missing_runpath
from tfgpu_tray.model import HookScript, Kind
from tfgpu_tray.observe import libraries
from tfgpu_tray.observe.hooks import OURS, PRELOAD

# "zz-" sorts after other hooks: conda runs them in order, and one that overwrites the loader path
# would otherwise undo ours.
NAME = f"zz-{OURS}"
MODULE = "_tfgpu_tray_preload.py"
# Causes that say the present hooks do not lead where they should.
PATH_CAUSES = frozenset(
    {
        "activate-hook-broken",
        "activate-hook-harmful",
        "ld-library-path-broken",
        "ld-library-path-unset",
        "pip-nvidia-libs-not-on-path",
    }
)
# An opened library needs these opened before it.
LOAD_ORDER = ("cudart", "nvrtc", "nvjitlink", "cublasLt", "cublas", "cufft", "curand")
AFTERWARDS = ("cusparse", "cusolver", "cudnn")


def steps(situation: Situation) -> list[Step]:
    """What the loader path needs, and what stands in its way."""
    found: list[Step] = []
    causes = situation.causes
    if "cuda-visible-devices-masked" in causes:
        found += visibility.steps(situation)
    if {"activate-hook-harmful", "activate-hook-broken"} & set(causes):
        found += [SetAside(s.path, why) for s, why in _to_set_aside(situation)]
    reach = Reach(situation)
    only_masked = set(causes) == {"cuda-visible-devices-masked"}
    if not only_masked and not situation.conda_owns_tensorflow and reach.expected():
        if situation.environment.kind is Kind.CONDA and not situation.on_windows:
            found.append(WriteHook(reach))
        found.append(WritePreload(reach))
    return found


def _to_set_aside(situation: Situation) -> list[tuple[HookScript, str]]:
    """The user's own scripts that break activation or hide libraries, each with the reason."""
    found: list[tuple[HookScript, str]] = []
    hooks = situation.snapshot.hooks
    failed = hooks.activation.failed_script if hooks.activation else None
    harmful = _folders_in_front(situation)
    shells = ("cmd", "powershell") if situation.on_windows else ("posix",)
    for script in hooks.scripts:
        if script.ours or script.packaged or script.stray or script.shell not in shells:
            continue
        front = [f for f in script.folders if _real(f) in harmful]
        if "activate-hook-harmful" in situation.causes and front:
            found.append((script, f"it puts {front[0]} in front, whose libraries do not load"))
        elif _takes_away(situation, script):
            found.append((script, "it takes the folder of the CUDA files off PATH"))
        elif "activate-hook-broken" in situation.causes and failed and _is(script, failed):
            found.append((script, "it fails when the environment is activated"))
        elif "activate-hook-broken" in situation.causes and script.unreadable:
            found.append((script, f"it {script.unreadable[0]}"))
    return found


def _folders_in_front(situation: Situation) -> set[str]:
    """Folders of libraries that the loader takes first and cannot open."""
    observed = situation.snapshot.libraries
    stuck = (
        [x for x in observed.libraries if x.state.value in ("hidden", "damaged")]
        if observed
        else []
    )
    return {_real(os.path.dirname(x.path)) for x in stuck if x.path}


def _takes_away(situation: Situation, script: HookScript) -> bool:
    harmful = situation.on_windows and "activate-hook-harmful" in situation.causes
    return harmful and script.loader_path == "overwrites"


def _is(script: HookScript, path: str) -> bool:
    return _real(str(script.path)) == _real(path)


def _real(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


@dataclass(frozen=True)
class Reach:
    """Which folders the loader must be led to; asked anew each time, for steps run after steps."""

    situation: Situation

    def expected(self) -> bool:
        """Whether a lead will be needed once the target is installed, from the tables."""
        target = self.situation.target
        if self.situation.on_windows or missing_runpath(target.version):
            return True
        if target.cuda is CudaSource.EXTRA or target.release.finds_nvidia_wheels:
            return bool(self.folders())
        return not target.release.uses_rpath or target.cuda is CudaSource.WHEELS

    def folders(self) -> list[str]:
        """Folders, relative to the prefix, of libraries the loader would not find by itself."""
        environment = self.situation.environment
        effective = self.situation.packages_now().effective
        if effective is None:
            return []
        wheel = libraries.Wheel()
        if not self.situation.on_windows:
            wheel = libraries.read_wheel(effective.folder / "tensorflow") or wheel
        found: dict[str, None] = {}
        for soname in self.situation.sonames:
            sound = self.situation.own_files_of(soname)
            if sound and os.path.dirname(sound[0]) not in wheel.runpath:
                found[os.path.relpath(os.path.dirname(sound[0]), environment.prefix)] = None
        return list(found)

    def sonames(self) -> list[str]:
        """The libraries to open, each after those it needs."""
        order = {name: place for place, name in enumerate((*LOAD_ORDER, *AFTERWARDS))}
        return sorted(self.situation.sonames, key=lambda s: order.get(component(s), len(order)))


@dataclass(frozen=True)
class WriteHook(Kept):
    """activate.d and deactivate.d scripts for bash, zsh and fish."""

    reach: Reach
    chapter: str = "hooks"

    def _files(self) -> dict[Path, str]:
        folders = self.reach.folders()
        if not folders:
            return {}
        root = self.reach.situation.environment.prefix / "etc" / "conda"
        return {
            root / "activate.d" / f"{NAME}.sh": hook_texts.sh_activate(folders),
            root / "activate.d" / f"{NAME}.fish": hook_texts.fish_activate(folders),
            root / "deactivate.d" / f"{NAME}.sh": hook_texts.SH_DEACTIVATE,
            root / "deactivate.d" / f"{NAME}.fish": hook_texts.FISH_DEACTIVATE,
        }

    def check(self) -> bool:
        if self._served_already():
            return True
        wanted = self._files()
        return bool(wanted) and all(files.holds(path, text) for path, text in wanted.items())

    def _served_already(self) -> bool:
        """The user's own hook already leads there, and is not what we were called to mend."""
        situation = self.reach.situation
        if PATH_CAUSES.intersection(situation.causes):
            return False
        named = {_real(f) for s in situation.snapshot.hooks.scripts for f in s.folders}
        prefix = situation.environment.prefix
        folders = [_real(str(prefix / f)) for f in self.reach.folders()]
        return bool(folders) and named.issuperset(folders)

    def describe(self) -> Description:
        version = self.reach.situation.target.version
        return Description(
            title="Write the activation hook",
            why=f"TensorFlow {version} does not look into the environment's library folder itself",
            commands=tuple(
                f"write etc/conda/{folder}/{NAME}{suffix}"
                for folder in ("activate.d", "deactivate.d")
                for suffix in (".sh", ".fish")
            ),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        return (self.reach.situation.environment.prefix / "etc" / "conda",)

    def apply(self, work: Work) -> None:
        for path, text in self._files().items():
            files.write(path, text)


@dataclass(frozen=True)
class WritePreload(Kept):
    """A preload in site-packages, for programs started without activation."""

    reach: Reach
    chapter: str = "hooks"

    def _files(self) -> dict[Path, str]:
        folders = self.reach.folders()
        site = self.reach.situation.environment.site_packages
        if not folders or site is None:
            return {}
        system = self.reach.situation.snapshot.host.system
        text = hook_texts.preload_module(self.reach.sonames(), folders, system)
        return {site / PRELOAD: hook_texts.PRELOAD_PTH, site / MODULE: text}

    def check(self) -> bool:
        wanted = self._files()
        return bool(wanted) and all(files.holds(path, text) for path, text in wanted.items())

    def describe(self) -> Description:
        return Description(
            title="Write the preload",
            why="editors and notebooks start Python without activating the environment",
            commands=(f"write {PRELOAD} and {MODULE} in site-packages",),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        site = self.reach.situation.environment.site_packages
        return (site / PRELOAD, site / MODULE) if site else ()

    def apply(self, work: Work) -> None:
        for path, text in reversed(self._files().items()):  # the module before what imports it
            files.write(path, text)


@dataclass(frozen=True, slots=True)
class SetAside(Kept):
    """Take a harmful hook of the user's out of activate.d; undo brings it back."""

    path: Path
    why: str
    chapter: str = "hooks"

    def check(self) -> bool:
        return not self.path.exists()

    def describe(self) -> Description:
        return Description(
            title=f"Set the hook {self.path.name} aside",
            why=self.why,
            commands=(f"remove {self.path} (a copy is kept)",),
            download_mb=0,
        )

    def touches(self) -> tuple[Path, ...]:
        return (self.path,)

    def apply(self, work: Work) -> None:
        files.remove(self.path)
