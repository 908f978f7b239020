"""Activation hooks: the scripts as text, and what activating the environment really does.

Order and quoting of an activation follow conda/activate.py: export PATH and CONDA_PREFIX, export
the variables of etc/conda/env_vars.d and conda-meta/state, then run activate.d in sorted order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tfgpu_tray.model import Activation, Environment, Hooks, HookScript, Kind, Outcome
from tfgpu_tray.observe.child import Runner, run

LOADER_PATH = "LD_LIBRARY_PATH"
MASK = "CUDA_VISIBLE_DEVICES"
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
_ASSIGNMENT = r"""^[ \t]*(?:export[ \t]+|set[ \t]+-gx[ \t]+|setenv[ \t]+){name}(?:=|[ \t]+)(.*)$"""
_LOADER_LINE = re.compile(_ASSIGNMENT.replace("{name}", LOADER_PATH), re.MULTILINE)
_PLAIN_LOADER_LINE = re.compile(rf"^[ \t]*{LOADER_PATH}=(.*)$", re.MULTILINE)
MASK_LINE = re.compile(
    _ASSIGNMENT.replace("{name}", MASK).replace("(.*)", r"(?:['\"]?(?:-1)?['\"]?)[ \t]*"),
    re.MULTILINE,
)


def observe_hooks(environment: Environment) -> Hooks:
    """Scripts and variables as they stand on disk; nothing of the environment is run."""
    prefix = environment.prefix
    scripts: tuple[HookScript, ...] = ()
    leaving = sorted(p.name for p in _files(prefix / "etc" / "conda" / "deactivate.d"))
    if environment.kind is Kind.CONDA:
        folder = prefix / "etc" / "conda" / "activate.d"
        owned = _packaged_hooks(prefix) if folder.is_dir() else ""
        scripts = tuple(
            _read_script(path, owned, prefix)
            for path in sorted(_files(folder))
            if path.suffix in SHELLS
        )
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


def _read_script(path: Path, packaged: str, prefix: Path) -> HookScript:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        return HookScript(path=path, shell=SHELLS[path.suffix], problems=(reason,))
    problems = list(_encoding_problems(raw))
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    values = [m[1] for m in (*_LOADER_LINE.finditer(text), *_PLAIN_LOADER_LINE.finditer(text))]
    if any(
        value.lstrip("\"'").startswith((f"${LOADER_PATH}:", f"${{{LOADER_PATH}}}:"))
        for value in values
    ):
        problems.append(
            f"leaves an empty entry in {LOADER_PATH} when it was unset: the current directory "
            "is then searched for libraries"
        )
    return HookScript(
        path=path,
        shell=SHELLS[path.suffix],
        ours=OURS in path.name,
        packaged=path.name in packaged,
        loader_path=_effect(values),
        folders=_folders_named(values, prefix),
        masks_gpu=MASK_LINE.search(text) is not None,
        problems=tuple(problems),
    )


def _effect(values: list[str]) -> str | None:
    """What the last assignment does to the loader path."""
    if not values:
        return None
    value = values[-1]
    before, found, after = value.partition(LOADER_PATH)
    if not found:
        return "overwrites"
    return "prepends" if "/" in before or "$" in before[:-2] else ("appends" if after else "keeps")


def _folders_named(values: list[str], prefix: Path) -> tuple[str, ...]:
    known = {"CONDA_PREFIX": str(prefix), "HOME": str(Path.home())}
    parts = (part for value in values for part in _expand(value, known.get).split(":"))
    return tuple(os.path.normpath(part) for part in parts if part.startswith("/"))


def _encoding_problems(raw: bytes) -> list[str]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ["is UTF-16 (PowerShell's redirection writes that); a shell cannot read it"]
    problems = []
    if raw.startswith(b"\xef\xbb\xbf"):
        problems.append("starts with a byte order mark, which a shell takes for a command")
    if b"\r\n" in raw:
        problems.append("has Windows line ends, so every value ends in a carriage return")
    return problems


def _packaged_hooks(prefix: Path) -> str:
    """The conda records that mention activate.d, as one text to look names up in."""
    found = []
    for record in _files(prefix / "conda-meta"):
        if record.suffix == ".json":
            try:
                text = record.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if "activate.d/" in text:
                found += re.findall(r'"etc/conda/activate\.d/([^"]+)"', text)
    return "\n".join(found)


# ---- activation ------------------------------------------------------------------------------


def session_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """*environ* as it was before any environment was activated in it.

    Leaves what the user's session sets (PATH, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES, proxies) and
    takes out what an activation added, so that a check says the same inside and outside of one.
    """
    active = [environ[v] for v in ("CONDA_PREFIX", "VIRTUAL_ENV") if environ.get(v)]
    # Variables that the active environment itself exported are not the session's.
    exported = set().union(*(conda_variables(Path(p)) for p in active)) if active else set()
    kept = {
        k: v
        for k, v in environ.items()
        if not k.startswith(("CONDA_", "_CONDA_", "__CONDA_", "_CE_", "VIRTUAL_ENV", "TFGPU_LD_"))
        and k not in ("PYTHONHOME", "__PYVENV_LAUNCHER__", "UV", "UV_RUN_RECURSION_DEPTH")
        and k not in exported
    }
    for name in ("PATH", LOADER_PATH):
        if name in kept:
            parts = [
                part
                for part in kept[name].split(os.pathsep)
                if part and not any(_inside(part, prefix) for prefix in active)
            ]
            kept[name] = os.pathsep.join(parts)
            if not parts:
                del kept[name]
    kept.setdefault("PATH", os.defpath)
    return kept


def _inside(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/\\") + os.sep)


def activate(
    environment: Environment,
    session: Mapping[str, str],
    *,
    deadline: float = 10.0,
    runner: Runner = run,
) -> Activation:
    """Activate in a clean bash (sh where there is none) and read the resulting environment."""
    shell = shutil.which("bash", path=session.get("PATH")) or shutil.which("sh")
    if shell is None:
        message = "no shell was found to activate the environment in"
        return Activation(Outcome.NOT_STARTED, base=dict(session), messages=(message,))
    script, arguments = _activation_script(environment)
    options = ["--noprofile", "--norc"] if shell.endswith("bash") else []
    result = runner(
        [shell, *options, "-c", script, "tfgpu-activation", *arguments],
        deadline=deadline,
        environ=session,
    )
    _, separator, dump = result.stdout.rpartition(_MARK)
    if not separator:
        at = re.findall(rf"^{_SCRIPT}(.*)$", result.stderr, re.MULTILINE)
        return Activation(
            Outcome.TIMED_OUT if result.outcome is Outcome.TIMED_OUT else Outcome.FAILED,
            base=dict(session),
            failed_script=at[-1] if at else None,
            messages=_messages(result.stderr) or (f"the shell {result.how_it_ended}",),
            seconds=result.seconds,
        )
    environ = dict(item.split("=", 1) for item in dump.strip("\n").split("\0") if "=" in item)
    failed = re.findall(rf"^{_FAILED}(.*)$", result.stderr, re.MULTILINE)
    for name in ("_", "SHLVL", "PWD", "OLDPWD"):
        environ.pop(name, None)
    return Activation(
        Outcome.COMPLETED,
        environ=environ,
        base=dict(session),
        failed_script=failed[0] if failed else None,
        messages=_messages(result.stderr),
        seconds=result.seconds,
    )


_MARK = "@tfgpu-environ\n"
_SCRIPT = "@tfgpu-script "
_FAILED = "@tfgpu-failed "
_DUMP = f"printf '{_MARK[:-1]}\\n'; env -0"
# $1 is the prefix, $2… alternate between variable names and values.
_CONDA = f"""
CONDA_PREFIX=$1; shift
export CONDA_PREFIX CONDA_SHLVL=1 CONDA_DEFAULT_ENV="${{CONDA_PREFIX##*/}}"
export PATH="$CONDA_PREFIX/bin:$PATH"
while [ $# -gt 1 ]; do export "$1=$2"; shift 2; done
for _tfgpu_script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do
  [ -f "$_tfgpu_script" ] || continue
  printf '{_SCRIPT}%s\\n' "$_tfgpu_script" >&2
  . "$_tfgpu_script" || printf '{_FAILED}%s\\n' "$_tfgpu_script" >&2
done
{_DUMP}
"""
_VENV = f"""
printf '{_SCRIPT}%s\\n' "$1/bin/activate" >&2
. "$1/bin/activate" || printf '{_FAILED}%s\\n' "$1/bin/activate" >&2
{_DUMP}
"""
_NOTHING = f"PATH=$1/bin:$PATH; export PATH; {_DUMP}"


def _activation_script(environment: Environment) -> tuple[str, list[str]]:
    prefix = str(environment.prefix)
    if environment.kind is Kind.CONDA:
        pairs = [word for item in conda_variables(environment.prefix).items() for word in item]
        return _CONDA, [prefix, *pairs]
    if environment.kind is Kind.VENV and (environment.prefix / "bin" / "activate").is_file():
        return _VENV, [prefix]
    return _NOTHING, [prefix]


def _messages(stderr: str) -> tuple[str, ...]:
    lines = (line.strip() for line in stderr.splitlines())
    return tuple(line for line in lines if line and not line.startswith("@tfgpu-"))[:10]


# ---- reading the effect of hooks without running them ------------------------------------------

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[+-]([^}]*))?\})")


def predicted_loader_path(
    hooks: Hooks, environment: Environment, session: Mapping[str, str]
) -> str | None:
    """LD_LIBRARY_PATH after activation, worked out from the scripts' text.

    None when a script does something that text alone does not settle. Our own hooks and the
    common one-line hooks are understood.
    """
    values = {k: v for k, v in session.items() if k in (LOADER_PATH, "HOME")}
    values["CONDA_PREFIX"] = str(environment.prefix)
    values.update(hooks.variables)
    for script in hooks.scripts:
        if script.shell != "posix":
            continue
        try:
            text = script.path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        if LOADER_PATH not in text:
            continue
        if script.ours:
            added = re.search(r'^_tfgpu_add="(.*)"$', text, re.MULTILINE)
            if added is None:
                return None
            front = _expand(added[1], values.get)
            values[LOADER_PATH] = ":".join(x for x in (front, values.get(LOADER_PATH)) if x)
            continue
        if re.search(r"^[ \t]*(if|case|for|while|\.|source|eval|unset)\b|\$\(|`", text, re.M):
            return None
        for line in text.splitlines():
            if match := re.match(r"^\s*(?:export\s+)?(\w+)=(.*?)\s*;?\s*$", line):
                values[match[1]] = _expand(match[2], values.get)
    return values.get(LOADER_PATH, "")


def _expand(text: str, get: Callable[[str], str | None]) -> str:
    """Shell expansion of the forms $X, ${X}, ${X:+text} and ${X:-text}; quotes are dropped."""

    def replace(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        value = get(name) or ""
        if match[3] is None:
            return value
        positive = "+" in match[0][: len(match[0]) - len(match[3])]
        other = _VARIABLE.sub(lambda inner: get(inner[1] or inner[2]) or "", match[3])
        return (other if value else "") if positive else (value or other)

    return _VARIABLE.sub(replace, text.strip().strip("\"'")) if text[:1] != "'" else text.strip("'")


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
