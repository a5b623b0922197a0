"""render: fetch pages, politely and within bounds, with Chromium only where a page has no text without it."""

from __future__ import annotations

import logging
import random
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tasks.blocklists import NO_BLOCKLISTS, Blocklists
from tasks.browser import Browser
from tasks.errors import BrowserError
from tasks.forgotten import Forgotten
from tasks.gate import Gate
from tasks.http_client import Deadline, HttpClient, Response
from tasks.layout import Layout
from tasks.outcomes import Refused, forbids_use
from tasks.page_cache import Fetched, PageCache
from tasks.records import Dropped, Hit, Page
from tasks.robots import Hosts
from tasks.settings import Settings

log = logging.getLogger(__name__)

MAX_REDIRECTS = 10
HTML = frozenset(("text/html", "application/xhtml+xml"))
MEDIA_TYPES = HTML | {"text/plain"}
PATIENCE_SECONDS = 30.0  # a Retry-After up to this is waited for
BACKOFF_SECONDS = 0.5
LITTLE_TEXT = 250  # characters; a page with scripts and less text is probably made by them
SOME_TEXT = 1500  # with an empty container for an app, navigation and notices may come to this much

APP_SHELL = re.compile(
    rb"<(div|main|section|article)\b[^<>]*\bid\s*=\s*[\"']?(?:root|app|application|__next|__nuxt|svelte|___gatsby|"
    rb"content|main|article)[\"' >][^<>]*>?\s*</\1>"
)
ASKS_FOR_SCRIPTS = re.compile(rb"(enable|requires?|needs?|without|turn on) javascript")
TAG = re.compile(rb"<[^<>]*>")
SPACE = re.compile(rb"\s+")


def render(hits: Sequence[Hit], renderer: Renderer) -> list[Page | Dropped]:
    """One page or one named refusal for each hit, in the same order."""
    renderer.cache.trim()
    return [renderer.visit(hit) for hit in hits]


class Renderer:
    """What fetching needs, open for one night: an HTTP client, hosts' wishes, the page cache, a browser when needed."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        db: sqlite3.Connection,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        blocklists: Blocklists = NO_BLOCKLISTS,
        browser: Browser | None = None,
    ) -> None:
        self.settings = settings.render
        self.layout = layout
        self.clock, self.sleep = clock, sleep
        gate = Gate(settings.search.allow_loopback)
        self.client = HttpClient(self.settings.user_agent, gate)
        self.hosts = Hosts(db, self.client, self.settings, clock, sleep, blocklists, Forgotten(layout.forgotten))
        self.cache = PageCache(db, layout.pages, self.settings.cache_megabytes * 1_000_000)
        self.browser = browser or Browser(self.settings, layout, gate)
        self.browser_missing: str | None = None  # why, once it is known

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.browser.close()
        self.client.close()

    def visit(self, hit: Hit) -> Page | Dropped:
        """The page, from the cache where a cut run left it there."""
        try:
            return self._unused(hit) or self.cache.put(hit, self._fetch(hit), self.clock())
        except Refused as refused:
            return refused.dropped("render")

    def _unused(self, hit: Hit) -> Page | None:
        """From the cache, held against the blocklists again: they may have grown since it was fetched."""
        page = self.cache.unused(hit)
        for url in (hit.url, page.final_url) if page else ():
            self.hosts.refuse(url)
        return page

    def _fetch(self, hit: Hit) -> Fetched:
        budget = _Budget(self.settings.timeout_seconds)
        self.client.forget_cookies()
        answer, robots = self._follow(hit, budget)
        header = answer.headers.get("x-robots-tag", "")
        if forbids_use(header):
            raise Refused("noindex", f"X-Robots-Tag: {header}")
        if not answer.body.strip():
            raise Refused("empty_body", f"HTTP {answer.status}")
        fetched = Fetched(
            final_url=answer.url,
            status=answer.status,
            media_type=answer.media_type,
            charset=_charset(answer.headers.get("content-type", "")),
            etag=answer.headers.get("etag"),
            last_modified=answer.headers.get("last-modified"),
            rendered=False,
            robots=f"robots.txt: {robots}; x-robots-tag: {header or '-'}",
            body=answer.body,
        )
        return self._in_browser(fetched, budget) if self._wants_browser(fetched) else fetched

    def _follow(self, hit: Hit, budget: _Budget) -> tuple[Response, str]:
        """By hand, so that each hop is checked: its scheme, its address, its robots.txt."""
        url, seen = hit.url, set()
        for _ in range(MAX_REDIRECTS + 1):
            # A site may redirect to the same address once it has set a cookie.
            state = (url, self.client.cookie_names())
            if state in seen:
                raise Refused("redirect_loop", url)
            seen.add(state)
            robots = self.hosts.permit(url)
            answer = self._request(url, _conditions(hit) if url == hit.url else {}, budget)
            target = answer.redirect
            if target is None:
                return answer, robots
            url = target
        raise Refused("redirect_loop", f"more than {MAX_REDIRECTS} redirects")

    def _request(self, url: str, conditions: dict[str, str], budget: _Budget) -> Response:
        """One answer, trying again at once (with growing, jittered pauses) what a moment may mend."""
        for attempt in range(self.settings.retries + 1):
            self.hosts.wait(url)
            try:
                with budget as deadline:
                    return self.client.get(
                        url,
                        deadline=deadline,
                        max_bytes=self.settings.max_page_bytes,
                        media_types=MEDIA_TYPES,
                        headers=conditions,
                    )
            except Refused as refused:
                if refused.reason == "unchanged" and not conditions:
                    raise Refused("http_error", "HTTP 304 without a condition") from refused
                asked = refused.retry_after or 0.0
                if asked > PATIENCE_SECONDS:
                    self.hosts.cool(url, asked)
                last = attempt == self.settings.retries or budget.left <= 0
                if not refused.retry or refused.reason == "timeout" or asked > PATIENCE_SECONDS or last:
                    raise
                self.sleep(max(asked, BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5)))
        raise AssertionError("the last attempt returns or raises")

    def _wants_browser(self, fetched: Fetched) -> bool:
        if fetched.media_type not in HTML or self.settings.browser == "never":
            return False
        return self.settings.browser == "always" or needs_browser(fetched.body)

    def _in_browser(self, fetched: Fetched, budget: _Budget) -> Fetched:
        """The page as Chromium shows it. No validators: they describe the shell, which never changes."""
        if self.browser_missing:
            raise Refused("browser_missing", self.browser_missing)
        self.hosts.wait(fetched.final_url)
        try:
            shown = self.browser.read(fetched.final_url, max(budget.left, 1.0))
        except BrowserError as error:
            self.browser_missing = str(error)
            log.warning("%s Pages that need it are left for another night.", error)
            raise Refused("browser_missing", str(error)) from error
        if shown.status >= 400:
            raise Refused("http_error" if shown.status < 500 else "server_error", f"HTTP {shown.status} in Chromium")
        if shown.final_url.split("#")[0] != fetched.final_url:
            self.hosts.permit(shown.final_url)  # a script led elsewhere; what may not be fetched there is not kept
        return Fetched(
            final_url=shown.final_url,
            status=shown.status or fetched.status,
            media_type="text/html",
            charset="utf-8",
            etag=None,
            last_modified=None,
            rendered=True,
            robots=fetched.robots,
            body=shown.html.encode("utf-8", "replace"),
        )


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


def needs_browser(body: bytes) -> bool:
    """Whether a page seems to get its text from scripts: little text beside scripts, or an empty shell for an app."""
    lower = body.lower()
    if b"<script" not in lower:
        return False
    text = visible_text_length(lower)
    if text < LITTLE_TEXT:
        return True
    return text < SOME_TEXT and bool(APP_SHELL.search(lower) or ASKS_FOR_SCRIPTS.search(lower))


def visible_text_length(lower: bytes) -> int:
    """Bytes of text outside of tags, scripts and the like; a linear scan, whatever the page."""
    for tag in (b"script", b"style", b"noscript", b"template", b"head"):
        lower = _without(lower, tag)
    return len(SPACE.sub(b" ", TAG.sub(b" ", lower)).strip())


def _without(lower: bytes, tag: bytes) -> bytes:
    """The page without the elements of one name (`<head` is not `<header`)."""
    opening, closing = re.compile(rb"<" + tag + rb"(?=[\s>/])"), b"</" + tag
    kept, position = [], 0
    while start := opening.search(lower, position):
        kept.append(lower[position : start.start()])
        end = lower.find(closing, start.end())
        if end < 0:
            return b" ".join(kept)
        position = end  # the closing tag goes with the other tags
    return b" ".join([*kept, lower[position:]])


def _conditions(hit: Hit) -> dict[str, str]:
    conditions = {"If-None-Match": hit.etag, "If-Modified-Since": hit.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _charset(content_type: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    return found[1].lower() if found else None
