"""Who changed an environment, in one sentence.

The evidence, best first: a package manager that was seen at work, conda's own history, what the
metadata says of who installed it, what a package manager would have taken along. Where none of it
tells, the sentence says so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tfgpu_tray.model import Environment
from tfgpu_tray.monitor.command_line import (
    CONDA_FAMILY,
    OURS,
    WHEELS,
    Command,
    named,
    parse,
    short,
)
from tfgpu_tray.observe.manifest import (
    TENSORFLOW,
    Change,
    Manifest,
    differences,
    installer,
    is_cuda,
    matters,
    metadata_folders,
    requirements,
)
from tfgpu_tray.observe.packages import normalise

NAMED = 8  # changes that are named one by one
_HISTORY = 256_000  # bytes from the end of conda's history that are read
_PACKAGES = frozenset({"site", "user", "conda"})  # the sources of changes that are packages
_REMOVES = frozenset({"uninstall", "remove"})
_LISTS = frozenset({"-r", "--requirement", "--requirements", "sync"})  # more than is named
_INTERPRETERS = ("bin/python", "python.exe", "Scripts/python.exe")
_CONDA_TYPED = r"(conda|mamba|micromamba)(?:-script\.py|\.exe|[\\/]__main__\.py)?(?: (.*))?$"
_OURS_DONE = {
    "repair": "repaired the environment",
    "undo": "took a repair back",
    "install": "set the environment up",
}


@dataclass(frozen=True, slots=True)
class Attribution:
    sentence: str
    changes: tuple[str, ...]
    actor: str  # one of MANAGERS, "hand" or "unknown"


# ---- the sentence ------------------------------------------------------------------------------


def attribute(
    before: Manifest | None,
    after: Manifest,
    environment: Environment,
    commands: Sequence[Command],
    *,
    since: float,
    now: float,
    watched: bool,
) -> Attribution | None:
    """Who turned *before* into *after*; None when they hold the same, or there is no *before*.

    *since* is when the environment was last known to hold *before*; *watched*: package managers
    would have been seen from then on. *commands* are the ones that were.
    """
    changes = differences(before, after) if before is not None else []
    if before is None or not changes:
        return None
    case = _Case(before, after, environment, tuple(commands), since, now, watched, tuple(changes))
    actor, sentence = case.told()
    return Attribution(sentence, _listed(changes), actor)


def _listed(changes: Sequence[Change]) -> tuple[str, ...]:
    """What matters by name, the rest by number."""
    named = [str(c) for c in changes if matters(c)][:NAMED] or [str(changes[0])]
    rest = len(changes) - len(named)
    return (*named, f"and {rest} more") if rest else tuple(named)


@dataclass(frozen=True, slots=True)
class _Case:
    before: Manifest
    after: Manifest
    environment: Environment
    commands: tuple[Command, ...]
    since: float
    now: float
    watched: bool
    changes: tuple[Change, ...]

    def told(self) -> tuple[str, str]:
        """Actor and sentence."""
        change = self._main()
        if ours := next((done for c in self.commands if (done := _done_by_us(c))), None):
            what = ", ".join(_listed(self.changes))
            return OURS, f"{OURS} {ours} at {self._clock(self.now)}: {what}"
        wheel = self._installer(change)
        command = self._command(change, wheel)
        if command is not None:
            actor, who = parse(command.words)[0], f"`{short(command)}`"
        else:
            actor = who = self._package_manager(change, wheel) or ""
        if harm := self._interruption(change, command, wheel):
            return actor or "pip", f"{who or 'pip'} was interrupted: {harm}"
        if who:
            moment = self._moment(change, command)
            because = self._because(change, command)
            did = f"{self._did(change)}{self._more(change)}"
            return actor, f"{who} {did} {self._when(moment)}{because}"
        was = f"{self._was(change)}{self._more(change)} {self._when(self._moment(change, None))}"
        if self._is_by_hand(change):
            return "hand", f"{was}, not by a package manager"
        return "unknown", f"{was}; by whom is not known"

    def _main(self) -> Change:
        """What matters most; of what does not matter, what was asked for."""
        first = self.changes[0]
        if matters(first):
            return first
        asked = {name for command in self.commands for name in named(command)}
        return next((c for c in self.changes if c.name in asked), first)

    # ---- who ---------------------------------------------------------------------------------

    def _installer(self, change: Change) -> str | None:
        """What INSTALLER of the distribution that is there now says."""
        info = self._info(change)
        return installer(info) if info else None

    def _info(self, change: Change) -> str | None:
        if change.source not in ("site", "user") or change.new is None:
            return None
        environment = self.environment
        site = environment.site_packages if change.source == "site" else environment.user_site
        found = metadata_folders(site).get(change.became or change.name)
        return found[1] if found else None

    def _command(self, change: Change, wheel: str | None) -> Command | None:
        """The command line that did it: one that was seen, else the one in conda's history."""
        able = [c for c in self.commands if self._is_able(c, change, wheel)]
        if not able and self._is_condas(change, wheel):
            name = change.name if change.source == "conda" else None
            return _last_in_history(self.environment.prefix, name, self.since)

        def fits(command: Command) -> tuple[bool, bool, float]:
            removes = not _REMOVES.isdisjoint(command.words)
            is_named = (change.became or change.name) in named(command)
            return is_named, removes == (change.new is None), command.started

        return max(able, key=fits, default=None)

    def _is_able(self, command: Command, change: Change, wheel: str | None) -> bool:
        manager, arguments = parse(command.words)
        # pip builds packages with a second pip, in a folder of its own.
        if not manager or "--dry-run" in arguments or "pip-build-env" in " ".join(arguments):
            return False
        if change.source == "hook":
            return manager in CONDA_FAMILY and self._has("conda")
        if change.source == "library":
            family = CONDA_FAMILY if (change.old or "").startswith(("lib/", "Library/")) else WHEELS
            return manager in family
        if change.source == "python":
            return manager in CONDA_FAMILY | {"uv"}
        if change.source == "files" and change.new is None:  # another one shares the folder
            return not {n for n in named(command) if TENSORFLOW.match(n)} <= {change.name}
        if self._is_condas(change, wheel):
            return manager in CONDA_FAMILY
        if change.new is not None and manager in WHEELS and not _REMOVES.isdisjoint(arguments):
            return False
        if wheel == "pip":  # `conda env create` and older poetry let pip install
            return manager in ("pip", "poetry", "pdm") or "env" in arguments
        return wheel is None or manager in wheel.split("-")  # pixi signs as "uv-pixi"

    def _is_condas(self, change: Change, wheel: str | None) -> bool:
        """Whether conda, or one of its family, must have done it."""
        held = self.before.distributions.get(change.name) if change.source == "site" else None
        removed = held is not None and change.new is None and held.installer == "conda"
        return (
            change.source == "conda"
            or wheel == "conda"
            or (change.source == "hook" and self._has("conda"))
            or (removed and change.name in self.before.conda.keys() - self.after.conda.keys())
        )

    def _package_manager(self, change: Change, wheel: str | None) -> str | None:
        """Whose work it is by what it left, where no command line was caught."""
        if wheel is not None:
            return None if wheel == "conda" else wheel
        if change.source not in ("site", "user") or change.new is not None:
            return None
        if self._is_condas(change, wheel):
            return None
        held = self.before.user if change.source == "user" else self.before.distributions
        own = held[change.name].installer
        if self._script_tells(change) and not self.after.script:
            return own if own not in (None, "conda") else "pip"
        if not self.watched:  # other changes may be hours apart from this one
            return None
        others = (self._installer(c) for c in self.changes if c.source == change.source)
        return next((who for who in others if who not in (None, "conda")), None)

    def _script_tells(self, change: Change) -> bool:
        """Whether TensorFlow's command should have gone along with it."""
        remaining = any(TENSORFLOW.match(name) for name in self.after.distributions)
        about = change.source == "site" and TENSORFLOW.match(change.name) is not None
        return about and self.before.script and not remaining

    def _is_by_hand(self, change: Change) -> bool:
        if change.source == "hook":  # hooks of packages come and go with their packages
            return not self._has("conda")
        if change.source in ("library", "files"):  # the records still claim them
            return change.new is None
        if change.source == "python" and change.new is None:
            prefix = self.environment.prefix
            return not any(os.path.lexists(prefix / place) for place in _INTERPRETERS)
        if change.source not in ("site", "user") or change.new is not None:
            return False
        if self._script_tells(change) and self.after.script:
            return True
        return self.watched and not self.commands and not self._is_condas(change, None)

    def _has(self, source: str) -> bool:
        return any(change.source == source for change in self.changes)

    # ---- what --------------------------------------------------------------------------------

    def _did(self, change: Change) -> str:
        """As in "replaced tensorflow 2.10.1 with 2.15.1"."""
        if change.source == "files" and change.old is None:
            return f"brought the files of {change.name} {change.new} back"
        if change.new is None:
            return f"{'removed' if change.source in _PACKAGES else 'deleted'} {self._what(change)}"
        if change.old is None:
            return f"{'added' if change.source == 'hook' else 'installed'} {self._what(change)}"
        if change.source == "hook":
            return f"changed {self._what(change)}"
        return f"replaced {self._what(change)} with {self._successor(change)}"

    def _was(self, change: Change) -> str:
        """As in "tensorflow 2.10.1 was replaced with 2.15.1"."""
        verb = "were" if change.source == "library" and " and " in change.name else "was"
        if change.source == "files" and change.old is None:
            return f"{change.name} {change.new} came back"
        if change.new is None:
            by_hand = change.source in ("hook", "library") or self._is_by_hand(change)
            what = f"{change.name} {change.old}" if change.source == "files" else self._what(change)
            return f"{what} {verb} {'deleted' if by_hand else 'removed'}"
        if change.old is None:
            return f"{self._what(change)} was {'added' if change.source == 'hook' else 'installed'}"
        if change.source == "hook":
            return f"{self._what(change)} was changed"
        return f"{self._what(change)} was replaced with {self._successor(change)}"

    def _successor(self, change: Change) -> str:
        return f"{change.became} {change.new}" if change.became else f"{change.new}"

    def _what(self, change: Change) -> str:
        if change.source == "hook":
            return f"the hook {change.name}"
        if change.source == "library":
            return f"{change.name}{_owner(self.environment, self.after, change.old or '')}"
        text = f"{change.name} {change.new if change.old is None else change.old}"
        if change.source == "files":
            return f"the files of {text}"
        if change.source == "user":
            text += " in the user site"
        if change.old is None and TENSORFLOW.match(change.name):
            held = self.before.distributions
            kept = [n for n in held if TENSORFLOW.match(n) and n in self.after.distributions]
            text += "".join(f" beside {name} {held[name].version}" for name in kept[:1])
        return text

    def _more(self, change: Change) -> str:
        """What else should be said of it."""
        lost = next((c for c in self.changes if c.source == "files" and c.new is None), None)
        if lost and lost is not change and change.new is None and TENSORFLOW.match(change.name):
            return f" and with it the files of {lost.name} {lost.old}"
        others = len(self.changes) - 1
        return f" (and {others} more)" if others and not matters(change) else ""

    def _interruption(
        self, change: Change, command: Command | None, wheel: str | None
    ) -> str | None:
        """What an installation that was cut short did harm to."""
        if change.source not in ("site", "user") or change.old is None:
            return None
        installs = command is not None and _only_installs(command)
        stash = self._stash(change)
        if change.new is None and (installs or (stash and command is None)):
            return f"{change.name} {change.old} is gone"
        if change.new is not None and stash and wheel is None:  # pip signs what is complete
            return f"{self._successor(change)} is not complete, {change.name} {change.old} is gone"
        return None

    def _stash(self, change: Change) -> bool:
        """Whether pip's `~…` copy of what it was replacing is left."""
        for name in set(self.after.leftovers) - set(self.before.leftovers):
            tail = normalise(name.lstrip("~-.=%0123456789").partition("-")[0])
            if tail and change.name.endswith(tail):
                return True
        return False

    def _because(self, change: Change, command: Command | None) -> str:
        """As in ", because keras-cv 0.9 requires tensorflow>=2.11"; empty when it was asked for."""
        info = self._info(change)
        name = change.became or change.name
        asked = named(command) if command else set()
        if info is None or name in asked or _may_be_asked_for(info, command):
            return ""
        site = self.environment.site_packages
        if change.source == "user":
            site = self.environment.user_site
        folders = metadata_folders(site)
        changed = {c.name for c in self.changes if c.source == change.source and c.new is not None}
        for other in sorted(changed - {name}, key=lambda n: (n not in asked, n)):
            version, path = folders.get(other, ("", ""))
            old = None if change.became else change.old
            wanted = _unsatisfied(path, name, old, self.environment.python_version)
            if wanted is not None:
                return f", because {other} {version} requires {wanted}"
        return ""

    # ---- when --------------------------------------------------------------------------------

    def _moment(self, change: Change, command: Command | None) -> float | None:
        """When it happened, where the disk or conda's history tells."""
        path: str | Path | None = self._info(change)
        if change.source == "hook":
            path = self.environment.prefix / "etc" / "conda" / "activate.d" / change.name
        try:
            stamp = os.stat(path).st_mtime if path else None
        except OSError:
            stamp = None
        if stamp is not None and self.since <= stamp <= self.now:
            return stamp
        if command is None:
            return None
        return self.now if command.pid else command.started

    def _when(self, moment: float | None) -> str:
        if moment is None and not self.watched:
            return f"between {self._clock(self.since)} and {self._clock(self.now)}"
        return f"at {self._clock(self.now if moment is None else moment)}"

    def _clock(self, moment: float) -> str:
        local, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(self.now)
        return local.strftime("%H:%M" if local.date() == today.date() else "%Y-%m-%d %H:%M")


# ---- evidence ----------------------------------------------------------------------------------


def _done_by_us(command: Command) -> str | None:
    manager, arguments = parse(command.words)
    if manager != OURS:
        return None
    verb = next((word for word in arguments if word in _OURS_DONE), "repair")
    return _OURS_DONE[verb]


def _only_installs(command: Command) -> bool:
    """Whether it never removes a package but to replace it, as pip does."""
    manager, arguments = parse(command.words)
    return "install" in arguments and (manager == "pip" or (manager == "uv" and "pip" in arguments))


def _may_be_asked_for(info: str, command: Command | None) -> bool:
    """Whether the user may have asked for the distribution at *info* without naming it."""
    if not (installer(info) or "").startswith("uv"):
        return os.path.exists(os.path.join(info, "REQUESTED"))
    # uv writes REQUESTED for dependencies as well (seen with 0.13): only its command line can tell.
    return command is None or not _LISTS.isdisjoint(command.words)


def _unsatisfied(info: str, name: str, old: str | None, python_version: str | None) -> str | None:
    """What the distribution at *info* requires of *name*, where *old* is not it."""
    values = [v for v in requirements(info) if normalise(v).startswith(name)] if info else []
    if not values:
        return None
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    python = python_version or "3"
    target = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    for value in values:
        try:
            wanted = Requirement(value)
            if normalise(wanted.name) != name or (
                wanted.marker is not None and not wanted.marker.evaluate(target)
            ):
                continue
            if old is not None and wanted.specifier.contains(old, prereleases=True):
                continue
        except (InvalidRequirement, InvalidVersion):
            continue
        return name + ",".join(sorted(map(str, wanted.specifier), reverse=True))
    return None


def _last_in_history(prefix: Path, name: str | None, since: float) -> Command | None:
    """The newest command in conda's history after *since* that moved *name*; None: anything.

    A change that no section names was not made by conda or mamba; pixi and rattler write none.
    """
    try:
        with open(prefix / "conda-meta" / "history", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _HISTORY))
            text = file.read().decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return None
    moved = rf"^[-+](?:.*::)?{re.escape(name) if name else '[^-]+.*'}-[^-\s]+-[^-\s]+$"
    parts = re.split(r"^==> *(.+?) *<==\s*$", text, flags=re.MULTILINE)
    found = []
    for time, section in zip(parts[1::2], parts[2::2], strict=True):
        typed = re.search(r"^# cmd: (?:.*?[\\/])??" + _CONDA_TYPED, section, re.MULTILINE)
        try:
            started = datetime.fromisoformat(time).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
        in_time = started >= since - 1  # conda writes whole seconds
        if typed and in_time and re.search(moved, section, re.MULTILINE):
            # It is written without quotes: of a prefix with a blank, the rest would be a name.
            line = re.sub(re.escape(str(prefix)), "PREFIX", typed[2] or "", flags=re.IGNORECASE)
            found.append(Command((typed[1], *line.split()), started))
    return max(reversed(found), key=lambda command: command.started, default=None)  # the last


def _owner(environment: Environment, after: Manifest, path: str) -> str:
    """As in " of cudnn 8.1.0.77": the package whose records claim the library."""
    if path.startswith("nvidia/"):
        start = f"nvidia-{path.split('/')[1]}".replace("_", "-")
        owners = [n for n in after.distributions if n == start or n.startswith(f"{start}-cu")]
        return f" of {owners[0]} {after.distributions[owners[0]].version}" if owners else ""
    for name, (version, build) in after.conda.items():
        if not is_cuda(name):
            continue
        record = environment.prefix / "conda-meta" / f"{name}-{version}-{build}.json"
        try:
            files = json.loads(record.read_bytes())["files"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(files, list) and path in files:
            return f" of {name} {version}"
    return ""
