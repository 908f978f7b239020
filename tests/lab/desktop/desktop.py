"""What a person sees and does on the desktop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dbus_fast import Variant

from tests.lab.desktop.bus import NOTIFICATIONS, Notification
from tests.lab.desktop.menu import MenuEntry, TrayItem, find, tray_items
from tests.lab.desktop.picture import Box, Colour, TrayIcon, tray_icons
from tests.lab.desktop.session import SECONDS, Session

DUNST = "/org/freedesktop/Notifications"
COMMAND = "org.dunstproject.cmd0"  # what dunstctl calls


class Desktop(Session):
    """A panel with a tray and a notification daemon, and hands and eyes to use them with."""

    # the tray

    def tray_area(self, seconds: float = SECONDS) -> Box:
        """Where the panel is on the screen; it holds the tray alone."""
        return self._wait("the panel is shown", self.screen.panels, seconds)[0]

    def icons(self) -> tuple[TrayIcon, ...]:
        return tray_icons(self.pixels(), self.tray_area())

    def icon_colour(self) -> Colour | None:
        """The colour of the only icon; None where the tray is empty or holds more than one."""
        icons = self.icons()
        return icons[0].colour if len(icons) == 1 else None

    def wait_for_icon(
        self,
        wanted: Colour | Callable[[TrayIcon], bool] | None = None,
        seconds: float = SECONDS,
    ) -> TrayIcon:
        """The first icon of this colour, or that the predicate accepts, or any icon.

        The panel slides icons in: one counts when two pictures in a row show the same.
        """
        last: TrayIcon | None = None

        def fits(icon: TrayIcon) -> bool:
            if wanted is None or isinstance(wanted, Colour):
                return wanted in (None, icon.colour)
            return wanted(icon)

        def look() -> TrayIcon | None:
            nonlocal last
            before, last = last, next(filter(fits, self.icons()), None)
            return last if last == before else None

        return self._wait(f"an icon ({wanted or 'any'}) is in the tray", look, seconds)

    def wait_for_no_icon(self, seconds: float = SECONDS) -> None:
        self._wait("the tray is empty", lambda: not self.icons(), seconds)

    def click_icon(self, button: int = 1) -> None:
        """Clicks the first icon: 1 is the left button, 2 the middle one, 3 the right one."""
        self.screen.click(self.wait_for_icon().box, button)

    def open_menu(self) -> None:
        """Opens the first icon's menu with the right mouse button."""
        self.click_icon(3)
        self._wait("a menu is open", self.screen.menus)

    def close_menu(self) -> None:
        while shown := self.screen.menus():
            self.screen.press("Escape")
            self._wait("a menu closes", partial(self._fewer_menus, len(shown)))

    def item(self) -> TrayItem:
        """The only item that the panel knows."""

        def look() -> TrayItem | None:
            items = tray_items(self.bus)
            return items[0] if len(items) == 1 else None

        return self._wait("one item is registered", look)

    def menu_items(self) -> tuple[MenuEntry, ...]:
        """The menu as its owner describes it to the panel."""
        return self.item().menu(self.bus)

    def click_menu(self, *labels: str) -> MenuEntry:
        """Chooses an entry on the screen, by keyboard; several labels lead through submenus.

        Opens the menu unless it is open, and waits until its owner was told of the choice. Raises
        LookupError where there is no such entry or it is disabled.
        """
        if not self.screen.menus():
            self.open_menu()
        try:
            entry, menus = find(self.menu_items(), labels)
        except LookupError:
            self.close_menu()
            raise
        before = len(self.bus.clicks())
        for depth, keys in enumerate(menus, 1):
            self._wait("the submenu is open", partial(self._open_menus, depth))
            self.screen.press(*keys)
        self._wait(
            f"{labels} is chosen",
            lambda: entry.id in self.bus.clicks()[before:],
        )
        self._wait("the menu closes", lambda: not self.screen.menus())
        return entry

    def _open_menus(self, number: int) -> bool:
        return len(self.screen.menus()) >= number

    def _fewer_menus(self, number: int) -> bool:
        return len(self.screen.menus()) < number

    # notifications

    def notifications(self) -> tuple[Notification, ...]:
        """Those that are open: on the screen, or waiting while dunst is paused."""
        return tuple(one for one in self.notified() if one.closed is None)

    def displayed(self) -> int:
        """How many notifications dunst shows on the screen."""
        count: int = self.bus.get(NOTIFICATIONS, DUNST, f"{COMMAND}.displayedLength")
        return count

    def wait_for_notification(
        self, text: str = "", seconds: float = SECONDS, *, shown: bool = True
    ) -> Notification:
        """The newest open one with *text* in summary or body; `shown`: it is on the screen, too."""

        def look() -> Notification | None:
            found = self.notifications()
            fits = [one for one in found if text in f"{one.summary}\n{one.body}"]
            return fits[-1] if fits and (not shown or self.displayed() == len(found)) else None

        return self._wait(f"a notification with {text!r} is shown", look, seconds)

    def press_notification_action(
        self, action: int | str, notification: Notification | None = None
    ) -> None:
        """Chooses an action by label, key or place through dunst's own menu of actions.

        Without *notification* it is the newest open one's. Waits until its sender was told.
        """
        target = notification or self.wait_for_notification()
        key = _action_key(target, action)
        choice = Path(self.environ["XDG_RUNTIME_DIR"]) / "choice"
        choice.write_text(f"[{target.id},{key}]\n")
        self.bus.call(NOTIFICATIONS, DUNST, f"{COMMAND}.ContextMenuCall")

        def told() -> bool:
            same = [one for one in self.notified() if one.id == target.id]
            return same[-1].invoked == key

        self._wait(f"the action {key!r} is invoked", told)

    def close_notification(self) -> None:
        """Dismisses the newest one that is shown, as a click on it would."""
        before = len(self.notifications())
        self.bus.call(NOTIFICATIONS, DUNST, f"{COMMAND}.NotificationCloseLast")
        self._wait("a notification closes", lambda: len(self.notifications()) < before)

    def pause_notifications(self, paused: bool = True) -> None:
        """Do not disturb: what comes then waits for its end."""
        self.bus.set(NOTIFICATIONS, DUNST, f"{COMMAND}.paused", Variant("b", paused))


def _action_key(notification: Notification, action: int | str) -> str:
    """Raises LookupError."""
    if isinstance(action, int):
        return notification.actions[action][0]
    for key, label in notification.actions:
        if action in (key, label):
            return key
    raise LookupError(f"no action {action!r} among {notification.actions}")
