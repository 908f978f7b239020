"""What the observers ask of Windows: its registry and a few calls, each behind a small protocol.

`tfgpu_tray.observe.windows_api` is the real thing; tests bring their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RegistryValue = str | int | bytes | tuple[str, ...]


class Registry(Protocol):
    """Reads the 64-bit registry. *key* starts with HKLM or HKCU.

    Both raise OSError for what is there and cannot be read.
    """

    def value(self, key: str, name: str) -> RegistryValue | None:
        """None when there is no such key or no such value."""
        ...

    def keys(self, key: str) -> tuple[str, ...] | None:
        """Names of the keys below; None when there is no such key."""
        ...


class Calls(Protocol):
    """What only Windows' own functions tell."""

    def build(self) -> int:
        """The third number of 10.0.22631, whatever a manifest makes other functions say."""
        ...

    def architecture(self) -> str:
        """Of the machine, not of this process: "x86_64", "arm64", "x86"."""
        ...

    def avx(self) -> bool:
        """Whether processor and system let programs use AVX."""
        ...

    def absent(self, device: str) -> bool:
        """Whether *device*, an instance ID of the registry's, is only a memory of hardware."""
        ...

    def file_version(self, path: Path) -> str | None:
        """ "31.0.15.3179"; None for a file that is not there or has none. Nothing is loaded."""
        ...


@dataclass(frozen=True, slots=True)
class Windows:
    registry: Registry
    calls: Calls
    system32: Path
    program_files: Path

    def text(self, key: str, name: str) -> str | None:
        value = self.registry.value(key, name)
        return value if isinstance(value, str) else None

    def texts(self, key: str, name: str) -> tuple[str, ...]:
        """A value of several strings, or of one."""
        value = self.registry.value(key, name)
        if isinstance(value, str):
            return (value,)
        return value if isinstance(value, tuple) else ()
