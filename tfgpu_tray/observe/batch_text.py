"""What the text of a .bat or .ps1 hook says about PATH, where Windows looks for DLLs.

For batch files as `shell_text` is for POSIX shells: plain assignments with %X% are understood, and
whatever goes beyond that gives None. Of PowerShell only assignments to PATH are read, because what
is observed is an activation in cmd.exe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tfgpu_tray.model import Environment, Hooks, Kind
from tfgpu_tray.observe.layout import OEM, WINDOWS, text_of
from tfgpu_tray.observe.shell_text import MASK

Get = Callable[[str], str | None]

# set "NAME=value" or set NAME=value, alone on its line; PATH also as `path value`.
_SET = re.compile(
    r"""^[ \t]*@?[ \t]*(?:set[ \t]+(?:"(?P<quoted>[^"=&|<>^\n]+)=(?P<inner>[^"\n]*)"[^"&|<>^\n]*"""
    r"""|(?P<name>[^"=&|<>^/\s][^"=&|<>^\n]*)=(?P<bare>[^"&|<>^\n]*))"""
    r"""|path[ \t=]+(?P<path>[^"&|<>^\n]*))$""",
    re.IGNORECASE | re.MULTILINE,
)
_HARMLESS = re.compile(r"^[ \t]*(@?(rem\b.*|echo\b[^&|<>^]*|title\b[^&|<>^]*|cls)?|::.*)$", re.I)
_REFERENCE = re.compile(r"%([^%:~*\s]+)%")
_POWERSHELL = re.compile(
    r"^[ \t]*\$env:path[ \t]*(?P<plus>\+?)=[ \t]*(?P<value>(?:\"[^\"\n]*\"|'[^'\n]*'|[^\"'#;|\n])+)"
    r"[ \t]*;?[ \t]*(?:#.*)?$",
    re.IGNORECASE | re.MULTILINE,
)
_POWERSHELL_REFERENCE = re.compile(r"\$\{env:(\w+)\}|\$\(\$env:(\w+)\)|\$env:(\w+)", re.IGNORECASE)
# cmd's `set NAME=` takes a variable away, which hides nothing; so does an empty one in PowerShell.
MASK_LINE = re.compile(
    rf"""^[ \t]*@?(?:set[ \t]+"?{MASK}=[ \t]*-1[ \t]*"?|\$env:{MASK}[ \t]*=[ \t]*["']?-1["']?)"""
    r"[ \t;]*(?:#.*)?\r?$",
    re.IGNORECASE | re.MULTILINE,
)


def path_values(text: str, shell: str) -> list[str]:
    """What a script assigns to PATH, in order; PowerShell's in batch's notation."""
    text = text.replace("\r\n", "\n")
    if shell == "powershell":
        return [_in_batch(m["value"], m["plus"]) for m in _POWERSHELL.finditer(text)]
    pairs = (_assignment(match) for match in _SET.finditer(text))
    return [value for name, value in pairs if name == "PATH"]


def _in_batch(value: str, plus: str) -> str:
    joined = re.sub(r"[\"']?[ \t]*\+[ \t]*[\"']?", "", value).strip(" \t\"'")
    text = _POWERSHELL_REFERENCE.sub(lambda m: f"%{m[1] or m[2] or m[3]}%", joined)
    return f"%PATH%{text}" if plus else text


def _assignment(match: re.Match[str]) -> tuple[str, str]:
    if match["path"] is not None:
        return "PATH", match["path"]
    return (match["quoted"] or match["name"]).upper(), match["inner"] or match["bare"] or ""


def expand(value: str, get: Get) -> str | None:
    """*value* with its variables filled in, an unset one with nothing, as in a batch file; None
    when it needs more than that."""
    if "%" in _REFERENCE.sub("", value) or "!" in value or "$(" in value:
        return None
    return _REFERENCE.sub(lambda match: get(match[1].upper()) or "", value)


def effect(value: str) -> str | None:
    """What assigning *value* does to PATH, in the words of `shell_text.effect`."""
    mark = "\0"
    expanded = expand(value, lambda name: mark if name == "PATH" else "x")
    if expanded is None:
        return None if "%path" in value.lower() else "overwrites"
    if mark not in expanded:
        return "overwrites"
    if expanded.strip("; \t") == mark:
        return "keeps"
    return "appends" if expanded.startswith(mark) else "prepends"


def folders_named(values: Iterable[str], prefix: Path) -> tuple[str, ...]:
    """The folders that *values* put on PATH themselves."""
    known = {"CONDA_PREFIX": str(prefix), "PATH": ""}
    texts = (expand(v, lambda n: known[n] if n in known else os.environ.get(n)) for v in values)
    parts = (part.strip() for text in texts for part in (text or "").split(WINDOWS.separator))
    return tuple(WINDOWS.rules.normpath(part) for part in parts if WINDOWS.rules.isabs(part))


def activated_path(environment: Environment, path: str) -> str:
    """PATH with the environment's folders in front, as its activation puts them there."""
    folders: tuple[str, ...] = ("Scripts",) if environment.kind is Kind.VENV else WINDOWS.on_path
    own = [str(environment.prefix / folder) for folder in folders]
    return WINDOWS.separator.join([*own, path] if path else own)


def predicted_path(
    hooks: Hooks, environment: Environment, session: Mapping[str, str]
) -> str | None:
    """PATH after activation in cmd.exe, worked out from the scripts' text; None when a script does
    something that text alone does not settle."""
    values = {**session, "CONDA_PREFIX": str(environment.prefix)}
    values["PATH"] = activated_path(environment, session.get("PATH", ""))
    values |= {name.upper(): value for name, value in hooks.variables.items()}
    settled = True  # every script so far was understood, so every variable is known
    for script in hooks.scripts:
        if script.shell != "cmd" or script.stray:
            continue
        try:
            text = text_of(script.path.read_bytes(), OEM)
        except OSError:
            return None
        understood = _run(text, values, settled)
        if not understood and re.search(r"path|\bcall\b", text, re.IGNORECASE):
            return None
        settled = settled and understood
    return values["PATH"]


def _run(text: str, values: dict[str, str], settled: bool) -> bool:
    """Apply a script's assignments to *values*; False when a line was not understood."""
    for line in text.splitlines():
        match = _SET.match(line)
        if match is None:
            if not _HARMLESS.match(line):
                return False
            continue
        name, word = _assignment(match)
        names = {reference.upper() for reference in _REFERENCE.findall(word)}
        if not settled and not names <= {"PATH", "CONDA_PREFIX"}:
            return False
        value = expand(word, values.get)
        if value is None:
            return False
        if value:
            values[name] = value
        else:
            values.pop(name, None)
    return True
