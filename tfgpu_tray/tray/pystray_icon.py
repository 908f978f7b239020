"""pystray's icon, where it shows one as it is: on macOS, and on Linux without a session bus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tfgpu_tray.tray.items import SEPARATOR, Item, Menu

if TYPE_CHECKING:
    from PIL.Image import Image

    from tfgpu_tray.tray.pixmap import Pixmap

NAME = "tfgpu-tray"


class PystrayIcon:
    """On a thread of its own."""

    def __init__(self, pystray: Any, first: Sequence[Pixmap], title: str):
        self._pystray = pystray
        self._icon = pystray.Icon(NAME, _best(first), title)
        start(self._icon, _appear)

    def show(self, pictures: Sequence[Pixmap], title: str) -> None:
        self._icon.icon, self._icon.title = _best(pictures), title

    def set_menu(self, menu: Menu) -> None:
        items = menu() if callable(menu) else menu
        self._icon._menu = self._pystray.Menu(*entries(self._pystray, items))
        self._icon.update_menu()

    def notify(self, message: str, title: str, clicked: Callable[[], None]) -> None:
        if self._icon.HAS_NOTIFICATION:
            self._icon.notify(message, title)

    def stop(self) -> None:
        self._icon.stop()


def start(icon: Any, setup: Callable[[Any], None]) -> threading.Thread:
    """Runs *icon* on a thread of its own.

    Its own run_detached would leave GTK without a loop, and Windows with a thread that stays.
    """
    thread = threading.Thread(target=icon.run, args=(setup,), name="pystray", daemon=True)
    thread.start()
    return thread


def entries(pystray: Any, items: Iterable[Item], text: Callable[[str], str] = str) -> Iterator[Any]:
    """*items* in pystray's form; *text* writes what is shown as the desktop reads it."""
    for item in items:
        if item.text == SEPARATOR.text:
            yield pystray.Menu.SEPARATOR
            continue
        below = item.submenu() if callable(item.submenu) else item.submenu
        yield pystray.MenuItem(
            text(item.text),
            _action(item) if below is None else pystray.Menu(*entries(pystray, below, text)),
            checked=None if item.checked is None else (lambda _, value=item.checked: value),
            default=item.default,
            enabled=item.enabled,
            visible=item.visible,
        )


def _action(item: Item) -> Callable[[Any], object]:
    """pystray counts the arguments of what it calls."""
    return lambda icon: item(icon)


def _appear(icon: Any) -> None:
    icon.visible = True


def _best(pixmaps: Sequence[Pixmap]) -> Image:
    """The largest one, in Pillow's form, which pystray wants."""
    from PIL import Image

    width, height, argb = max(pixmaps, key=lambda pixmap: pixmap[0])
    alpha, red, green, blue = Image.frombytes("RGBA", (width, height), argb).split()
    return Image.merge("RGBA", (red, green, blue, alpha))
