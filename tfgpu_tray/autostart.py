"""Starting at login: an XDG autostart entry, a systemd user unit, or Windows' Run key.

One of them at a time; a user's own switch (Hidden=true, Task Manager, `systemctl --user disable`)
stands until the user asks for `enable`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.child import Result, Runner, run

NAME = "tfgpu-tray"
DESKTOP_FILE = f"{NAME}.desktop"
UNIT = f"{NAME}.service"
RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
APPROVED_KEY = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
RUN_LIMIT = 260  # characters of a Run value; Microsoft, "Run and RunOnce Registry Keys"
SYSTEMCTL_DEADLINE = 20.0  # seconds
# Window managers that start no XDG autostart entries by themselves, as XDG_CURRENT_DESKTOP has them
BARE_DESKTOPS = frozenset({"i3", "sway", "hyprland", "bspwm", "dwm", "river", "niri"})


class AutostartError(Exception):
    """Starting at login could not be read or changed; the text is a sentence for the user."""


class Method(StrEnum):
    XDG = "xdg"
    SYSTEMD = "systemd"
    REGISTRY = "registry"


@dataclass(frozen=True, slots=True)
class State:
    enabled: bool
    method: Method | None  # None: there is no entry
    place: str  # file or registry value; without an entry, where `enable` would put one
    command: str  # what is started, as a person would type it
    note: str  # what else to know, in clauses parted by "; "


@dataclass(frozen=True, slots=True)
class Found:
    """One entry as it stands."""

    words: tuple[str, ...]  # the command line; empty when it cannot be read
    off: str  # why it starts nothing although it is there; "" when it does


class Entry(Protocol):
    """One place that starts programs at login. Its methods raise OSError as the place does."""

    @property
    def method(self) -> Method: ...

    @property
    def place(self) -> str: ...

    def read(self) -> Found | None: ...

    def write(self, words: Sequence[str]) -> None:
        """Start *words* from the next login on, whatever was switched off before."""

    def retarget(self, words: Sequence[str]) -> None:
        """Change what an entry starts, and nothing else."""

    def remove(self) -> None: ...


class Registry(Protocol):
    """Values below HKEY_CURRENT_USER."""

    def read(self, key: str, name: str) -> str | bytes | None: ...

    def write(self, key: str, name: str, value: str) -> None: ...

    def delete(self, key: str, name: str) -> None:
        """Without complaint when there is no such value."""


@dataclass(frozen=True)
class Autostart:
    """Starting *executable* `-m tfgpu_tray run` at login. Every method may raise AutostartError.

    *config* and *data_dir* are those that the program was told to use, None for the usual ones.
    """

    environ: Mapping[str, str]
    home: Path
    config: Path | None = None
    data_dir: Path | None = None
    executable: str = sys.executable
    windows: bool = sys.platform == "win32"
    registry: Registry | None = None  # None: that of this machine
    runner: Runner = run
    root: Path = Path("/")  # the file system that lingering is read from

    def enable(self, headless: bool = False) -> State:
        wanted = self._entry(headless)
        words = self.command(headless)
        with _told(wanted.place):
            wanted.write(words)
        for other in self._entries():
            with _told(other.place):
                found = other.read() if other.method is not wanted.method else None
                if found and not found.off:
                    other.remove()  # the program runs once: started twice, the second just ends
        return self.status()

    def disable(self) -> State:
        for entry in self._entries():
            with _told(entry.place):
                if entry.read() is not None:
                    entry.remove()
        return self.status()

    def status(self) -> State:
        there = []
        for entry in self._entries():
            with _told(entry.place):
                if (found := entry.read()) is not None:
                    there.append((entry, found))
        there.sort(key=lambda pair: pair[1].off != "")
        if not there:
            return State(False, None, self._entries()[0].place, "", "")
        entry, found = there[0]
        notes = [found.off, *self._about(entry.method, found)]
        notes += [f"{e.place} starts it too" for e, f in there[1:] if not f.off]
        join = subprocess.list2cmdline if self.windows else shlex.join
        text = "; ".join(note for note in notes if note)
        return State(not found.off, entry.method, entry.place, join(found.words), text)

    def refresh(self) -> bool:
        """Correct entries whose interpreter is gone; True when one was corrected.

        Options in the entry stay as they are. What the user switched off, and what starts another
        installation that is still there, is left alone.
        """
        changed = False
        for entry in self._entries():
            with _told(entry.place):
                found = entry.read()
                place = _interpreter(found.words) if found and not found.off else None
                if found and place is not None and _gone(found.words[place]):
                    words = list(found.words)
                    words[place] = self._python()
                    entry.retarget(words)
                    changed = True
        return changed

    def command(self, headless: bool = False) -> list[str]:
        """What an entry is to start."""
        # -P: at login the working folder is the home folder, and a random.py there would be ours.
        words = [self._python(), "-P", "-m", "tfgpu_tray", "run"]
        words += ["--headless"] if headless else []
        for option, path in (("--config", self.config), ("--data-dir", self.data_dir)):
            words += [option, str(path.expanduser().absolute())] if path else []
        return words

    def _python(self) -> str:
        if not self.executable:
            raise AutostartError("Python does not know where it is, so nothing can start it")
        python = Path(os.path.abspath(self.executable))
        without_console = python.with_name("pythonw.exe")
        return str(without_console if self.windows and without_console.exists() else python)

    def _entries(self) -> list[Entry]:
        if self.windows:
            return [RunValue(self.registry or _this_registry())]
        given = Path(self.environ.get("XDG_CONFIG_HOME", ""))
        folder = given if given.is_absolute() else self.home / ".config"
        unit = folder / "systemd" / "user" / UNIT
        return [
            DesktopFile(folder / "autostart" / DESKTOP_FILE),
            UserUnit(unit, self.environ, self.runner),
        ]

    def _entry(self, headless: bool) -> Entry:
        return self._entries()[-1 if headless else 0]

    def _about(self, method: Method, found: Found) -> Iterator[str]:
        place = _interpreter(found.words)
        if not found.words:
            return
        if place is None:
            if Path(found.words[0]).stem != NAME:
                yield "it was changed to start something else; enable rewrites it"
            return
        theirs = found.words[place]
        if _gone(theirs):
            yield f"{theirs} is gone; enable rewrites it"
        elif os.path.isabs(theirs) and _folder(theirs) != _folder(self._python()):
            yield f"points to another installation: {theirs}; enable rewrites it"
        elif (self.config or self.data_dir) and (
            set(self.command()[1:]) ^ set(found.words[place + 1 :]) - {"--headless"}
        ):
            yield "starts with other options than given now; enable rewrites it"
        if not found.off:
            yield from self._about_sessions(method, found.words)

    def _about_sessions(self, method: Method, words: Sequence[str]) -> Iterator[str]:
        desktops = self.environ.get("XDG_CURRENT_DESKTOP", "")
        if method is Method.SYSTEMD:
            user = self.environ.get("USER", "")
            if user and not (self.root / "var/lib/systemd/linger" / user).exists():
                yield (
                    "runs while you are logged in; `loginctl enable-linger` lets it run from boot"
                )
        elif method is Method.XDG:
            if bare := BARE_DESKTOPS.intersection(desktops.lower().split(":")):
                yield (
                    f"{min(bare)} by itself starts no such entries: start `{NAME} run` from its"
                    " configuration"
                )
            elif not any(self.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY")):
                yield "starts with a desktop only; `autostart enable --headless` is for servers"
            if _SYSTEMD_LOSES.search("\0".join(words)):
                yield "GNOME and Plasma may not start it: its path holds characters they misread"


# ---- the three places --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DesktopFile:
    """Desktop Entry and Autostart specifications of freedesktop.org."""

    path: Path
    method = Method.XDG

    @property
    def place(self) -> str:
        return str(self.path)

    def read(self) -> Found | None:
        text = _text(self.path)
        return None if text is None else self._found(text)

    def _found(self, text: str) -> Found:
        def value(key: str) -> str | None:
            return get_key(text, "Desktop Entry", key)

        words = split_exec(value("Exec") or "")
        if value("Type") != "Application" or not value("Name") or not words:
            return Found(words, "not a usable desktop entry; enable rewrites it")
        if value("Hidden") in ("true", "1"):
            return Found(words, "switched off by the desktop's own settings (Hidden=true)")
        for key in ("X-GNOME-Autostart-enabled", "X-MATE-Autostart-enabled"):
            if value(key) in ("false", "0"):
                return Found(words, f"switched off by the desktop's own settings ({key}=false)")
        return Found(words, "")

    def write(self, words: Sequence[str]) -> None:
        text = _text(self.path)
        if text is None or "not a usable" in self._found(text).off:
            text = template(DESKTOP_FILE)
        switches = {"Hidden": None, "X-MATE-Autostart-enabled": None}
        values = {"Exec": join_exec(words), "X-GNOME-Autostart-enabled": "true", **switches}
        write_file(self.path, with_keys(text, "Desktop Entry", values))

    def retarget(self, words: Sequence[str]) -> None:
        text = _text(self.path) or ""
        write_file(self.path, with_keys(text, "Desktop Entry", {"Exec": join_exec(words)}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class UserUnit:
    """systemd.unit(5), systemd.service(5)."""

    path: Path
    environ: Mapping[str, str]
    runner: Runner
    method = Method.SYSTEMD

    @property
    def place(self) -> str:
        return str(self.path)

    def read(self) -> Found | None:
        if self._masked():
            return Found((), "switched off (systemctl --user mask)")
        text = _text(self.path)
        if text is None:
            return None
        words = split_exec_start(get_key(text, "Service", "ExecStart") or "")
        if not words:
            return Found(words, "its ExecStart cannot be read; enable rewrites it")
        return Found(words, "" if self._links() else "switched off (systemctl --user disable)")

    def write(self, words: Sequence[str]) -> None:
        if not self._systemctl():
            raise AutostartError(
                "this machine has no systemctl; without systemd, start the program yourself, from"
                f" cron for example: @reboot {shlex.join(words)}"
            )
        before = None if self._masked() else _text(self.path)
        unit = with_keys(template(UNIT), "Service", {"ExecStart": join_exec_start(words)})
        write_file(self.path, unit)
        for call in (["daemon-reload"], ["enable", UNIT]):
            result = self._tell(*call)
            if result.outcome is not Outcome.COMPLETED:
                self._put_back(before)
                raise AutostartError(_refusal(call, result))

    def _put_back(self, before: str | None) -> None:
        if before is None:
            self.remove()
        else:
            write_file(self.path, before)

    def retarget(self, words: Sequence[str]) -> None:
        values = {"ExecStart": join_exec_start(words)}
        write_file(self.path, with_keys(_text(self.path) or "", "Service", values))
        self._tell("daemon-reload")

    def remove(self) -> None:
        # Links and file are all there is to it, so this works without a running user manager too.
        for link in self._links():
            link.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self._tell("daemon-reload")

    def _masked(self) -> bool:
        return self.path.is_symlink() and os.path.realpath(self.path) == os.devnull

    def _links(self) -> list[Path]:
        folder = self.path.parent
        return [*folder.glob(f"*.wants/{UNIT}"), *folder.glob(f"*.requires/{UNIT}")]

    def _systemctl(self) -> str | None:
        return shutil.which("systemctl", path=self.environ.get("PATH", os.defpath))

    def _tell(self, *words: str) -> Result:
        command = [self._systemctl() or "systemctl", "--user", *words]
        return self.runner(command, deadline=SYSTEMCTL_DEADLINE, environ=self.environ)


@dataclass(frozen=True, slots=True)
class RunValue:
    """A value of the Run key, and its switch in Task Manager.

    The switch is undocumented: twelve bytes, the first odd when the program is switched off.
    """

    registry: Registry
    method = Method.REGISTRY

    @property
    def place(self) -> str:
        return rf"HKEY_CURRENT_USER\{RUN_KEY}\{NAME}"

    def read(self) -> Found | None:
        value = self.registry.read(RUN_KEY, NAME)
        if value is None:
            return None
        if not isinstance(value, str) or not (words := split_windows(value)):
            return Found((), "not a command line; enable rewrites it")
        switch = self.registry.read(APPROVED_KEY, NAME)
        off = isinstance(switch, bytes) and bool(switch) and switch[0] % 2 == 1
        return Found(words, "disabled in Task Manager" if off else "")

    def write(self, words: Sequence[str]) -> None:
        self.retarget(words)
        self.registry.delete(APPROVED_KEY, NAME)

    def retarget(self, words: Sequence[str]) -> None:
        line = join_windows(words)
        if (length := len(line.encode("utf-16-le")) // 2) > RUN_LIMIT:
            raise AutostartError(
                f"Windows starts commands of at most {RUN_LIMIT} characters at login, and this one"
                f" has {length}: {line}. Install {NAME} in a folder with a shorter path."
            )
        self.registry.write(RUN_KEY, NAME, line)

    def remove(self) -> None:
        self.registry.delete(RUN_KEY, NAME)
        self.registry.delete(APPROVED_KEY, NAME)  # without the other it is litter


def _this_registry() -> Registry:
    if sys.platform != "win32":
        raise AutostartError("this machine has no Windows registry")
    import winreg

    class CurrentUser:
        def read(self, key: str, name: str) -> str | bytes | None:
            try:
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                    value, kind = winreg.QueryValueEx(opened, name)
            except FileNotFoundError:
                return None
            known = (winreg.REG_SZ, winreg.REG_EXPAND_SZ, winreg.REG_BINARY)
            return value if kind in known and isinstance(value, str | bytes) else b""

        def write(self, key: str, name: str, value: str) -> None:
            with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as opened:
                winreg.SetValueEx(opened, name, 0, winreg.REG_SZ, value)

        def delete(self, key: str, name: str) -> None:
            try:
                access = winreg.KEY_SET_VALUE
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key, 0, access) as opened:
                    winreg.DeleteValue(opened, name)
            except FileNotFoundError:
                pass

    return CurrentUser()


# ---- command lines -----------------------------------------------------------------------------

# What systemd-xdg-autostart-generator, which starts entries in GNOME and Plasma, misreads although
# the quoting is that of the specification; seen with systemd 252. The program is the first word.
_SYSTEMD_LOSES = re.compile(r"[`$\\]|^[^\0]*['\"%]")
_PLAIN = re.compile(r"[A-Za-z0-9_./:,@+-]+")


def join_exec(words: Sequence[str]) -> str:
    """The value of a desktop entry's Exec key: words are quoted, then the value is escaped."""
    quoted = (
        word if _PLAIN.fullmatch(word) else '"' + re.sub(r'(["`$\\])', r"\\\1", word) + '"'
        for word in _writable(words)
    )
    return " ".join(quoted).replace("%", "%%").replace("\\", "\\\\")


def split_exec(value: str) -> tuple[str, ...]:
    """The words of an Exec value, field codes left out; none when it breaks the rules."""
    escapes = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    line = re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[0]), value)
    # shlex knows \" and \\ between double quotes; the specification has \$ and \` too.
    line = re.sub(r"\\(.)", lambda m: m[1] if m[1] in "$`" else m[0], line)
    words = (word for word in _split(line) if not re.fullmatch(r"%[A-Za-z]", word))
    return tuple(word.replace("%%", "%") for word in words)


def join_exec_start(words: Sequence[str]) -> str:
    """The value of a unit's ExecStart."""
    if re.search(r"['\"\\]", words[0]):  # "Executable name contains special characters"
        raise AutostartError(
            f"systemd starts no program whose path holds quotes or backslashes: {words[0]}"
        )
    quoted = (
        word if _PLAIN.fullmatch(word) else '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
        for word in _writable(words)
    )
    line = " ".join(quoted).replace("%", "%%")
    # ":" leaves $ alone, in the path of the program too, where $$ would not do. It is newer than
    # the systemd of some servers (244), so it stands only where it must.
    return f":{line}" if "$" in line else line


def split_exec_start(value: str) -> tuple[str, ...]:
    line = value.lstrip("@-:+!")
    literal = ":" in value[: len(value) - len(line)]
    words = (word.replace("%%", "%") for word in _split(line))
    return tuple(word if literal else word.replace("$$", "$") for word in words)


def join_windows(words: Sequence[str]) -> str:
    first, *rest = _writable(words)
    if any('"' in word for word in words):
        raise AutostartError(f"a Windows path holds no quotes: {' '.join(words)}")
    return f'"{first}" {subprocess.list2cmdline(rest)}'.rstrip()


def split_windows(line: str) -> tuple[str, ...]:
    """The words of a command line without escaped quotes, which no Windows path needs."""
    words = re.findall(r'(?:"[^"]*"|[^\s"])+', line)
    halved = (re.sub(r'(\\+)(?=")', lambda m: m[1][: len(m[1]) // 2], word) for word in words)
    return tuple(word.replace('"', "") for word in halved)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote that nothing closes
        return []


def _writable(words: Sequence[str]) -> Sequence[str]:
    """*words*, which neither a line nor UTF-8 must refuse."""
    for word in words:
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", word):
            raise AutostartError(
                f"{word!r} holds characters that cannot be written into an entry; rename the folder"
            )
    return words


def _interpreter(words: Sequence[str]) -> int | None:
    """Where in `[env X=1] PYTHON [options] -m tfgpu_tray run` the interpreter stands."""
    for place in range(1, len(words) - 1):
        if words[place : place + 2] == ("-m", "tfgpu_tray"):
            return next((i for i in range(place - 1, -1, -1) if words[i][:1] != "-"), None)
    return None


def _gone(python: str) -> bool:
    return os.path.isabs(python) and not os.path.exists(python)


def _folder(python: str) -> str:
    """What two interpreters of one installation have in common: python3 and pythonw.exe as well."""
    return os.path.normcase(os.path.realpath(os.path.dirname(python)))


# ---- files -------------------------------------------------------------------------------------


def template(name: str) -> str:
    """The text of a file in service/: in the package once it is installed, beside it in a checkout.

    Raises:
        AutostartError: it is in neither place.
    """
    for folder in (files("tfgpu_tray") / "service", Path(__file__).parents[1] / "service"):
        try:
            return folder.joinpath(name).read_text(encoding="utf-8")
        except OSError:
            continue
    raise AutostartError(f"{name} is missing from this installation; install {NAME} again")


def get_key(text: str, group: str, key: str) -> str | None:
    """The value of *key* in [*group*] of a desktop entry or unit; the last one counts."""
    found = None
    for _, here, name, value in _lines(text):
        if (here, name) == (group, key):
            found = value
    return found


def with_keys(text: str, group: str, values: Mapping[str, str | None]) -> str:
    """*text* with *values* in [*group*], None taking a key out; other lines stay as they are."""
    kept: list[str] = []
    missing = {key: f"{key}={value}" for key, value in values.items() if value is not None}
    end = 0
    for line, here, name, _ in _lines(text):
        if here == group and name in values:
            if name not in missing:
                continue
            line = missing.pop(name)
        kept.append(line)
        if here == group and line.strip():
            end = len(kept)
    kept[end:end] = missing.values()
    return "\n".join(kept)


def _lines(text: str) -> Iterator[tuple[str, str, str, str]]:
    """(line, group, key, value); key and value are empty for headers, comments and blank lines."""
    group = ""
    for line in text.split("\n"):
        header = re.fullmatch(r"\s*\[(.*)\]\s*", line)
        group = header[1] if header else group
        pair = re.fullmatch(r"\s*([A-Za-z0-9-]+)\s*=\s*(.*?)\s*", line)
        yield line, group, pair[1] if pair else "", pair[2] if pair else ""


def write_file(path: Path, text: str) -> None:
    """Replace *path* in one go. A link to a file stays one: its owner keeps the file elsewhere."""
    # Nothing but a file is ever replaced at a link's end: for root it may be /dev/null, a mask.
    real = Path(os.path.realpath(path))
    path = real if real.is_file() or not real.exists() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if path.is_file():
            fresh.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _text(path: Path) -> str | None:
    """What is in *path*; None when there is no such file. Bytes that are not UTF-8 survive."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


@contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise AutostartError(f"{place} cannot be used: {reason}") from error


def _refusal(call: Sequence[str], result: Result) -> str:
    said = result.stderr.strip().splitlines()
    why = said[-1] if said and result.outcome is Outcome.FAILED else result.how_it_ended
    hint = ""
    if "connect to bus" in why:
        hint = ". Log in as this user directly (ssh or console, not su or sudo) and try again"
    return f"`systemctl --user {' '.join(call)}` failed: {why}{hint}"
