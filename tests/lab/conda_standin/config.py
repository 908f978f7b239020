"""Where the stand-in is installed, and which channels it uses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from .errors import CondaError

__all__ = ["Config", "load_config"]


@dataclass(frozen=True)
class Config:
    """The merged .condarc files of one installation."""

    root: Path
    channels: tuple[str, ...]
    default_channels: tuple[str, ...]
    channel_alias: str

    @property
    def package_cache(self) -> Path:
        return self.root / "pkgs"

    def urls(self, names: Sequence[str]) -> list[str]:
        """The URLs of these channels, given as name, path or URL, each checked to exist."""
        found: list[str] = []
        for name in names:
            for url in self.default_channels if name == "defaults" else (self._url(name),):
                self._check(name, url)
                if url not in found:
                    found.append(url)
        return found

    def _url(self, name: str) -> str:
        if "://" in name:
            return name.rstrip("/")
        if name.startswith(("/", "./", "~")):
            return Path(name).expanduser().absolute().as_uri()
        return f"{self.channel_alias.rstrip('/')}/{name}"

    def _check(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "file":
            message = f"HTTP 000 CONNECTION FAILED for url <{url}>\nThe lab has no network.\n"
            details = {"url": url, "status_code": "000", "reason": "CONNECTION FAILED"}
            raise CondaError("CondaHTTPError", message, details)
        if not Path(url2pathname(parts.path), "noarch", "repodata.json").is_file():
            message = (
                f"HTTP 404 NOT FOUND for channel {name} <{url}>\n\n"
                "The channel is not accessible or is invalid.\n"
            )
            details = {"channel_name": name, "channel_url": url, "status_code": "404"}
            raise CondaError("UnavailableInvalidChannel", message, details)

    def channel_name(self, url: str) -> str:
        """What conda calls the channel: a name where the alias leads to it, else its URL."""
        return url.removeprefix(f"{self.channel_alias.rstrip('/')}/")


def load_config(root: Path) -> Config:
    """Reads <root>/.condarc, ~/.condarc and $CONDARC, later ones winning, then CONDA_CHANNELS."""
    settings: dict[str, object] = {}
    files = [root / ".condarc", Path.home() / ".condarc"]
    if "CONDARC" in os.environ:
        files.append(Path(os.environ["CONDARC"]))
    for file in files:
        if file.is_file():
            settings |= yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    channels = _texts(settings.get("channels")) or ("defaults",)
    if "CONDA_CHANNELS" in os.environ:
        channels = tuple(os.environ["CONDA_CHANNELS"].split(","))
    alias = str(settings.get("channel_alias", root.as_uri()))
    return Config(root, channels, _texts(settings.get("default_channels")), alias)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
