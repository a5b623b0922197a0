"""What a site repeats on its pages - cookie notices, menus, share bars - is removed once it has been seen often enough.

A line is boilerplate of a site when it stood on at least `SEEN` of the site's pages so far, and on at least `SHARE`
of those since it first appeared. A page counts with its first version: that it is fetched again makes nothing
boilerplate. The documents before stay as they were; so the rule depends on ledger order alone, and a rebuild finds the
same lines at the same places.

What is remembered of a site is bounded by lossy counting (Manku and Motwani, "Approximate Frequency Counts over
Data Streams", 2002): every `PERIOD` pages the lines go that were not seen more than once in so many.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

# Raise it with every change here that can change a text.
RULE_VERSION = 3

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
"""


@dataclass(slots=True)
class _Site:
    pages: int
    lines: npt.NDArray[np.void]  # (n,) of LINE, sorted by key, each key once


class SiteLines:
    """How often each line stood on a site's pages. Nothing is written before `save`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._sites: dict[str, _Site] = {}
        db.executescript(SCHEMA)

    def clear(self) -> None:
        self._sites = {}
        self.db.execute("DELETE FROM site_lines")

    def begin(self) -> None:
        """Forget what was not saved."""
        self._sites = {}

    def save(self) -> None:
        """Write what changed, in the caller's transaction."""
        rows = [(name, site.pages, site.lines.tobytes()) for name, site in self._sites.items()]
        self.db.executemany("INSERT OR REPLACE INTO site_lines VALUES (?, ?, ?)", rows)

    def see(self, name: str, text: str, counts: bool = True) -> str:
        """The text of a page without the lines that its site is known to repeat; then it `counts` for the next ones."""
        site = self._open(name)
        lines = _candidates(text)
        keys = _keys(lines)
        repeated = _is_repeated(site, keys)
        if counts:
            _count(site, np.unique(keys))
        if not repeated.any():
            return text
        gone = {lines[i] for i in np.flatnonzero(repeated)}
        return "\n".join(line for line in text.split("\n") if line not in gone).strip("\n") + "\n"

    def _open(self, name: str) -> _Site:
        if name not in self._sites:
            row = self.db.execute("SELECT pages, lines FROM site_lines WHERE site = ?", (name,)).fetchone()
            lines = np.frombuffer(row["lines"], LINE).copy() if row else np.zeros(0, LINE)
            self._sites[name] = _Site(row["pages"] if row else 0, lines)
        return self._sites[name]


def _is_repeated(site: _Site, keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """For each line whether the pages before make it boilerplate, (n,)."""
    if site.pages < SEEN or not len(site.lines):
        return np.zeros(len(keys), bool)
    places = np.minimum(np.searchsorted(site.lines["key"], keys), len(site.lines) - 1)
    lines = site.lines[places]
    often: npt.NDArray[np.bool_] = lines["seen"] >= np.maximum(SEEN, SHARE * (site.pages - lines["first"]))
    same: npt.NDArray[np.bool_] = lines["key"] == keys
    return often & same


def _count(site: _Site, keys: npt.NDArray[np.uint32]) -> None:
    """One more page of the site has these lines; each key once, sorted."""
    places = np.searchsorted(site.lines["key"], keys)
    known = places < len(site.lines)
    known[known] = site.lines["key"][places[known]] == keys[known]
    site.lines["seen"][places[known]] += 1
    new = np.zeros(int((~known).sum()), LINE)
    new["key"], new["seen"], new["first"] = keys[~known], 1, site.pages
    site.lines = np.insert(site.lines, places[~known], new)
    site.pages += 1
    if site.pages % PERIOD == 0:
        rare = site.lines["seen"] * PERIOD <= site.pages - site.lines["first"]
        site.lines = site.lines[~rare]


def _candidates(text: str) -> list[str]:
    """The distinct lines that could be boilerplate: with words, not indented as code is, not long."""
    lines = dict.fromkeys(text.split("\n"))
    return [line for line in lines if 0 < len(line) <= LONGEST and line[0] not in " \t" and _has_word(line)]


def _has_word(line: str) -> bool:
    return line[0].isalpha() or any(c.isalpha() for c in line)


def _keys(lines: list[str]) -> npt.NDArray[np.uint32]:
    return np.array([xxhash.xxh3_64_intdigest(line.encode()) >> 32 for line in lines], dtype=np.uint32)
