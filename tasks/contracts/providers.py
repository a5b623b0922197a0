"""Who proposes URLs. One of your own: a file in `tasks/search/` with its function, and its line in this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Provider:
    """A kind of source in a profile.

    An `engine` is asked for the profile's topics, one result page a query, at a person's pace; a `listing` is a file of
    addresses that grows; `pages` are given by the profile itself.
    """

    kind: Literal["engine", "listing", "pages"]
    ask: str  # module:function, (SourceQuery, Searcher) -> SourceResult; imported when it is first asked
    base_url: str = ""  # of an engine that is at one place; for others the profile must give it


PROVIDERS = {
    "google": Provider("engine", "tasks.search.google:ask_google", "https://www.google.com"),
    "searxng": Provider("engine", "tasks.search.search_engines:ask_searxng"),
    "brave": Provider("engine", "tasks.search.search_engines:ask_brave", "https://api.search.brave.com"),
    "feed": Provider("listing", "tasks.search.feeds_and_sitemaps:ask_listing"),
    "sitemap": Provider("listing", "tasks.search.feeds_and_sitemaps:ask_listing"),
    "site": Provider("pages", "tasks.search.given_pages:ask_site"),
    "urls": Provider("pages", "tasks.search.given_pages:ask_urls"),
}
