"""search: which URLs are worth a visit. Providers give the first hits; links of visited pages give more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from tasks.errors import SettingsError
from tasks.records import Hit
from tasks.settings import Source
from tasks.urls import site_of, url_key

# Never text; asking costs the site and us. PDFs are asked for, so that they end in an outcome with a name.
MEDIA = (
    *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".ico", ".mp3", ".mp4", ".webm", ".avi", ".mov", ".ogg"),
    *(".css", ".js", ".mjs", ".woff", ".woff2", ".ttf", ".zip", ".gz", ".bz2", ".xz", ".tar", ".whl", ".exe", ".dmg"),
)


def search(source: Source) -> list[Hit]:
    """The hits that a source gives by itself, best first, each URL once.

    Raises:
        SettingsError: the source's file cannot be read, or holds something that is no URL.
    """
    hits = PROVIDERS[source.provider](source)
    for hit in hits:
        if not is_web_address(hit.url):
            raise SettingsError(f"search.sources: {hit.url!r} is not a web address (http:// or https://)")
    return _each_once(hits)


def follow(hit: Hit, links: Iterable[str], sources: Iterable[Source]) -> list[Hit]:
    """The hits among a visited page's links: those within the site that its source starts from."""
    source = next((s for s in sources if s.provider == hit.provider == "site" and s.url == hit.query), None)
    if source is None or hit.depth >= source.max_depth:
        return []
    home = _home(source.url)
    inside = (link for link in links if _home(link) == home and not urlsplit(link).path.lower().endswith(MEDIA))
    return _each_once(Hit(link, "site", hit.query, hit.depth + 1, rank) for rank, link in enumerate(inside))


def search_site(source: Source) -> list[Hit]:
    """The start page; `follow` does the rest."""
    return [Hit(source.url, "site", source.url)]


def search_urls(source: Source) -> list[Hit]:
    """The listed URLs, then the file's."""
    listed = [Hit(url, "urls", "profile", rank=rank) for rank, url in enumerate(source.urls)]
    return listed + (_read_list(Path(source.file)) if source.file else [])


PROVIDERS: dict[str, Callable[[Source], list[Hit]]] = {"site": search_site, "urls": search_urls}


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


def is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _home(url: str) -> str:
    """Sites answer with and without `www.`; a start page often redirects from one to the other."""
    return site_of(url).removeprefix("www.") if is_web_address(url) else ""


def _each_once(hits: Iterable[Hit]) -> list[Hit]:
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(url_key(hit.url), hit)
    return list(first.values())
