"""Rules about the DLLs of CUDA on Windows: where TensorFlow looks for them, and what stands there.

TensorFlow 2.10 and older look in the folder of python.exe, in those of Windows, and along PATH;
conda's activation puts the environment's Library\\bin there.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tray.diagnose.case import ZLIB, Case, Finding, blemish, certain, remark
from tfgpu_tray.diagnose.library_rules import on_disk
from tfgpu_tray.knowledge.cuda import component, needs_zlibwapi
from tfgpu_tray.model import Kind, Library, LibraryState, Outcome


def not_reached(case: Case) -> Iterator[Finding]:
    """The right files are on disk, and no folder that is searched holds them."""
    libraries = case.in_state(LibraryState.UNREACHABLE)
    if not libraries or not case.on_windows or _gave_up(case):
        return
    evidence = on_disk(case, libraries)
    if taken := _taken_off_path(case, libraries):
        yield certain("activate-hook-harmful", *taken, *evidence)
        return
    if case.snapshot.environment.packaged_python:
        evidence.append("this Python is from the Microsoft Store and does not search PATH")
    yield certain("windows-dll-dir-not-searched", *evidence)


def _gave_up(case: Case) -> bool:
    """Whether the activation failed, which `hook_fails` speaks of: nothing is on PATH then."""
    activation = case.snapshot.hooks.activation
    return activation is not None and activation.outcome is not Outcome.COMPLETED


def _taken_off_path(case: Case, libraries: list[Library]) -> list[str]:
    """Who took the folder that conda puts on PATH off it again; empty when nobody did."""
    folder = f"{case.prefix}\\Library\\bin"
    if case.snapshot.environment.kind is not Kind.CONDA or not any(
        case.within(place, folder) for library in libraries for place in library.candidates
    ):
        return []
    overwriting = [s for s in case.scripts if s.loader_path == "overwrites"]
    if overwriting:
        return [f"the hook {s.path} replaces PATH instead of adding to it" for s in overwriting]
    activated = case.snapshot.hooks.activation is not None
    if activated and folder not in case.loader_path and case.scripts:
        return ["after activation, PATH no longer names the folder that conda put there"]
    return []


def foreign_cudnn(case: Case) -> Iterator[Finding]:
    """A cuDNN from elsewhere is loaded although the environment brings its own."""
    if not case.on_windows:
        return
    for library in case.in_state(LibraryState.FOUND):
        own = next((c for c in library.candidates if case.within(c, case.prefix)), None)
        path = library.path
        if component(library.soname) != "cudnn" or own is None or path is None:
            continue
        if case.within(path, case.prefix):
            continue
        folder = case.rules.dirname(path)
        evidence = [f"{path} is loaded instead of {own}"]
        evidence += [f"the hook {s.path} puts {folder} in front" for s in case.hooks_naming(folder)]
        finding = certain if case.sign("cudnn-mismatch") else blemish
        yield finding("cudnn-version-mismatch", *evidence)


def zlib_missing(case: Case) -> Iterator[Finding]:
    """cuDNN 8.3 to 9.1 opens zlibwapi.dll when it first computes, and ends the program without."""
    library, version = case.zlib, _cudnn_version(case)
    if library is None or library.state in (LibraryState.FOUND, LibraryState.UNKNOWN):
        return
    if version is None or not needs_zlibwapi(version):
        return
    where = "is nowhere on this machine"
    if library.candidates:
        where = f"is only in {case.rules.dirname(library.candidates[0])}, which is not searched"
    computed = case.snapshot.compute
    failed = computed is not None and not (computed.matmul and computed.convolution)
    finding = certain if failed else blemish
    yield finding("zlibwapi-missing", f"cuDNN {version} needs {ZLIB}, which {where}")


def _cudnn_version(case: Case) -> str | None:
    """The version of the cuDNN that TensorFlow takes, from the package that brought it."""
    path = next((x.path for x in case.libraries if component(x.soname) == "cudnn" and x.path), None)
    if path is None or not case.within(path, case.prefix):
        return None
    site = case.snapshot.environment.site_packages
    if site is not None and case.within(path, str(site)):
        wheel = case.snapshot.packages.find("nvidia-cudnn-cu11")
        return wheel.version if wheel else None
    record = case.snapshot.conda.find("cudnn") if case.snapshot.conda else None
    return record.version if record else None


def stray_hook(case: Case) -> Iterator[Finding]:
    """What the usual recipe leaves at the drive's root when PowerShell runs it."""
    for script in case.snapshot.hooks.scripts:
        if script.stray:
            yield remark("stray-activation-hook", *(f"{script.path} {p}" for p in script.problems))
