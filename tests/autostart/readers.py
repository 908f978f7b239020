"""Command lines as those who start programs read them."""

from __future__ import annotations

import ctypes.util
import re

from tests.needs import lacking

ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def by_the_specification(value: str) -> list[str]:
    """An Exec value read character by character, as the Desktop Entry Specification 1.5 says."""
    line, characters = "", iter(value)
    for c in characters:
        line += ESCAPES[next(characters)] if c == "\\" else c
    words, word, quoted, begun = [], "", False, False
    characters = iter(line)
    for c in characters:
        if quoted:
            if c == '"':
                quoted = False
            else:
                word += next(characters) if c == "\\" else c
                assert c not in "`$", "these must be escaped between quotes"
        elif c == '"':
            quoted = begun = True
        elif c == " ":
            words += [word] if begun else []
            word, begun = "", False
        else:
            assert c not in "\t\n\"'\\><~|&;$*?#()`", f"the reserved {c} must be quoted"
            word, begun = word + c, True
    assert not quoted
    words += [word] if begun else []
    assert not any(re.search(r"%(?!%)", word.replace("%%", "")) for word in words), "a field code"
    return [word.replace("%%", "%") for word in words]


def by_glib(value: str) -> list[str]:
    """As GNOME, XFCE, Cinnamon and MATE read it: GKeyFile, then g_shell_parse_argv."""
    name = ctypes.util.find_library("glib-2.0") or lacking("GLib is not installed")
    glib = ctypes.CDLL(name)
    glib.g_key_file_new.restype = ctypes.c_void_p
    glib.g_key_file_get_string.restype = ctypes.c_void_p
    keys = ctypes.c_void_p(glib.g_key_file_new())
    text = f"[Desktop Entry]\nExec={value}\n".encode()
    assert glib.g_key_file_load_from_data(keys, text, ctypes.c_size_t(len(text)), 0, None)
    pointer = glib.g_key_file_get_string(keys, b"Desktop Entry", b"Exec", None)
    line = ctypes.string_at(pointer).replace(b"%%", b"%")  # gdesktopappinfo.c, expand_macro
    count, argv = ctypes.c_int(), ctypes.POINTER(ctypes.c_char_p)()
    assert glib.g_shell_parse_argv(line, ctypes.byref(count), ctypes.byref(argv), None)
    words = [(argv[i] or b"").decode() for i in range(count.value)]
    glib.g_strfreev(argv)
    glib.g_free(ctypes.c_void_p(pointer))
    glib.g_key_file_free(keys)
    return words


def by_windows(line: str) -> list[str]:
    """CommandLineToArgvW, as documented: the first word by its quotes, the others with escapes."""
    first = re.match(r'"([^"]*)"(?:\s|$)', line)
    assert first, "the program stands in quotes"
    words, word, quoted, begun, slashes = [first[1]], "", False, False, 0
    for c in line[first.end() :] + " ":
        if c == "\\":
            slashes, begun = slashes + 1, True
            continue
        if c == '"':
            word += "\\" * (slashes // 2)
            assert slashes % 2 == 0, "an escaped quote"
            quoted, begun = not quoted, True
        elif c in " \t" and not quoted:
            words += [word + "\\" * slashes] if begun else []
            word, begun = "", False
        else:
            word, begun = word + "\\" * slashes + c, True
        slashes = 0
    assert not quoted
    return words
