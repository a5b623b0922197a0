"""Search engines with an interface for programs: SearXNG and Brave. One result page a question."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlencode

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.search.queries import SourceQuery, SourceResult
from tasks.web.http_client import Deadline, HttpClient

BRAVE_KEY = "BRAVE_API_KEY"
BRAVE_COUNT = 20  # results a page, the most it gives
MAX_BYTES = 5_000_000


def ask_searxng(question: SourceQuery, client: HttpClient, seconds: float) -> SourceResult:
    """https://docs.searxng.org/dev/search_api.html"""
    fields = {"q": question.query, "format": "json", "pageno": question.page + 1, "language": question.source.hl}
    try:
        found = _get(client, f"{question.source.base}/search", fields, {}, seconds)
    except PageRejected as refused:
        named = {"forbidden": "json_disabled", "too_many_requests": "rate_limited"}
        return SourceResult(named.get(refused.reason, refused.reason), refused.detail, retry_after=refused.retry_after)
    if found is None:
        return SourceResult("json_disabled", "the answer is no JSON")
    hits = _hits(question, found.get("results"))
    silent = found.get("unresponsive_engines")
    if not hits and silent:
        return SourceResult("unresponsive", json.dumps(silent, ensure_ascii=False)[:200])
    return SourceResult("results" if hits else "no_results", hits=hits)


def ask_brave(question: SourceQuery, client: HttpClient, seconds: float) -> SourceResult:
    """https://api-dashboard.search.brave.com/app/documentation. The key leaves this function in its header only."""
    key = os.environ.get(BRAVE_KEY, "").strip()
    if not key:
        return SourceResult("key_missing")
    if not key.isascii() or not key.isprintable():
        return SourceResult("key_refused", f"{BRAVE_KEY} holds characters that no key has")
    fields = {"q": question.query, "count": BRAVE_COUNT, "offset": question.page, "search_lang": question.source.hl}
    try:
        url = f"{question.source.base}/res/v1/web/search"
        found = _get(client, url, fields, {"X-Subscription-Token": key}, seconds)
    except PageRejected as refused:
        # A wrong key gives 401, 403 or 422, as the version goes.
        named = {"forbidden": "key_refused", "too_many_requests": "rate_limited"}
        outcome = "key_refused" if refused.detail == "HTTP 422" else named.get(refused.reason, refused.reason)
        return SourceResult(outcome, refused.detail.replace(key, "(the key)"), retry_after=refused.retry_after)
    if found is None:
        return SourceResult("strange_page", "the answer is no JSON")
    web = found.get("web")
    hits = _hits(question, web.get("results") if isinstance(web, dict) else None)
    about = found.get("query")
    last = isinstance(about, dict) and about.get("more_results_available") is False
    return SourceResult("results" if hits else "no_results", hits=hits, last=last)


def _get(
    client: HttpClient, url: str, fields: dict[str, Any], headers: dict[str, str], seconds: float
) -> dict[str, Any] | None:
    """The JSON object that is answered, None where it is something else."""
    headers = {"Accept": "application/json", **headers}
    asked = f"{url}?{urlencode({name: value for name, value in fields.items() if value != ''})}"
    answer = client.get(asked, deadline=Deadline(seconds), max_bytes=MAX_BYTES, headers=headers)
    if answer.redirect:
        raise PageRejected("bad_redirect", f"to {answer.redirect}: give that as base_url")
    try:
        found = json.loads(answer.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _hits(question: SourceQuery, results: Any) -> tuple[Hit, ...]:
    addresses = [one.get("url") for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    return tuple(
        Hit(url, question.source.provider, question.query, rank=rank)
        for rank, url in enumerate(addresses)
        if isinstance(url, str)
    )
