"""Politeness towards each host: robots.txt (RFC 9309), usage rights, and a pause between two requests.

Also the place where blocklists and the suppression list are asked: whoever is about to fetch calls `permit` first, for
each hop of a redirect.

The state is in the database, so that the pause holds across runs and a site's files are read once a day.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from urllib.parse import urlsplit

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.settings import RenderSettings
from tasks.contracts.urls import site_of
from tasks.web import hosts_table
from tasks.web.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.web.hosts_table import COOLING_SECONDS
from tasks.web.http_client import Deadline, HttpClient, Response, follow_redirects
from tasks.web.robots_txt import RobotsTxt, decode_robots_txt
from tasks.web.suppression_list import NOTHING_SUPPRESSED, SuppressionList
from tasks.web.usage_rights import file_reservation, may_train, said_of_training

MAX_BYTES = 500_000  # RFC 9309 wants at least 500 KiB parsed; the rest may be ignored
KEEP_SECONDS = 86_400.0
KEEP_FAILURE_SECONDS = 600.0  # long enough not to ask a dead host for each of its pages
MAX_CRAWL_DELAY = 60.0
MAX_COOLING = 86_400.0  # the longest pause that a host may ask for
MAX_REDIRECTS = 5
MAX_LICENSES = 3  # lines of robots.txt that the ledger keeps
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
    """robots.txt or tdmrep.json of an origin, as last fetched."""

    fetched_at: float
    status: str
    detail: str
    body: str

    def is_fresh(self, now: float) -> bool:
        keep = KEEP_SECONDS if self.status in ("read", "absent") else KEEP_FAILURE_SECONDS
        return self.fetched_at <= now < self.fetched_at + keep


class PolitenessPolicy:
    """Says which URLs may be fetched and when. Safe for several threads.

    Waits with `sleep` and reads the time from `clock` (epoch seconds). `lock` guards the database connection, which
    others use too.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        client: HttpClient,
        settings: RenderSettings,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        blocklists: Blocklists = NO_BLOCKLISTS,
        suppressed: SuppressionList = NOTHING_SUPPRESSED,
        lock: threading.RLock | None = None,
    ) -> None:
        db.executescript(hosts_table.TABLE + TABLE)
        self.db, self.client, self.settings, self.clock, self.sleep = db, client, settings, clock, sleep
        self.blocklists, self.suppressed = blocklists, suppressed
        self._files: dict[str, SiteFile] = {}
        self._rules: dict[str, tuple[SiteFile, RobotsTxt]] = {}  # by origin
        self._lock = lock or threading.RLock()
        self._locks: dict[str, threading.Lock] = {}  # by host, and by address of a site file

    def permit(self, url: str) -> str:
        """Returns what robots.txt says, as evidence for the ledger.

        Raises:
            PageRejected: `robots_forbidden`, or why robots.txt cannot be read; `blocklisted` or `forgotten` before any
                request.
        """
        self.reject_blocked(url)
        file, rules = self._rules_of(url)
        if file.status not in ("read", "absent"):
            raise PageRejected(file.status, f"robots.txt: {file.detail}")
        if not rules.allows(url):
            raise PageRejected("robots_forbidden", str(rules.forbidding_line(url) or "robots.txt"))
        return "allowed" if file.status == "read" else "absent"

    def reservation(self, url: str) -> str:
        """Returns what the site reserves, as evidence for the ledger. Call it after `permit`.

        Raises:
            PageRejected: `reserved`.
        """
        _, rules = self._rules_of(url)
        training = said_of_training(rules.group, url)
        if training and may_train(training.value) is False:
            raise PageRejected("reserved", str(training))
        address = _origin(url) + TDMREP
        value = None
        if rules.allows(address):
            value = file_reservation(self._file(address).body, url)
        if value == 1:
            raise PageRejected("reserved", f"tdm-reservation: 1 ({TDMREP})")
        said = [str(line) for line in (training, *rules.licenses[:MAX_LICENSES]) if line]
        return "; ".join((*said, f"tdmrep.json: {'-' if value is None else value}"))

    def reject_blocked(self, url: str) -> None:
        """Raises `PageRejected` for a URL that is on a blocklist or on the suppression list."""
        self.blocklists.reject(url)
        self.suppressed.reject(url)

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Waits until the host may be asked again, then holds it: one request at a time, from all threads.

        Raises:
            PageRejected: `host_cooling`, when the host wants a pause too long to wait for.
        """
        host = site_of(url)
        with self._lock_of(host):
            pause = self.ready_at(host) - self.clock()
            # A pause over MAX_COOLING was never set: the clock was turned back.
            if COOLING_SECONDS < pause <= MAX_COOLING:
                raise PageRejected("host_cooling", f"{host} asked for a pause of {pause:.0f} more seconds")
            if 0 < pause <= COOLING_SECONDS:
                self.sleep(pause)
            self.start_pause(url)
            yield

    def start_pause(self, url: str) -> None:
        """Counts the host's next pause from now, the time of the request."""
        if (delay := self._delay(url)) > 0:
            self._set_next(site_of(url), self.clock() + delay)

    def ready_at(self, host: str) -> float:
        """Returns the epoch seconds before which the host gets no request."""
        with self._lock:
            row = self.db.execute("SELECT next_at FROM hosts WHERE host = ?", (host,)).fetchone()
        return float(row["next_at"]) if row else 0.0

    def cool(self, url: str, seconds: float) -> None:
        """Notes a pause that the host asked for (Retry-After)."""
        self._set_next(site_of(url), self.clock() + min(seconds, MAX_COOLING))

    def _delay(self, url: str) -> float:
        known = self._rules.get(_origin(url))
        asked = known[1].crawl_delay if known else 0.0
        return max(self.settings.delay_seconds, min(asked, MAX_CRAWL_DELAY))

    def _set_next(self, host: str, at: float) -> None:
        query = "INSERT INTO hosts (host, next_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET next_at = excluded.next_at"
        with self._lock:
            self.db.execute(query, (host, at))

    def _lock_of(self, name: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(name, threading.Lock())

    def _rules_of(self, url: str) -> tuple[SiteFile, RobotsTxt]:
        origin = _origin(url)
        file = self._file(f"{origin}/robots.txt")
        known = self._rules.get(origin)
        if known is None or known[0] is not file:
            known = self._rules[origin] = (file, RobotsTxt(file.body, self.settings.user_agent))
        return known

    def _file(self, address: str) -> SiteFile:
        """Returns a site file, read once a day, by one thread at a time."""
        with self._lock_of(address):
            file = self._files.get(address)
            if file is None:
                query = "SELECT fetched_at, status, detail, body FROM site_files WHERE url = ?"
                with self._lock:
                    row = self.db.execute(query, (address,)).fetchone()
                file = SiteFile(*row) if row else None
            if file is None or not file.is_fresh(self.clock()):
                file = self._read(address)
            self._files[address] = file
        return file

    def _read(self, address: str) -> SiteFile:
        try:  # redirects may lead to other hosts (RFC 9309, 2.3.1.2)
            response = follow_redirects(address, self._fetch, MAX_REDIRECTS)
            file = SiteFile(self.clock(), "read", "", decode_robots_txt(response.body))
        except PageRejected as rejected:
            detail = f"{rejected.reason} {rejected.detail}".strip()
            file = SiteFile(self.clock(), _file_status(rejected), detail, "")
        with self._lock:
            self.db.execute("INSERT OR REPLACE INTO site_files VALUES (?,?,?,?,?)", (address, *astuple(file)))
        return file

    def _fetch(self, url: str) -> Response:
        """Sends one request; tries once more after a failure that may be over in a moment."""
        self.reject_blocked(url)
        try:
            return self._get(url)
        except PageRejected as rejected:
            if not rejected.retry or rejected.reason in ("host_cooling", "timeout", "dead_host", "proxy_failed"):
                raise
            return self._get(url)

    def _get(self, url: str) -> Response:
        with self.turn(url):
            deadline = Deadline(min(DEADLINE_SECONDS, self.settings.timeout_seconds))
            return self.client.get(url, deadline=deadline, max_bytes=MAX_BYTES, truncate=True)


def _file_status(rejected: PageRejected) -> str:
    """Returns `absent` for 4xx and the like, which forbid nothing, and the outcome where the host cannot be reached."""
    if rejected.reason in ABSENT:
        return "absent"
    if rejected.reason in ("dead_host", "proxy_failed", "tls_error", "forbidden_address", "host_cooling", "bad_url"):
        return rejected.reason
    return "robots_unreachable"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
