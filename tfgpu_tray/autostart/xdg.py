"""An entry for desktops: Desktop Entry and Autostart specifications of freedesktop.org."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tray.autostart.command_lines import join_exec, split_exec
from tfgpu_tray.autostart.entry import NAME, Found, Method
from tfgpu_tray.autostart.files import get_key, read_file, template, with_keys, write_file

FILE = f"{NAME}.desktop"
GROUP = "Desktop Entry"
GNOME_SWITCH = "X-GNOME-Autostart-enabled"
# What switches an entry off. GKeyFile takes 1 and 0 too.
SWITCHES = {
    "Hidden": ("true", "1"),
    GNOME_SWITCH: ("false", "0"),
    "X-MATE-Autostart-enabled": ("false", "0"),
}
# Window managers that start no such entries by themselves, as XDG_CURRENT_DESKTOP has them
BARE_DESKTOPS = frozenset({"i3", "sway", "hyprland", "bspwm", "dwm", "river", "niri"})


@dataclass(frozen=True, slots=True)
class DesktopFile:
    path: Path
    environ: Mapping[str, str]
    method = Method.XDG

    @property
    def place(self) -> str:
        return str(self.path)

    def read(self) -> Found | None:
        text = read_file(self.path)
        return None if text is None else Found(_words(text), _why_off(text))

    def write(self, words: Sequence[str]) -> None:
        text = read_file(self.path)
        if text is None or not _usable(text):
            text = template(FILE)
        switches = {**dict.fromkeys(SWITCHES), GNOME_SWITCH: "true"}
        write_file(self.path, with_keys(text, GROUP, {"Exec": join_exec(words), **switches}))

    def retarget(self, words: Sequence[str]) -> None:
        text = read_file(self.path) or ""
        write_file(self.path, with_keys(text, GROUP, {"Exec": join_exec(words)}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def caveats(self, words: Sequence[str]) -> list[str]:
        notes = []
        desktops = self.environ.get("XDG_CURRENT_DESKTOP", "").lower().split(":")
        if bare := BARE_DESKTOPS.intersection(desktops):
            notes.append(
                f"{min(bare)} by itself starts no such entries: start `{NAME} run` from its"
                " configuration"
            )
        elif not any(self.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
            notes.append("starts with a desktop only; `autostart enable --headless` is for servers")
        # What systemd-xdg-autostart-generator, which starts entries in GNOME and Plasma, misreads
        # although the quoting is that of the specification; seen with systemd 252.
        if set("`$\\").intersection("".join(words)) or set("'\"%").intersection(words[0]):
            notes.append("GNOME and Plasma may misread its path and not start it")
        return notes


def _words(text: str) -> tuple[str, ...]:
    return split_exec(get_key(text, GROUP, "Exec") or "")


def _usable(text: str) -> bool:
    application = get_key(text, GROUP, "Type") == "Application"
    return application and bool(get_key(text, GROUP, "Name") and _words(text))


def _why_off(text: str) -> str:
    if not _usable(text):
        return "not a usable desktop entry; enable rewrites it"
    for key, values in SWITCHES.items():
        if (value := get_key(text, GROUP, key)) in values:
            return f"switched off by the desktop's own settings ({key}={value})"
    return ""
