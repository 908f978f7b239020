"""How a command is typed, so that a person can copy it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

# What cmd.exe or PowerShell reads for itself outside of quotes.
_SPECIAL = re.compile(r"[&|<>^()@%!,;']")


def typed(words: Sequence[str], system: str) -> str:
    """*words* as one line of a shell of *system*, as `Host.system` names it."""
    if system != "windows":
        return shlex.join(words)
    return " ".join(_for_windows(word) for word in words)


def _for_windows(word: str) -> str:
    quoted = subprocess.list2cmdline([word])
    return f'"{word}"' if quoted == word and _SPECIAL.search(word) else quoted
