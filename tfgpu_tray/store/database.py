"""The database file: opened, created and upgraded in one place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

SCHEMA = 1
TABLES = """
CREATE TABLE looks (               -- what TensorFlow itself answered, one row an environment
  prefix TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at REAL NOT NULL,
  verdict TEXT NOT NULL, headline TEXT NOT NULL, tensorflow TEXT
);
CREATE TABLE good (                -- the version that last saw a GPU, one row an environment
  prefix TEXT PRIMARY KEY, tensorflow TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE events (              -- what happened; only ever appended to
  id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, prefix TEXT, text TEXT NOT NULL
);
CREATE TABLE repairs (
  id INTEGER PRIMARY KEY, prefix TEXT NOT NULL, command TEXT NOT NULL, state TEXT NOT NULL,
  started REAL NOT NULL, ended REAL, before TEXT, after TEXT, note TEXT
);
CREATE TABLE steps (
  repair INTEGER NOT NULL REFERENCES repairs(id), number INTEGER NOT NULL, title TEXT NOT NULL,
  state TEXT NOT NULL, started REAL, ended REAL, note TEXT, PRIMARY KEY (repair, number)
);
"""


class StoreUnusable(Exception):
    """The data folder cannot be read or written; the text says which file and why."""


def open_database(folder: Path) -> sqlite3.Connection:
    """The database of the data folder, created when it is not there.

    Every commit is on disk when it returns (synchronous=FULL): the repair journal relies on that.

    Raises:
        StoreUnusable: it cannot be opened, or a newer version of this program wrote it.
    """
    path = folder / "tfgpu.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Autocommit: every statement is a transaction of its own, `with connection` groups several.
        # The watcher looks in threads, one at a time; SQLite itself serialises what they do.
        connection = sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE;{TABLES}PRAGMA user_version={SCHEMA};COMMIT;"
            )
    except (OSError, sqlite3.Error) as error:
        raise StoreUnusable(f"{path} cannot be used: {error}") from error
    if version > SCHEMA:
        raise StoreUnusable(f"{path} was written by a newer tfgpu-tray; upgrade this one")
    return connection
