"""Menus, in the form of pystray's, without pystray: importing that needs a desktop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


class Item(Protocol):
    """What pystray.MenuItem offers; calling it with the icon runs its action."""

    @property
    def text(self) -> str: ...
    @property
    def checked(self) -> bool | None: ...
    @property
    def radio(self) -> bool: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def visible(self) -> bool: ...
    @property
    def default(self) -> bool: ...
    @property
    def submenu(self) -> Menu | None: ...
    def __call__(self, icon: Any) -> object: ...


Menu = Iterable[Item] | Callable[[], Iterable[Item]]
"""Read anew at every update, so a callable, or an iterable like pystray.Menu, may be dynamic."""


@dataclass(frozen=True, slots=True)
class MenuItem:
    text: str
    action: Callable[[Any], object] | None = None  # is given the icon
    checked: bool | None = None  # None: cannot be checked
    radio: bool = False
    enabled: bool = True
    visible: bool = True
    default: bool = False  # what a click on the icon itself runs
    submenu: Menu | None = None

    def __call__(self, icon: Any) -> object:
        return self.action(icon) if self.action else None


SEPARATOR = MenuItem("- - - -")  # pystray's separator is known by the same text
