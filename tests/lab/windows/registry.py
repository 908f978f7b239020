"""Text that Windows' registry editor imports."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Value", "exported"]

#: REG_SZ, REG_DWORD, REG_BINARY, REG_MULTI_SZ; None deletes the value.
Value = str | int | bytes | list[str] | None

HIVES = {"HKLM": "HKEY_LOCAL_MACHINE", "HKCU": "HKEY_CURRENT_USER"}


def exported(keys: Mapping[str, Mapping[str, Value] | None]) -> str:
    """A .reg file with values of keys ("HKLM\\…", "HKCU\\…"); None deletes the whole key.

    The value without a name is the key's default one.
    """
    lines = ["Windows Registry Editor Version 5.00", ""]
    for key, values in keys.items():
        hive, _, rest = key.partition("\\")
        name = f"{HIVES[hive]}\\{rest}"
        lines.append(f"[-{name}]" if values is None else f"[{name}]")
        lines += [f"{_name(one)}={_data(value)}" for one, value in (values or {}).items()]
        lines.append("")
    return "\r\n".join(lines)


def _name(name: str) -> str:
    return _quoted(name) if name else "@"


def _data(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        return f"dword:{value:08x}"
    if isinstance(value, bytes):
        return f"hex:{value.hex(',')}"
    data = "".join(f"{text}\0" for text in value) + "\0"
    return f"hex(7):{data.encode('utf-16-le').hex(',')}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
