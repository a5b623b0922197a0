"""render: fetches pages, politely and within limits, with Chromium only where a page has no text without it."""

from __future__ import annotations

import logging
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import httpx

from tasks.browser.browser import Browser
from tasks.contracts.addresses import is_web_address
from tasks.contracts.errors import BrowserError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.records import Dropped, Hit, Page
from tasks.contracts.settings import Settings
from tasks.contracts.urls import site_of
from tasks.render.host_queues import HostQueues
from tasks.render.javascript_pages import LITTLE_TEXT, ScriptHosts, main_text_length, needs_browser
from tasks.render.meta_refresh import refresh_target
from tasks.render.page_cache import PageCache
from tasks.storage.state_db import relaxed
from tasks.web.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.web.border import Border
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import HTML, Deadline, HttpClient, Response, conditional_headers, follow_redirects
from tasks.web.politeness import PolitenessPolicy
from tasks.web.suppression_list import SuppressionList
from tasks.web.usage_rights import check_response

log = logging.getLogger(__name__)

MAX_REDIRECTS = 10
MEDIA_TYPES = HTML | {"text/plain"}
PATIENCE_SECONDS = 30.0  # the longest Retry-After that is waited for
BACKOFF_SECONDS = 0.5
IN_CHROMIUM = " in Chromium"  # in the cache, a page that came by plain HTTP first
SCRIPT_OR_FRAME = re.compile(rb"<(?:script|i?frame)\b", re.IGNORECASE)


def render(hits: Sequence[Hit], renderer: Renderer) -> list[Page | Dropped]:
    """Returns a page or a named rejection for each hit, in the same order; several hosts at once, each at its pace."""
    renderer.cache.trim()
    with relaxed(renderer.db):
        return renderer.host_queues.run(hits)


def render_again(pages: Sequence[Page], renderer: Renderer) -> list[Page | Dropped]:
    """Returns what Chromium shows of each page that came by plain HTTP, in the same order."""
    with relaxed(renderer.db):
        return [renderer.visit_in_browser(page) for page in pages]


class RenderStopped(BaseException):
    """The renderer was closed while a page was being fetched: no failure of the page, as `CancelledError` is none."""


class Renderer(AbstractContextManager["Renderer"]):
    """What fetching needs, open for one run: HTTP client, politeness, page cache, and a browser once one is needed."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        db: sqlite3.Connection,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] | None = None,
        blocklists: Blocklists = NO_BLOCKLISTS,
        browser: Browser | None = None,
        fetched: Callable[[Page], None] = lambda _: None,
        border: Border | None = None,
    ) -> None:
        """`fetched` is called with each page as soon as it is there, in one of the queues' threads."""
        self.settings = settings.render
        self.layout, self.db, self.fetched = layout, db, fetched
        self.border = border or Border()
        self.clock, self.sleep = clock, sleep or self._sleep
        self._stopping = threading.Event()
        suppressed = SuppressionList(layout.forgotten)

        def reject_host(url: str) -> None:
            blocklists.reject(url)
            suppressed.reject_host(url)

        egress = EgressPolicy(settings.search.allow_loopback, reject=reject_host)
        credentials = settings.search.credentials
        self.client = HttpClient(self.settings.introduction, egress, credentials)
        self.browser = browser or Browser(self.settings, layout, egress, credentials=credentials)
        self.browser_missing: str | None = None  # why, once it is known
        self._browser_free = threading.Lock()
        lock = threading.RLock()  # guards the database connection, which all threads share
        self.politeness = PolitenessPolicy(
            db, self.client, self.settings, clock, self.sleep, blocklists, suppressed, lock
        )
        self.cache = PageCache(db, layout.pages, self.settings.cache_megabytes * 1_000_000, lock)
        self.script_hosts = ScriptHosts(db, lock)
        self.host_queues: HostQueues[Hit, Page | Dropped] = HostQueues(
            work=self.visit,
            host_of=lambda hit: site_of(hit.url),
            ready_at=self.politeness.ready_at,
            workers=self.settings.hosts_at_once,
            stop=self._stopping,
        )

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the client and the browser at once, also while pages are being fetched after an error or Ctrl-C."""
        self._stopping.set()
        self.client.close()
        while not self._browser_free.acquire(timeout=0.2):
            self.browser.kill()
        self.browser.close()
        self._browser_free.release()
        self.host_queues.join(2.0)

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise RenderStopped

    def visit(self, hit: Hit) -> Page | Dropped:
        """Returns the page, from the cache where an interrupted run left it there."""
        try:
            with self.border.crossing(hit.url):
                page = self._unused(hit) or self.cache.put(hit, self._fetch(hit), self.clock())
        except PageRejected as rejected:
            return rejected.dropped("render")
        self.fetched(page)
        return page

    def may_show_more(self, page: Page) -> bool:
        """Whether Chromium is there and may show more of a page than plain HTTP brought: it has a script or a frame."""
        if page.rendered or page.media_type not in HTML:
            return False
        if self.settings.browser == "never" or self.browser_missing:
            return False
        return bool(SCRIPT_OR_FRAME.search(self.cache.body(page)))

    def visit_in_browser(self, page: Page) -> Page | Dropped:
        """Renders a page that came by plain HTTP: one request, with a deadline and a place in the cache of its own."""
        try:
            with self.border.crossing(page.hit.url):
                shown = self._unused(page.hit, IN_CHROMIUM) or self._put_in_chromium(page)
        except PageRejected as rejected:
            return rejected.dropped("render")
        self.fetched(shown)
        return shown

    def _put_in_chromium(self, page: Page) -> Page:
        if self.browser_missing:
            raise PageRejected("browser_missing", self.browser_missing)
        hit, budget = replace(page.hit, url=page.final_url), _TimeBudget(self.settings.timeout_seconds)
        response = self._render_at_once(hit, budget)
        if response is None:
            raise PageRejected("browser_failed", "Chromium could not show it")
        return self.cache.put(page.hit, response, self.clock(), IN_CHROMIUM)

    def _unused(self, hit: Hit, view: str = "") -> Page | None:
        """Returns a page from the cache, checked against the blocklists again: they may have grown since."""
        page = self.cache.unused(hit, self.clock(), view)
        for url in (hit.url, page.final_url) if page else ():
            self.politeness.reject_blocked(url)
        return page

    def _fetch(self, hit: Hit) -> Response:
        """Fetches by plain HTTP, and by Chromium where the page, or all of its host, has no text without it."""
        budget = _TimeBudget(self.settings.timeout_seconds)
        if self._is_of_script_host(hit) and (page := self._render_at_once(hit, budget)):
            return page
        response = self._request_with_redirects(hit, budget)
        if not response.body.strip():
            raise PageRejected("empty_body", f"HTTP {response.status}")
        page = _with_evidence(response)
        if response.media_type not in HTML or self.settings.browser == "never":
            return page
        host, is_better_rendered = site_of(response.url), False
        if self.settings.browser != "auto" or needs_browser(response.body, response.url):
            page = self._render(response, budget)
            is_better_rendered = main_text_length(page.body.lower()) >= LITTLE_TEXT
        self.script_hosts.note(host, is_better_rendered, self.clock())
        return page

    # -- by plain HTTP -----------------------------------------------------------------------------------

    def _request_with_redirects(self, hit: Hit, budget: _TimeBudget) -> Response:
        """Follows HTTP redirects and refreshes by `<meta>`. Checks each hop: its loop, its robots.txt, its address."""
        self.client.forget_cookies()
        seen = set()

        def fetch(url: str) -> Response:
            # A site may redirect to the same address once it has set a cookie.
            state = (url, self.client.cookie_names())
            if state in seen:
                raise PageRejected("redirect_loop", url)
            seen.add(state)
            robots = self._permit(url)
            conditions = conditional_headers(hit.etag, hit.last_modified) if url == hit.url else {}
            return replace(self._request(url, conditions, budget), robots=robots)

        return follow_redirects(hit.url, fetch, MAX_REDIRECTS, _redirect_target)

    def _request(self, url: str, conditions: dict[str, str], budget: _TimeBudget) -> Response:
        """Sends a request; repeats it, with growing and jittered pauses, after a failure that may soon be over."""
        for attempt in range(self.settings.retries + 1):
            try:
                with self.politeness.turn(url), budget as deadline:
                    return self.client.get(
                        url,
                        deadline=deadline,
                        max_bytes=self.settings.max_page_bytes,
                        media_types=MEDIA_TYPES,
                        headers=conditions,
                    )
            except PageRejected as rejected:
                if rejected.reason == "unchanged" and not conditions:
                    raise PageRejected("http_error", "HTTP 304 without a condition") from rejected
                asked = rejected.retry_after or 0.0
                if asked > PATIENCE_SECONDS:
                    self.politeness.cool(url, asked)
                last = attempt == self.settings.retries or budget.left <= 0
                if not rejected.retry or rejected.reason == "timeout" or asked > PATIENCE_SECONDS or last:
                    raise
                self.sleep(max(asked, BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5)))
        raise AssertionError("the last attempt returns or raises")

    def _permit(self, url: str) -> str:
        """Returns what the site allows, as evidence. Raises PageRejected."""
        return f"robots.txt: {self.politeness.permit(url)}; {self.politeness.reservation(url)}"

    # -- by Chromium -------------------------------------------------------------------------------------

    def _is_of_script_host(self, hit: Hit) -> bool:
        """Whether the host's pages are known to need Chromium. A page with validators came by plain HTTP before."""
        if self.settings.browser != "auto" or self.browser_missing or hit.etag or hit.last_modified:
            return False
        return self.script_hosts.knows(site_of(hit.url), self.clock())

    def _render_at_once(self, hit: Hit, budget: _TimeBudget) -> Response | None:
        """Renders without plain HTTP first. Returns None where plain HTTP must follow, to name what went wrong."""
        robots = self._permit(hit.url)
        try:
            page = self._show(hit.url, budget)
        except PageRejected as rejected:
            if rejected.reason in ("browser_failed", "timeout"):
                raise
            return None
        if not page.history or not 200 <= page.status < 300:
            return None
        return self._permit_rendered(page, hit.url, robots)

    def _render(self, response: Response, budget: _TimeBudget) -> Response:
        """Renders a page that came by plain HTTP."""
        if self.browser_missing:
            raise PageRejected("browser_missing", self.browser_missing)
        page = self._show(response.url, budget)
        if page.status >= 400:
            raise PageRejected("http_error" if page.status < 500 else "server_error", f"HTTP {page.status} in Chromium")
        if not page.history:  # a script wrote the document
            page = replace(page, status=response.status, headers=response.headers)
        return self._permit_rendered(page, response.url, response.robots)

    def _permit_rendered(self, page: Response, asked: str, robots: str) -> Response:
        """Checks where redirects and scripts led, which is known only now; a forbidden page is not kept."""
        urls = [url.partition("#")[0] for url in (asked, *(one.url for one in page.history), page.url)]
        for url in list(dict.fromkeys(urls))[1:]:
            robots = self._permit(url)
        page = replace(page, body=self._with_frames(page))
        headers = httpx.Headers(page.headers)
        headers["content-type"] = "text/html; charset=utf-8"
        for validator in ("etag", "last-modified"):  # they describe the page before its scripts, which never changes
            headers.pop(validator, None)
        return _with_evidence(replace(page, headers=headers, robots=robots))

    def _with_frames(self, page: Response) -> bytes:
        """Returns the body with its frames in their places, without those that may not be fetched or used."""
        body = page.body
        for frame in page.frames:
            try:
                if is_web_address(frame.response.url):  # else the page wrote it
                    self._permit(frame.response.url)
                    _with_evidence(frame.response)
                inside = frame.inside
            except PageRejected as rejected:
                log.info("A frame of %s is left out: %s", page.url, rejected)
                inside = b""
            body = body.replace(frame.mark, inside)
        return body

    def _show(self, url: str, budget: _TimeBudget) -> Response:
        """Renders a URL once the browser is free and the host may be asked again."""
        with self.politeness.turn(url), self._browser_free:
            if self._stopping.is_set():
                raise RenderStopped
            self.politeness.start_pause(url)  # again, since the browser may have been busy for long
            try:
                with budget:
                    return self.browser.read(url, max(budget.left, 1.0))
            except BrowserError as error:
                self.browser_missing = str(error)
                log.warning("%s Pages that need it are left for another night.", error)
                raise PageRejected("browser_missing", str(error)) from error


class _TimeBudget:
    """Seconds that requests for one page may take, without pauses for politeness. `with budget as deadline:` spends."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self._started = 0.0

    def __enter__(self) -> Deadline:
        self._started = time.monotonic()
        return Deadline(self.left)

    def __exit__(self, *_: object) -> None:
        self.left -= time.monotonic() - self._started


def _redirect_target(response: Response) -> str | None:
    is_html = response.media_type in HTML
    return response.redirect or (refresh_target(response.body, response.url) if is_html else None)


def _with_evidence(response: Response) -> Response:
    """Adds what headers and meta tags say about use. Raises PageRejected where they forbid it."""
    lines = response.headers.get_list("x-robots-tag")
    return replace(response, robots=f"{response.robots}; {check_response(response.headers, lines, response.body)}")
