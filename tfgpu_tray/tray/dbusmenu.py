"""A menu as Linux desktops read it: com.canonical.dbusmenu, version 3, of libdbusmenu.

The desktop keeps a copy of the menu. It is told what changed, and as little as possible, because
most desktops close an open menu when its layout changes, but not when only a label does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated

from dbus_fast import DBusError, ErrorType, PropertyAccess, Variant
from dbus_fast.annotations import DBusBool, DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.annotations import DBusVariant as AnyValue
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tfgpu_tray.tray.items import SEPARATOR, Item, Menu

log = logging.getLogger("tfgpu_tray.tray.sni")

Properties = dict[str, Variant]
# dbus-fast cannot read `-> None` where annotations are strings.
Nothing = Annotated[None, DBusSignature("")]
Ids = Annotated[list[int], DBusSignature("ai")]
Strings = Annotated[list[str], DBusSignature("as")]
Updated = list[tuple[int, Properties]]
Removed = list[tuple[int, list[str]]]  # names of properties
ByItem = Annotated[Updated, DBusSignature("a(ia{sv})")]
Events = Annotated[list[tuple[int, str, Variant, int]], DBusSignature("a(isvu)")]
NodeLayout = tuple[int, Properties, list[Variant]]
Layout = Annotated[tuple[int, NodeLayout], DBusSignature("u(ia{sv}av)")]  # revision, node
NODE = "(ia{sv}av)"  # id, properties, children, each a variant of the same type


def shown(menu: Menu | None) -> list[Item]:
    """Visible items; separators only between others, one at a time."""
    found: list[Item] = []
    for item in [] if menu is None else menu if isinstance(menu, Iterable) else menu():
        is_line = item.text == SEPARATOR.text
        if item.visible and not (is_line and (not found or found[-1].text == item.text)):
            found.append(item)
    return found[:-1] if found and found[-1].text == SEPARATOR.text else found


@dataclass(frozen=True, slots=True)
class Node:
    """An item as the desktop was told of it."""

    id: int
    item: Item | None = None  # None: the root
    properties: Properties = field(default_factory=dict)
    children: tuple[Node, ...] = ()

    @property
    def shape(self) -> tuple[bool, bool]:
        return _shape(self.properties)

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def layout(self, depth: int, names: list[str]) -> NodeLayout:
        """The D-Bus structure of the node and *depth* levels below it, all of them for -1."""
        below = self.children if depth else ()
        children = [Variant(NODE, child.layout(depth - 1, names)) for child in below]
        return self.id, only(self.properties, names), children


@dataclass(frozen=True, slots=True)
class Changes:
    parents: list[int] = field(default_factory=list)  # whose children came, went or moved
    updated: Updated = field(default_factory=list)
    removed: Removed = field(default_factory=list)


class DBusMenu(ServiceInterface):
    """Everything here runs on the thread of the bus; *clicked* must return at once."""

    def __init__(self, menu: Menu | None, clicked: Callable[[Item], None]) -> None:
        super().__init__("com.canonical.dbusmenu")
        self.menu = menu
        self._clicked = clicked
        self._ids = count(1)
        self._revision = 1
        self._root = Node(0, properties={"children-display": Variant("s", "submenu")})
        self._nodes = {0: self._root}

    def update(self) -> bool:
        """Read the menu, tell the desktop what changed; whether the layout did."""
        changes = Changes()
        try:
            self._root = self._read(0, None, self._root.properties, self._root, changes)
        except Exception:
            log.exception("the menu could not be read; the desktop keeps the one it has")
            return False
        self._nodes = {node.id: node for node in self._root.walk()}
        if changes.updated or changes.removed:
            self.items_properties_updated(changes.updated, changes.removed)
        self._revision += bool(changes.parents)
        for parent in changes.parents:
            self.layout_updated(self._revision, parent)
        return bool(changes.parents)

    def default(self) -> Item | None:
        """What a click on the icon itself runs."""
        items = (node.item for node in self._root.children if node.item)
        return next((item for item in items if item.default and item.enabled), None)

    def _read(
        self, id: int, item: Item | None, told: Properties, old: Node | None, changes: Changes
    ) -> Node:
        """The node now; what differs from *old* is noted in *changes*."""
        items = shown(self.menu if item is None else item.submenu)
        now = [describe(item) for item in items]
        before = old.children if old else ()
        pasts: list[Node | None] = list(before)
        if [_shape(properties) for properties in now] != [child.shape for child in before]:
            pasts = _by_label(now, before)
            if old:
                changes.parents.append(id)
        children = tuple(
            self._read(past.id if past else next(self._ids), item, properties, past, changes)
            for item, properties, past in zip(items, now, pasts, strict=True)
        )
        if old and old.properties != told:
            news = {k: v for k, v in told.items() if old.properties.get(k) != v}
            changes.updated.extend([(id, news)] if news else [])
            lost = sorted(old.properties.keys() - told.keys())
            changes.removed.extend([(id, lost)] if lost else [])
        return Node(id, item, told, children)

    def _node(self, id: int) -> Node:
        if id not in self._nodes:
            raise DBusError(ErrorType.INVALID_ARGS, f"the menu has no item {id}")
        return self._nodes[id]

    def _happened(self, id: int, event: str) -> bool:
        """Whether the item is there; it may have gone while the desktop's menu was open."""
        node = self._nodes.get(id)
        if event == "clicked" and node and node.item and _is_enabled(node):
            self._clicked(node.item)
        return node is not None

    @dbus_method("GetLayout")
    def get_layout(self, parent: DBusInt32, depth: DBusInt32, names: Strings) -> Layout:
        return self._revision, self._node(parent).layout(depth, names)

    @dbus_method("GetGroupProperties")
    def get_group_properties(self, ids: Ids, names: Strings) -> ByItem:
        known = [self._nodes[id] for id in ids or self._nodes if id in self._nodes]
        return [(node.id, only(node.properties, names)) for node in known]

    @dbus_method("GetProperty")
    def get_property(self, id: DBusInt32, name: DBusStr) -> AnyValue:
        properties = self._node(id).properties
        if name not in properties:
            raise DBusError(ErrorType.INVALID_ARGS, f"item {id} has no property {name}")
        return properties[name]

    @dbus_method("Event")
    def event(self, id: DBusInt32, event: DBusStr, data: AnyValue, time: DBusUInt32) -> Nothing:
        self._happened(id, event)

    @dbus_method("EventGroup")
    def event_group(self, events: Events) -> Ids:
        return [id for id, event, _, _ in events if not self._happened(id, event)]

    @dbus_method("AboutToShow")
    def about_to_show(self, id: DBusInt32) -> DBusBool:
        return self.update()

    @dbus_method("AboutToShowGroup")
    def about_to_show_group(
        self, ids: Ids
    ) -> Annotated[tuple[list[int], list[int]], DBusSignature("aiai")]:
        """Those whose layout changed, and those that are not there."""
        changed = self.update()
        known = [id for id in ids if id in self._nodes]
        return known if changed else [], [id for id in ids if id not in self._nodes]

    @dbus_signal("LayoutUpdated")
    def layout_updated(
        self, revision: int, parent: int
    ) -> Annotated[tuple[int, int], DBusSignature("ui")]:
        return revision, parent

    @dbus_signal("ItemsPropertiesUpdated")
    def items_properties_updated(
        self, updated: Updated, removed: Removed
    ) -> Annotated[tuple[Updated, Removed], DBusSignature("a(ia{sv})a(ias)")]:
        return updated, removed

    @dbus_property(PropertyAccess.READ, "Version")
    def version(self) -> DBusUInt32:
        return 3

    @dbus_property(PropertyAccess.READ, "Status")
    def status(self) -> DBusStr:
        return "normal"

    @dbus_property(PropertyAccess.READ, "TextDirection")
    def text_direction(self) -> DBusStr:
        return "ltr"

    @dbus_property(PropertyAccess.READ, "IconThemePath")
    def icon_theme_path(self) -> Strings:
        return []


def describe(item: Item) -> Properties:
    if item.text == SEPARATOR.text:
        return {"type": Variant("s", "separator")}
    # An underscore marks the next letter as the item's key; two are one underscore.
    properties = {
        "label": Variant("s", item.text.replace("_", "__")),
        "enabled": Variant("b", bool(item.enabled)),
    }
    if item.checked is not None:
        properties["toggle-type"] = Variant("s", "radio" if item.radio else "checkmark")
        properties["toggle-state"] = Variant("i", int(item.checked))
    if item.submenu is not None:
        properties["children-display"] = Variant("s", "submenu")
    return properties


def only(properties: Properties, names: list[str]) -> Properties:
    """Those of *names*; all if there are none, as the protocol has it."""
    return {k: v for k, v in properties.items() if k in names} if names else properties


def _shape(properties: Properties) -> tuple[bool, bool]:
    """Whether a separator, whether a submenu: what desktops cannot change in place."""
    return "type" in properties, "children-display" in properties


def _is_enabled(node: Node) -> bool:
    return "enabled" in node.properties and bool(node.properties["enabled"].value)


def _by_label(now: list[Properties], before: tuple[Node, ...]) -> list[Node | None]:
    """For each item the node that it was, so that what stays keeps its id."""
    spare = list(before)
    found: list[Node | None] = []
    for told in now:
        same = (n for n in spare if n.properties.get("label") == told.get("label"))
        was = next((n for n in same if n.shape == _shape(told)), None)
        if was:
            spare.remove(was)
        found.append(was)
    return found
