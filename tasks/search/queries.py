"""Queries to sources and their results; all outcomes of a query, in one place for code and docs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from tasks.contracts.outcomes import OUTCOMES, PageRejected
from tasks.contracts.printable import one_line
from tasks.contracts.records import Hit
from tasks.contracts.settings import Source

# The source answered. The search engine blocks us. It cannot be asked until the user changes something.
ANSWERED = {
    "results": "addresses were found",
    "no_results": "nothing (more) was found",
    "unchanged": OUTCOMES["unchanged"].meaning,
}
BLOCKED = {
    "captcha": "it asks whether we are human; no captcha is solved",
    "javascript_gate": "it holds us at a page that asks for JavaScript",
    "consent": "it asks for a consent to cookies; none is given",
    "strange_page": "neither results nor any page that we know",
    "rate_limited": "too many questions for it, or the month's allowance is spent (429)",
    "unresponsive": "none of the engines behind it answered",
}
UNAVAILABLE = {
    "key_missing": "the environment has no BRAVE_API_KEY",
    "key_refused": "it does not accept the key",
    "json_disabled": "the instance gives no JSON (its settings.yml: search: formats: [html, json])",
    "not_installed": "undetected-chromedriver or the whole Chromium is not installed (see docs/search.md)",
}
FAILED = {  # and what outcomes.py names: timeout, not_found, ...
    "no_listing": "neither a feed nor a sitemap",
    "bad_list": "the list of the profile cannot be read, or only in part",
}


def meaning(outcome: str) -> str:
    """Returns an outcome in words."""
    known = ANSWERED | BLOCKED | UNAVAILABLE | FAILED
    return known[outcome] if outcome in known else OUTCOMES[outcome].meaning


def troubles(counts: Iterable[str]) -> list[str]:
    """Returns those of a run's counts (`google captcha`, `feed 304`, ...) that say a search engine rejected us."""
    return [name for name in counts if name.rpartition(" ")[2] in BLOCKED | UNAVAILABLE]


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """One request to a source: a result page of a topic, a feed, a sitemap file, or what the profile lists."""

    source: Source
    night: str  # its date; the same query is sent again on another night
    query: str = ""  # the topic, or the address of the listing
    page: int = 0  # of the results, from 0
    attempt: int = 0  # failed attempts earlier this night
    due_at: float | None = None  # of a listing
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A further feed or sitemap file that a listing names."""

    url: str
    modified: float | None = None  # epoch seconds, as the listing says


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The outcome of a query, and its hits."""

    outcome: str
    detail: str = ""
    hits: tuple[Hit, ...] = ()
    last: bool = False  # there are no further result pages
    listings: tuple[Listing, ...] = ()
    cut: bool = False  # there are more hits than may be taken at once
    etag: str | None = None
    last_modified: str | None = None
    retry_after: float | None = None  # seconds, as the server asked

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", one_line(self.detail))

    @property
    def good(self) -> bool:
        return self.outcome in ANSWERED

    @classmethod
    def of(cls, rejected: PageRejected, **renamed: str) -> Self:
        """From a rejected request; `renamed` gives a reason the outcome that it means for this source."""
        return cls(renamed.get(rejected.reason, rejected.reason), rejected.detail, retry_after=rejected.retry_after)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        hits = tuple(Hit(**hit) for hit in values["hits"])
        listings = tuple(Listing(**listing) for listing in values["listings"])
        return cls(**{**values, "hits": hits, "listings": listings})
