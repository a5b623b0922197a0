"""Digests of files that are only appended to, one a megabyte: the state holds them, and they are asked at reading."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from model.data.digests import MEGABYTE, block_digest, blocks, digests_from, extended
from tasks.contracts.errors import DataDirectoryError

TABLE = """
CREATE TABLE IF NOT EXISTS grown_files (
    name TEXT NOT NULL,
    block INTEGER NOT NULL,         -- megabyte, counted from 0
    sha256 TEXT NOT NULL,
    PRIMARY KEY (name, block)
) WITHOUT ROWID;
"""


class GrownFiles:
    """All but `check` and `digests` must be called inside the caller's transaction.

    Args:
        damage: what is raised where bytes are not what was written.
        advice: what is said about it then, as the end of a sentence.
    """

    def __init__(self, db: sqlite3.Connection, damage: type[DataDirectoryError], advice: str) -> None:
        self.db, self.damage, self.advice = db, damage, advice
        db.executescript(TABLE)
        self._checked: set[tuple[Path, int]] = set()

    def digests(self, path: Path) -> list[str]:
        """Returns those of a file's megabytes; none where an earlier version wrote it."""
        query = "SELECT sha256 FROM grown_files WHERE name = ? ORDER BY block"
        return [row[0] for row in self.db.execute(query, (path.name,))]

    def grew(self, path: Path, before: int, size: int) -> None:
        """Note what was appended, in bytes; of a file without digests, all."""
        known = self.digests(path)
        try:
            found = extended(path, known, before, size) if known else digests_from(path, 0, size)
        except (ValueError, IndexError) as error:
            raise self.damage(f"{path} is damaged: {error}; {self.advice}") from error
        first = before // MEGABYTE if known else 0
        rows = [(path.name, block, found[block]) for block in range(first, len(found))]
        self.db.executemany("INSERT OR REPLACE INTO grown_files VALUES (?, ?, ?)", rows)

    def forget(self, path: Path) -> None:
        self.db.execute("DELETE FROM grown_files WHERE name = ?", (path.name,))
        self._checked = {one for one in self._checked if one[0] != path}

    def check(self, path: Path, size: int, first: int = 0, end: int | None = None) -> None:
        """Read the megabytes that hold these bytes of the `size` that count, each once a run."""
        wanted = range(first // MEGABYTE, blocks(size if end is None else end))
        new = [block for block in wanted if (path, block) not in self._checked]
        digests = self.digests(path) if new else []
        for block in new if digests else ():
            if block >= len(digests) or block_digest(path, block, size) != digests[block]:
                raise self.damage(f"{path} is damaged: its megabyte {block} is not what was written; {self.advice}")
            self._checked.add((path, block))
