"""What a site repeats on its pages - cookie notices, menus, share bars - is removed once it has been seen often enough.

A site repeats a line when it stood on at least `SEEN` of the site's pages so far, and on at least `SHARE` of those
since it first appeared. Where such lines stand around the page's own text they are removed, and counted by document;
which do, `site_frame.py` says. Files of the user's own disk are never touched. A page counts with its first version:
that it is fetched again makes nothing boilerplate. The documents before stay as they were; so the rule depends on
ledger order alone, and a rebuild finds the same lines at the same places.

What is remembered of a site is bounded by lossy counting (Manku and Motwani, "Approximate Frequency Counts over
Data Streams", 2002): every `PERIOD` pages the lines go that were not seen more than once in so many.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
import xxhash

from tasks.clean.normalize import BLANK_LINES
from tasks.clean.site_frame import places_around_text
from tasks.contracts.urls import LOCAL

# Raise it with every change here, or in `site_frame`, that can change a text.
RULE_VERSION = 4

SEEN = 5
SHARE = 0.1
PERIOD = 64
# Longer lines are the articles themselves.
LONGEST = 1500

LINE = np.dtype([("key", "<u4"), ("seen", "<u4"), ("first", "<u4")])

SCHEMA = """
CREATE TABLE IF NOT EXISTS site_lines (
    site TEXT PRIMARY KEY,
    pages INTEGER NOT NULL,
    lines BLOB NOT NULL             -- sorted (hash of the line, pages it stood on, the site's pages before the first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boilerplate (
    seq INTEGER PRIMARY KEY,        -- of a document that lost some
    lines INTEGER NOT NULL,
    characters INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Removed:
    """How much boilerplate a document lost."""

    lines: int = 0
    characters: int = 0


@dataclass(slots=True)
class _Site:
    pages: int
    seen: dict[int, int]  # by the line's key: pages it stood on
    first: dict[int, int]  # the site's pages before the first of those


class SiteLines:
    """How often each line stood on a site's pages. Nothing is written before `save`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._sites: dict[str, _Site] = {}
        self._removed: dict[int, Removed] = {}
        db.executescript(SCHEMA)

    def clear(self) -> None:
        self.begin()
        self.db.execute("DELETE FROM site_lines")
        self.db.execute("DELETE FROM boilerplate")

    def begin(self) -> None:
        """Forget what was not saved."""
        self._sites, self._removed = {}, {}

    def save(self) -> None:
        """Write what changed, in the caller's transaction."""
        rows = [(name, site.pages, _as_bytes(site)) for name, site in self._sites.items()]
        self.db.executemany("INSERT OR REPLACE INTO site_lines VALUES (?, ?, ?)", rows)
        removed = [(seq, one.lines, one.characters) for seq, one in self._removed.items()]
        self.db.executemany("INSERT OR REPLACE INTO boilerplate VALUES (?, ?, ?)", removed)

    def removed(self, seq: int) -> Removed:
        """Returns how much a document lost, of those saved."""
        row = self.db.execute("SELECT lines, characters FROM boilerplate WHERE seq = ?", (seq,)).fetchone()
        return Removed(*row) if row else Removed()

    def strip(self, seq: int, name: str, text: str, keys: list[int], counts: bool = True) -> str:
        """Returns a page's text without what its site is known to repeat around it, and counts its lines for the next.

        Args:
            seq: the document's number in the ledger.
            name: the site.
            keys: the text's `line_keys`.
            counts: whether the page's own lines count.
        """
        if name == LOCAL:
            return text
        site = self._open(name)
        repeated = _repeated(site, keys)
        if counts:
            _count(site, set(keys))
        if not repeated:
            return text
        known = {line for line, key in zip(candidate_lines(text), keys, strict=True) if key in repeated}
        lines = text.split("\n")
        gone = places_around_text(lines, known)
        if not gone:
            return text
        self._removed[seq] = Removed(len(gone), sum(len(lines[place]) for place in gone))
        left = "\n".join(line for place, line in enumerate(lines) if place not in gone)
        return BLANK_LINES.sub("\n\n", left).strip("\n") + "\n"

    def _open(self, name: str) -> _Site:
        if name not in self._sites:
            row = self.db.execute("SELECT pages, lines FROM site_lines WHERE site = ?", (name,)).fetchone()
            lines = np.frombuffer(row["lines"] if row else b"", LINE)
            keys, seen, first = (lines[column].tolist() for column in ("key", "seen", "first"))
            self._sites[name] = _Site(
                row["pages"] if row else 0, dict(zip(keys, seen, strict=True)), dict(zip(keys, first, strict=True))
            )
        return self._sites[name]


def _as_bytes(site: _Site) -> bytes:
    """Rows of LINE, sorted by key."""
    lines = np.zeros(len(site.seen), LINE)
    lines["key"] = np.fromiter(site.seen, np.uint32, len(lines))
    lines["seen"] = np.fromiter(site.seen.values(), np.uint32, len(lines))
    lines["first"] = np.fromiter(site.first.values(), np.uint32, len(lines))
    return lines[np.argsort(lines["key"])].tobytes()


def _repeated(site: _Site, keys: list[int]) -> set[int]:
    """Those that stood on enough of the pages before."""
    seen, first = site.seen, site.first
    often = [key for key in keys if seen.get(key, 0) >= SEEN]
    return {key for key in often if seen[key] >= SHARE * (site.pages - first[key])}


def _count(site: _Site, keys: set[int]) -> None:
    """One more page of the site has these lines."""
    for key in keys:
        if key in site.seen:
            site.seen[key] += 1
        else:
            site.seen[key], site.first[key] = 1, site.pages
    site.pages += 1
    if site.pages % PERIOD == 0:
        rare = [key for key, seen in site.seen.items() if seen * PERIOD <= site.pages - site.first[key]]
        for key in rare:
            del site.seen[key], site.first[key]


def candidate_lines(text: str) -> list[str]:
    """The distinct lines that could be boilerplate: with words, not indented as code is, not long."""
    lines = dict.fromkeys(text.split("\n"))
    return [
        line
        for line in lines
        if line and line[0] not in " \t" and len(line) <= LONGEST and (line[0].isalpha() or any(map(str.isalpha, line)))
    ]


def line_keys(text: str) -> list[int]:
    """A hash of each of the `candidate_lines`."""
    return [xxhash.xxh3_64_intdigest(line.encode()) >> 32 for line in candidate_lines(text)]
