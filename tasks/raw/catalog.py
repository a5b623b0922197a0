"""The index over the ledger in `state.sqlite`: how far each stage has come, and the outcome of each document.

It can be lost: `index_new` reads the ledger again, and the stages continue from what `processed/` holds.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from typing import Any

from model.data.digests import file_digest
from tasks.contracts.errors import TruthDamagedError
from tasks.contracts.paths import Layout
from tasks.contracts.records import Cleaned, Dropped, LedgerEntry
from tasks.contracts.urls import url_key
from tasks.raw.ledger import FIRST_HELD_OUT, Ledger, read_entries
from tasks.raw.readings import Readings
from tasks.storage.grown_files import GrownFiles
from tasks.storage.state_db import renew_keys, transaction, upgrade_once
from tasks.web.suppression_list import SuppressionList

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    seq INTEGER PRIMARY KEY,
    offset INTEGER NOT NULL,        -- of its line in the ledger, in bytes
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    split TEXT NOT NULL,
    site TEXT NOT NULL,
    url_key TEXT NOT NULL,
    fetched_at TEXT NOT NULL,
    outcome TEXT,                   -- NULL until cleaned and compared; then kept or the reason; or forgotten
    stage TEXT,                     -- that dropped it
    detail TEXT,
    kept_bytes INTEGER,             -- of the cleaned text
    language TEXT,                  -- of it, ISO 639
    cleaned_sha256 TEXT             -- of it
);
CREATE INDEX IF NOT EXISTS documents_by_url ON documents (url_key, sha256);
CREATE INDEX IF NOT EXISTS documents_by_outcome ON documents (outcome, split, kept_bytes);
CREATE INDEX IF NOT EXISTS documents_forgotten ON documents (seq) WHERE outcome = 'forgotten';
CREATE TABLE IF NOT EXISTS positions (name TEXT PRIMARY KEY, value);
"""

COPIES_KEPT = "its copies were kept"
# What `dedup` says of a copy.
COPY = re.compile(r"of document (\d+)")
INDEXED = ("seq", "path", "sha256", "bytes", "split", "site", "fetched_at")


class Catalog:
    """What the stages ask about documents. Every position is a ledger number: all before it is done."""

    def __init__(self, layout: Layout, db: sqlite3.Connection) -> None:
        self.layout = layout
        self.db = db
        self.forgotten = SuppressionList(layout.forgotten)
        db.executescript(SCHEMA)
        if not db.execute("SELECT 1 FROM pragma_table_info('documents') WHERE name = 'cleaned_sha256'").fetchone():
            db.execute("ALTER TABLE documents ADD COLUMN cleaned_sha256 TEXT")
        self.ledger_digests = GrownFiles(db, TruthDamagedError, "restore raw/ from your backup")
        self.readings = Readings(db)
        renew_keys(db, "documents", lambda row: self.entry(row["seq"]).url)

    # -- positions ---------------------------------------------------------------------------------

    def position(self, name: str) -> int:
        return int(self._value("SELECT value FROM positions WHERE name = ?", name) or 0)

    def set_position(self, name: str, value: int | str) -> None:
        self.db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (name, value))

    def digest_of_rules(self) -> str | None:
        value = self._value("SELECT value FROM positions WHERE name = 'rules'")
        return None if value is None else str(value)

    def forget_derived(self, rules: str) -> None:
        """Mark every document to be cleaned and compared again, under these rules. Called inside a transaction."""
        self.db.execute(
            "UPDATE documents SET outcome = NULL, stage = NULL, detail = NULL, kept_bytes = NULL, language = NULL, "
            "cleaned_sha256 = NULL "
            "WHERE outcome IS NOT 'forgotten'"
        )
        self.set_position("cleaned", self._next_to_clean(0))
        self.set_position("rules", rules)

    def _value(self, query: str, *parameters: object) -> Any:
        """Returns the first column of the first row; None where there is none."""
        row = self.db.execute(query, parameters).fetchone()
        return row[0] if row else None

    # -- the ledger --------------------------------------------------------------------------------

    def index_new(self) -> int:
        """Index the ledger's lines since the last call. Returns their number.

        Raises:
            TruthDamagedError: the ledger is shorter than what was read from it before.
        """
        offset, seq = self.position("ledger_bytes"), self.position("ledger_lines")
        size = self.layout.ledger.stat().st_size if self.layout.ledger.exists() else 0
        if size == offset:
            return 0
        if size < offset:
            raise TruthDamagedError(
                f"{self.layout.ledger} has {size} bytes, but {offset} were there before: lines are missing. "
                "Restore raw/ from your backup."
            )
        first, start = seq, offset
        with transaction(self.db):
            for entry, end in read_entries(self.layout.ledger, offset):
                if entry.seq != seq:
                    raise TruthDamagedError(
                        f"{self.layout.ledger}: document {entry.seq} stands where {seq} belongs. "
                        "Restore raw/ from your backup."
                    )
                self._index(entry, offset)
                offset, seq = end, seq + 1
            self.ledger_digests.grew(self.layout.ledger, start, offset)
            self.set_position("ledger_bytes", offset)
            self.set_position("ledger_lines", seq)
        return seq - first

    def _index(self, entry: LedgerEntry, offset: int) -> None:
        row = {name: getattr(entry, name) for name in INDEXED} | {"offset": offset, "url_key": ""}
        if entry.forgotten:
            row |= _end_of_forgotten(entry.forgotten)
        else:
            row["url_key"] = url_key(entry.url)
        names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        self.db.execute(f"INSERT INTO documents ({names}) VALUES ({marks})", row)
        self.readings.index(entry)

    def ledger(self) -> Ledger:
        """Returns the ledger, ready to append after what is indexed."""
        # Only the first few documents ask how many are held out, so counting stops early.
        held_out = self._value(
            "SELECT COUNT(*) FROM (SELECT 1 FROM documents WHERE split = 'validation' ORDER BY seq LIMIT ?)",
            FIRST_HELD_OUT,
        )
        return Ledger(self.layout, self.position("ledger_lines"), held_out)

    def has(self, url: str, sha256: str) -> bool:
        """Whether this very text of this very page is stored."""
        query = "SELECT 1 FROM documents WHERE url_key = ? AND sha256 = ?"
        return self._value(query, url_key(url), sha256) is not None

    def entry(self, seq: int) -> LedgerEntry:
        """Raises TruthDamagedError where the ledger is not what was written there."""
        start = self.offset(seq)
        entry, end = next(read_entries(self.layout.ledger, start))
        self.ledger_digests.check(self.layout.ledger, self.position("ledger_bytes"), start, end)
        return entry

    def require_whole_ledger(self) -> None:
        """Raises TruthDamagedError where a line that is indexed is not what was written."""
        self.ledger_digests.check(self.layout.ledger, self.position("ledger_bytes"))

    def renew_ledger_digests(self) -> None:
        """After lines were redacted in place. Called inside a transaction."""
        self.ledger_digests.forget(self.layout.ledger)
        self.ledger_digests.grew(self.layout.ledger, 0, self.position("ledger_bytes"))

    def add_digests(self) -> None:
        """Of what an earlier version stored: once, reading all of it."""
        upgrade_once(self.db, "digests", self._add_digests)

    def _add_digests(self) -> None:
        if not self.ledger_digests.digests(self.layout.ledger):
            self.renew_ledger_digests()
        kept = "SELECT seq, path FROM documents WHERE outcome = 'kept' AND cleaned_sha256 IS NULL"
        found = [(self.layout.cleaned / path, seq) for seq, path in self.db.execute(kept).fetchall()]
        digests = [(file_digest(path), seq) for path, seq in found if path.exists()]
        self.db.executemany("UPDATE documents SET cleaned_sha256 = ? WHERE seq = ?", digests)

    def offset(self, seq: int) -> int:
        """Returns the offset of its line in the ledger, in bytes."""
        return int(self._value("SELECT offset FROM documents WHERE seq = ?", seq))

    def paths(self) -> set[str]:
        """Returns every path below `raw/` that the ledger names."""
        return {row[0] for row in self.db.execute("SELECT path FROM documents")}

    def unchecked(self) -> list[sqlite3.Row]:
        """Returns the documents stored since the last validation."""
        query = (
            "SELECT seq, path, sha256, bytes FROM documents WHERE seq >= ? AND outcome IS NOT 'forgotten' ORDER BY seq"
        )
        return self.db.execute(query, (self.position("validated"),)).fetchall()

    # -- forgetting ----------------------------------------------------------------------------------

    def forget(self, seq: int, forgotten: dict[str, str]) -> None:
        """Leave in a document's row what its tombstone in the ledger says. Called inside a transaction."""
        blank: dict[str, str | None] = dict.fromkeys(("path", "site", "url_key"), "")
        blank |= dict.fromkeys(("kept_bytes", "language", "cleaned_sha256"))
        values = blank | _end_of_forgotten(forgotten)
        columns = ", ".join(f"{name} = :{name}" for name in values)
        self.db.execute(f"UPDATE documents SET {columns} WHERE seq = :seq", values | {"seq": seq})
        self.readings.forget(seq)

    def digest_of_forgotten(self) -> str:
        """Returns a digest of the forgotten documents' numbers; empty where none is. Costs those, not the corpus."""
        rows = self.db.execute("SELECT seq FROM documents WHERE outcome = 'forgotten' ORDER BY seq")
        numbers = " ".join(str(row[0]) for row in rows)
        return hashlib.sha256(numbers.encode()).hexdigest() if numbers else ""

    def is_forgotten(self, urls: Iterable[str], sha256: str) -> bool:
        """Whether one of these pages, or this very text wherever it stands, must not come in again."""
        same = "SELECT detail FROM documents WHERE url_key = '' AND sha256 = ? AND outcome = 'forgotten'"
        ends = [row["detail"] for row in self.db.execute(same, (sha256,))]
        if ends and not any(end.endswith(COPIES_KEPT) for end in ends):
            return True
        return any(self.forgotten.covers(url) for url in urls)

    def copies(self, of: Iterable[int]) -> list[int]:
        """Returns the other members of these documents' groups of copies: the kept one, and those dropped for it."""
        rows = self.db.execute(
            "SELECT seq, detail FROM documents WHERE outcome IN ('duplicate_exact', 'duplicate_near')"
        )
        kept = {row["seq"]: int(found[1]) for row in rows if (found := COPY.match(row["detail"] or ""))}
        wanted = set(of)
        groups = {kept.get(seq, seq) for seq in wanted}
        members = groups | {seq for seq, original in kept.items() if original in groups}
        return sorted(members - wanted)

    # -- cleaning and comparing ----------------------------------------------------------------------

    def documents_from(self, seq: int, limit: int) -> list[sqlite3.Row]:
        """Returns documents in ledger order, without forgotten ones: seq, path, sha256, site, bytes, url_key."""
        query = (
            "SELECT seq, path, sha256, site, bytes, url_key FROM documents "
            "WHERE seq >= ? AND +outcome IS NOT 'forgotten' ORDER BY seq LIMIT ?"  # + keeps it on the primary key
        )
        return self.db.execute(query, (seq, limit)).fetchall()

    def uncleaned_count(self) -> int:
        """Returns the number of documents that wait to be cleaned."""
        return self.position("ledger_lines") - self.position("cleaned")

    def is_first_version(self, seq: int, key: str) -> bool:
        """Whether no document before has the same page's URL."""
        return self._value("SELECT 1 FROM documents WHERE url_key = ? AND seq < ? LIMIT 1", key, seq) is None

    def cleaned_file(self, seq: int) -> tuple[str, str | None]:
        """Returns a kept document's path below `raw/` and `cleaned/`, and the digest of its cleaned text."""
        row = self.db.execute("SELECT path, cleaned_sha256 FROM documents WHERE seq = ?", (seq,)).fetchone()
        return row["path"], row["cleaned_sha256"]

    def record_verdicts(self, verdicts: list[tuple[int, Cleaned | Dropped]]) -> None:
        """Record the outcome of each document of a batch. Called inside the transaction that stores its signatures."""
        rows = [
            ("kept", None, None, len(text := end.text.encode()), end.language, hashlib.sha256(text).hexdigest(), seq)
            if isinstance(end, Cleaned)
            else (end.reason, end.stage, end.detail, None, None, None, seq)
            for seq, end in verdicts
        ]
        columns = "outcome=?, stage=?, detail=?, kept_bytes=?, language=?, cleaned_sha256=?"
        self.db.executemany(f"UPDATE documents SET {columns} WHERE seq=?", rows)
        if verdicts:
            self.set_position("cleaned", self._next_to_clean(verdicts[-1][0] + 1))

    def _next_to_clean(self, seq: int) -> int:
        """Returns the first number from this one on whose document is not forgotten."""
        following = self.documents_from(seq, 1)
        return int(following[0]["seq"]) if following else self.position("ledger_lines")

    # -- tokenizing ----------------------------------------------------------------------------------

    def kept(self, since: int, limit: int) -> list[sqlite3.Row]:
        """Returns the next kept documents in ledger order: seq, path, split, kept_bytes, language, cleaned_sha256."""
        query = (
            "SELECT seq, path, split, kept_bytes, language, cleaned_sha256 FROM documents "
            "WHERE seq >= ? AND +outcome = 'kept' ORDER BY seq LIMIT ?"  # + keeps it on the primary key
        )
        return self.db.execute(query, (since, limit)).fetchall()

    def kept_bytes(self) -> int:
        """Returns the bytes of all kept text, both splits."""
        return int(self._value("SELECT SUM(kept_bytes) FROM documents WHERE outcome = 'kept'") or 0)

    # -- accounts ------------------------------------------------------------------------------------

    def counts(self) -> dict[str, Any]:
        """Returns the number of documents by outcome; raw = kept + dropped + waiting."""
        by_outcome = dict(self.db.execute("SELECT outcome, COUNT(*) FROM documents GROUP BY outcome").fetchall())
        waiting, kept = by_outcome.pop(None, 0), by_outcome.pop("kept", 0)
        validation = self._value("SELECT COUNT(*) FROM documents WHERE outcome = 'kept' AND split = 'validation'")
        return {
            "raw": waiting + kept + sum(by_outcome.values()),
            "kept": kept,
            "dropped": dict(sorted(by_outcome.items())),
            "waiting": waiting,
            "validation": validation,
        }

    def trace(self, url: str) -> list[sqlite3.Row]:
        """Returns all stored versions of a page."""
        return self.db.execute("SELECT * FROM documents WHERE url_key = ? ORDER BY seq", (url_key(url),)).fetchall()


def _end_of_forgotten(forgotten: dict[str, str]) -> dict[str, Any]:
    """Returns the columns that a forgotten document's tombstone decides."""
    kept = f", {COPIES_KEPT}" if forgotten.get("copies") == "kept" else ""
    return {"outcome": "forgotten", "stage": "forget", "detail": f"{forgotten['why']} on {forgotten['at']}{kept}"}
