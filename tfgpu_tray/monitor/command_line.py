"""Package managers' command lines, as a person would repeat them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfgpu_tray.observe.packages import normalise

OURS = "tfgpu-tray"
CONDA_FAMILY = frozenset({"conda", "mamba", "micromamba", "pixi"})
WHEELS = frozenset({"pip", "uv", "poetry", "pdm"})
MANAGERS = CONDA_FAMILY | WHEELS | {OURS}
WIDTH = 120  # characters of a command line that are shown

_LAUNCHER = re.compile(r"^(python[\d.]*w?|pypy[\d.]*|pyw?|sudo|env|nohup|nice|time|exec|cmd)$")
_SWITCH = re.compile(r"-|/[a-z]$", re.IGNORECASE)  # of a launcher: `-3.10` of py, `/c` of cmd
# Options that are not shown. Of the first ones only themselves, of the others the value, too.
_NOISE = re.compile(
    r"-(y|qq?|v+)$|--(yes|quiet|verbose|json|no-(input|interaction|color|cache|cache-dir|progress"
    r"|warn-script-location|python-version-warning)|disable-pip-version-check)$"
)
_VALUED = re.compile(
    r"--(progress-bar|cache-dir|timeout|retries|log|report|root-user-action|python|color|cert"
    r"|config-file|link-mode|directory|project|manifest-path)$"
)
_CONDA_VALUED = frozenset(["-p", "--prefix", "-n", "--name", "--root-prefix"])
_SECRET = ("--index-url", "--extra-index-url", "--default-index", "--index", "--token", "--proxy")
_SECRET_WORD = re.compile(r"token|passw|secret|auth|credential|api-?key|username", re.IGNORECASE)
# URLs whose last part names what is installed; of any other, it may be a key to an index.
_NAMING_URL = re.compile(r"^(git|hg|svn|bzr)\+|\.(whl|zip|tgz|tar\.\w+|conda)([@#]|$)")
# What stands behind these, or behind no option, is what the user asked for.
_BEFORE_A_NAME = re.compile(
    r"-[Ue]$|--(upgrade|user|force-reinstall|no-deps|pre|editable)$|[^-]", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Command:
    """A package manager's command line that was seen at work on the environment."""

    words: tuple[str, ...]
    started: float  # seconds since the epoch
    pid: int = 0  # 0: it was read in conda's history


def short(command: Command) -> str:
    """What the user typed, as a person would repeat it.

    Without the environment, which is known, and without anything that could be a credential: values
    of index options, every URL that stands behind an option, and the places of all others.
    """
    manager, arguments = parse(command.words)
    if not manager:
        return _shown(_program(command.words[0]))[:WIDTH] if command.words else "a program"
    kept = [manager]
    swallow = False  # the value of an option that is not shown
    for word in arguments:
        hidden = _hides(word, manager)
        if hidden is not None:
            swallow = hidden
            continue
        if swallow or _NOISE.match(word):
            swallow = False
            continue
        is_value = _BEFORE_A_NAME.match(kept[-1]) is None
        text = _shown(word)
        if not text or ("://" in word and (is_value or word.startswith("-"))):
            if is_value:
                kept.pop()
        else:
            kept.append(text)
    line = " ".join(kept)
    return line if len(line) <= WIDTH else line[: WIDTH - 1].rstrip() + "…"


def parse(words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The manager that a command line runs, and its arguments; ("", ()) when it runs none."""
    place = 0
    while place < len(words):
        word = words[place]
        name = _program(word)
        if name in MANAGERS:
            arguments = tuple(words[place + 1 :])
            inner = parse(tuple(_run_by_conda(arguments))) if name in CONDA_FAMILY else ("", ())
            return inner if inner[0] else (name, arguments)
        if word in ("-X", "-W"):
            place += 1
        elif not (_LAUNCHER.match(name) or _SWITCH.match(word) or "=" in word):
            break
        place += 1
    return "", ()


def _run_by_conda(arguments: tuple[str, ...]) -> Iterator[str]:
    """The command inside `conda run -n tf COMMAND…`."""
    if arguments[:1] != ("run",):
        return
    rest = iter(arguments[1:])
    for word in rest:
        if word in _CONDA_VALUED or word == "--cwd":
            next(rest, None)
        elif not word.startswith("-"):
            yield word
            yield from rest


def _program(word: str) -> str:
    """`/envs/tf/bin/pip3.10`, `…/pip/__main__.py` and `Scripts\\pip.exe` are all pip."""
    parts = re.split(r"[\\/]", word)
    last = (
        parts[-2] if parts[-1] in ("__main__.py", "__pip-runner__.py") and parts[1:] else parts[-1]
    )
    name = re.sub(r"(\.(exe|bat|cmd)|-script\.pyw?)$", "", last.lower()).replace("tfgpu_tray", OURS)
    return "pip" if re.match(r"^pip[\d.]*$", name) else name


def _hides(word: str, manager: str) -> bool | None:
    """None when *word* may be shown, else whether its value, to be hidden too, comes next."""
    option, joined, _ = word.partition("=")
    if not option.startswith("-") or option == "-":
        return None
    shorts = ["-i"] if manager in ("pip", "uv") else []
    shorts += ["-p"] if manager in CONDA_FAMILY | {"uv"} else []
    shorts += ["-n"] if manager in CONDA_FAMILY else []
    if not option.startswith("--"):
        return (option in shorts and not joined) if option[:2] in shorts else None
    hidden = (
        _VALUED.match(option) is not None
        or (manager in CONDA_FAMILY and option in _CONDA_VALUED)
        or (len(option) > 3 and any(s.startswith(option) for s in _SECRET))  # pip takes "--extra"
        or _SECRET_WORD.search(option) is not None
    )
    return not joined if hidden else None


def _shown(word: str) -> str:
    """One word without what should not be seen; "" when nothing of it should."""
    _, url, rest = word.partition("://")
    host = rest.partition("/")[0]
    secret = re.search(r":.*@", rest if url else word, re.DOTALL)
    if secret or "@" in host or (url and ("?" in rest or "/t/" in rest)):
        return ""
    if url or re.match(r"^([\\/]|[A-Za-z]:[\\/])", word):
        if url and not _NAMING_URL.search(word):
            return ""
        word = "…/" + re.split(r"[\\/]", word.rstrip("\\/"))[-1]
    word = word.encode("utf-8", "replace").decode().replace("`", "'")
    return "".join(c if c.isprintable() else " " for c in word).strip()


def named(command: Command) -> set[str]:
    """Normalised names of what a command line asks for: requirements, conda specs, wheels."""
    found = set()
    for word in parse(command.words)[1]:
        base = re.split(r"::|[\\/]", word)[-1]
        if base.endswith((".whl", ".conda", ".tar.bz2")):
            base = base.partition("-")[0] if base.endswith(".whl") else base.rsplit("-", 2)[0]
        if match := re.match(r"[A-Za-z0-9](?:[\w.-]*\w)?(?=$|[\s\[<>=!~@;])", base):
            found.add(normalise(match[0]))
    return found
