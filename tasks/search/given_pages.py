"""Pages that the profile itself gives: the start page of a site, a list of URLs."""

from __future__ import annotations

from pathlib import Path

from tasks.contracts.addresses import is_web_address
from tasks.contracts.records import Hit
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher


def ask_site(query: SourceQuery, _: Searcher) -> SourceResult:
    """Returns the start page; `stage.follow` finds the others."""
    start = query.source.url
    return SourceResult("results", hits=(Hit(start, "site", start),))


def ask_urls(query: SourceQuery, _: Searcher) -> SourceResult:
    """Returns the URLs in the profile, then those in its file, as far as they are URLs."""
    source = query.source
    hits = [Hit(url, "urls", "profile", rank=rank) for rank, url in enumerate(source.urls)]
    if not source.file:
        return SourceResult("results", hits=tuple(hits))
    path = Path(source.file)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return SourceResult("bad_list", f"{path}: {error}", hits=tuple(hits))
    urls = [(number, line.split(" #")[0].strip()) for number, line in enumerate(lines, 1)]
    urls = [(number, url) for number, url in urls if url and not url.startswith("#")]
    good = [url for _, url in urls if is_web_address(url)]
    hits += [Hit(url, "urls", path.name, rank=rank) for rank, url in enumerate(good)]
    if len(good) == len(urls):
        return SourceResult("results", hits=tuple(hits))
    number, url = next((number, url) for number, url in urls if not is_web_address(url))
    others = f", and {len(urls) - len(good) - 1} other lines" if len(urls) > len(good) + 1 else ""
    detail = f"{path}, line {number}: {url[:200]!r} is not a web address (http:// or https://){others}"
    return SourceResult("bad_list", detail, hits=tuple(hits))
