"""`state/state.sqlite`: what a night remembers and could lose without losing a document.

One connection, WAL, synchronous FULL: a commit survives a power cut. Tables are made by the modules
that own them (`frontier`, `catalog`, ...), each with `CREATE TABLE IF NOT EXISTS`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.urls import url_key

# Raise it when a table changes: a database of an earlier version is set aside, and what counts is read again.
SCHEMA_VERSION = 2


def open_state(path: Path) -> sqlite3.Connection:
    """Open or create the database; autocommit mode, so transactions are explicit (`with transaction(db)`).

    Raises:
        sqlite3.DatabaseError: the file is damaged, or of an earlier version (the caller sets it aside).
        DataDirectoryError: it was written by a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Prefect runs tasks in worker threads; they run one after the other, so sharing is safe.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise DataDirectoryError(f"{path} is of a newer version ({version}): update miniature-memory.")
        if 0 < version < SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, this program's is {SCHEMA_VERSION}")
        if version == 0:
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    except BaseException:
        db.close()
        raise
    return db


def open_state_to_read(path: Path) -> sqlite3.Connection:
    """Open the database for a command that only reads, also where its folder cannot be written.

    Raises:
        sqlite3.DatabaseError: the file is damaged, or lacks what this version adds.
        DataDirectoryError: there is none, and it cannot be made.
    """
    if os.access(path.parent, os.W_OK):
        return open_state(path)
    if not path.exists():
        raise DataDirectoryError(f"{path} is missing, and {path.parent} cannot be written: run a night where it can.")
    # Where no log lies beside it nobody writes, and SQLite need not make the files by which it would see a writer.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None, timeout=30.0)
    db.row_factory = sqlite3.Row
    return db


class transaction:
    """`with transaction(db):` everything inside is committed together, or nothing is."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> sqlite3.Connection:
        self.db.execute("BEGIN IMMEDIATE")
        return self.db

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


def upgrade_once(db: sqlite3.Connection, name: str, upgrade: Callable[[], object]) -> None:
    """Brings the rows of an earlier version up to date, in one transaction with the note that it is done."""
    db.execute("CREATE TABLE IF NOT EXISTS upgrades (name TEXT PRIMARY KEY)")
    done = "SELECT 1 FROM upgrades WHERE name = ?"
    if db.execute(done, (name,)).fetchone():
        return
    with transaction(db):
        if db.execute(done, (name,)).fetchone() is None:  # nor did another process do it meanwhile
            upgrade()
            db.execute("INSERT INTO upgrades VALUES (?)", (name,))


def renew_keys(db: sqlite3.Connection, table: str, address: Callable[[sqlite3.Row], str]) -> None:
    """Computes keys anew, once, that pages had in common: those whose query is in a legacy encoding (`former_key`)."""

    def renew() -> None:
        shared = db.execute(f"SELECT rowid AS place, * FROM {table} WHERE instr(url_key, '%EF%BF%BD')").fetchall()
        renewed = [(url_key(address(row)), row["place"]) for row in shared]
        db.executemany(f"UPDATE OR IGNORE {table} SET url_key = ? WHERE rowid = ?", renewed)

    upgrade_once(db, f"keys of {table}", renew)


@contextmanager
def relaxed(db: sqlite3.Connection) -> Iterator[None]:
    """Commits inside survive a kill, but not a power cut: for what can be fetched again, without a sync for each."""
    db.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        db.execute("PRAGMA synchronous=FULL")


def open_state_or_set_aside(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """Open the database; rename a damaged one and begin a new one. Returns a message about it, or None."""
    try:
        return open_state(path), None
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d_%H%M%S}")
        os.replace(path, aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return open_state(path), f"{path.name} cannot be used ({error}); it is kept as {aside.name} and made anew"
