"""What activating an environment really does: done in a clean shell, and read. (Windows has
`cmd_activation`.)

Order and quoting of an activation follow conda/activate.py: export PATH and CONDA_PREFIX, export
the variables of etc/conda/env_vars.d and conda-meta/state, then run activate.d in sorted order.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from tfgpu_tray.model import Activation, Environment, Kind, Outcome
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.observe.hooks import conda_variables
from tfgpu_tray.observe.layout import HERE, WINDOWS, Layout
from tfgpu_tray.observe.shell_text import LOADER_PATH

# What an activation exports; other CONDA_ variables are the user's settings (CONDA_PKGS_DIRS, …).
BY_ACTIVATION = (
    *("CONDA_PREFIX", "CONDA_SHLVL", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER"),
    *("_CONDA_", "__CONDA_", "_CE_", "VIRTUAL_ENV", "TFGPU_LD_"),
)
BY_LAUNCHERS = frozenset({"PYTHONHOME", "__PYVENV_LAUNCHER__", "UV", "UV_RUN_RECURSION_DEPTH"})
STARTUP_FILES = ("BASH_ENV", "ENV")  # a shell that runs a script reads them first


def session_environ(environ: Mapping[str, str], layout: Layout = HERE) -> dict[str, str]:
    """*environ* as it was before any environment was activated in it.

    Leaves what the user's session sets (PATH, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES, proxies) and
    takes out what an activation added, so that a check says the same inside and outside of one.
    """
    active = [environ[v] for v in ("CONDA_PREFIX", "VIRTUAL_ENV") if environ.get(v)]
    # Variables that the active environment itself exported are not the session's.
    exported = {name for prefix in active for name in conda_variables(Path(prefix))}
    if layout is WINDOWS:
        exported = {name.upper() for name in exported}  # as os.environ has them there
    kept = {
        k: v
        for k, v in environ.items()
        if not k.startswith(BY_ACTIVATION) and k not in BY_LAUNCHERS and k not in exported
    }
    for name in ("PATH", LOADER_PATH):
        if name in kept:
            parts = [
                part
                for part in kept[name].split(layout.separator)
                if part and not any(layout.within(part, prefix) for prefix in active)
            ]
            kept[name] = layout.separator.join(parts)
            if not parts:
                del kept[name]
    kept.setdefault("PATH", _default_path(kept, layout))
    return kept


def _default_path(environ: Mapping[str, str], layout: Layout) -> str:
    if layout is WINDOWS and (root := environ.get("SYSTEMROOT")):
        return f"{root}\\System32;{root}"
    return os.defpath


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
        environ={k: v for k, v in session.items() if k not in STARTUP_FILES},
    )
    _, separator, dump = result.stdout.rpartition(_MARK)
    if not separator:
        return Activation(
            Outcome.TIMED_OUT if result.outcome is Outcome.TIMED_OUT else Outcome.FAILED,
            base=dict(session),
            failed_script=last_script(result.stderr),
            messages=messages(result.stderr) or (f"the shell {result.how_it_ended}",),
            seconds=result.seconds,
        )
    environ = dict(item.split("=", 1) for item in dump.strip("\n").split("\0") if "=" in item)
    for name in ("_", "SHLVL", "PWD", "OLDPWD"):
        environ.pop(name, None)
    return Activation(
        Outcome.COMPLETED,
        environ=environ,
        base=dict(session),
        failed_script=failed_script(result.stderr),
        messages=messages(result.stderr),
        seconds=result.seconds,
    )


_MARK = "@tfgpu-environ\n"
SCRIPT = "@tfgpu-script "
FAILED = "@tfgpu-failed "
_DUMP = f"printf '{_MARK[:-1]}\\n'; command -p env -0"
# $1 is the prefix, $2… alternate between variable names and values.
_CONDA = f"""
CONDA_PREFIX=$1; shift
export CONDA_PREFIX CONDA_SHLVL=1 CONDA_DEFAULT_ENV="${{CONDA_PREFIX##*/}}"
export PATH="$CONDA_PREFIX/bin:$PATH"
while [ $# -gt 1 ]; do export "$1=$2"; shift 2; done
for _tfgpu_script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do
  [ -f "$_tfgpu_script" ] || continue
  printf '{SCRIPT}%s\\n' "$_tfgpu_script" >&2
  . "$_tfgpu_script" || printf '{FAILED}%s\\n' "$_tfgpu_script" >&2
done
{_DUMP}
"""
_VENV = f"""
printf '{SCRIPT}%s\\n' "$1/bin/activate" >&2
. "$1/bin/activate" || printf '{FAILED}%s\\n' "$1/bin/activate" >&2
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


# ---- what the shell said -------------------------------------------------------------------------


def last_script(stderr: str) -> str | None:
    """The script that was begun last."""
    begun = re.findall(rf"^{SCRIPT}(.*)$", stderr, re.MULTILINE)
    return begun[-1] if begun else None


def failed_script(stderr: str) -> str | None:
    """The first script that ended with an error and said so. The status alone says nothing: one
    that ends with `[ -n "$X" ] && export Y` returns 1 in good health, and conda ignores it."""
    said = False
    for line in stderr.splitlines():
        if line.startswith(SCRIPT):
            said = False
        elif line.startswith(FAILED):
            if said:
                return line.removeprefix(FAILED)
        elif line.strip():
            said = True
    return None


def messages(stderr: str) -> tuple[str, ...]:
    lines = (line.strip() for line in stderr.splitlines())
    return tuple(line for line in lines if line and not line.startswith("@tfgpu-"))[:10]
