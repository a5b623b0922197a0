"""Every URL ever proposed, the outcome of its last visit, and when it is due again. The time is always an argument."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice, zip_longest
from typing import Any

from tasks.contracts.records import Dropped, Extracted, Hit, Page
from tasks.contracts.settings import SearchSettings
from tasks.contracts.urls import site_of, url_key
from tasks.storage.state_db import renew_keys, transaction
from tasks.web import hosts_table
from tasks.web.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.web.suppression_list import NOTHING_SUPPRESSED, SuppressionList

LISTING_LINKS = 3  # new links that make a page without text of its own a listing, which is visited more often
HOUR = 3600.0

TABLES = """
CREATE TABLE IF NOT EXISTS frontier (
    url_key TEXT PRIMARY KEY,
    url TEXT NOT NULL,              -- as it was found, and as it is asked
    provider TEXT NOT NULL,
    query TEXT NOT NULL,
    depth INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    host TEXT NOT NULL,
    first_seen REAL NOT NULL,
    due_at REAL,                    -- epoch seconds; NULL: given up, or stopped by a blocklist
    visited_at REAL,
    status TEXT NOT NULL DEFAULT 'waiting',  -- waiting, done, failed (asked again), given_up
    stage TEXT,
    outcome TEXT,                   -- of the last visit
    detail TEXT,
    failures INTEGER NOT NULL DEFAULT 0,     -- in a row
    listing INTEGER NOT NULL DEFAULT 0,
    final_url TEXT,
    etag TEXT,
    last_modified TEXT
);
CREATE INDEX IF NOT EXISTS frontier_by_due ON frontier (host, due_at);
CREATE INDEX IF NOT EXISTS frontier_new ON frontier (host, depth) WHERE visited_at IS NULL;
CREATE INDEX IF NOT EXISTS frontier_by_source ON frontier (provider, query);
CREATE TABLE IF NOT EXISTS obeyed (blocklists TEXT NOT NULL);  -- the digest of those last held against all this
"""

# The hosts that may be asked, the one that has waited longest first.
HOSTS = "SELECT host FROM hosts WHERE next_at <= ? ORDER BY visited_at, host"
# The pages of a host to visit, breadth first: those never visited, and those that are due again.
NEW = """
SELECT rowid, * FROM frontier WHERE host = :host AND visited_at IS NULL AND due_at <= :now
ORDER BY depth, rowid LIMIT :limit
"""
AGAIN = """
SELECT rowid, * FROM frontier WHERE host = :host AND due_at <= :now AND visited_at < :night
ORDER BY depth, rowid LIMIT :limit
"""

COUNT_DUE = """
SELECT count(*) FROM (
    SELECT 1 FROM frontier WHERE due_at <= :now AND (visited_at IS NULL OR visited_at < :night) LIMIT :limit
)
"""


@dataclass(frozen=True, slots=True)
class VisitResult:
    """The outcome of a hit's visit."""

    hit: Hit
    outcome: str  # "stored", "unchanged", or the reason of a `Dropped`
    stage: str = ""
    detail: str = ""
    retry: bool = False
    final_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    links: tuple[Hit, ...] = ()  # hits found on the page, including known ones

    @classmethod
    def of(
        cls, hit: Hit, page: Page | Dropped, result: Extracted, links: Iterable[Hit] = (), outcome: str = "stored"
    ) -> VisitResult:
        """From what `render` and `extract` returned; `outcome` is that of the document, where there is one."""
        end = result.dropped or Dropped("", outcome)
        visit = cls(hit, end.reason, end.stage, end.detail, end.retry)
        if isinstance(page, Dropped):
            return visit
        etag, last_modified = page.etag, page.last_modified
        return replace(visit, final_url=page.final_url, etag=etag, last_modified=last_modified, links=tuple(links))


class Frontier:
    """The queue of the crawl, in the state database.

    A page fetched successfully or rejected permanently is due again after `revisit_days`, a start page or a page of
    links after `revisit_listing_hours`, a failure after `retry_hours`, doubled each time. No page is visited twice in
    one night, whatever the settings. A blocked URL stays here with its outcome and is never due; of a forgotten URL,
    only a keyed hash stays.
    """

    def __init__(
        self, db: sqlite3.Connection, settings: SearchSettings, suppressed: SuppressionList = NOTHING_SUPPRESSED
    ) -> None:
        self.db = db
        self.settings = settings
        self.suppressed = suppressed
        self.blocklists = NO_BLOCKLISTS
        self._excluded: Counter[str] = Counter()
        db.executescript(TABLES + hosts_table.TABLE)
        renew_keys(db, "frontier", lambda row: str(row["url"]))

    def apply_blocklists(self, blocklists: Blocklists, now: float) -> None:
        """Blocks the URLs on these lists from now on. URLs that only earlier lists blocked are due again."""
        self.blocklists = blocklists
        before = self.db.execute("SELECT blocklists FROM obeyed").fetchone()
        if (before[0] if before else "") == blocklists.digest:
            return
        blocked = "SELECT url_key, url FROM frontier WHERE outcome = 'blocklisted' AND due_at IS NULL"
        free = [(now, row["url_key"]) for row in self.db.execute(blocked) if not blocklists.find(row["url"])]
        with transaction(self.db):
            self.db.executemany(
                "UPDATE frontier SET due_at = ?, status = 'waiting', stage = NULL, outcome = NULL, detail = NULL "
                "WHERE url_key = ?",
                free,
            )
            self.db.execute("DELETE FROM obeyed")
            self.db.execute("INSERT INTO obeyed VALUES (?)", (blocklists.digest,))

    def take_exclusions(self) -> Counter[str]:
        """Returns how many URLs were excluded without a visit since the last call: `blocklisted` and `forgotten`."""
        numbers, self._excluded = self._excluded, Counter()
        return numbers

    def add(self, hits: Iterable[Hit], now: float) -> int:
        """Adds hits; one that is known already stays unchanged. Returns the number of new URLs."""
        with transaction(self.db):
            return self.insert(hits, now)

    def insert(self, hits: Iterable[Hit], now: float) -> int:
        """Does the work of `add`; must be called inside the caller's transaction.

        A site gets no more pages than its source allows. Blocked and suppressed URLs are stored as such; they count
        neither as new nor as pages of their site.
        """
        insert = (
            "INSERT INTO frontier (url_key, url, provider, query, depth, rank, host, first_seen, due_at) "
            "VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
        )
        new, room = 0, self._room_of_sites()
        for hit in hits:
            if self.suppressed.covers(hit.url):
                self._excluded["forgotten"] += self.insert_pseudonym(hit.url, now)
                continue
            key, blocked = url_key(hit.url), self.blocklists.find(hit.url)
            site = hit.query if hit.provider == "site" and not blocked else ""
            if site in room and room[site] <= 0:
                continue
            values = (key, hit.url, hit.provider, hit.query, hit.depth, hit.rank, site_of(hit.url))
            added = self.db.execute(insert, (*values, now, now)).rowcount
            self.db.execute("INSERT OR IGNORE INTO hosts (host) VALUES (?)", values[-1:])
            if added and blocked:
                self._block(key, blocked)
                continue
            new += added
            if site in room:
                room[site] -= added
        return new

    def unknown(self, hits: list[Hit]) -> list[Hit]:
        """Returns the hits never proposed before, each page once."""
        by_key: dict[str, Hit] = {}
        for hit in hits:
            is_suppressed = self.suppressed.covers(hit.url)
            by_key.setdefault(self.suppressed.pseudonym(hit.url) if is_suppressed else url_key(hit.url), hit)
        known = "SELECT 1 FROM frontier WHERE url_key = ?"
        return [hit for key, hit in by_key.items() if not self.db.execute(known, (key,)).fetchone()]

    def due(self, limit: int, now: float, night: float) -> list[Hit]:
        """Returns the next hits to visit: breadth first, hosts in turn, none that was visited since `night` began.

        `now` must be the current time: pages cached after a hit became due count as not yet used. URLs that are blocked
        by now get their outcome here, instead of a visit.
        """
        rows = self._due_rows(limit, now, night)
        while blocked := [(row["url_key"], why) for row in rows if (why := self.blocklists.find(row["url"]))]:
            with transaction(self.db):
                for key, why in blocked:
                    self._block(key, why)
            rows = self._due_rows(limit, now, night)
        return [Hit(**{column.name: row[column.name] for column in fields(Hit)}) for row in rows]

    def count_due(self, limit: int, now: float, night: float) -> int:
        """Returns how many hits `due` would come to by and by, `limit` at most: those known now, on every host."""
        count: int = self.db.execute(COUNT_DUE, {"now": now, "night": night, "limit": limit}).fetchone()[0]
        return count

    def _due_rows(self, limit: int, now: float, night: float) -> list[sqlite3.Row]:
        """Takes one page of each host, then a second one of each, and so on. Its time depends on `limit` only."""
        queues: list[list[sqlite3.Row]] = []
        for (host,) in self.db.execute(HOSTS, (now + hosts_table.COOLING_SECONDS,)):
            values = {"host": host, "now": now, "night": night, "limit": limit}
            rows = [row for query in (NEW, AGAIN) for row in self.db.execute(query, values)]
            if rows:
                queues.append(sorted(rows, key=lambda row: (row["depth"], row["rowid"])))
            if len(queues) == limit:
                break
        turns = (row for turn in zip_longest(*queues) for row in turn if row is not None)
        return list(islice(turns, limit))

    def record_visits(self, visits: Sequence[VisitResult], now: float) -> int:
        """Stores the outcome of each visit and the links found, in one transaction. Returns the number of new links.

        Raises:
            ValueError: a hit is not in the frontier, or has two outcomes.
        """
        keys = [url_key(visit.hit.url) for visit in visits]
        if len(set(keys)) != len(keys):
            raise ValueError("a hit was given two outcomes")
        with transaction(self.db):
            new = 0
            for key, visit in zip(keys, visits, strict=True):
                links = self.insert(visit.links, now)
                self._record(key, visit, links, now)
                new += links
            hosts = {(now, site_of(visit.hit.url)) for visit in visits}
            self.db.executemany("UPDATE hosts SET visited_at = ? WHERE host = ?", hosts)
        return new

    def dead_hosts(self, since: float) -> list[str]:
        """Returns up to five hosts that answered no request since a moment."""
        query = """SELECT host FROM frontier WHERE visited_at >= ? GROUP BY host
                   HAVING min(outcome IN ('dead_host', 'robots_unreachable')) ORDER BY host LIMIT 5"""
        return [row[0] for row in self.db.execute(query, (since,))]

    def counts(self) -> dict[str, int]:
        """Returns the number of URLs by outcome, `waiting` for those not visited yet. The sum is all URLs known."""
        query = "SELECT coalesce(outcome, 'waiting') AS name, count(*) FROM frontier GROUP BY name ORDER BY name"
        return {row[0]: row[1] for row in self.db.execute(query)}

    def lookup(self, url: str) -> dict[str, Any] | None:
        """Returns everything known about a URL, for `trace`."""
        row = self.db.execute("SELECT * FROM frontier WHERE url_key = ?", (url_key(url),)).fetchone()
        return dict(row) if row else None

    def _room_of_sites(self) -> dict[str, int]:
        """Returns how many more pages each site of the profile may have."""
        count = "SELECT count(*) FROM frontier WHERE provider = 'site' AND query = ? AND outcome IS NOT 'blocklisted'"
        sites = [source for source in self.settings.sources if source.provider == "site"]
        return {site.url: site.max_urls - self.db.execute(count, (site.url,)).fetchone()[0] for site in sites}

    def _block(self, key: str, why: str) -> None:
        """Marks a URL as blocked: it is not due until the lists change."""
        self._excluded["blocklisted"] += 1
        self.db.execute(
            "UPDATE frontier SET due_at = NULL, status = 'done', stage = 'search', outcome = 'blocklisted', detail = ? "
            "WHERE url_key = ?",
            (why, key),
        )

    def insert_pseudonym(self, url: str, now: float) -> int:
        """Adds a row for a suppressed URL, without its address. Returns 0 where it is there already."""
        insert = (
            "INSERT INTO frontier "
            "(url_key, url, provider, query, depth, rank, host, first_seen, status, stage, outcome) "
            "VALUES (?, '', '', '', 0, 0, '', ?, 'done', 'search', 'forgotten') ON CONFLICT DO NOTHING"
        )
        return self.db.execute(insert, (self.suppressed.pseudonym(url), now)).rowcount

    def _record(self, key: str, visit: VisitResult, links: int, now: float) -> None:
        row = self.db.execute("SELECT * FROM frontier WHERE url_key = ?", (key,)).fetchone()
        if row is None:
            raise ValueError(f"{visit.hit.url} is not in the frontier")
        failures = row["failures"] + 1 if visit.retry else 0
        given_up = failures >= self.settings.max_failures
        is_start_page = row["provider"] == "site" and row["depth"] == 0
        has_links_only = links >= LISTING_LINKS and visit.outcome not in ("stored", "reextractable", "unchanged")
        listing = bool(row["listing"] or is_start_page or has_links_only)
        values = {
            "visited_at": now,
            "status": "given_up" if given_up else "failed" if visit.retry else "done",
            "stage": visit.stage,
            "outcome": visit.outcome,
            "detail": visit.detail,
            "failures": failures,
            "listing": int(listing),
            "due_at": None if given_up else now + self._pause(visit, failures, listing),
        }
        if not visit.retry and visit.final_url is not None:  # else the validators of the visit before are still right
            values |= {"final_url": visit.final_url, "etag": visit.etag, "last_modified": visit.last_modified}
        columns = ", ".join(f"{name} = :{name}" for name in values)
        self.db.execute(f"UPDATE frontier SET {columns} WHERE url_key = :key", {**values, "key": key})

    def _pause(self, visit: VisitResult, failures: int, listing: bool) -> float:
        if visit.retry:
            return self.settings.retry_hours * HOUR * 2.0 ** (failures - 1)
        listing = listing and (visit.stage != "render" or visit.outcome == "unchanged")
        return (self.settings.revisit_listing_hours if listing else self.settings.revisit_days * 24) * HOUR
