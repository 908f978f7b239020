"""Rules about CUDA libraries and the loader path: there or not, found or not, hidden by a hook."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from tfgpu_tray.diagnose.case import Case, Finding, blemish, certain, remark
from tfgpu_tray.knowledge.cuda import component
from tfgpu_tray.knowledge.releases import known_fault
from tfgpu_tray.model import HookScript, Kind, Library, LibraryState, Outcome


def hook_fails(case: Case) -> Iterator[Finding]:
    activation = case.snapshot.hooks.activation
    if activation is None:
        return
    if activation.outcome is not Outcome.COMPLETED:
        ended = "did not end" if activation.outcome is Outcome.TIMED_OUT else "ended the shell"
        where = activation.failed_script or "the activation"
        yield certain("activate-hook-broken", f"{where} {ended}", *activation.messages[:3])
    elif activation.failed_script:
        explains = bool(case.in_state(LibraryState.UNREACHABLE))
        finding = certain if explains else blemish
        then = ", and conda gives the activation up there" if case.on_windows else ""
        yield finding(
            "activate-hook-broken",
            f"{activation.failed_script} fails when the environment is activated{then}",
            *activation.messages[:3],
        )


def hook_unreadable(case: Case) -> Iterator[Finding]:
    for script in case.scripts:
        if not script.unreadable:
            continue
        finding = certain if case.in_state(LibraryState.UNREACHABLE) else blemish
        yield finding("activate-hook-broken", f"{script.path} {script.unreadable[0]}")


def hook_sloppy(case: Case) -> Iterator[Finding]:
    """The article's own line; harmless for the GPU, so it is mentioned and no more."""
    for script in case.scripts:
        for problem in script.problems:
            if problem not in script.unreadable:
                yield remark("activate-hook-sloppy", f"{script.path} {problem}")


def hidden(case: Case) -> Iterator[Finding]:
    """A file on the loader path that cannot be loaded stands before one that can."""
    for library in case.in_state(LibraryState.HIDDEN):
        path = library.path or library.soname
        folder = case.rules.dirname(path)
        good = next((c for c in library.candidates if c != path), "the right one")
        evidence = [f"{path} is loaded before {good} and cannot be used"]
        if library.error:
            evidence.append(library.error)
        scripts = case.hooks_naming(folder)
        if scripts or case.added_by_hook(folder):
            evidence += [f"the hook {s.path} puts {folder} in front" for s in scripts]
            yield certain("activate-hook-harmful", *evidence)
        elif folder in case.session_loader_path or case.on_windows:
            if folder in case.session_loader_path:
                evidence.append(f"{case.loader_variable} of the session puts {folder} in front")
            yield certain("ld-library-path-broken", *evidence)


def not_reached(case: Case) -> Iterator[Finding]:
    """The right files are on disk, and the loader does not look there. For Windows, `dll_rules`."""
    libraries = case.in_state(LibraryState.UNREACHABLE)
    if not libraries or case.on_windows:
        return
    site = case.snapshot.environment.site_packages
    nvidia = f"{site}{os.sep}nvidia{os.sep}" if site else "\0"
    wheels = [x for x in libraries if any(c.startswith(nvidia) for c in x.candidates)]
    others = [x for x in libraries if x not in wheels]
    overwriting = [s for s in case.snapshot.hooks.scripts if s.loader_path == "overwrites"]
    release = case.release
    if wheels and release is not None and release.finds_nvidia_wheels:
        evidence = on_disk(case, wheels)
        if case.version and (fault := known_fault(case.version)):
            evidence.append(fault)
        yield certain("pip-nvidia-libs-not-on-path", *evidence)
    elif wheels:
        yield certain("ld-library-path-unset", *on_disk(case, wheels))
    if not others:
        return
    evidence = on_disk(case, others)
    broken = _overwritten(case, overwriting)
    if broken:
        yield certain("ld-library-path-broken", *broken, *evidence)
    elif case.loader_path or case.session_loader_path:
        yield certain("ld-library-path-unset", *evidence, _path_line(case))
    else:
        yield certain("ld-library-path-unset", *evidence, "LD_LIBRARY_PATH is not set")


def _overwritten(case: Case, scripts: Sequence[HookScript]) -> list[str]:
    evidence = [
        f"the hook {s.path} replaces LD_LIBRARY_PATH instead of adding to it" for s in scripts
    ]
    gone = [p for p in case.loader_path if not os.path.isabs(p)]
    if gone and not evidence:
        evidence.append(f"LD_LIBRARY_PATH has entries that are no full path: {', '.join(gone)}")
    return evidence


def on_disk(case: Case, libraries: Sequence[Library]) -> list[str]:
    """One line a folder that holds what the loader does not find."""
    folders: dict[str, list[str]] = {}
    for library in libraries:
        place = next(iter(library.candidates), library.path or "an unknown folder/")
        folders.setdefault(case.rules.dirname(place), []).append(library.soname)
    return [
        f"in {folder}, where the loader does not look: {', '.join(sonames)}"
        for folder, sonames in folders.items()
    ]


def _path_line(case: Case) -> str:
    paths = case.loader_path or case.session_loader_path
    return f"LD_LIBRARY_PATH is {':'.join(paths)}"


def missing(case: Case) -> Iterator[Finding]:
    absent = case.in_state(LibraryState.MISSING)
    if not absent:
        return
    names = [x.soname for x in absent]
    evidence = [f"nowhere on this machine: {', '.join(names)}"]
    evidence += [f"{x.relatives[0]} is there, of another version" for x in absent if x.relatives][
        :3
    ]
    kinds = {component(name) for name in names}
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    summary = f"CUDA libraries are missing: {', '.join(shown)}"
    if kinds == {"cudnn"}:
        yield certain("cudnn-missing", *evidence, summary=summary)
    elif "cudart" in kinds and (removed := _removed_by_conda(case)):
        yield certain("cuda-runtime-missing", removed, *evidence, summary=summary)
    elif any(x.relatives for x in absent) and "cudart" in kinds:
        yield certain("cuda-toolkit-version-mismatch", *evidence, summary=summary)
    elif "cudart" in kinds:
        yield certain("cuda-runtime-missing", *evidence, summary=summary)
    else:
        yield certain("cuda-libs-incomplete-or-mixed", *evidence, summary=summary)


def _removed_by_conda(case: Case) -> str | None:
    conda = case.snapshot.conda
    if conda is None or "cudatoolkit" not in conda.removed:
        return None
    return "conda once installed cudatoolkit here and it is gone"


def damaged(case: Case) -> Iterator[Finding]:
    for library in case.in_state(LibraryState.DAMAGED):
        dependency = _dependency(library)
        if dependency:
            yield certain(
                "cuda-libs-incomplete-or-mixed",
                f"{library.path or library.soname} needs {dependency}, which is not found",
            )
        else:
            why = library.error or "not a whole shared library"
            yield certain("cuda-library-damaged", f"{library.path or library.soname}: {why}")


def _dependency(library: Library) -> str | None:
    """The other library whose absence keeps this one from loading."""
    if "WinError 126" in (library.error or ""):
        return "another file"  # Windows does not say which
    name, _, rest = (library.error or "").partition(": ")
    if "No such file" in rest and name != library.soname and os.sep not in name:
        return name
    return None


def cudnn_too_old(case: Case) -> Iterator[Finding]:
    sign = case.sign("cudnn-mismatch")
    if sign:
        loaded, wanted = sign.groups["loaded"], sign.groups["wanted"]
        yield certain(
            "cudnn-version-mismatch",
            f"cuDNN {loaded} is loaded; TensorFlow was built with {wanted}",
        )


def only_when_activated(case: Case) -> Iterator[Finding]:
    """Visible in an activated shell, not to programs that start the Python directly."""
    if not case.gpu_visible or case.snapshot.environment.kind is Kind.SYSTEM:
        return
    bare = [x.soname for x in case.libraries if x.without_activation is False]
    if bare:
        yield remark(
            "visible-only-when-activated",
            f"without activation the loader does not find {', '.join(bare)}",
        )
