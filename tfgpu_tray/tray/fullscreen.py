"""Prints "yes" when the active window fills an X11 screen (EWMH, _NET_WM_STATE_FULLSCREEN)."""

from __future__ import annotations


def main() -> None:
    from Xlib import X
    from Xlib.display import Display

    display = Display()
    root = display.screen().root
    active = root.get_full_property(display.intern_atom("_NET_ACTIVE_WINDOW"), X.AnyPropertyType)
    if active is None or not active.value or not active.value[0]:
        print("no")
        return
    window = display.create_resource_object("window", active.value[0])
    states = window.get_full_property(display.intern_atom("_NET_WM_STATE"), X.AnyPropertyType)
    full = display.intern_atom("_NET_WM_STATE_FULLSCREEN")
    print("yes" if states is not None and full in states.value else "no")


if __name__ == "__main__":
    main()
