"""Puts the program together: configuration, data folder, and what works on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tfgpu_tray.config import FILE, Config, load
from tfgpu_tray.observe.look import Observer
from tfgpu_tray.survey import Survey

if TYPE_CHECKING:
    from tfgpu_tray.autostart.autostart import Autostart
    from tfgpu_tray.installer.target import Wishes
    from tfgpu_tray.installer.wsl import WslInstaller
    from tfgpu_tray.model import Environment
    from tfgpu_tray.observe.wsl import Wsl
    from tfgpu_tray.repair.transaction import Telling, Workshop
    from tfgpu_tray.store.board import Board, Standing
    from tfgpu_tray.store.journal import Journal, Repair
    from tfgpu_tray.store.looks import Looks

NAME = "tfgpu-tray"


def default_config_path() -> Path:
    from platformdirs import user_config_path

    return user_config_path(NAME, appauthor=False) / FILE


def default_data_dir() -> Path:
    from platformdirs import user_state_path

    return user_state_path(NAME, appauthor=False)


@dataclass(frozen=True)
class App:
    config: Config
    data_dir: Path
    environ: Mapping[str, str]
    home: Path
    root: Path = Path("/")  # the file system that machine facts are read from
    config_file: Path = Path(FILE)  # where the configuration is, or would be
    command: tuple[str, ...] = ()  # runs this program again, with the same options

    @classmethod
    def start(cls, config: Path | None = None, data_dir: Path | None = None) -> App:
        """The program for this user.

        Raises:
            ConfigError: the configuration holds mistakes.
        """
        chosen = data_dir or os.environ.get("TFGPU_DATA_DIR") or default_data_dir()
        folder = Path(chosen).expanduser().absolute()
        file = (config or default_config_path()).expanduser().absolute()
        options = ["--data-dir", str(folder), *(["--config", str(file)] if config else [])]
        return cls(
            load(file, required=config is not None),
            folder,
            os.environ,
            Path.home(),
            config_file=file,
            # -P: a folder of that name where the user happens to be is not this program
            command=(sys.executable, "-P", "-m", "tfgpu_tray", *options),
        )

    @cached_property
    def observer(self) -> Observer:
        return Observer.of_this_process(self.config.deadlines, self.root)

    @cached_property
    def _stores(self) -> tuple[Looks, Journal, Board]:
        """Raises StoreUnusable when the data folder cannot be used."""
        from tfgpu_tray.store.board import Board
        from tfgpu_tray.store.database import open_database
        from tfgpu_tray.store.journal import Journal
        from tfgpu_tray.store.looks import Looks

        database = open_database(self.data_dir)
        return Looks(database), Journal(database), Board(database)

    @cached_property
    def wsl(self) -> Wsl | None:
        """The way to WSL; None where this is no Windows."""
        if sys.platform == "win32":
            from tfgpu_tray.observe.windows_api import this_windows
            from tfgpu_tray.observe.wsl import Wsl

            return Wsl(self.observer.session, this_windows().registry)
        return None

    def wsl_installer(self) -> WslInstaller | None:
        """What installs WSL; None where this is no Windows."""
        from tfgpu_tray.installer.wsl import WslInstaller
        from tfgpu_tray.store.awaited import AfterRestart

        return WslInstaller(self.wsl, AfterRestart(self.data_dir)) if self.wsl else None

    @property
    def looks(self) -> Looks:
        return self._stores[0]

    @property
    def journal(self) -> Journal:
        return self._stores[1]

    @property
    def board(self) -> Board:
        return self._stores[2]

    def repairs_at_work(self) -> tuple[Repair, ...]:
        """Repairs that a living process carries out or takes back now; a dead one has no lock."""
        from tfgpu_tray.store.locks import is_held, prefix_lock

        begun = self.journal.at_work()
        return tuple(r for r in begun if is_held(prefix_lock(self.data_dir, r.prefix)))

    def at_work_in(self, prefix: Path) -> str | None:
        """What of ours a living process does in *prefix*: "repair", "install" or "undo"."""
        return next((r.doing for r in self.repairs_at_work() if r.prefix == prefix), None)

    def standing(self) -> Standing:
        """What the watcher last saw, from the store alone."""
        from tfgpu_tray.store.board import Standing
        from tfgpu_tray.store.locks import is_held, watcher_lock

        conditions = tuple(self.board.conditions())  # first: it says what a folder lacks
        return Standing(
            is_held(watcher_lock(self.data_dir)),
            conditions,
            self.repairs_at_work(),
            self.board.paused_until,
            self.board.silenced(),
        )

    def autostart(self) -> Autostart:
        from tfgpu_tray.autostart.autostart import Autostart

        usual = self.data_dir == default_data_dir()
        own_config = self.config_file if self.config_file != default_config_path() else None
        return Autostart(self.environ, self.home, own_config, None if usual else self.data_dir)

    def survey(self, *, remember: bool = True) -> Survey:
        looks = self.looks if remember else None
        return Survey(self.config, self.observer, self.environ, self.home, looks, self.wsl)

    def workshop(self, telling: Telling) -> Workshop:
        from tfgpu_tray.repair.transaction import Workshop

        return Workshop(self.data_dir, self.journal, self.observer, telling)

    def wishes(self, environment: Environment | None, *, fresh: bool = False) -> Wishes:
        """What the configuration and the past ask for in *environment*."""
        from tfgpu_tray.installer.conda_command import find_conda
        from tfgpu_tray.installer.target import CudaSource, Wishes

        prefix = environment.prefix if environment else None
        return Wishes(
            conda=find_conda(self.environ, self.home, prefix, self.config.conda),
            source=CudaSource(self.config.cuda) if self.config.cuda else None,
            remembered=self.looks.last_good(prefix) if prefix else None,
            fresh=fresh,
        )
