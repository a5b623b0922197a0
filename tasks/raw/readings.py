"""How each document was read: the kind of its page, how sure the extractor was, and of which body.

A table of the state database. It can be lost: the ledger has it all but `last_body_sha256`.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from tasks.contracts.records import LOW_CONFIDENCE, Document, LedgerEntry
from tasks.contracts.urls import url_key
from tasks.storage.state_db import upgrade_once

TABLE = """
CREATE TABLE IF NOT EXISTS readings (
    seq INTEGER PRIMARY KEY,
    kind TEXT,
    confidence REAL,
    body_sha256 TEXT,               -- as in the ledger
    last_body_sha256 TEXT           -- of a later visit, or one before digests were kept, whose text is this one, too
);
"""

# A page that came before digests were kept, and whose body of its last visit the page cache still knows: that visit
# gave the page's newest text, whether it was stored then or was there.
OF_CACHED_BODIES = """
INSERT OR IGNORE INTO readings (seq, last_body_sha256)
SELECT max(documents.seq), pages.sha256
FROM pages JOIN frontier USING (url_key) JOIN documents USING (url_key)
WHERE frontier.outcome IN ('stored', 'unchanged') AND pages.fetched_at <= frontier.visited_at
GROUP BY pages.url_key
"""


class Readings:
    """Answers which document of a page came from a body, and counts documents by kind and confidence."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        db.executescript(TABLE)

    def index(self, entry: LedgerEntry) -> None:
        """Takes in a ledger line. Called inside a transaction."""
        if entry.body_sha256 or entry.confidence is not None:
            values = (entry.seq, entry.kind, entry.confidence, entry.body_sha256)
            insert = "INSERT INTO readings (seq, kind, confidence, body_sha256) VALUES (?, ?, ?, ?)"
            self.db.execute(insert, values)

    def forget(self, seq: int) -> None:
        """Called inside a transaction."""
        self.db.execute("DELETE FROM readings WHERE seq = ?", (seq,))

    def of_body(self, url: str, body_sha256: str | None) -> int | None:
        """Returns the number of a document of this page that was read from this very body; None where there is none."""
        query = (
            "SELECT seq FROM documents JOIN readings USING (seq) "
            "WHERE url_key = ? AND ? IN (body_sha256, last_body_sha256) ORDER BY seq DESC LIMIT 1"
        )
        row = self.db.execute(query, (url_key(url), body_sha256)).fetchone()
        return row["seq"] if row else None

    def note_body(self, document: Document) -> None:
        """Notes that this body gave a text that is stored already."""
        if document.body_sha256 is None or self.of_body(document.url, document.body_sha256) is not None:
            return
        note = (
            "INSERT INTO readings (seq, last_body_sha256) "
            "SELECT seq, ? FROM documents WHERE url_key = ? AND sha256 = ? "
            "ON CONFLICT DO UPDATE SET last_body_sha256 = excluded.last_body_sha256"
        )
        self.db.execute(note, (document.body_sha256, url_key(document.url), document.sha256))

    def learn_from_page_cache(self) -> None:
        """Learns, once, the bodies of documents from before digests were kept. Needs the tables of a night.

        Without it, the first night with another extractor would store every page a second time.
        """
        upgrade_once(self.db, "bodies of the page cache", lambda: self.db.execute(OF_CACHED_BODIES))

    def counts(self) -> dict[str, Any]:
        """Returns the documents by kind of page; how many have a confidence, and how many a low one."""
        kinds = "SELECT kind, COUNT(*) FROM readings WHERE kind <> '' GROUP BY kind ORDER BY COUNT(*) DESC, kind"
        known, low = self.db.execute(
            "SELECT COUNT(confidence), COUNT(CASE WHEN confidence < ? THEN 1 END) FROM readings", (LOW_CONFIDENCE,)
        ).fetchone()
        return {"kinds": dict(self.db.execute(kinds).fetchall()), "confidence": {"known": known, "low": low}}
