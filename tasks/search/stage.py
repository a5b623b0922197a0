"""search: finds URLs worth a visit. Sources give the first hits; links of visited pages give more."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cached_property
from pkgutil import resolve_name
from urllib.parse import urlsplit

from tasks.contracts.addresses import is_web_address
from tasks.contracts.credentials import without_user
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.providers import PROVIDERS
from tasks.contracts.records import Hit
from tasks.contracts.settings import Settings, Source
from tasks.contracts.urls import site_of, url_key
from tasks.search.frontier import Frontier
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.source_schedule import SourceSchedule
from tasks.web.border import Border
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import HttpClient
from tasks.web.politeness import PolitenessPolicy

# Files that have no text. PDFs are not among them, so that they get an outcome with a name.
MEDIA = (
    *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".ico", ".mp3", ".mp4", ".webm", ".avi", ".mov", ".ogg"),
    *(".css", ".js", ".mjs", ".woff", ".woff2", ".ttf", ".zip", ".gz", ".bz2", ".xz", ".tar", ".whl", ".exe", ".dmg"),
)


def search(question: SourceQuery, searcher: Searcher) -> SourceResult:
    """Returns what a source answers, each URL once, without media files; a rejection is a result, too."""
    searcher.wait(question.source)
    provider = question.source.provider
    ask = searcher.providers.get(provider) or resolve_name(PROVIDERS[provider].ask)
    try:
        with searcher.border.crossing(f"{question.source.name} {question.query}"):
            result: SourceResult = ask(question, searcher)
            hits = _each_once(replace(hit, url=without_user(hit.url)) for hit in result.hits if _is_text(hit.url))
            listings = tuple(
                replace(one, url=without_user(one.url)) for one in result.listings if is_web_address(one.url)
            )
    except PageRejected as rejected:
        return SourceResult.of(rejected)
    suppressed = searcher.frontier.suppressed
    return replace(
        result,
        # The result is stored, so no forgotten address may be in it.
        hits=tuple(
            replace(hit, url=suppressed.pseudonym(hit.url)) if suppressed.covers(hit.url) else hit for hit in hits
        ),
        listings=tuple(one for one in listings if not suppressed.covers(one.url)),
    )


class Searcher(AbstractContextManager["Searcher"]):
    """What asking needs, open for one run: HTTP clients, politeness, the schedule of sources."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        frontier: Frontier,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        providers: dict[str, Ask] | None = None,
        border: Border | None = None,
    ) -> None:
        self.settings, self.layout, self.frontier = settings.render, layout, frontier
        self.clock, self.sleep = clock, sleep
        self.border = border or Border()
        self.providers = providers or {}  # in place of those in the table
        self.schedule = SourceSchedule(frontier, settings.search, clock())
        self._loopback, self._credentials = settings.search.allow_loopback, settings.search.credentials
        self._engines: dict[str, HttpClient] = {}
        self._opened = ExitStack()

    @cached_property
    def client(self) -> HttpClient:
        return self._open_client(EgressPolicy(self._loopback, reject=self.frontier.blocklists.reject))

    def engine(self, source: Source) -> HttpClient:
        """Returns the client for a search engine, which may be at any address that the profile gives."""
        if source.base not in self._engines:
            self._engines[source.base] = self._open_client(EgressPolicy(source.opened))
        return self._engines[source.base]

    @cached_property
    def politeness(self) -> PolitenessPolicy:
        lists = (self.frontier.blocklists, self.frontier.suppressed)
        return PolitenessPolicy(self.frontier.db, self.client, self.settings, self.clock, self.sleep, *lists)

    def _open_client(self, egress: EgressPolicy) -> HttpClient:
        client = HttpClient(self.settings.introduction, egress, self._credentials)
        self._opened.callback(client.close)
        return client

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def next(self) -> SourceQuery | None:
        return self.schedule.next(self.clock())

    def record_result(self, query: SourceQuery, result: SourceResult) -> tuple[int, str | None]:
        """Returns the number of new hits, and a message for the user where there is a problem."""
        return self.schedule.record_result(query, result, self.clock())

    def wait(self, source: Source) -> None:
        """Waits between two queries to one search engine, about as long as a person would."""
        pause = self.schedule.pause(source, self.clock()) if source.kind == "engine" else 0.0
        if pause > 0:
            self.sleep(pause + source.pause_seconds * random.uniform(0.0, 0.5))


Ask = Callable[[SourceQuery, Searcher], SourceResult]


def follow(hit: Hit, links: Iterable[str], sources: Iterable[Source]) -> list[Hit]:
    """Returns the links of a visited page that are worth a visit: those within the site of its source."""
    source = next((s for s in sources if s.provider == hit.provider == "site" and s.url == hit.query), None)
    if source is None or hit.depth >= source.max_depth:
        return []
    home = _home(source.url)
    inside = (link for link in links if _home(link) == home and _is_text(link))
    return _each_once(Hit(link, "site", hit.query, hit.depth + 1, rank) for rank, link in enumerate(inside))


def _is_text(url: str) -> bool:
    return is_web_address(url) and not urlsplit(url).path.lower().endswith(MEDIA)


def _home(url: str) -> str:
    """Returns the site without `www.`, since start pages often redirect to or from it."""
    return site_of(url).removeprefix("www.") if is_web_address(url) else ""


def _each_once(hits: Iterable[Hit]) -> list[Hit]:
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(url_key(hit.url), hit)
    return list(first.values())
