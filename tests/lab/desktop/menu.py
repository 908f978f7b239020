"""A tray item's menu: what it says on the bus, and the keys that lead to an entry on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab.desktop.bus import SessionBus

WATCHER = "org.kde.StatusNotifierWatcher"


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A visible entry; a separator has no label."""

    id: int
    label: str
    enabled: bool
    checked: bool | None  #: None where it cannot be checked
    entries: tuple[MenuEntry, ...]  #: of its submenu


@dataclass(frozen=True, slots=True)
class TrayItem:
    """Where an item lives on the bus."""

    name: str
    path: str

    def get(self, bus: SessionBus, attribute: str) -> Any:
        return bus.get(self.name, self.path, f"org.kde.StatusNotifierItem.{attribute}")

    def menu(self, bus: SessionBus) -> tuple[MenuEntry, ...]:
        path = self.get(bus, "Menu")
        layout = bus.call(self.name, path, "com.canonical.dbusmenu.GetLayout", "iias", 0, -1, [])
        return _entries(layout[1])


def host_registered(bus: SessionBus) -> bool:
    """A panel shows items on this bus."""
    if not bus.owned(WATCHER):
        return False
    shown: bool = bus.get(
        WATCHER, "/StatusNotifierWatcher", f"{WATCHER}.IsStatusNotifierHostRegistered"
    )
    return shown


def tray_items(bus: SessionBus) -> tuple[TrayItem, ...]:
    """The items that the panel knows."""
    if not bus.owned(WATCHER):
        return ()
    known = bus.get(WATCHER, "/StatusNotifierWatcher", f"{WATCHER}.RegisteredStatusNotifierItems")
    return tuple(TrayItem(name, f"/{path}") for name, _, path in (k.partition("/") for k in known))


def find(entries: Sequence[MenuEntry], labels: Sequence[str]) -> tuple[MenuEntry, list[list[str]]]:
    """The entry under a path of labels, and for each menu on the way the keys to press in it.

    A GTK menu marks its first entry at the first Down, passing by separators and disabled entries;
    Right opens a submenu with its first entry marked. Raises LookupError.
    """
    keys: list[list[str]] = []
    for depth, label in enumerate(labels):
        usable = [entry for entry in entries if entry.label and entry.enabled]
        names = [entry.label for entry in usable]
        if names.count(label) != 1:
            shown = [entry.label for entry in entries]
            raise LookupError(f"not one enabled entry {label!r} among {shown}")
        place = names.index(label)
        keys.append(["Down"] * (place + 1 if depth == 0 else place))
        keys[-1].append("Return" if depth == len(labels) - 1 else "Right")
        entries = usable[place].entries
    return usable[place], keys


def _entries(node: list[Any]) -> tuple[MenuEntry, ...]:
    """*node* is dbusmenu's (id, properties, children)."""
    shown = []
    for child in node[2]:
        number, variants, children = child.value
        given = {name: variant.value for name, variant in variants.items()}
        if not given.get("visible", True):
            continue
        separator = given.get("type") == "separator"
        checked = given.get("toggle-state") == 1 if given.get("toggle-type") else None
        shown.append(
            MenuEntry(
                number,
                "" if separator else _plain(given.get("label", "")),
                given.get("enabled", True),
                checked,
                _entries([number, variants, children]),
            )
        )
    return tuple(shown)


def _plain(label: str) -> str:
    """Without the underscore that marks an access key; two of them are one."""
    return "_".join(part.replace("_", "") for part in label.split("__"))
