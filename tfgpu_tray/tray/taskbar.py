"""pystray's icon in Windows' taskbar, with its faults kept away from the user.

pystray 0.19 scales one picture of 32 pixels, does not ask whether the taskbar took the icon, takes
an open menu away under the mouse (pystray#60), and answers 0 to every message it does not know: to
WM_QUERYENDSESSION that is a veto against shutting down. Here everything happens in the icon's own
thread, pictures have the size that the taskbar shows, and it is asked every now and then whether
the icon is still there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from tfgpu_tray.tray.pystray_icon import NAME, entries, start
from tfgpu_tray.tray.view import cut

if TYPE_CHECKING:
    from tfgpu_tray.tray.items import Menu
    from tfgpu_tray.tray.pixmap import Pixmap

TITLE, MESSAGE, MESSAGE_TITLE = 127, 255, 63  # UTF-16 units that Windows' structures hold
WM_QUERYENDSESSION, WM_SETTINGCHANGE, WM_DISPLAYCHANGE = 0x0011, 0x001A, 0x007E
WM_TIMER, WM_POWERBROADCAST, WM_DPICHANGED = 0x0113, 0x0218, 0x02E0
WM_NOTIFY = 0x040B  # pystray's own, for what happens to the icon
WM_JOBS = 0x8001  # ours: there is something to do
WM_LBUTTONUP, WM_RBUTTONUP, NIN_BALLOONUSERCLICK = 0x0202, 0x0205, 0x0405
NIM_ADD, NIM_MODIFY, NIF_TIP, NIF_INFO = 0, 1, 4, 0x10
NIIF_USER, NIIF_RESPECT_QUIET_TIME = 0x04, 0x80  # with the icon's picture; silent where wished
WELL, ILL = 30.0, 2.0  # seconds between looks whether the icon is there; while it is not
ENDS = 1.0  # seconds

log = logging.getLogger(__name__)


class Shell(Protocol):
    """What is asked of Windows beside pystray."""

    def make_icon(self, pictures: Sequence[Pixmap]) -> int:
        """The handle of an icon of the size that the taskbar shows."""
        ...

    def notify_icon(self, what: int, window: int, **fields: Any) -> bool:
        """Shell_NotifyIcon; *fields* are those of NOTIFYICONDATA."""
        ...

    def post(self, window: int, message: int) -> None: ...

    def set_timer(self, window: int, seconds: float) -> None:
        """Send WM_TIMER to *window* every so often; a later call replaces an earlier one."""
        ...


class TaskbarIcon:
    """Every method may be called from any thread."""

    def __init__(
        self,
        pystray: Any,
        shell: Shell,
        first: Sequence[Pixmap],
        title: str,
        *,
        hosted: Callable[[bool], None],
        themed: Callable[[], None],
    ):
        """*hosted* is told whether a taskbar has the icon, each time that changes; *themed* is
        called when the colour of the taskbar may have changed."""
        self._pystray, self._shell, self._hosted = pystray, shell, hosted
        self._menu: Menu = ()
        self._clicked: Callable[[], None] = lambda: None  # on the balloon that is shown
        self._taken: bool | None = None  # by a taskbar
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._icon = _tamed(pystray.Icon, shell, self._told)(NAME, tuple(first), cut(title, TITLE))
        self._answer_messages(self._icon._message_handlers, themed)
        self._thread = start(self._icon, lambda _: self._do(self._appear))

    def show(self, pictures: Sequence[Pixmap], title: str) -> None:
        def show() -> None:
            self._icon.icon, self._icon.title = tuple(pictures), cut(title, TITLE)

        self._do(show)

    def set_menu(self, menu: Menu) -> None:
        """Built when it opens, never while it is open."""
        self._menu = menu

    def notify(self, message: str, title: str, clicked: Callable[[], None]) -> None:
        def notify() -> None:
            self._clicked = clicked
            # Without a message Windows would take the balloon away that is shown.
            text, name = cut(message or title, MESSAGE), cut(title, MESSAGE_TITLE)
            flags = NIIF_USER | NIIF_RESPECT_QUIET_TIME
            self._icon._message(
                NIM_MODIFY, NIF_INFO, szInfo=text, szInfoTitle=name, dwInfoFlags=flags
            )

        self._do(notify)

    def stop(self) -> None:
        self._icon.stop()
        self._thread.join(ENDS)  # else the taskbar keeps the icon until the mouse touches it

    # ---- in the icon's thread ------------------------------------------------------------------

    def _do(self, job: Callable[[], object]) -> None:
        """Before there is a window, jobs wait for it."""
        self._jobs.put(job)
        if self._icon._hwnd:
            self._shell.post(self._icon._hwnd, WM_JOBS)

    def _work(self, _word: int, _long: int) -> int:
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return 0
            try:
                job()
            except Exception:
                log.exception("the icon")

    def _appear(self) -> None:
        self._icon.visible = True

    def _told(self, taken: bool) -> None:
        """A taskbar has taken the icon, or has not: at login it may not be there yet."""
        if taken != self._taken:
            self._taken = taken
            self._shell.set_timer(self._icon._hwnd, WELL if taken else ILL)
            self._hosted(taken)

    def _look(self, _word: int, _long: int) -> int:
        """Whether it is still there: changing what is not fails."""
        icon = self._icon
        if icon.visible and not icon._message(NIM_MODIFY, NIF_TIP, szTip=icon.title):
            icon._show()
        return 0

    def _resize(self, _word: int, _long: int) -> int:
        """Another resolution wants pictures of another size."""
        if self._icon.visible:
            self._icon._update_icon()
        return 0

    def _notice(self, usual: Callable[[int, int], Any], word: int, what: int) -> int:
        if what in (WM_LBUTTONUP, WM_RBUTTONUP):
            items = self._menu() if callable(self._menu) else self._menu
            found = entries(self._pystray, items, lambda text: text.replace("&", "&&"))
            self._icon._menu = self._pystray.Menu(*found)
            self._icon.update_menu()
        elif what == NIN_BALLOONUSERCLICK:
            self._clicked()
        return int(usual(word, what) or 0)

    def _answer_messages(
        self, handlers: dict[int, Callable[[int, int], Any]], themed: Callable[[], None]
    ) -> None:
        noticed = handlers[WM_NOTIFY]
        handlers[WM_NOTIFY] = lambda word, what: self._notice(noticed, word, what)
        handlers[WM_QUERYENDSESSION] = lambda _word, _long: 1
        handlers[WM_POWERBROADCAST] = lambda _word, _long: 1
        handlers[WM_SETTINGCHANGE] = lambda _word, _long: themed()
        handlers[WM_DISPLAYCHANGE] = self._resize
        handlers[WM_DPICHANGED] = self._resize
        handlers[WM_TIMER] = self._look
        handlers[WM_JOBS] = self._work


def _tamed(base: Any, shell: Shell, told: Callable[[bool], None]) -> Any:
    """pystray's class for Windows, which keeps pixmaps instead of one of Pillow's pictures."""

    class Icon(base):  # type: ignore[misc]
        _icon_handle: int | None

        def _message(self, code: int, flags: int, **fields: Any) -> bool:
            taken = shell.notify_icon(code, self._hwnd, uFlags=flags, **fields)
            if code == NIM_ADD or (code == NIM_MODIFY and self.visible and not taken):
                told(taken)
            return taken

        def _mainloop(self) -> None:
            try:
                super()._mainloop()
            except OSError:  # who asks a program to close has already closed its second window
                log.debug("the icon's end", exc_info=True)

        def _assert_icon_handle(self) -> None:
            if not self._icon_handle:
                self._icon_handle = shell.make_icon(self._icon)

    return Icon
