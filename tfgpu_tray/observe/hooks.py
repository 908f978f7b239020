"""Activation hooks as they stand on disk: scripts read as text, and variables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from tfgpu_tray.model import EMPTY_ENTRY, Environment, Hooks, HookScript, Kind
from tfgpu_tray.observe import batch_text, shell_text
from tfgpu_tray.observe.layout import OEM, text_of

OURS = "tfgpu-tray"  # in the name of every hook file we write
PRELOAD = "tfgpu_tray_preload.pth"
SHELLS = {
    ".sh": "posix",
    ".fish": "fish",
    ".csh": "csh",
    ".bat": "cmd",
    ".ps1": "powershell",
}
UNSET = "***unset***"  # conda's literal for a variable that was unset with `conda env config vars`
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
IN_LOADER_PATH = (
    f"{EMPTY_ENTRY} in {shell_text.LOADER_PATH} when it was unset: the current directory "
    "is then searched for libraries"
)


# The set-up article's PowerShell lines take $CONDA_PREFIX for a variable of theirs. It is empty, so
# what they write lands here.
STRAY = ("etc", "conda", "activate.d")
AT_THE_ROOT = "lies at the drive's root, where conda never reads it"


def observe_hooks(environment: Environment, roots: Iterable[Path] = ()) -> Hooks:
    """Scripts and variables as they stand on disk; nothing of the environment is run.

    *roots* are those of Windows' drives, where stray scripts may lie.
    """
    prefix = environment.prefix
    scripts: tuple[HookScript, ...] = ()
    leaving = sorted(p.name for p in _files(prefix / "etc" / "conda" / "deactivate.d"))
    if environment.kind is Kind.CONDA:
        folder = prefix / "etc" / "conda" / "activate.d"
        owned = _packaged_hooks(prefix) if folder.is_dir() else frozenset()
        scripts = tuple(
            _read_script(path, owned, prefix)
            for path in sorted(_files(folder), key=str)
            if path.suffix in SHELLS
        )
    for root in roots:
        scripts += stray_scripts(root)
    site = environment.site_packages
    return Hooks(
        scripts=scripts,
        deactivate=tuple(leaving),
        variables=conda_variables(prefix) if environment.kind is Kind.CONDA else {},
        preload=site is not None and (site / PRELOAD).is_file(),
    )


def conda_variables(prefix: Path) -> dict[str, str]:
    """What `conda env config vars` and packages export at activation; the user's values win."""
    variables: dict[str, str] = {}
    for path in sorted(_files(prefix / "etc" / "conda" / "env_vars.d")):
        if path.suffix == ".json":
            variables.update(_json_texts(path))
    state = _json(prefix / "conda-meta" / "state")
    mine = state.get("env_vars")
    if isinstance(mine, dict):
        variables.update({str(k): str(v) for k, v in mine.items()})
    return {k: v for k, v in variables.items() if v != UNSET and k != "PATH"}


def stray_scripts(root: Path) -> tuple[HookScript, ...]:
    """What the article's lines left on the drive *root*."""
    found = (p for p in sorted(_files(root.joinpath(*STRAY)), key=str) if p.suffix in SHELLS)
    scripts = (_read_script(path, frozenset(), root) for path in found)
    return tuple(
        replace(script, stray=True, problems=(AT_THE_ROOT, *script.problems)) for script in scripts
    )


def _read_script(path: Path, packaged: Collection[str], prefix: Path) -> HookScript:
    shell = SHELLS[path.suffix]
    try:
        raw = path.read_bytes()
    except OSError as error:
        return HookScript(path, shell, problems=(f"cannot be read: {error.strerror}",))
    script = HookScript(
        path=path,
        shell=shell,
        ours=OURS in path.name,
        packaged=path.name in packaged,
        problems=tuple(_encoding_problems(raw, shell)),
    )
    if shell in ("cmd", "powershell"):
        return _read_batch(script, raw, prefix)
    text = raw.decode("utf-16" if raw[:2] in UTF16_MARKS else "utf-8", "replace")
    values = shell_text.loader_values(text) if shell == "posix" else []
    empty = any(shell_text.leaves_empty_entry(value, prefix) for value in values)
    return replace(
        script,
        loader_path=shell_text.effect(values[-1]) if values else None,
        folders=shell_text.folders_named(values, prefix),
        masks_gpu=shell_text.MASK_LINE.search(text) is not None,
        problems=(*script.problems, IN_LOADER_PATH) if empty else script.problems,
    )


def _read_batch(script: HookScript, raw: bytes, prefix: Path) -> HookScript:
    text = text_of(raw, OEM)
    values = batch_text.path_values(text, script.shell)
    return replace(
        script,
        loader_path=batch_text.effect(values[-1]) if values else None,
        folders=batch_text.folders_named(values, prefix),
        masks_gpu=batch_text.MASK_LINE.search(text) is not None,
    )


def _encoding_problems(raw: bytes, shell: str) -> list[str]:
    if shell == "powershell":
        return []  # reads all of them
    if raw[:2] in UTF16_MARKS:
        return ["is UTF-16 (PowerShell's redirection writes that); a shell cannot read it"]
    problems = []
    if raw.startswith(b"\xef\xbb\xbf"):
        problems.append("starts with a byte order mark, which a shell takes for a command")
    if b"\r\n" in raw and shell != "cmd":
        problems.append("has Windows line ends, so every value ends in a carriage return")
    return problems


def _packaged_hooks(prefix: Path) -> frozenset[str]:
    """Names of the scripts in activate.d that conda packages own."""
    found = []
    for record in _files(prefix / "conda-meta"):
        if record.suffix == ".json":
            try:
                text = record.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if "activate.d" in text:  # with either slash on Windows
                found += re.findall(
                    r'"etc(?:/|\\\\)conda(?:/|\\\\)activate\.d(?:/|\\\\)([^"]+)"', text
                )
    return frozenset(found)


# ---- small readers -----------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return []


def _json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _json_texts(path: Path) -> dict[str, str]:
    return {k: v for k, v in _json(path).items() if isinstance(v, str)}
