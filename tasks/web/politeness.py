"""What each host asks of us: robots.txt (RFC 9309), what it reserves, a pause between requests, longer after trouble.

And what the blocklists say: whoever is about to fetch asks `permit` first, at each hop of a redirect.

Kept in the state database, so that the pause holds across runs and a site's files are read once a day.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from protego import Protego

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.settings import RenderSettings
from tasks.contracts.urls import site_of
from tasks.web import hosts_table
from tasks.web.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.web.hosts_table import COOLING_SECONDS
from tasks.web.http_client import Deadline, HttpClient, Response
from tasks.web.suppression_list import NOTHING_SUPPRESSED, SuppressionList
from tasks.web.usage_rights import file_reservation, may_train, training_line

MAX_BYTES = 500_000  # RFC 9309 wants at least 500 KiB parsed; the rest may be ignored
KEEP_SECONDS = 86_400.0
KEEP_FAILURE_SECONDS = 600.0  # long enough not to ask a dead host for each of its pages
MAX_CRAWL_DELAY = 60.0
MAX_COOLING = 86_400.0
MAX_REDIRECTS = 5
DEADLINE_SECONDS = 15.0
TDMREP = "/.well-known/tdmrep.json"
ABSENT = frozenset(
    ("not_found", "forbidden", "http_error", "bad_redirect", "redirect_loop", "bad_encoding", "blocklisted")
)

TABLE = """
CREATE TABLE IF NOT EXISTS site_files (
    url TEXT PRIMARY KEY,           -- robots.txt or tdmrep.json of an origin
    fetched_at REAL NOT NULL,
    status TEXT NOT NULL,           -- read, absent, or the outcome that kept us from it
    detail TEXT NOT NULL,
    body TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class SiteFile:
    """robots.txt or tdmrep.json of an origin, as it was when it was asked for."""

    fetched_at: float
    status: str
    detail: str
    body: str

    def is_fresh(self, now: float) -> bool:
        keep = KEEP_SECONDS if self.status in ("read", "absent") else KEEP_FAILURE_SECONDS
        return self.fetched_at <= now < self.fetched_at + keep


class PolitenessPolicy:
    """Permission and pace, for several threads. Waits with `sleep`, reads time from `clock` (epoch seconds).

    `lock` guards the database's connection, which others use too.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        client: HttpClient,
        settings: RenderSettings,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        blocklists: Blocklists = NO_BLOCKLISTS,
        forgotten: SuppressionList = NOTHING_SUPPRESSED,
        lock: threading.RLock | None = None,
    ) -> None:
        db.executescript(hosts_table.TABLE + TABLE)
        self.db, self.client, self.settings, self.clock, self.sleep = db, client, settings, clock, sleep
        self.blocklists, self.forgotten = blocklists, forgotten
        self._files: dict[str, SiteFile] = {}
        self._rules: dict[str, tuple[SiteFile, Protego]] = {}  # by origin
        self._lock = lock or threading.RLock()
        self._turns: dict[str, threading.Lock] = {}

    def permit(self, url: str) -> str:
        """What robots.txt says, as evidence.

        Raises:
            Refused: `robots_forbidden`, or what kept us from reading it; `blocklisted` or `forgotten`, and then
                nothing was asked.
        """
        self.refuse(url)
        file, rules = self._rules_of(url)
        if file.status not in ("read", "absent"):
            raise PageRejected(file.status, f"robots.txt: {file.detail}")
        if not rules.can_fetch(url, self.settings.user_agent):
            raise PageRejected("robots_forbidden", "disallowed by robots.txt")
        return "allowed" if file.status == "read" else "absent"

    def reservation(self, url: str) -> str:
        """What the site reserves for itself, as evidence; asked after `permit`, before a page that we want to keep.

        Raises:
            Refused: `reserved`.
        """
        file, rules = self._rules_of(url)
        training = training_line(file.body)
        if may_train(training) is False:
            raise PageRejected("reserved", f"robots.txt: {training}")
        address = _origin(url) + TDMREP
        value = None
        if rules.can_fetch(address, self.settings.user_agent):
            value = file_reservation(self._file(address).body, url)
        if value == 1:
            raise PageRejected("reserved", f"tdm-reservation: 1 ({TDMREP})")
        said = [training] if training else []
        return "; ".join([*said, f"tdmrep.json: {'-' if value is None else value}"])

    def refuse(self, url: str) -> None:
        """Raises `PageRejected` for what a blocklist names or was forgotten."""
        self.blocklists.refuse(url)
        self.forgotten.refuse(url)

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Wait for the host's turn and take it: one request at a time, whoever asks.

        Raises:
            Refused: `host_cooling`, when the host wants a pause too long to wait for.
        """
        host = site_of(url)
        with self._one_at_a_time(host):
            pause = self.ready_at(host) - self.clock()
            # Longer than any pause we set: the clock was turned back.
            if COOLING_SECONDS < pause <= MAX_COOLING:
                raise PageRejected("host_cooling", f"{host} asked for a pause of {pause:.0f} more seconds")
            if 0 < pause <= COOLING_SECONDS:
                self.sleep(pause)
            self.begin(url)
            yield

    def begin(self, url: str) -> None:
        """The request is made now; the host's next pause is reckoned from here."""
        if (delay := self._delay(url)) > 0:
            self._set_next(site_of(url), self.clock() + delay)

    def ready_at(self, host: str) -> float:
        """No request to the host before; epoch seconds."""
        with self._lock:
            row = self.db.execute("SELECT next_at FROM hosts WHERE host = ?", (host,)).fetchone()
        return float(row["next_at"]) if row else 0.0

    def cool(self, url: str, seconds: float) -> None:
        """The host asked for a pause (Retry-After)."""
        self._set_next(site_of(url), self.clock() + min(seconds, MAX_COOLING))

    def _delay(self, url: str) -> float:
        known = self._rules.get(_origin(url))
        asked = known[1].crawl_delay(self.settings.user_agent) if known else None
        return max(self.settings.delay_seconds, min(asked or 0.0, MAX_CRAWL_DELAY))

    def _set_next(self, host: str, at: float) -> None:
        query = "INSERT INTO hosts (host, next_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET next_at = excluded.next_at"
        with self._lock:
            self.db.execute(query, (host, at))

    def _one_at_a_time(self, name: str) -> threading.Lock:
        with self._lock:
            return self._turns.setdefault(name, threading.Lock())

    def _rules_of(self, url: str) -> tuple[SiteFile, Protego]:
        origin = _origin(url)
        file = self._file(f"{origin}/robots.txt")
        known = self._rules.get(origin)
        if known is None or known[0] is not file:
            known = self._rules[origin] = (file, Protego.parse(file.body))
        return known

    def _file(self, address: str) -> SiteFile:
        """Read once a day, by one thread at a time."""
        with self._one_at_a_time(address):
            file = self._files.get(address) or self._load(address)
            if file is None or not file.is_fresh(self.clock()):
                file = self._read(address)
            self._files[address] = file
        return file

    def _load(self, address: str) -> SiteFile | None:
        query = "SELECT fetched_at, status, detail, body FROM site_files WHERE url = ?"
        with self._lock:
            row = self.db.execute(query, (address,)).fetchone()
        return SiteFile(*row) if row else None

    def _read(self, address: str) -> SiteFile:
        status, detail, body = "read", "", ""
        try:
            body = self._fetch(address)
        except PageRejected as refused:
            detail = f"{refused.reason} {refused.detail}".strip()
            status = _meaning(refused)
        file = SiteFile(self.clock(), status, detail, body)
        values = (address, file.fetched_at, status, detail, body)
        with self._lock:
            self.db.execute("INSERT OR REPLACE INTO site_files VALUES (?,?,?,?,?)", values)
        return file

    def _fetch(self, url: str) -> str:
        """Redirects are followed to other hosts too (RFC 9309, 2.3.1.2); a failure is tried once more."""
        for _ in range(MAX_REDIRECTS + 1):
            self.refuse(url)
            try:
                answer = self._get(url)
            except PageRejected as refused:
                if not refused.retry or refused.reason in ("host_cooling", "timeout", "dead_host"):
                    raise
                answer = self._get(url)
            target = answer.redirect
            if target is None:
                return answer.body.decode("utf-8", "replace").lstrip("\ufeff")
            url = target
        raise PageRejected("redirect_loop", url)

    def _get(self, url: str) -> Response:
        with self.turn(url):
            deadline = Deadline(min(DEADLINE_SECONDS, self.settings.timeout_seconds))
            return self.client.get(url, deadline=deadline, max_bytes=MAX_BYTES, truncate=True)


def _meaning(refused: PageRejected) -> str:
    """4xx and the like: no rules, all is allowed. A host that cannot be had at all keeps its own outcome's name."""
    if refused.reason in ABSENT:
        return "absent"
    if refused.reason in ("dead_host", "tls_error", "forbidden_address", "host_cooling", "bad_url"):
        return refused.reason
    return "robots_unreachable"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
