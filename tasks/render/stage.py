"""render: fetch pages, politely and within bounds, with Chromium only where a page has no text without it."""

from __future__ import annotations

import logging
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tasks.browser.browser import Browser, RenderedPage
from tasks.contracts.errors import BrowserError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.records import Dropped, Hit, Page
from tasks.contracts.settings import Settings
from tasks.contracts.urls import site_of
from tasks.render.host_queues import HostQueues
from tasks.render.javascript_pages import LITTLE_TEXT, ScriptHosts, needs_browser, visible_text_length
from tasks.render.meta_refresh import refresh_target
from tasks.render.page_cache import Fetched, PageCache
from tasks.storage.state_db import relaxed
from tasks.web.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import Deadline, HttpClient, Response
from tasks.web.politeness import PolitenessPolicy
from tasks.web.suppression_list import SuppressionList
from tasks.web.usage_rights import check_answer

log = logging.getLogger(__name__)

MAX_REDIRECTS = 10
HTML = frozenset(("text/html", "application/xhtml+xml"))
MEDIA_TYPES = HTML | {"text/plain"}
PATIENCE_SECONDS = 30.0  # a Retry-After up to this is waited for
BACKOFF_SECONDS = 0.5


def render(hits: Sequence[Hit], renderer: Renderer) -> list[Page | Dropped]:
    """One page or one named refusal for each hit, in the same order; several hosts at once, each at its own pace."""
    renderer.cache.trim()
    with relaxed(renderer.db):
        return renderer.lanes.run(hits)


class Stopped(Exception):
    """The night is being ended while a page was under way."""


class Renderer:
    """What fetching needs, open for one night: an HTTP client, hosts' wishes, the page cache, a browser when needed."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        db: sqlite3.Connection,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] | None = None,
        blocklists: Blocklists = NO_BLOCKLISTS,
        gate: EgressPolicy | None = None,
        browser: Browser | None = None,
        fetched: Callable[[Page], None] = lambda _: None,
    ) -> None:
        """`fetched` is told of each page at once, in one of the lanes' threads."""
        self.settings = settings.render
        self.layout, self.db, self.fetched = layout, db, fetched
        self.clock, self.sleep = clock, sleep or self._sleep
        self._stopping = threading.Event()
        forgotten = SuppressionList(layout.forgotten)

        def refuse(url: str) -> None:
            blocklists.refuse(url)
            forgotten.refuse_host(url)

        gate = gate or EgressPolicy(settings.search.allow_loopback, refuse=refuse)
        self.client = HttpClient(self.settings.introduction, gate)
        lock = threading.RLock()  # around the database, which all lanes share
        self.hosts = PolitenessPolicy(db, self.client, self.settings, clock, self.sleep, blocklists, forgotten, lock)
        self.cache = PageCache(db, layout.pages, self.settings.cache_megabytes * 1_000_000, lock)
        self.script_hosts = ScriptHosts(db, lock)
        self.lanes: HostQueues[Hit, Page | Dropped] = HostQueues(
            self.visit, lambda hit: site_of(hit.url), self.hosts.ready_at, self.settings.hosts_at_once, self._stopping
        )
        self.browser = browser or Browser(self.settings, layout, gate)
        self.browser_missing: str | None = None  # why, once it is known
        self._browser_free = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """At once, also where an error or Ctrl-C left pages under way: they lose the network, then the browser."""
        self._stopping.set()
        self.client.close()
        while not self._browser_free.acquire(timeout=0.2):
            self.browser.kill()
        self.browser.close()
        self._browser_free.release()
        self.lanes.join(2.0)

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped

    def visit(self, hit: Hit) -> Page | Dropped:
        """The page, from the cache where a cut run left it there."""
        try:
            page = self._unused(hit) or self.cache.put(hit, self._fetch(hit), self.clock())
        except PageRejected as refused:
            return refused.dropped("render")
        self.fetched(page)
        return page

    def _unused(self, hit: Hit) -> Page | None:
        """From the cache, held against the blocklists again: they may have grown since it was fetched."""
        page = self.cache.unused(hit)
        for url in (hit.url, page.final_url) if page else ():
            self.hosts.refuse(url)
        return page

    def _fetch(self, hit: Hit) -> Fetched:
        """By plain HTTP; by Chromium where the page has no text without it, or its host never has."""
        budget = _Budget(self.settings.timeout_seconds)
        if self._is_of_scripts(hit) and (shown := self._at_once_in_browser(hit, budget)):
            return shown
        self.client.forget_cookies()
        answer, site = self._follow(hit, budget)
        if not answer.body.strip():
            raise PageRejected("empty_body", f"HTTP {answer.status}")
        fetched = _fetched(answer, site)
        if answer.media_type not in HTML or self.settings.browser == "never":
            return fetched
        host = site_of(answer.url)
        if self.settings.browser == "auto" and not needs_browser(answer.body):
            self.script_hosts.note(host, False, self.clock())
            return fetched
        rendered = self._in_browser(answer, site, budget)
        self.script_hosts.note(host, visible_text_length(rendered.body.lower()) >= LITTLE_TEXT, self.clock())
        return rendered

    def _follow(self, hit: Hit, budget: _Budget) -> tuple[Response, str]:
        """By hand, so that each hop is checked: its scheme, its address, its robots.txt."""
        url, seen = hit.url, set()
        for _ in range(MAX_REDIRECTS + 1):
            # A site may redirect to the same address once it has set a cookie.
            state = (url, self.client.cookie_names())
            if state in seen:
                raise PageRejected("redirect_loop", url)
            seen.add(state)
            site = self._permit(url)
            answer = self._request(url, _conditions(hit) if url == hit.url else {}, budget)
            target = answer.redirect or (refresh_target(answer.body, url) if answer.media_type in HTML else None)
            if target is None:
                return answer, site
            url = target
        raise PageRejected("redirect_loop", f"more than {MAX_REDIRECTS} redirects")

    def _request(self, url: str, conditions: dict[str, str], budget: _Budget) -> Response:
        """One answer, trying again at once (with growing, jittered pauses) what a moment may mend."""
        for attempt in range(self.settings.retries + 1):
            try:
                with self.hosts.turn(url), budget as deadline:
                    return self.client.get(
                        url,
                        deadline=deadline,
                        max_bytes=self.settings.max_page_bytes,
                        media_types=MEDIA_TYPES,
                        headers=conditions,
                    )
            except PageRejected as refused:
                if refused.reason == "unchanged" and not conditions:
                    raise PageRejected("http_error", "HTTP 304 without a condition") from refused
                asked = refused.retry_after or 0.0
                if asked > PATIENCE_SECONDS:
                    self.hosts.cool(url, asked)
                last = attempt == self.settings.retries or budget.left <= 0
                if not refused.retry or refused.reason == "timeout" or asked > PATIENCE_SECONDS or last:
                    raise
                self.sleep(max(asked, BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5)))
        raise AssertionError("the last attempt returns or raises")

    def _is_of_scripts(self, hit: Hit) -> bool:
        """Whether its host is known for pages without text. What has validators came by plain HTTP, and may again."""
        if self.settings.browser != "auto" or self.browser_missing or hit.etag or hit.last_modified:
            return False
        return self.script_hosts.knows(site_of(hit.url), self.clock())

    def _at_once_in_browser(self, hit: Hit, budget: _Budget) -> Fetched | None:
        """Without plain HTTP first. None where that is to be asked after all: for what went wrong, it has the names."""
        site = self._permit(hit.url)
        try:
            shown = self._show(hit.url, budget)
        except PageRejected as refused:
            if refused.reason in ("browser_failed", "timeout"):
                raise
            return None
        if not shown.answers or not 200 <= shown.status < 300:
            return None
        return self._rendered(shown, hit.url, site, shown.answers[-1])

    def _in_browser(self, answer: Response, site: str, budget: _Budget) -> Fetched:
        """The page that came by plain HTTP, as Chromium shows it."""
        if self.browser_missing:
            raise PageRejected("browser_missing", self.browser_missing)
        shown = self._show(answer.url, budget)
        if shown.status >= 400:
            raise PageRejected(
                "http_error" if shown.status < 500 else "server_error", f"HTTP {shown.status} in Chromium"
            )
        return self._rendered(shown, answer.url, site, shown.answers[-1] if shown.answers else answer)

    def _rendered(self, shown: RenderedPage, asked: str, site: str, answer: Response) -> Fetched:
        """No validators: they describe the shell, which never changes."""
        # Where redirects and scripts led is known only now; what may not be fetched there is not kept.
        way = [url.partition("#")[0] for url in (asked, *(one.url for one in shown.answers), shown.final_url)]
        for url in list(dict.fromkeys(way))[1:]:
            site = self._permit(url)
        body = shown.html.encode("utf-8", "replace")
        return Fetched(
            final_url=shown.final_url,
            status=answer.status,
            media_type="text/html",
            charset="utf-8",
            etag=None,
            last_modified=None,
            rendered=True,
            robots=_evidence(site, answer, body),
            body=body,
        )

    def _permit(self, url: str) -> str:
        """What the site allows, as evidence. Raises Refused."""
        return f"robots.txt: {self.hosts.permit(url)}; {self.hosts.reservation(url)}"

    def _show(self, url: str, budget: _Budget) -> RenderedPage:
        """By the one browser, when it is free and it is the host's turn."""
        with self.hosts.turn(url), self._browser_free:
            if self._stopping.is_set():
                raise Stopped
            self.hosts.begin(url)  # only now, after the pages that the browser had before
            try:
                with budget:
                    return self.browser.read(url, max(budget.left, 1.0))
            except BrowserError as error:
                self.browser_missing = str(error)
                log.warning("%s Pages that need it are left for another night.", error)
                raise PageRejected("browser_missing", str(error)) from error


class _Budget:
    """Seconds that one page may spend on requests, politeness not counted. `with budget as deadline:` spends."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self._started = 0.0

    def __enter__(self) -> Deadline:
        self._started = time.monotonic()
        return Deadline(self.left)

    def __exit__(self, *_: object) -> None:
        self.left -= time.monotonic() - self._started


def _fetched(answer: Response, site: str) -> Fetched:
    return Fetched(
        final_url=answer.url,
        status=answer.status,
        media_type=answer.media_type,
        charset=_charset(answer.headers.get("content-type", "")),
        etag=answer.headers.get("etag"),
        last_modified=answer.headers.get("last-modified"),
        rendered=False,
        robots=_evidence(site, answer, answer.body),
        body=answer.body,
    )


def _evidence(site: str, answer: Response, body: bytes) -> str:
    """What we may do with a page, as site and answer say. Raises Refused where they ask us to keep away."""
    lines = answer.headers.get_list("x-robots-tag")
    return f"{site}; {check_answer(answer.headers, lines, body).line}"


def _conditions(hit: Hit) -> dict[str, str]:
    conditions = {"If-None-Match": hit.etag, "If-Modified-Since": hit.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _charset(content_type: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    return found[1].lower() if found else None
