"""The database file: opened, created and upgraded in one place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

# Each script brings a database from the version of its place to the next; never edit an old one.
MIGRATIONS = (
    """
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
""",
    """
-- what a repair at work is doing now, and how much of it is done, 0 to 1
ALTER TABLE repairs ADD COLUMN phase TEXT;
ALTER TABLE repairs ADD COLUMN fraction REAL;
CREATE TABLE conditions (          -- what holds now, as JSON, one row an environment watched
  prefix TEXT PRIMARY KEY, content TEXT NOT NULL
);
CREATE TABLE manifests (           -- what an environment held when it was last settled
  prefix TEXT PRIMARY KEY, at REAL NOT NULL, content TEXT NOT NULL
);
CREATE TABLE told (                -- what the user was last notified of, written before it is sent
  prefix TEXT PRIMARY KEY, what TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE silenced (            -- causes of which the user does not want to hear
  prefix TEXT NOT NULL, cause TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (prefix, cause)
);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
""",
)
SCHEMA = len(MIGRATIONS)


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
        if version < SCHEMA:
            _upgrade(connection)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnusable(f"{path} cannot be used: {error}") from error
    if version > SCHEMA:
        raise StoreUnusable(f"{path} was written by a newer tfgpu-tray; upgrade this one")
    return connection


def _upgrade(connection: sqlite3.Connection) -> None:
    """Two processes may come here at once: the version is read again under the write lock."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[version:]:
            for statement in script.split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA}")
