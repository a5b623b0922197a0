"""Pages that the profile itself gives: the start page of a site, a list of URLs."""

from __future__ import annotations

from pathlib import Path

from tasks.contracts.addresses import is_web_address
from tasks.contracts.errors import SettingsError
from tasks.contracts.records import Hit
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher


def ask_site(query: SourceQuery, _: Searcher) -> SourceResult:
    """Returns the start page; `stage.follow` finds the others."""
    start = query.source.url
    return SourceResult("results", hits=(_checked(Hit(start, "site", start)),))


def ask_urls(query: SourceQuery, _: Searcher) -> SourceResult:
    """Returns the URLs in the profile, then those in its file."""
    source = query.source
    listed = [_checked(Hit(url, "urls", "profile", rank=rank)) for rank, url in enumerate(source.urls)]
    return SourceResult("results", hits=(*listed, *(_read_list(Path(source.file)) if source.file else [])))


def _checked(hit: Hit) -> Hit:
    if not is_web_address(hit.url):
        raise SettingsError(f"search.sources: {hit.url!r} is not a web address (http:// or https://)")
    return hit


def _read_list(path: Path) -> list[Hit]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"search.sources: cannot read the list of URLs {path}: {error}") from error
    hits: list[Hit] = []
    for number, line in enumerate(lines, 1):
        url = line.split(" #")[0].strip()
        if not url or url.startswith("#"):
            continue
        if not is_web_address(url):
            raise SettingsError(f"{path}, line {number}: {url!r} is not a web address (http:// or https://)")
        hits.append(Hit(url, "urls", path.name, rank=len(hits)))
    return hits
