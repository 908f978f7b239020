"""Chapter 3 of the article: CUDA and cuDNN of the generation this TensorFlow was built for."""

from __future__ import annotations

from tfgpu_tray.installer.conda import CondaInstall
from tfgpu_tray.installer.pip import PipInstall
from tfgpu_tray.installer.situation import Situation
from tfgpu_tray.installer.step import Step
from tfgpu_tray.installer.target import CudaSource
from tfgpu_tray.model import Distribution
from tfgpu_tray.observe import libraries


def steps(situation: Situation) -> list[Step]:
    """One installation, from conda or as wheels; where the extra of TensorFlow brings them, only
    what is damaged is installed again."""
    if situation.conda_owns_tensorflow:
        return []
    return [*_damaged_wheels(situation), *_installation(situation)]


def _damaged_wheels(situation: Situation) -> list[Step]:
    """nvidia wheels with files missing or unusable: pip would call them satisfied."""
    broken = tuple(f"{d.name}=={d.version}" for d in _damaged(situation))
    if not broken:
        return []
    return [
        PipInstall(
            situation.environment,
            broken,
            why="files of these packages are missing or damaged",
            settled=lambda: not _damaged(situation),
            chapter="cuda",
            title=f"Install {', '.join(broken)} again",
            options=("--force-reinstall", "--no-deps"),
        )
    ]


def _damaged(situation: Situation) -> list[Distribution]:
    wheels = [d for d in situation.packages_now().related if d.name.startswith("nvidia-")]
    return [d for d in wheels if d.missing_files or not _sound(situation, d)]


def _sound(situation: Situation, wheel: Distribution) -> bool:
    """Whether every library of the wheel starts like one; nvidia-cuda-runtime-cu12 owns the folder
    nvidia/cuda_runtime."""
    folder = wheel.name.removeprefix("nvidia-").rpartition("-cu")[0].replace("-", "_")
    own = wheel.folder / "nvidia" / folder
    found = own.glob("bin/*.dll") if situation.on_windows else own.glob("lib/lib*.so*")
    return all(libraries.is_whole(str(path)) for path in found)


def _installation(situation: Situation) -> list[Step]:
    target = situation.target
    wanted = f"CUDA {target.release.cuda} and cuDNN {target.release.cudnn}"
    why = f"TensorFlow {target.version} was built for {wanted}"
    if target.cuda is CudaSource.CONDA and situation.conda is not None:
        return [
            CondaInstall(
                situation.conda,
                situation.environment.prefix,
                target.cuda_specs,
                situation.channel,
                why,
                settled=situation.has_all_libraries,
                reinstall=lambda: _recorded(situation),
            )
        ]
    if target.cuda is CudaSource.WHEELS:
        return [
            PipInstall(
                situation.environment,
                target.cuda_specs,
                why=f"{why}; without conda the nvidia packages of pip stand in",
                settled=situation.has_all_libraries,
                chapter="cuda",
                title=f"Install {wanted} as wheels",
            )
        ]
    return []


def _recorded(situation: Situation) -> bool:
    """Whether conda believes that they are installed already: then it has to be told again."""
    meta = situation.environment.prefix / "conda-meta"
    names = [spec.split("=")[0] for spec in situation.target.cuda_specs]
    return all(any(meta.glob(f"{name}-[0-9]*.json")) for name in names)
