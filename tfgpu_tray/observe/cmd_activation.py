"""What activating an environment really does on Windows: its batch files run in a clean cmd.exe.

As conda does it (conda/activate.py and _conda_activate.bat): PATH, CONDA_PREFIX and the
environment's variables are set, then every activate.d/*.bat is called in sorted order, until one
ends with an error. Paths and values reach cmd.exe as environment variables and come back through a
file in UTF-16, so that no code page ever stands between; the script that it runs is plain ASCII.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tfgpu_tray.model import Activation, Environment, Kind, Outcome
from tfgpu_tray.observe import activation
from tfgpu_tray.observe.batch_text import activated_path
from tfgpu_tray.observe.child import Runner, run
from tfgpu_tray.observe.hooks import conda_variables
from tfgpu_tray.observe.layout import names_in

_OURS = "TFGPU_ACTIVATION"  # begins the names of our variables
_DUMP = "environ"
_BEGUN = re.compile(rf"^{activation.SCRIPT}(\d+)", re.MULTILINE)
_FAILED = re.compile(rf"^{activation.FAILED}(-?\d+)", re.MULTILINE)


def activate(
    environment: Environment,
    session: Mapping[str, str],
    *,
    deadline: float = 10.0,
    runner: Runner = run,
) -> Activation:
    """Activate in a clean cmd.exe and read the resulting environment.

    Names of variables are in upper case in *session* and in the result, as `os.environ` has them.
    """
    scripts = _scripts(environment)
    before = _before(environment, session)
    if not scripts:  # nothing but these variables is what an activation comes to
        return Activation(Outcome.COMPLETED, environ=before, base=dict(session))
    with tempfile.TemporaryDirectory(prefix="tfgpu-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        driver = folder / "activate.bat"
        driver.write_text(
            _driver(len(scripts), heeds_status=environment.kind is Kind.CONDA),
            encoding="ascii",
            newline="\r\n",
        )
        shell = session.get("COMSPEC") or "cmd.exe"
        ours = {
            _OURS: f'"{driver}"',
            f"{_OURS}_SHELL": shell,
            f"{_OURS}_DUMP": str(folder / _DUMP),
            **{f"{_OURS}_{n}": str(script) for n, script in enumerate(scripts)},
        }
        result = runner(
            [shell, "/d", "/c", f"%{_OURS}%"], deadline=deadline, environ={**before, **ours}
        )
        environ = _read(folder / _DUMP)
    begun = [scripts[int(number)] for number in _BEGUN.findall(result.stderr)]
    said = activation.messages(result.stderr)
    if environ is None:
        return Activation(
            Outcome.TIMED_OUT if result.outcome is Outcome.TIMED_OUT else Outcome.FAILED,
            base=dict(session),
            failed_script=str(begun[-1]) if begun else None,
            messages=said or (f"cmd.exe {result.how_it_ended}",),
            seconds=result.seconds,
        )
    failed = _FAILED.search(result.stderr)
    return Activation(
        Outcome.COMPLETED,
        environ=environ,
        base=dict(session),
        failed_script=str(begun[-1]) if failed and begun else None,
        messages=said or ((f"it ended with exit status {failed[1]}",) if failed else ()),
        seconds=result.seconds,
    )


def _scripts(environment: Environment) -> list[Path]:
    if environment.kind is Kind.VENV:
        script = environment.prefix / "Scripts" / "activate.bat"
        return [script] if script.is_file() else []
    folder = environment.prefix / "etc" / "conda" / "activate.d"
    return [folder / name for name in names_in(folder) if name.endswith(".bat")]


def _before(environment: Environment, session: Mapping[str, str]) -> dict[str, str]:
    """The variables that conda sets before it calls any script; a venv's script sets its own."""
    if environment.kind is Kind.VENV and _scripts(environment):
        return dict(session)
    before = {**session, "PATH": activated_path(environment, session.get("PATH", ""))}
    if environment.kind is Kind.CONDA:
        before |= {
            "CONDA_PREFIX": str(environment.prefix),
            "CONDA_SHLVL": "1",
            "CONDA_DEFAULT_ENV": environment.name,
        }
        variables = conda_variables(environment.prefix)
        before |= {name.upper(): value for name, value in variables.items()}
    return before


def _driver(count: int, *, heeds_status: bool) -> str:
    """The script that calls the others. `exit 0` in a shell of its own sets ERRORLEVEL to 0."""
    shell = f'"%{_OURS}_SHELL%" /d'
    lines = ["@echo off"]
    for number in range(count):
        lines += [
            f"{shell} /c exit 0",
            f"echo {activation.SCRIPT}{number} 1>&2",
            f'call "%{_OURS}_{number}%"',
        ]
        if heeds_status:
            lines += [
                f"@set {_OURS}_STATUS=%errorlevel%",
                f"@if not %{_OURS}_STATUS%==0 echo {activation.FAILED}%{_OURS}_STATUS% 1>&2",
                f"@if not %{_OURS}_STATUS%==0 goto dump",
            ]
    return "\n".join([*lines, ":dump", f'@{shell} /u /c set >"%{_OURS}_DUMP%"', ""])


def _read(dump: Path) -> dict[str, str] | None:
    try:
        text = dump.read_bytes().decode("utf-16-le", "replace")
    except OSError:
        return None
    pairs = (line.partition("=") for line in text.split("\r\n"))
    environ = {name.upper(): value for name, equals, value in pairs if name and equals}
    return {k: v for k, v in environ.items() if not k.startswith((_OURS, "PROMPT"))} or None
