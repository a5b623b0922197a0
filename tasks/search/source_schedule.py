"""The schedule of sources: which queries a night sends, in which order, and what is kept of their results.

Search engines come first: the least recently asked topic, one result page at a time, further pages while they bring new
URLs; the first engine of the profile that is not cooling down. Then feeds and sitemaps that are due, then lists and
sites. The time is always an argument.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from tasks.contracts.settings import SearchSettings, Source
from tasks.contracts.urls import site_of, url_key
from tasks.search.frontier import HOUR, Frontier
from tasks.search.queries import ANSWERED, BLOCKED, UNAVAILABLE, SourceQuery, SourceResult, meaning
from tasks.storage.state_db import renew_keys, transaction

MAX_FILES = 20  # of one feed or sitemap, in one night
MAX_LISTED_FILES = 1000  # of one sitemap, remembered
MAX_DEPTH = 3  # of sitemap indexes within sitemap indexes
LONGEST_HOURS = 7 * 24.0

TABLES = """
CREATE TABLE IF NOT EXISTS questions (
    night TEXT NOT NULL,            -- of search engines; one row for each request made
    engine TEXT NOT NULL,
    topic TEXT NOT NULL,
    page INTEGER NOT NULL,
    asked_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    hits INTEGER NOT NULL,
    new INTEGER NOT NULL,           -- hits that the frontier did not know
    last INTEGER NOT NULL           -- the engine said that there is no further page
);
CREATE INDEX IF NOT EXISTS questions_by_topic ON questions (topic, asked_at);
CREATE INDEX IF NOT EXISTS questions_by_night ON questions (night);
CREATE TABLE IF NOT EXISTS cooling (
    engine TEXT PRIMARY KEY,
    until REAL NOT NULL,
    blocks INTEGER NOT NULL,        -- in a row
    outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS listings (
    source TEXT NOT NULL,
    url_key TEXT NOT NULL,
    url TEXT NOT NULL,
    depth INTEGER NOT NULL,
    due_at REAL NOT NULL,
    visited_at REAL,
    outcome TEXT,
    failures INTEGER NOT NULL DEFAULT 0,  -- in a row
    etag TEXT,
    last_modified TEXT,
    PRIMARY KEY (source, url_key)
);
"""

WITHOUT_PASSWORD = (
    "UPDATE frontier SET url = replace(url, :old, :new), query = replace(query, :old, :new), "
    "final_url = replace(final_url, :old, :new) WHERE host = :host",
    "UPDATE OR REPLACE listings SET source = replace(source, :old, :new), url = replace(url, :old, :new) "
    "WHERE instr(source, :old) OR instr(url, :old)",
    "UPDATE questions SET engine = replace(engine, :old, :new) WHERE instr(engine, :old)",
    "UPDATE OR REPLACE cooling SET engine = replace(engine, :old, :new) WHERE instr(engine, :old)",
)


def night_of(now: float) -> str:
    """Returns the local date on which a night began. It lasts from noon to noon, so that midnight does not part it."""
    return datetime.fromtimestamp(now - 12 * HOUR).date().isoformat()


class SourceSchedule:
    """The queries of one run: `next` returns one, `record_result` takes its result before `next` is called again."""

    def __init__(self, frontier: Frontier, settings: SearchSettings, now: float) -> None:
        self.frontier, self.settings, self.db = frontier, settings, frontier.db
        self.db.executescript(TABLES)
        renew_keys(self.db, "listings", lambda row: str(row["url"]))
        for source in settings.sources:
            self._drop_passwords(source)
        self.night = night_of(now)
        self._unavailable: set[str] = set()  # engines that are not asked again in this run
        self._asked: set[tuple[str, str]] = set()  # listings, lists and sites asked in this run

    def _drop_passwords(self, source: Source) -> None:
        """Takes the password of a source out of what was stored before profiles were read without them."""
        for url, user in source.users:
            scheme = url.partition("://")[0]
            values = {"host": site_of(url), "old": f"{scheme}://{user}@", "new": f"{scheme}://"}
            with transaction(self.db):
                for query in WITHOUT_PASSWORD:
                    self.db.execute(query, values)

    def cooling_messages(self, now: float) -> list[str]:
        """Returns a message for each engine that an earlier block keeps from being asked."""
        return [
            f"{source.name} is left alone until {_local(row['until'])}: {meaning(row['outcome'])}"
            for source in self._engines()
            if (row := self._cooling(source, now))
        ]

    def next(self, now: float) -> SourceQuery | None:
        return self._next_engine_query(now) or self._next_listing(now) or self._next_list_or_site()

    def record_result(self, query: SourceQuery, result: SourceResult, now: float) -> tuple[int, str | None]:
        """Stores a result in one transaction. Returns the number of new hits, and a message if there is a problem."""
        with transaction(self.db):
            new = self.frontier.insert(result.hits, now)
            if query.source.kind == "engine":
                return new, self._record_engine_result(query, result, new, now)
            if query.source.kind == "listing":
                return new, self._record_listing(query, result, now)
        return new, None if result.good else f"{query.source.name}: {_in_words(result)}"

    # -- search engines ----------------------------------------------------------------------------------

    def _engines(self) -> list[Source]:
        return [source for source in self.settings.sources if source.kind == "engine"]

    def _available_engine(self, now: float) -> Source | None:
        able = (one for one in self._engines() if one.name not in self._unavailable and not self._cooling(one, now))
        return next(able, None)

    def _next_engine_query(self, now: float) -> SourceQuery | None:
        engine = self._available_engine(now)
        if engine is None or self._count_queries("night = ?", self.night) >= self.settings.queries_per_night:
            return None
        for topic in self._topics():
            page = self._next_page(engine, topic)
            if page is not None:
                same = ("night = ? AND engine = ? AND topic = ? AND page = ?", self.night, engine.name, topic, page)
                return SourceQuery(engine, self.night, topic, page, attempt=self._count_queries(*same))
        return None

    def _count_queries(self, condition: str, *values: str | int) -> int:
        return int(self.db.execute(f"SELECT count(*) FROM questions WHERE {condition}", values).fetchone()[0])

    def _topics(self) -> list[str]:
        """Returns the topics, those never answered first, then the least recently answered."""
        last = dict(
            self.db.execute(
                f"SELECT topic, max(asked_at) FROM questions WHERE outcome IN {tuple(ANSWERED)} GROUP BY topic"
            ).fetchall()
        )
        return sorted(dict.fromkeys(self.settings.topics), key=lambda topic: last.get(topic, 0.0))

    def _next_page(self, engine: Source, topic: str) -> int | None:
        """Returns the result page to ask for; None where the topic brings nothing more tonight."""
        last = self._last_answered(topic, "engine", engine.name)
        tonight = self._last_answered(topic, "night", self.night)
        if tonight is not None and not _has_next_page(tonight, engine):
            return None
        return last["page"] + 1 if last is not None and _has_next_page(last, engine) else 0

    def _last_answered(self, topic: str, column: str, value: str) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self.db.execute(
            f"SELECT * FROM questions WHERE topic = ? AND {column} = ? AND outcome IN {tuple(ANSWERED)} "
            "ORDER BY rowid DESC LIMIT 1",
            (topic, value),
        ).fetchone()
        return found

    def _cooling(self, source: Source, now: float) -> sqlite3.Row | None:
        row: sqlite3.Row | None
        row = self.db.execute("SELECT * FROM cooling WHERE engine = ?", (source.name,)).fetchone()
        # Longer than any pause that we set: the clock was turned back.
        return row if row is not None and now < row["until"] <= now + LONGEST_HOURS * HOUR else None

    def pause(self, source: Source, now: float) -> float:
        """Returns the seconds until an engine may be asked again, counted across runs."""
        last = self.db.execute("SELECT max(asked_at) FROM questions WHERE engine = ?", (source.name,)).fetchone()[0]
        left = float(last) + source.pause_seconds - now if last is not None else 0.0
        return left if 0 < left <= source.pause_seconds else 0.0

    def _record_engine_result(self, query: SourceQuery, result: SourceResult, new: int, now: float) -> str | None:
        name = query.source.name
        if result.outcome not in ("key_missing", "not_installed"):  # then no request was sent
            self.db.execute(
                "INSERT INTO questions VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    *(self.night, name, query.query, query.page, now, result.outcome, result.detail),
                    *(len(result.hits), new, int(result.last)),
                ),
            )
        if result.good:
            self.db.execute("DELETE FROM cooling WHERE engine = ?", (name,))
            return None
        self._unavailable.add(name)  # whatever block_hours is, not again in this run
        until = "" if result.outcome in UNAVAILABLE else f"; left alone until {_local(self._cool(name, result, now))}"
        other = self._available_engine(now)
        instead = f"going on with {other.name}" if other else "no other search engine is left tonight"
        return f"{name}: {_in_words(result)}{until}; {instead}"

    def _cool(self, name: str, result: SourceResult, now: float) -> float:
        row = self.db.execute("SELECT blocks FROM cooling WHERE engine = ?", (name,)).fetchone()
        blocks = (row["blocks"] if row else 0) + 1
        first = self.settings.block_hours if result.outcome in BLOCKED else self.settings.retry_hours
        seconds = max(first * 2.0 ** min(blocks - 1, 30) * HOUR, result.retry_after or 0.0)
        until = now + min(seconds, LONGEST_HOURS * HOUR)
        self.db.execute("INSERT OR REPLACE INTO cooling VALUES (?,?,?,?)", (name, until, blocks, result.outcome))
        return until

    # -- feeds and sitemaps ------------------------------------------------------------------------------

    def _next_listing(self, now: float) -> SourceQuery | None:
        for source in self.settings.sources:
            asked = sum(name == source.name for name, _ in self._asked)
            if source.kind != "listing" or asked >= MAX_FILES:
                continue
            if self.frontier.suppressed.covers(source.url):
                continue  # its address would be stored here
            self._insert_file(source.name, source.url, 0, now)
            due = "SELECT * FROM listings WHERE source = ? AND due_at <= ? ORDER BY depth, visited_at, rowid"
            for row in self.db.execute(due, (source.name, now)):
                if (source.name, row["url_key"]) not in self._asked:
                    self._asked.add((source.name, row["url_key"]))
                    about: dict[str, Any] = {name: row[name] for name in ("due_at", "etag", "last_modified")}
                    return SourceQuery(source, self.night, row["url"], **about)
        return None

    def _insert_file(self, source: str, url: str, depth: int, now: float) -> int:
        if self.frontier.suppressed.covers(url):
            return 0
        insert = "INSERT INTO listings (source, url_key, url, depth, due_at) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING"
        return self.db.execute(insert, (source, url_key(url), url, depth, now)).rowcount

    def _record_listing(self, query: SourceQuery, result: SourceResult, now: float) -> str | None:
        source, settings = query.source.name, self.settings
        here = (source, url_key(query.query))
        row = self.db.execute("SELECT * FROM listings WHERE source = ? AND url_key = ?", here).fetchone()
        failures = 0 if result.good else row["failures"] + 1
        pause = settings.revisit_listing_hours * HOUR
        if failures:
            backoff = settings.retry_hours * 2.0 ** min(failures - 1, 30)
            pause = max(min(backoff, settings.revisit_days * 24) * HOUR, result.retry_after or 0.0)
        changes: dict[str, Any] = {"visited_at": now, "outcome": result.outcome, "failures": failures}
        changes["due_at"] = now + (0.0 if result.cut else pause)
        if result.good and result.outcome != "unchanged":
            # With validators, a 304 would hide the rest of a listing that was cut.
            validators = (None, None) if result.cut else (result.etag, result.last_modified)
            changes["etag"], changes["last_modified"] = validators
        columns = ", ".join(f"{name} = :{name}" for name in changes)
        self.db.execute(
            f"UPDATE listings SET {columns} WHERE source = :source AND url_key = :key",
            {**changes, "source": here[0], "key": here[1]},
        )
        self._insert_files(source, result, row["depth"] + 1, now)
        return None if result.good else f"{query.source.provider} {query.query}: {_in_words(result)}"

    def _insert_files(self, source: str, result: SourceResult, depth: int, now: float) -> None:
        """Stores the files that an index names. A file unchanged since all of it was read becomes due later."""
        if depth > MAX_DEPTH:
            return
        known = self.db.execute("SELECT count(*) FROM listings WHERE source = ?", (source,)).fetchone()[0]
        for file in result.listings[:MAX_LISTED_FILES]:
            if known < MAX_LISTED_FILES:
                known += self._insert_file(source, file.url, depth, now)
            if file.modified is not None:
                self.db.execute(
                    "UPDATE listings SET due_at = ? WHERE source = ? AND url_key = ? AND depth > 0 "
                    "AND failures = 0 AND visited_at > ? AND visited_at < due_at",
                    (now + self.settings.revisit_listing_hours * HOUR, source, url_key(file.url), file.modified),
                )

    # -- lists and sites ---------------------------------------------------------------------------------

    def _next_list_or_site(self) -> SourceQuery | None:
        for source in self.settings.sources:
            key = (source.provider, repr(source))
            if source.provider not in ("site", "urls") or key in self._asked:
                continue
            if not self.frontier.suppressed.covers(source.url):
                self._asked.add(key)
                return SourceQuery(source, self.night)
        return None


def _has_next_page(row: sqlite3.Row, engine: Source) -> bool:
    """Whether a result page brought new URLs, and the engine has a next page that the profile allows."""
    return bool(row["new"] and not row["last"] and row["page"] + 1 < engine.max_result_pages)


def _in_words(result: SourceResult) -> str:
    return meaning(result.outcome) + (f" ({result.detail})" if result.detail else "")


def _local(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"
