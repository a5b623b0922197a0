"""extract: the main text of a page, exactly as found, and the links that lead on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Document, Dropped, Extracted, Page, as_text
from tasks.extract.extracted_page import ExtractedPage, PageFile
from tasks.extract.worker_pool import Extractor
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
            prefetch(page, extractor)
    return [Extracted(None, page) if isinstance(page, Dropped) else extract_page(page, extractor) for page in pages]


def prefetch(page: Page, extractor: Extractor) -> None:
    """Let a child extract the page while others are fetched; `extract` collects the result later."""
    extractor.prefetch(_file_of(page, extractor))


def _file_of(page: Page, extractor: Extractor) -> PageFile:
    links = page.hit.provider == "site"  # only a site's links are followed (`search.follow`)
    return extractor.file(page.body_path, page.final_url, page.charset, page.media_type, links=links)


def extract_page(page: Page, extractor: Extractor) -> Extracted:
    """A document, or the reason why there is none; a listing has no text of its own but has links."""
    links: tuple[str, ...] = ()
    confidence = 1.0
    try:
        with extractor.border.crossing(page.hit.url):
            found = extractor.extract(_file_of(page, extractor))
            links, confidence = found.links, found.confidence
            _refuse_media(found, page.media_type)
            _refuse_poor(found, extractor.settings.min_characters)
            document = _document(page, found)
    except PageRejected as rejected:
        return Extracted(None, rejected.dropped("extract"), links, confidence)
    return Extracted(document, None, links, confidence)


def _document(page: Page, found: ExtractedPage) -> Document:
    return Document(
        text=found.text,
        url=page.hit.url,
        final_url=page.final_url,
        provider=page.hit.provider,
        query=page.hit.query,
        fetched_at=page.fetched_at,
        extractor=found.extractor,
        robots=f"{page.robots}; meta: {found.metadata.robots or '-'}",
        **_claims(found),
        kind=found.kind,
        confidence=found.confidence,
        rendered=page.rendered,
        body_sha256=page.body_sha256,
    )


def prefetch_file(path: Path, extractor: Extractor) -> None:
    """Let a child read a file of the user's own while others are stored; `extract_file` collects the result later."""
    if media_type := LOCAL_TYPES.get(path.suffix.lower()):
        extractor.prefetch(_local_file(path, media_type, extractor))


def _local_file(path: Path, media_type: str, extractor: Extractor) -> PageFile:
    return extractor.file(str(path), path.as_uri(), None, media_type, links=False)


def extract_file(path: Path, extractor: Extractor) -> Extracted:
    """A file of the user's own (.txt, .md, .html): taken whole, however short, since the user chose it.

    `path` is the one that the ledger names: absolute, without links.
    """
    media_type = LOCAL_TYPES.get(path.suffix.lower())
    if media_type is None:
        known = ", ".join(LOCAL_TYPES)
        return Extracted(None, Dropped("extract", "unsupported_media_type", f"{path.name}: not one of {known}"))
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PageRejected("too_large", f"{as_text(str(path))}: more than {LARGEST_FILE // 1_000_000} MB; split it")
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        with path.open("rb") as file:
            body_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except PageRejected as refused:
        return Extracted(None, refused.dropped("extract"))
    except OSError as error:
        return Extracted(None, Dropped("extract", "unreadable", f"{as_text(str(path))}: {error.strerror}"))
    wanted = _local_file(path, media_type, extractor)
    try:
        found = extractor.extract(wanted)
        _refuse_media(found, path.name)
        if not found.text.strip():
            raise PageRejected("no_text", path.name)
        if "\0" in found.text:
            raise PageRejected("unreadable", f"{path.name}: not a text file")
    except PageRejected as refused:
        return Extracted(None, refused.dropped("extract"))
    document = Document(
        text=found.text,
        url=wanted.url,
        final_url=wanted.url,
        provider="local",
        query=as_text(str(path)),
        fetched_at=modified.isoformat(timespec="seconds"),
        extractor=found.extractor,
        robots="-",
        **_claims(found, title=as_text(path.name)),
        kind=found.kind,
        confidence=found.confidence,
        body_sha256=body_sha256,
    )
    return Extracted(document, None, confidence=found.confidence)


def _claims(found: ExtractedPage, title: str | None = None) -> dict[str, Any]:
    """What the page says of itself, for the ledger."""
    names = ("title", "published", "author", "language", "licence", "rights")
    claims = {name: getattr(found.metadata, name) for name in names}
    return claims | {"title": claims["title"] or title}


def _refuse_media(found: ExtractedPage, label: str) -> None:
    if found.media:
        raise PageRejected("unsupported_media_type", f"{label}: it is {found.media}")


def _refuse_poor(found: ExtractedPage, min_characters: int) -> None:
    text = found.text.strip()
    if forbids_use(found.metadata.robots):
        raise PageRejected("noindex", f"meta robots: {found.metadata.robots}")
    if not text:
        raise PageRejected("no_text")
    if found.link_density > LISTING:
        raise PageRejected("listing", f"{found.link_density:.0%} of the text is links")
    if len(text) < min_characters:
        raise PageRejected("too_short", f"{len(text)} characters")
