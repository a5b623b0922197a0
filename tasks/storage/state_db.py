"""`state/state.sqlite`: what a night remembers and could lose without losing a document.

One connection, WAL, synchronous FULL: a commit survives a power cut. Tables are made by the modules
that own them (`frontier`, `catalog`, ...), each with `CREATE TABLE IF NOT EXISTS`.

`seal_state` writes the file's digest beside it at each orderly end; whoever opens it to write removes that first. So a
sealed database is what was written, to the byte, or damaged; one without a seal was cut by a kill, which is no damage.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from model.data.digests import file_digest, read_sealed, record_text
from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.urls import url_key
from tasks.storage.atomic_files import sync_folder, write_atomically

# Raise it when a table changes: a database of an earlier version is set aside, and what counts is read again.
SCHEMA_VERSION = 2
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class EarlierVersionError(sqlite3.DatabaseError):
    """The database is of a version whose tables were others."""


def open_state(path: Path) -> sqlite3.Connection:
    """Open or create the database; autocommit mode, so transactions are explicit (`with transaction(db)`).

    Raises:
        EarlierVersionError: the caller sets it aside.
        sqlite3.DatabaseError: it is damaged, or cannot be used now: `is_damage` tells which.
        DataDirectoryError: it was written by a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_seal(path)
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
            raise EarlierVersionError(f"it is of version {version}, this program's is {SCHEMA_VERSION}")
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
        DataDirectoryError: there is none, and it cannot be made; or it is not what was sealed.
    """
    if trouble := broken_seal(path):
        raise DataDirectoryError(f"{path} is damaged ({trouble}): a night sets it aside, and makes it anew.")
    writable = os.access(path.parent, os.W_OK)
    if writable and not is_sealed(path):
        return open_state(path)
    if not path.exists():
        raise DataDirectoryError(f"{path} is missing, and {path.parent} cannot be written: run a night where it can.")
    return open_read_only(path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a database that is there, and change nothing, not even what a killed run left beside it."""
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
    """Open the database; rename a damaged one and begin a new one. Returns a message about it, or None.

    Raises sqlite3.DatabaseError where it is not damaged, but cannot be used now.
    """
    why = broken_seal(path)
    if why is None:
        try:
            return _open_and_check(path), None
        except sqlite3.DatabaseError as error:
            if not is_damage(error) and not isinstance(error, EarlierVersionError):
                raise
            why = str(error)
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d_%H%M%S}")
    os.replace(path, aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return open_state(path), f"{path.name} cannot be used ({why}); it is kept as {aside.name} and made anew"


def _open_and_check(path: Path) -> sqlite3.Connection:
    """Open it; one that is not sealed is checked as far as SQLite can, which reads all of it."""
    sealed = is_sealed(path)
    db = open_state(path)
    try:
        if not sealed and (found := check_structure(db)):
            damage = sqlite3.DatabaseError(found)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
    except BaseException:
        db.close()
        raise
    return db


def check_structure(db: sqlite3.Connection) -> str | None:
    """Returns what SQLite finds wrong with the database, or None. A changed byte inside of a value is not seen."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    return None if found == "ok" else str(found).replace("\n", " ")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged: not full, locked, unreadable, read-only, or a disk that does not answer."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


# -- the seal --------------------------------------------------------------------------------------------


def seal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.seal")


def seal_state(path: Path) -> None:
    """Write the digest of a database that was closed; not where a log beside it still holds something of it."""
    if path.exists() and not _log_size(path):
        record = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        write_atomically(seal_path(path), record_text(record).encode())


def remove_seal(path: Path) -> None:
    """Before anything is written: a run that is killed leaves the database without one."""
    if seal_path(path).exists():
        seal_path(path).unlink()
        sync_folder(path.parent)


def is_sealed(path: Path) -> bool:
    return seal_path(path).exists() and not _log_size(path)


def broken_seal(path: Path) -> str | None:
    """Returns what is wrong with a sealed database, or None. A damaged seal is none."""
    if not is_sealed(path):
        return None
    try:
        record = read_sealed(seal_path(path))
    except (OSError, ValueError):
        return None
    if not path.exists():
        return None
    if (size := path.stat().st_size) != record.get("bytes"):
        return f"it has {size} of {record.get('bytes')} bytes"
    return None if file_digest(path) == record.get("sha256") else "it is not what was sealed"


def _log_size(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return log.stat().st_size if log.exists() else 0
