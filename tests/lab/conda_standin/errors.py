"""conda's exceptions as they show in its JSON: a name, a message, and details of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["CondaError", "conflicts_with_pins", "not_in_channels", "not_in_prefix"]


class CondaError(Exception):
    """An error that ends the command with `code`, printed as JSON when --json was given."""

    def __init__(
        self, name: str, message: str, details: Mapping[str, object] | None = None, code: int = 1
    ) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.code = code
        self.details = dict(details or {})

    def report(self) -> dict[str, object]:
        """The JSON object that conda prints for it."""
        return {
            "caused_by": "None",
            "error": f"{self.name}: {self.message}",
            "exception_name": self.name,
            "exception_type": f"<class 'conda.exceptions.{self.name}'>",
            "message": self.message,
            **self.details,
        }


def _dashes(items: Iterable[object], indent: int = 2) -> str:
    return "".join(f"\n{' ' * indent}- {item}" for item in items)


def not_in_channels(specs: Sequence[str], channels: Sequence[str]) -> CondaError:
    """No channel has a package that matches these specs."""
    message = (
        "The following packages are not available from current channels:\n"
        f"{_dashes(specs)}\n\nCurrent channels:\n{_dashes(channels)}\n"
    )
    name = "PackagesNotFoundInChannelsError"
    return CondaError(name, message, {"packages": list(specs), "channel_urls": list(channels)})


def not_in_prefix(names: Sequence[str], prefix: Path) -> CondaError:
    """These packages are to be removed and are not there."""
    message = (
        "The following packages are missing from the target environment:\n"
        f"  prefix: {prefix}\n{_dashes(names)}\n"
    )
    name = "PackagesNotFoundInPrefixError"
    return CondaError(name, message, {"prefix": str(prefix), "package_name": list(names)})


def conflicts_with_pins(specs: Sequence[str], pins: Sequence[str], prefix: Path) -> CondaError:
    """What is requested contradicts conda-meta/pinned."""
    message = (
        "Requested specs conflict with configured specs.\n"
        f"  requested specs: {_dashes(specs, 4)}\n  pinned specs: {_dashes(pins, 4)}\n"
        "Use 'conda config --show-sources' to look for 'pinned_specs' and 'track_features'\n"
        "configuration parameters.  Pinned specs may also be defined in the file\n"
        f"{prefix / 'conda-meta' / 'pinned'}.\n"
    )
    name = "SpecsConfigurationConflictError"
    details = {"requested_specs": list(specs), "pinned_specs": list(pins), "prefix": str(prefix)}
    return CondaError(name, message, details)
