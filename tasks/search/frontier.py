"""Every URL ever proposed, how its last visit ended, and when it is due again. Time is always an argument."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from tasks.contracts.records import Dropped, Extracted, Hit, Page
from tasks.contracts.settings import SearchSettings
from tasks.contracts.urls import site_of, url_key
from tasks.storage.state_db import transaction
from tasks.web import hosts_table
from tasks.web.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.web.suppression_list import NOTHING_SUPPRESSED, SuppressionList

LISTING_LINKS = 3  # a page without a text of its own that gives so many new links: more will appear there
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

# The hosts that may be asked, the one that had to wait longest first.
HOSTS = "SELECT host FROM hosts WHERE next_at <= ? ORDER BY visited_at, host"
# What a host has to visit, breadth first: pages never seen, and those that are due again.
NEW = """
SELECT rowid, * FROM frontier WHERE host = :host AND visited_at IS NULL AND due_at <= :now
ORDER BY depth, rowid LIMIT :limit
"""
AGAIN = """
SELECT rowid, * FROM frontier WHERE host = :host AND due_at <= :now AND visited_at < :night
ORDER BY depth, rowid LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class VisitResult:
    """How a hit's visit ended."""

    hit: Hit
    outcome: str  # "stored", "unchanged", or the reason of a `Dropped`
    stage: str = ""
    detail: str = ""
    retry: bool = False
    final_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    links: tuple[Hit, ...] = ()  # hits found on the page, known ones included

    @classmethod
    def of(
        cls, hit: Hit, page: Page | Dropped, result: Extracted, links: Iterable[Hit] = (), outcome: str = "stored"
    ) -> VisitResult:
        """From what `render` and `extract` gave; `outcome` is what became of the document, where there is one."""
        end = result.dropped or Dropped("", outcome)
        if isinstance(page, Dropped):
            return cls(hit, end.reason, end.stage, end.detail, end.retry)
        return cls(
            hit,
            end.reason,
            end.stage,
            end.detail,
            end.retry,
            page.final_url,
            page.etag,
            page.last_modified,
            tuple(links),
        )


class Frontier:
    """The queue of the crawl, in the state database.

    A page that was had (or refused for good) is due again after `revisit_days`, a start page or a page
    of links after `revisit_listing_hours`, a failure after `retry_hours`, doubled each time. Never twice in
    one night, whatever the settings. What a blocklist names stays here, with its outcome, and is never due; of what
    was forgotten only a keyed hash does.
    """

    def __init__(
        self, db: sqlite3.Connection, settings: SearchSettings, forgotten: SuppressionList = NOTHING_SUPPRESSED
    ) -> None:
        self.db = db
        self.settings = settings
        self.forgotten = forgotten
        self.blocklists = NO_BLOCKLISTS
        self._stopped: Counter[str] = Counter()
        db.executescript(TABLES + hosts_table.TABLE)

    def obey(self, blocklists: Blocklists, now: float) -> None:
        """Stop from now on what these lists name. What only earlier lists stopped waits again."""
        self.blocklists = blocklists
        before = self.db.execute("SELECT blocklists FROM obeyed").fetchone()
        if (before[0] if before else "") == blocklists.digest:
            return
        stopped = "SELECT url_key, url FROM frontier WHERE outcome = 'blocklisted' AND due_at IS NULL"
        free = [(now, row["url_key"]) for row in self.db.execute(stopped) if not blocklists.find(row["url"])]
        with transaction(self.db):
            self.db.executemany(
                "UPDATE frontier SET due_at = ?, status = 'waiting', stage = NULL, outcome = NULL, detail = NULL "
                "WHERE url_key = ?",
                free,
            )
            self.db.execute("DELETE FROM obeyed")
            self.db.execute("INSERT INTO obeyed VALUES (?)", (blocklists.digest,))

    def newly_stopped(self) -> Counter[str]:
        """How many URLs had their outcome without a visit since this was last asked: blocklisted, forgotten."""
        numbers, self._stopped = self._stopped, Counter()
        return numbers

    def add(self, hits: Iterable[Hit], now: float) -> int:
        """Remember hits; one that is known already stays as it is. Gives how many were new."""
        with transaction(self.db):
            return self.insert(hits, now)

    def insert(self, hits: Iterable[Hit], now: float) -> int:
        """`add` within a transaction of the caller's. A site gets no more pages than its source allows.

        What a blocklist names, or was forgotten, is remembered as such; it counts neither as new nor as a page of
        its site.
        """
        insert = (
            "INSERT INTO frontier (url_key, url, provider, query, depth, rank, host, first_seen, due_at) "
            "VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
        )
        new, room = 0, self._room_of_sites()
        for hit in hits:
            if self.forgotten.covers(hit.url):
                self._stopped["forgotten"] += self.keep_hash(hit.url, now)
                continue
            key, stopped = url_key(hit.url), self.blocklists.find(hit.url)
            site = hit.query if hit.provider == "site" and not stopped else ""
            if site in room and room[site] <= 0:
                continue
            values = (key, hit.url, hit.provider, hit.query, hit.depth, hit.rank, site_of(hit.url))
            added = self.db.execute(insert, (*values, now, now)).rowcount
            self.db.execute("INSERT OR IGNORE INTO hosts (host) VALUES (?)", values[-1:])
            if added and stopped:
                self._stop(key, stopped)
                continue
            new += added
            if site in room:
                room[site] -= added
        return new

    def unknown(self, hits: list[Hit]) -> list[Hit]:
        """Those never proposed before, each page once."""
        by_key: dict[str, Hit] = {}
        for hit in hits:
            away = self.forgotten.covers(hit.url)
            by_key.setdefault(self.forgotten.stand_in(hit.url) if away else url_key(hit.url), hit)
        known = "SELECT 1 FROM frontier WHERE url_key = ?"
        return [hit for key, hit in by_key.items() if not self.db.execute(known, (key,)).fetchone()]

    def due(self, limit: int, now: float, night: float) -> list[Hit]:
        """The next hits to visit: breadth first, hosts taking turns, none that was visited since `night` began.

        `now` must be the current time: pages cached after a hit became due count as not yet used. What a blocklist
        names by now ends here, in the place of a visit.
        """
        rows = self._turns(limit, now, night)
        while stopped := [(row["url_key"], why) for row in rows if (why := self.blocklists.find(row["url"]))]:
            with transaction(self.db):
                for key, why in stopped:
                    self._stop(key, why)
            rows = self._turns(limit, now, night)
        return [
            Hit(
                row["url"],
                row["provider"],
                row["query"],
                row["depth"],
                row["rank"],
                row["due_at"],
                row["etag"],
                row["last_modified"],
            )
            for row in rows
        ]

    def _turns(self, limit: int, now: float, night: float) -> list[sqlite3.Row]:
        """One page of each host, then a second one of each, and so on. Costs what is asked, not what is there."""
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

    def finish(self, visits: Sequence[VisitResult], now: float) -> int:
        """Record the outcome of each visit and add the links found, all or nothing. Gives how many links were new.

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
        """The hosts of which nothing answered since a moment, a few of them at most."""
        query = """SELECT host FROM frontier WHERE visited_at >= ? GROUP BY host
                   HAVING min(outcome IN ('dead_host', 'robots_unreachable')) ORDER BY host LIMIT 5"""
        return [row[0] for row in self.db.execute(query, (since,))]

    def counts(self) -> dict[str, int]:
        """How many URLs ended how; `waiting` have not been visited yet. The numbers add up to all URLs known."""
        query = "SELECT coalesce(outcome, 'waiting') AS name, count(*) FROM frontier GROUP BY name ORDER BY name"
        return {row[0]: row[1] for row in self.db.execute(query)}

    def lookup(self, url: str) -> dict[str, Any] | None:
        """Everything known about a URL, for `trace`."""
        row = self.db.execute("SELECT * FROM frontier WHERE url_key = ?", (url_key(url),)).fetchone()
        return dict(row) if row else None

    def _room_of_sites(self) -> dict[str, int]:
        """How many more pages each site of the profile may have."""
        count = "SELECT count(*) FROM frontier WHERE provider = 'site' AND query = ? AND outcome IS NOT 'blocklisted'"
        sites = [source for source in self.settings.sources if source.provider == "site"]
        return {site.url: site.max_urls - self.db.execute(count, (site.url,)).fetchone()[0] for site in sites}

    def _stop(self, key: str, why: str) -> None:
        """A blocklist names it: not asked, and not due until the lists change."""
        self._stopped["blocklisted"] += 1
        self.db.execute(
            "UPDATE frontier SET due_at = NULL, status = 'done', stage = 'search', outcome = 'blocklisted', detail = ? "
            "WHERE url_key = ?",
            (why, key),
        )

    def keep_hash(self, url: str, now: float) -> int:
        """A row that says that something is not asked, and not what. Gives 0 where it was there."""
        insert = (
            "INSERT INTO frontier "
            "(url_key, url, provider, query, depth, rank, host, first_seen, status, stage, outcome) "
            "VALUES (?, '', '', '', 0, 0, '', ?, 'done', 'search', 'forgotten') ON CONFLICT DO NOTHING"
        )
        return self.db.execute(insert, (self.forgotten.stand_in(url), now)).rowcount

    def _record(self, key: str, visit: VisitResult, links: int, now: float) -> None:
        row = self.db.execute("SELECT * FROM frontier WHERE url_key = ?", (key,)).fetchone()
        if row is None:
            raise ValueError(f"{visit.hit.url} is not in the frontier")
        failures = row["failures"] + 1 if visit.retry else 0
        given_up = failures >= self.settings.max_failures
        start_page = row["provider"] == "site" and row["depth"] == 0
        gives_links = links >= LISTING_LINKS and visit.outcome not in ("stored", "unchanged")
        listing = bool(row["listing"] or start_page or gives_links)
        values = {
            "visited_at": now,
            "status": "given_up" if given_up else "failed" if visit.retry else "done",
            "stage": visit.stage,
            "outcome": visit.outcome,
            "detail": visit.detail,
            "failures": failures,
            "listing": int(listing),
            "due_at": None if given_up else now + self._pause(visit, failures, listing),
            **_validators(visit),
        }
        columns = ", ".join(f"{name} = :{name}" for name in values)
        self.db.execute(f"UPDATE frontier SET {columns} WHERE url_key = :key", {**values, "key": key})

    def _pause(self, visit: VisitResult, failures: int, listing: bool) -> float:
        if visit.retry:
            return self.settings.retry_hours * HOUR * 2.0 ** (failures - 1)
        listing = listing and (visit.stage != "render" or visit.outcome == "unchanged")
        return (self.settings.revisit_listing_hours if listing else self.settings.revisit_days * 24) * HOUR


def _validators(visit: VisitResult) -> dict[str, str | None]:
    """A visit that got no new page leaves the old ones: they still describe the last page that was used."""
    if visit.retry or visit.final_url is None:
        return {}
    return {"final_url": visit.final_url, "etag": visit.etag, "last_modified": visit.last_modified}
