"""What a night asks of its sources, in which order, and what it remembers of the answers. Time is always an argument.

Search engines: the least recently asked topic first, one result page at a time, deeper while pages bring new URLs;
the first engine of the profile that is not cooling down. Then feeds and sitemaps that are due, then lists and sites.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import datetime
from typing import Any

from tasks.contracts.settings import ENGINES, LISTINGS, SearchSettings, Source
from tasks.contracts.urls import url_key
from tasks.search.frontier import HOUR, Frontier
from tasks.search.queries import ANSWERED, BLOCKED, UNAVAILABLE, SourceQuery, SourceResult, meaning
from tasks.storage.state_db import transaction

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


def night_of(now: float) -> str:
    """The date a night began on, by the local clock. From noon to noon: a run cut at 23:50 goes on at 00:10."""
    return datetime.fromtimestamp(now - 12 * HOUR).date().isoformat()


class SourceSchedule:
    """One run's questions, from `next`, each given back to `settle` with its answer before the next is asked for."""

    def __init__(self, frontier: Frontier, settings: SearchSettings, now: float) -> None:
        self.frontier, self.settings, self.db = frontier, settings, frontier.db
        self.db.executescript(TABLES)
        self.night = night_of(now)
        self._away: set[str] = set()  # engines that cannot be asked in this run
        self._asked: set[tuple[str, str]] = set()  # listings, lists and sites of this run
        self._files: Counter[str] = Counter()

    def opening(self, now: float) -> list[str]:
        """What to say before the first question: the engines that an earlier block keeps us from."""
        said = []
        for source in self._engines():
            if row := self._cooling(source, now):
                said.append(f"{source.name} is left alone until {_local(row['until'])}: {meaning(row['outcome'])}")
        return said

    def next(self, now: float) -> SourceQuery | None:
        return self._next_query(now) or self._next_listing(now) or self._next_given()

    def settle(self, question: SourceQuery, answer: SourceResult, now: float) -> tuple[int, str | None]:
        """Remember an answer, all or nothing. Gives how many of its hits were new, and what a person should know."""
        with transaction(self.db):
            new = self.frontier.insert(answer.hits, now)
            if question.source.provider in ENGINES:
                return new, self._settle_query(question, answer, new, now)
            if question.source.provider in LISTINGS:
                return new, self._settle_listing(question, answer, now)
        return new, None

    # -- search engines ----------------------------------------------------------------------------------

    def _engines(self) -> list[Source]:
        return [source for source in self.settings.sources if source.provider in ENGINES]

    def _next_query(self, now: float) -> SourceQuery | None:
        asked = "SELECT count(*) FROM questions WHERE night = ?"
        if self.db.execute(asked, (self.night,)).fetchone()[0] >= self.settings.queries_per_night:
            return None
        able = [one for one in self._engines() if one.name not in self._away and not self._cooling(one, now)]
        if not able:
            return None
        engine = able[0]
        for topic in self._topics():
            page = self._next_page(engine, topic)
            if page is not None:
                tries = "SELECT count(*) FROM questions WHERE night = ? AND engine = ? AND topic = ? AND page = ?"
                attempt = self.db.execute(tries, (self.night, engine.name, topic, page)).fetchone()[0]
                return SourceQuery(engine, self.night, topic, page, attempt)
        return None

    def _topics(self) -> list[str]:
        """The least recently answered first, those never asked before all."""
        last = dict(
            self.db.execute(
                f"SELECT topic, max(asked_at) FROM questions WHERE outcome IN {tuple(ANSWERED)} GROUP BY topic"
            ).fetchall()
        )
        return sorted(dict.fromkeys(self.settings.topics), key=lambda topic: last.get(topic, 0.0))

    def _next_page(self, engine: Source, topic: str) -> int | None:
        """None: it has nothing more to give tonight."""
        answered = (
            f"SELECT * FROM questions WHERE topic = ? AND outcome IN {tuple(ANSWERED)} {{}} ORDER BY rowid DESC LIMIT 1"
        )
        row = self.db.execute(answered.format("AND engine = ?"), (topic, engine.name)).fetchone()
        tonight = self.db.execute(answered.format("AND night = ?"), (topic, self.night)).fetchone()
        if tonight is not None and not self._goes_on(tonight, engine):
            return None
        return row["page"] + 1 if row is not None and self._goes_on(row, engine) else 0

    @staticmethod
    def _goes_on(row: sqlite3.Row, engine: Source) -> bool:
        return bool(row["new"] and not row["last"] and row["page"] + 1 < engine.max_result_pages)

    def _cooling(self, source: Source, now: float) -> sqlite3.Row | None:
        row: sqlite3.Row | None
        row = self.db.execute("SELECT * FROM cooling WHERE engine = ?", (source.name,)).fetchone()
        # Longer than any pause we set: the clock was turned back.
        return row if row is not None and now < row["until"] <= now + LONGEST_HOURS * HOUR else None

    def pause(self, source: Source, now: float) -> float:
        """Seconds until an engine may be asked again, its own pace kept across runs."""
        last = self.db.execute("SELECT max(asked_at) FROM questions WHERE engine = ?", (source.name,)).fetchone()[0]
        left = float(last) + source.pause_seconds - now if last is not None else 0.0
        return left if 0 < left <= source.pause_seconds else 0.0

    def _settle_query(self, question: SourceQuery, answer: SourceResult, new: int, now: float) -> str | None:
        name = question.source.name
        if answer.outcome not in ("key_missing", "not_installed"):  # then nothing was asked
            self.db.execute(
                "INSERT INTO questions VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    *(self.night, name, question.query, question.page, now, answer.outcome, answer.detail),
                    *(len(answer.hits), new, int(answer.last)),
                ),
            )
        if answer.good:
            self.db.execute("DELETE FROM cooling WHERE engine = ?", (name,))
            return None
        because = f"{name}: {meaning(answer.outcome)}" + (f" ({answer.detail})" if answer.detail else "")
        if answer.outcome in UNAVAILABLE:
            self._away.add(name)
            return f"{because}; {self._instead(now)}"
        until = self._cool(name, answer, now)
        return f"{because}; left alone until {_local(until)}; {self._instead(now)}"

    def _cool(self, name: str, answer: SourceResult, now: float) -> float:
        row = self.db.execute("SELECT blocks FROM cooling WHERE engine = ?", (name,)).fetchone()
        blocks = (row["blocks"] if row else 0) + 1
        first = self.settings.block_hours if answer.outcome in BLOCKED else self.settings.retry_hours
        seconds = max(first * 2.0 ** min(blocks - 1, 30) * HOUR, answer.retry_after or 0.0)
        until = now + min(seconds, LONGEST_HOURS * HOUR)
        self.db.execute("INSERT OR REPLACE INTO cooling VALUES (?,?,?,?)", (name, until, blocks, answer.outcome))
        self._away.add(name)  # whatever block_hours is, not again in this run
        return until

    def _instead(self, now: float) -> str:
        able = [one.name for one in self._engines() if one.name not in self._away and not self._cooling(one, now)]
        return f"going on with {able[0]}" if able else "no other search engine is left tonight"

    # -- feeds and sitemaps ------------------------------------------------------------------------------

    def _next_listing(self, now: float) -> SourceQuery | None:
        for source in self.settings.sources:
            if source.provider not in LISTINGS or self._files[source.name] >= MAX_FILES:
                continue
            if self.frontier.forgotten.covers(source.url):
                continue  # asked for, it would be remembered here
            self._remember_file(source.name, source.url, 0, now)
            due = "SELECT * FROM listings WHERE source = ? AND due_at <= ? ORDER BY depth, visited_at, rowid"
            for row in self.db.execute(due, (source.name, now)):
                if (source.name, row["url_key"]) not in self._asked:
                    self._asked.add((source.name, row["url_key"]))
                    self._files[source.name] += 1
                    about: dict[str, Any] = {name: row[name] for name in ("due_at", "etag", "last_modified")}
                    return SourceQuery(source, self.night, row["url"], **about)
        return None

    def _remember_file(self, source: str, url: str, depth: int, now: float) -> int:
        if self.frontier.forgotten.covers(url):
            return 0
        insert = "INSERT INTO listings (source, url_key, url, depth, due_at) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING"
        return self.db.execute(insert, (source, url_key(url), url, depth, now)).rowcount

    def _settle_listing(self, question: SourceQuery, answer: SourceResult, now: float) -> str | None:
        source, settings = question.source.name, self.settings
        here = (source, url_key(question.query))
        row = self.db.execute("SELECT * FROM listings WHERE source = ? AND url_key = ?", here).fetchone()
        failures = 0 if answer.good else row["failures"] + 1
        pause = settings.revisit_listing_hours * HOUR
        if failures:
            backoff = settings.retry_hours * 2.0 ** min(failures - 1, 30)
            pause = max(min(backoff, settings.revisit_days * 24) * HOUR, answer.retry_after or 0.0)
        changes: dict[str, Any] = {"visited_at": now, "outcome": answer.outcome, "failures": failures}
        changes["due_at"] = now + (0.0 if answer.cut else pause)
        if answer.good and answer.outcome != "unchanged":
            # The rest of a listing that was cut would be lost to a 304.
            kept = (None, None) if answer.cut else (answer.etag, answer.last_modified)
            changes["etag"], changes["last_modified"] = kept
        columns = ", ".join(f"{name} = :{name}" for name in changes)
        self.db.execute(
            f"UPDATE listings SET {columns} WHERE source = :source AND url_key = :key",
            {**changes, "source": here[0], "key": here[1]},
        )
        self._remember_files(source, answer, row["depth"] + 1, now)
        if answer.good:
            return None
        detail = f" ({answer.detail})" if answer.detail else ""
        return f"{question.source.provider} {question.query}: {meaning(answer.outcome)}{detail}"

    def _remember_files(self, source: str, answer: SourceResult, depth: int, now: float) -> None:
        """The files that an index names. One that it says has not changed since we saw all of it waits longer."""
        if depth > MAX_DEPTH:
            return
        known = self.db.execute("SELECT count(*) FROM listings WHERE source = ?", (source,)).fetchone()[0]
        for file in answer.listings[:MAX_LISTED_FILES]:
            if known < MAX_LISTED_FILES:
                known += self._remember_file(source, file.url, depth, now)
            if file.modified is not None:
                self.db.execute(
                    "UPDATE listings SET due_at = ? WHERE source = ? AND url_key = ? AND depth > 0 "
                    "AND failures = 0 AND visited_at > ? AND visited_at < due_at",
                    (now + self.settings.revisit_listing_hours * HOUR, source, url_key(file.url), file.modified),
                )

    # -- lists and sites ---------------------------------------------------------------------------------

    def _next_given(self) -> SourceQuery | None:
        for source in self.settings.sources:
            about = (source.provider, repr(source))
            if self.frontier.forgotten.covers(source.url):
                continue
            if source.provider in ("site", "urls") and about not in self._asked:
                self._asked.add(about)
                return SourceQuery(source, self.night)
        return None


def _local(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"
