"""Search engines with an API: SearXNG and Brave. One query returns one result page."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlencode

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher
from tasks.web.http_client import Deadline

BRAVE_KEY = "BRAVE_API_KEY"
BRAVE_COUNT = 20  # results a page, its maximum
MAX_BYTES = 5_000_000


def ask_searxng(query: SourceQuery, searcher: Searcher) -> SourceResult:
    """Asks SearXNG (https://docs.searxng.org/dev/search_api.html)."""
    fields = {"q": query.query, "format": "json", "pageno": query.page + 1, "language": query.source.hl}
    try:
        found = _get(query, searcher, "/search", fields)
    except PageRejected as rejected:
        return SourceResult.of(rejected, forbidden="json_disabled", too_many_requests="rate_limited")
    if found is None:
        return SourceResult("json_disabled", "the answer is no JSON")
    hits = _hits(query, found.get("results"))
    silent = found.get("unresponsive_engines")
    if not hits and silent:
        return SourceResult("unresponsive", json.dumps(silent, ensure_ascii=False)[:200])
    return SourceResult("results" if hits else "no_results", hits=hits)


def ask_brave(query: SourceQuery, searcher: Searcher) -> SourceResult:
    """Asks Brave (https://api-dashboard.search.brave.com/app/documentation). The key is sent in its header only."""
    key = os.environ.get(BRAVE_KEY, "").strip()
    if not key:
        return SourceResult("key_missing")
    if not key.isascii() or not key.isprintable():
        return SourceResult("key_refused", f"{BRAVE_KEY} holds characters that no key has")
    fields = {"q": query.query, "count": BRAVE_COUNT, "offset": query.page, "search_lang": query.source.hl}
    try:
        found = _get(query, searcher, "/res/v1/web/search", fields, {"X-Subscription-Token": key})
    except PageRejected as rejected:
        # A wrong key gives 401, 403 or 422, depending on the version.
        reason = "forbidden" if rejected.detail == "HTTP 422" else rejected.reason
        rejected = PageRejected(reason, rejected.detail.replace(key, "(the key)"), rejected.retry_after)
        return SourceResult.of(rejected, forbidden="key_refused", too_many_requests="rate_limited")
    if found is None:
        return SourceResult("strange_page", "the answer is no JSON")
    web = found.get("web")
    hits = _hits(query, web.get("results") if isinstance(web, dict) else None)
    about = found.get("query")
    last = isinstance(about, dict) and about.get("more_results_available") is False
    return SourceResult("results" if hits else "no_results", hits=hits, last=last)


def _get(
    query: SourceQuery, searcher: Searcher, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None
) -> dict[str, Any] | None:
    """Returns the JSON object of the response, None where it is something else."""
    fields = {name: value for name, value in fields.items() if value != ""}
    response = searcher.engine(query.source).get(
        f"{query.source.base}{path}?{urlencode(fields)}",
        deadline=Deadline(searcher.settings.timeout_seconds),
        max_bytes=MAX_BYTES,
        headers={"Accept": "application/json", **(headers or {})},
    )
    if response.redirect:
        raise PageRejected("bad_redirect", f"to {response.redirect}: give that as base_url")
    try:
        found = json.loads(response.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _hits(query: SourceQuery, results: Any) -> tuple[Hit, ...]:
    urls = [one.get("url") for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    ranked = ((rank, url) for rank, url in enumerate(urls) if isinstance(url, str))
    return tuple(Hit(url, query.source.provider, query.query, rank=rank) for rank, url in ranked)
