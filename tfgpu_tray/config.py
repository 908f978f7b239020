"""config.toml → Config. Every mistake is reported at once, with its key and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tfgpu_tray.observe.look import Deadlines

FILE = "config.toml"
T = TypeVar("T")
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*([smh])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_PATH_OF_WINDOWS = re.compile(r'"[A-Za-z]:\\')  # what follows a backslash there is an escape
_CUDA = ("auto", "conda", "wheels", "extra")
_PANELS = ("auto", "light", "dark")


class ConfigError(Exception):
    """The configuration cannot be used. *problems* holds one sentence for each mistake."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds between looks."""

    fingerprint: float = 60
    static: float = 15 * 60
    tensorflow: float = 6 * 3600


@dataclass(frozen=True, slots=True)
class Notifications:
    enabled: bool = True
    remind: float | None = 24 * 3600  # seconds between reminders of what stays broken; None: never


@dataclass(frozen=True, slots=True)
class Config:
    discover: bool = True
    include: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    pins: Mapping[Path, str] = field(default_factory=dict)  # prefix → TensorFlow specifier
    channel: str = "conda-forge"
    conda: str | None = None
    cuda: str | None = None
    schedule: Schedule = field(default_factory=Schedule)
    deadlines: Deadlines = field(default_factory=Deadlines)
    notifications: Notifications = field(default_factory=Notifications)
    panel: str | None = None  # "light" or "dark"; None: as the desktop says


def default_text() -> str:
    """The default configuration with its comments, the file that users start from."""
    for place in (Path(__file__).parent, Path(__file__).parents[1]):  # the wheel, the checkout
        if (place / FILE).is_file():
            return (place / FILE).read_text(encoding="utf-8")
    raise FileNotFoundError(f"{FILE} is missing from this installation")


def load(path: Path, *, required: bool = False) -> Config:
    """The configuration in *path*; the defaults when there is no such file and none is *required*.

    Raises:
        ConfigError: it cannot be read, is no TOML, or holds mistakes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors put a byte order mark
    except FileNotFoundError as error:
        if required:
            raise ConfigError([f"{path}: there is no such file"]) from error
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    return parse(text, str(path))


def parse(text: str, name: str = FILE) -> Config:
    """The configuration in *text*; *name* is what messages call it."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        quoted = _PATH_OF_WINDOWS.search(text)
        hint = "; write paths of Windows between single quotes" if quoted else ""
        raise ConfigError([f"{name}: not valid TOML: {error}{hint}"]) from error
    reader = _Reader(text, name)
    config = reader.config(content)
    if reader.problems:
        raise ConfigError(reader.problems)
    return config


class _Reader:
    """Takes known keys out of tables and notes everything that does not fit."""

    def __init__(self, text: str, name: str):
        self.problems: list[str] = []
        self._lines = text.splitlines()
        self._name = name

    def config(self, content: dict[str, Any]) -> Config:
        environments = self._table(content, "environments")
        install = self._table(content, "install")
        schedule = self._table(content, "schedule")
        deadlines = self._table(content, "deadlines")
        notifications = self._table(content, "notifications")
        tray = self._table(content, "tray")
        defaults, seconds, limits, told = Config(), Schedule(), Deadlines(), Notifications()
        config = Config(
            discover=self._take(environments, "environments.discover", defaults.discover, _boolean),
            include=self._take(environments, "environments.include", (), _paths),
            exclude=self._take(environments, "environments.exclude", (), _paths),
            pins=self._pins(content.pop("environment", [])),
            channel=self._take(install, "install.channel", defaults.channel, _word),
            conda=self._take(install, "install.conda", "", _text) or None,
            cuda=self._take(install, "install.cuda", None, _cuda),
            schedule=Schedule(
                *(
                    self._take(schedule, f"schedule.{key}", getattr(seconds, key), _duration)
                    for key in ("fingerprint", "static", "tensorflow")
                )
            ),
            deadlines=Deadlines(
                *(
                    self._take(deadlines, f"deadlines.{key}", getattr(limits, key), _positive)
                    for key in ("driver", "activation", "loader", "tensorflow", "compute")
                )
            ),
            notifications=Notifications(
                self._take(notifications, "notifications.enabled", told.enabled, _boolean),
                self._take(notifications, "notifications.remind", told.remind, _interval),
            ),
            panel=self._take(tray, "tray.panel", None, _panel),
        )
        for table, rest in (
            ("environments.", environments),
            ("install.", install),
            ("schedule.", schedule),
            ("deadlines.", deadlines),
            ("notifications.", notifications),
            ("tray.", tray),
            ("", content),
        ):
            for key in rest:
                self._problem(f"{table}{key}", "there is no such setting")
        return config

    def _table(self, content: dict[str, Any], key: str) -> dict[str, Any]:
        value = content.pop(key, {})
        if isinstance(value, dict):
            return dict(value)
        self._problem(key, f"must be a table, written [{key}]")
        return {}

    def _take(
        self,
        table: dict[str, Any],
        key: str,
        default: T,
        convert: Callable[[Any], T],
        occurrence: int = 0,
    ) -> T:
        name = key.rpartition(".")[2]
        if name not in table:
            return default
        try:
            return convert(table.pop(name))
        except ValueError as error:
            self._problem(key, str(error), occurrence)
            return default

    def _pins(self, entries: object) -> dict[Path, str]:
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            self._problem("environment", "must be written [[environment]], once an environment")
            return {}
        pins: dict[Path, str] = {}
        for place, entry in enumerate(entries):
            rest = dict(entry)
            prefix = self._take(rest, "environment.prefix", None, _path_or_none, place)
            pin = self._take(rest, "environment.tensorflow", "", _specifier, place)
            for key in rest:
                self._problem(f"environment.{key}", "there is no such setting", place)
            if prefix is None and "prefix" not in entry:
                self._problem("environment", "needs a prefix", place)
            elif prefix is not None:
                pins[prefix] = pin
        return pins

    def _problem(self, key: str, what: str, occurrence: int = 0) -> None:
        self.problems.append(f"{self._name}:{self._line(key, occurrence)}: {key}: {what}")

    def _line(self, key: str, occurrence: int) -> int:
        """The line that sets *key*, counted from 1; that of its table when it is not there.

        *occurrence* counts the [[environment]] tables.
        """
        table, _, name = key.rpartition(".")
        current, seen, header = "", -1, 1
        counted = "environment" in (table, key)
        for number, line in enumerate(self._lines, start=1):
            if match := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
                current = match[1]
                seen += current == "environment"
                if current in (key, table) and (not counted or seen == occurrence):
                    header = number
            elif (
                current == table
                and (not counted or seen == occurrence)
                and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line)
            ):
                return number
        return header


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")
    return value


def _word(value: object) -> str:
    text = _text(value)
    if not text.strip() or text.startswith("-"):
        raise ValueError("must name a channel")
    return text


def _path(value: object) -> Path:
    path = Path(_text(value)).expanduser()
    if not path.is_absolute():
        raise ValueError("must be a full path")
    return path


def _path_or_none(value: object) -> Path | None:
    return _path(value)


def _paths(value: object) -> tuple[Path, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of paths")
    return tuple(_path(item) for item in value)


def _cuda(value: object) -> str | None:
    return _choice(value, _CUDA)


def _panel(value: object) -> str | None:
    return _choice(value, _PANELS)


def _choice(value: object, choices: tuple[str, ...]) -> str | None:
    """One of *choices*; None for "auto"."""
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return None if value == "auto" else str(value)


def _specifier(value: object) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    text = _text(value)
    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier as error:
        raise ValueError(f'must be a version range such as "==2.10.*", not “{text}”') from error


def _duration(value: object) -> float:
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0:
        raise ValueError('must be a duration such as "60s", "15m" or "6h"')
    return float(match[1]) * _SECONDS[match[2]]


def _interval(value: object) -> float | None:
    if value == "never":
        return None
    try:
        return _duration(value)
    except ValueError as error:
        raise ValueError(str(error).replace("must be", 'must be "never" or', 1)) from error


def _positive(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError("must be a number of seconds above 0")
    return float(value)
