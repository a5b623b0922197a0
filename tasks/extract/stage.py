"""extract: the main text of a page, exactly as found, and the links that lead on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Document, Dropped, Extracted, Page, as_text
from tasks.extract.worker_pool import Extractor, Request
from tasks.web.usage_rights import forbids_use

LISTING = 0.5  # share of the text that is links, above which a page is a listing
PLAIN, HTML = "text/plain", "text/html"
LOCAL_TYPES = {
    ".txt": PLAIN,
    ".text": PLAIN,
    ".md": PLAIN,
    ".markdown": PLAIN,
    ".rst": PLAIN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
}
LARGEST_FILE = 20_000_000  # bytes of a file of the user's own


def extract(pages: Sequence[Page | Dropped], extractor: Extractor) -> list[Extracted]:
    """One result for each page, in the same order; what was dropped before stays dropped."""
    for page in pages:
        if isinstance(page, Page):
            extractor.begin(_request(page))
    return [Extracted(None, page) if isinstance(page, Dropped) else extract_page(page, extractor) for page in pages]


def read_ahead(page: Page, extractor: Extractor) -> None:
    """Let a child read the page while others are fetched; `extract` comes for it later."""
    extractor.begin_ahead(_request(page))


def _request(page: Page) -> Request:
    """Only a site's links are followed (`search.follow`)."""
    links = page.hit.provider == "site"
    return Request(page.body_path, page.final_url, page.charset, page.media_type, links)


def extract_page(page: Page, extractor: Extractor) -> Extracted:
    """A document, or the reason why there is none; a listing has no text of its own but has links."""
    try:
        article = extractor.read(_request(page))
    except PageRejected as refused:
        return Extracted(None, refused.dropped("extract"))
    links = tuple(article["links"])
    try:
        _refuse_media(article, page.media_type)
        _refuse_poor(article, extractor.settings.min_characters)
    except PageRejected as refused:
        return Extracted(None, refused.dropped("extract"), links)
    document = Document(
        text=article["text"],
        url=page.hit.url,
        final_url=page.final_url,
        provider=page.hit.provider,
        query=page.hit.query,
        fetched_at=page.fetched_at,
        extractor=article["extractor"],
        robots=f"{page.robots}; meta: {article['robots'] or '-'}",
        **_facts(article),
    )
    return Extracted(document, None, links)


def extract_file(path: Path, extractor: Extractor) -> Extracted:
    """A file of the user's own (.txt, .md, .html): taken whole, however short, since the user chose it."""
    media_type = LOCAL_TYPES.get(path.suffix.lower())
    if media_type is None:
        known = ", ".join(LOCAL_TYPES)
        return Extracted(None, Dropped("extract", "unsupported_media_type", f"{path.name}: not one of {known}"))
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PageRejected("too_large", f"{as_text(str(path))}: more than {LARGEST_FILE // 1_000_000} MB; split it")
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        path.open("rb").close()
    except PageRejected as refused:
        return Extracted(None, refused.dropped("extract"))
    except OSError as error:
        return Extracted(None, Dropped("extract", "unreadable", f"{as_text(str(path))}: {error.strerror}"))
    url = path.resolve().as_uri()
    try:
        article = extractor.read(Request(str(path.resolve()), url, None, media_type, links=False))
        _refuse_media(article, path.name)
        if not article["text"].strip():
            raise PageRejected("no_text", path.name)
        if "\0" in article["text"]:
            raise PageRejected("unreadable", f"{path.name}: not a text file")
    except PageRejected as refused:
        return Extracted(None, refused.dropped("extract"))
    document = Document(
        text=article["text"],
        url=url,
        final_url=url,
        provider="local",
        query=as_text(str(path)),
        fetched_at=modified.isoformat(timespec="seconds"),
        extractor=article["extractor"],
        robots="-",
        **_facts(article, title=as_text(path.name)),
    )
    return Extracted(document, None)


def _facts(article: dict[str, Any], title: str | None = None) -> dict[str, str | None]:
    """What the page says of itself, for the ledger."""
    facts = {name: article[name] for name in ("title", "published", "author", "language", "licence", "rights")}
    return facts | {"title": facts["title"] or title}


def _refuse_media(article: dict[str, Any], label: str) -> None:
    if article["media"]:
        raise PageRejected("unsupported_media_type", f"{label}: it is {article['media']}")


def _refuse_poor(article: dict[str, Any], min_characters: int) -> None:
    text = article["text"].strip()
    if forbids_use(article["robots"]):
        raise PageRejected("noindex", f"meta robots: {article['robots']}")
    if not text:
        raise PageRejected("no_text")
    if article["link_density"] > LISTING:
        raise PageRejected("listing", f"{article['link_density']:.0%} of the text is links")
    if len(text) < min_characters:
        raise PageRejected("too_short", f"{len(text)} characters")
