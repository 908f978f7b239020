"""What a hook's text says about the loader path, without running it.

Understands plain assignments with the expansions $X, ${X}, ${X:+text} and ${X:-text}. Whatever
goes beyond that gives None: a guess about a shell script is worth nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tfgpu_tray.model import Environment, Hooks

LOADER_PATH = "LD_LIBRARY_PATH"
MASK = "CUDA_VISIBLE_DEVICES"

_WORD = r"""(?:"[^"\\`]*"|'[^']*'|[^\s"'\\;`#()&|<>~])*"""
_END = r"[ \t]*(?:;[ \t]*)?(?:#.*)?$"
_ASSIGNMENT = re.compile(rf"^\s*(export\s+)?([A-Za-z_]\w*)=({_WORD}){_END}")
_HARMLESS = re.compile(r"^\s*(#.*|export\s+\w+\s*)?$")
_LOADER_VALUE = re.compile(rf"^[ \t]*(?:export[ \t]+)?{LOADER_PATH}=({_WORD})", re.MULTILINE)
MASK_LINE = re.compile(
    rf"""^[ \t]*(?:export[ \t]+|set[ \t]+-gx[ \t]+|setenv[ \t]+){MASK}(?:=|[ \t]+)"""
    rf"""(?:""|''|"-1"|'-1'|-1|){_END}""",
    re.MULTILINE,
)
_SEGMENT = re.compile(r"""'([^']*)'|"([^"]*)"|([^'"]+)""")
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[+-])((?:[^{}]|\$\{\w+\})*))?\})")

Get = Callable[[str], str | None]


def expand(word: str, get: Get) -> str | None:
    """The value of a shell word; None when it needs more than *get* and plain expansions."""
    parts = []
    for literal, quoted, bare in _SEGMENT.findall(word):
        text = literal if literal else _expanded(quoted or bare, get)
        if text is None:
            return None
        parts.append(text)
    return "".join(parts)


def _expanded(text: str, get: Get) -> str | None:
    if "$" in _REFERENCE.sub("", text):
        return None  # $(…), ${X%/} and the like
    return _REFERENCE.sub(lambda match: _value(match, get), text)


def _value(match: re.Match[str], get: Get) -> str:
    value = get(match[1] or match[2]) or ""
    if match[3] is None:
        return value
    other = _REFERENCE.sub(lambda inner: _value(inner, get), match[4])
    if "+" in match[3]:
        return other if value else ""
    return value or other


def loader_values(text: str) -> list[str]:
    """The words assigned to LD_LIBRARY_PATH in a POSIX script, in order."""
    return [match[1] for match in _LOADER_VALUE.finditer(text)]


def effect(word: str) -> str | None:
    """What assigning *word* does to the loader path: "prepends", "appends", "keeps" or
    "overwrites"; None when the text alone does not tell."""
    mark = "\0"
    value = expand(word, lambda name: mark if name == LOADER_PATH else "x")
    if value is None:
        return None if LOADER_PATH in word or "$(" in word else "overwrites"
    if mark not in value:
        return "overwrites"
    if value.strip(":") == mark:
        return "keeps"
    return "appends" if value.startswith(mark) else "prepends"


def leaves_empty_entry(word: str, prefix: Path) -> bool:
    """Whether the loader path has an empty entry afterwards when it was unset before; the loader
    takes that for the current directory."""
    value = expand(word, {"CONDA_PREFIX": str(prefix), "HOME": "/home"}.get)
    return bool(value) and "" in (value or "").split(":")


def folders_named(words: Iterable[str], prefix: Path) -> tuple[str, ...]:
    """The folders that *words* put on the loader path themselves."""
    known = {"CONDA_PREFIX": str(prefix), "HOME": str(Path.home())}
    values = (expand(word, known.get) or "" for word in words)
    parts = (part for value in values for part in value.split(":"))
    return tuple(os.path.normpath(part) for part in parts if part.startswith("/"))


def predicted_loader_path(
    hooks: Hooks, environment: Environment, session: Mapping[str, str]
) -> str | None:
    """LD_LIBRARY_PATH after activation, worked out from the scripts' text; None when a script
    does something that text alone does not settle."""
    values = dict(session) | {"CONDA_PREFIX": str(environment.prefix)} | dict(hooks.variables)
    exported = set(values)
    settled = True  # every script so far was understood, so every variable is known
    for script in hooks.scripts:
        if script.shell != "posix":
            continue
        try:
            text = script.path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        if script.ours:
            text = _our_assignment(text)
        understood = _run(text, values, exported, settled)
        if understood is False and LOADER_PATH in text:
            return None
        settled = settled and understood
    return values.get(LOADER_PATH, "")


def _run(text: str, values: dict[str, str], exported: set[str], settled: bool) -> bool:
    """Apply a script's assignments to *values*; False when a line was not understood."""
    sure = {"CONDA_PREFIX", "HOME", LOADER_PATH}
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match is None:
            if not _HARMLESS.match(line):
                return False
            continue
        exports, name, word = match.groups()
        if not settled and any((r[1] or r[2]) not in sure for r in _REFERENCE.finditer(word)):
            return False
        value = expand(word, values.get)
        if value is None or (name == LOADER_PATH and not exports and name not in exported):
            return False
        values[name] = value
        if exports:
            exported.add(name)
    return True


def _our_assignment(text: str) -> str:
    """Our hook guards its assignment with a case statement; this is what it comes to."""
    added = re.search(r'^_tfgpu_add="(.*)"$', text, re.MULTILINE)
    if added is None:
        return text
    return f'export {LOADER_PATH}="{added[1]}${{{LOADER_PATH}:+:${LOADER_PATH}}}"\n'
