"""What a site repeats on its pages - cookie notices, menus, share bars - is removed once it has been seen often enough.

A line is boilerplate of a site when it stood in at least `SEEN` of the documents kept from it so far, and in at
least `SHARE` of them. The documents before stay as they were; so the rule depends on ledger order alone, and a rebuild
finds the same lines at the same places.
"""

from __future__ import annotations

import sqlite3

import xxhash

# Raise it with every change here that can change a text.
RULE_VERSION = 1

SEEN = 5
SHARE = 0.1
# Longer lines are paragraphs of an article; it takes more than a template to repeat them.
LONGEST = 500

SCHEMA = """
CREATE TABLE IF NOT EXISTS site_lines (key INTEGER PRIMARY KEY, documents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS site_documents (site TEXT PRIMARY KEY, documents INTEGER NOT NULL) WITHOUT ROWID;
"""


class SiteLines:
    """How often each line stood in a site's kept documents. All writes belong to the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        db.executescript(SCHEMA)

    def clear(self) -> None:
        self.db.execute("DELETE FROM site_lines")
        self.db.execute("DELETE FROM site_documents")

    def strip(self, site: str, text: str) -> str:
        """The text without the lines that this site is known to repeat."""
        row = self.db.execute("SELECT documents FROM site_documents WHERE site = ?", (site,)).fetchone()
        if row is None or row[0] < SEEN:
            return text
        keys = _keys(site, text)
        enough = max(SEEN, SHARE * row[0])
        query = "SELECT documents FROM site_lines WHERE key = ?"
        seen = {key: self.db.execute(query, (key,)).fetchone() for key in keys}
        repeated = {keys[key] for key, found in seen.items() if found and found[0] >= enough}
        if not repeated:
            return text
        return "\n".join(line for line in text.split("\n") if line not in repeated).strip("\n") + "\n"

    def count(self, site: str, text: str) -> None:
        """A document of the site is kept: its lines, as they were before stripping, are seen once more."""
        add = "INSERT INTO site_documents VALUES (?, 1) ON CONFLICT DO UPDATE SET documents = documents + 1"
        self.db.execute(add, (site,))
        add = "INSERT INTO site_lines VALUES (?, 1) ON CONFLICT DO UPDATE SET documents = documents + 1"
        self.db.executemany(add, [(key,) for key in _keys(site, text)])


def _keys(site: str, text: str) -> dict[int, str]:
    """A key for each distinct line that could be boilerplate: one with words, not indented as code is, not long."""
    candidates = {
        line for line in text.split("\n") if 0 < len(line) <= LONGEST and line[0] not in " \t" and _has_word(line)
    }
    return {_key(site, line): line for line in sorted(candidates)}


def _has_word(line: str) -> bool:
    return any(c.isalpha() for c in line)


def _key(site: str, line: str) -> int:
    """A signed 64-bit hash of site and line."""
    value = xxhash.xxh3_64_intdigest(f"{site}\0{line}".encode())
    return value - 2**64 if value >= 2**63 else value
