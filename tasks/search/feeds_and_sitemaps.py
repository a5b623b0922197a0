"""Feeds and sitemaps: the pages that they list. RSS, Atom, sitemaps and their indexes, gzip, plain lists.

Protocol: https://www.sitemaps.org/protocol.html. A sitemap may be a feed, and users often give a page that points to
its feed, so the kind is recognised by the content.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urljoin

from lxml import etree, html

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.search.queries import Listing, SourceQuery, SourceResult
from tasks.search.stage import Searcher
from tasks.web.http_client import Deadline, HttpClient, Response, conditional_headers, follow_redirects
from tasks.web.politeness import PolitenessPolicy

MAX_BYTES = 10_000_000  # after decompression; the rest of a larger file is ignored
MAX_ADDRESSES = 50_000  # the protocol's own limit
MAX_REDIRECTS = 5
ACCEPT = "application/atom+xml, application/rss+xml, application/xml, text/xml, text/plain;q=0.8, text/html;q=0.5"
FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/feed+xml")
# An "&" that begins no entity of XML, as many feeds have it: libxml2 drops all text after the first one. Skips CDATA.
LOOSE_AMPERSAND = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)", re.DOTALL
)
SITEMAP_LINE = re.compile(r"^\s*sitemap:\s*(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParsedListing:
    """The pages and the further files that one file lists, in its order."""

    pages: list[Listing] = field(default_factory=list)
    files: list[Listing] = field(default_factory=list)


def ask_listing(query: SourceQuery, searcher: Searcher) -> SourceResult:
    """Returns what is new in one feed or sitemap file, latest first."""
    try:
        response = fetch(query, searcher.client, searcher.politeness, searcher.settings.timeout_seconds)
        listed = parse(response.body, response.url)
    except PageRejected as rejected:
        return SourceResult.of(rejected)
    if listed is None:
        return SourceResult("no_listing", response.media_type)
    newest = sorted(listed.pages, key=lambda one: -(one.modified or 0.0))
    source = query.source
    # With the source's address and not the file's: sitemaps rename and split their files as they grow.
    found = [Hit(one.url, source.provider, source.url, rank=rank) for rank, one in enumerate(newest)]
    hits = searcher.frontier.unknown(found)
    most = source.max_urls
    return SourceResult(
        "results" if listed.pages or listed.files else "no_results",
        hits=tuple(hits[:most]),
        listings=tuple(listed.files),
        cut=len(hits) > most,
        etag=response.headers.get("etag"),
        last_modified=response.headers.get("last-modified"),
    )


def fetch(query: SourceQuery, client: HttpClient, politeness: PolitenessPolicy, seconds: float) -> Response:
    """Fetches a file. Obeys robots.txt and the host's pace for each hop, as `render` does.

    Raises:
        PageRejected: `unchanged` among others.
    """
    headers = {"Accept": ACCEPT, **conditional_headers(query.etag, query.last_modified)}

    def get(url: str) -> Response:
        politeness.permit(url)
        try:
            with politeness.turn(url):
                deadline = Deadline(seconds)
                return client.get(url, deadline=deadline, max_bytes=MAX_BYTES, truncate=True, headers=headers)
        except PageRejected as rejected:
            if rejected.retry_after:
                politeness.cool(url, rejected.retry_after)
            raise

    return follow_redirects(query.query, get, MAX_REDIRECTS)


def parse(body: bytes, base: str) -> ParsedListing | None:
    """Returns what a file lists; None where it is no listing."""
    body = _unpacked(body).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not body.startswith(b"<"):
        return _plain(body, base)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, recover=True, huge_tree=False, remove_comments=True
    )
    try:
        root = etree.fromstring(
            LOOSE_AMPERSAND.sub(lambda found: found[0] if len(found[0]) > 1 else b"&amp;", body), parser
        )
    except (etree.LxmlError, ValueError):
        root = None
    readers = {"urlset": _sitemap, "sitemapindex": _sitemap, "rss": _rss, "RDF": _rss, "feed": _atom}
    if root is not None and (reader := readers.get(_name(root))):
        return _bounded(reader(root), base)
    return _page_with_feeds(body, base)


Entries = Iterator[tuple[str, str | None, str | None]]  # "page" or "file", address, date of the last change


def _bounded(entries: Entries, base: str) -> ParsedListing:
    listed = ParsedListing()
    for kind, address, changed in entries:
        if len(listed.pages) + len(listed.files) >= MAX_ADDRESSES:
            break
        if not address or not address.strip():
            continue
        try:
            url = urljoin(base, address.strip())
        except ValueError:
            continue
        if url.startswith(("http://", "https://")):
            (listed.files if kind == "file" else listed.pages).append(Listing(url, epoch_seconds(changed)))
    return listed


def _sitemap(root: etree._Element) -> Entries:
    for entry in root:
        if (kind := _name(entry)) in ("url", "sitemap"):
            yield "file" if kind == "sitemap" else "page", _child(entry, "loc"), _child(entry, "lastmod")


def _rss(root: etree._Element) -> Entries:
    """Reads RSS 2.0, and RSS 1.0, which has its items beside the channel."""
    for item in root.iter("{*}item"):
        guid = next((one for one in item if _name(one) == "guid"), None)
        permanent = guid is not None and guid.get("isPermaLink", "true").lower() == "true"
        link = _child(item, "link") or (guid.text if guid is not None and permanent else None)
        yield "page", link, _child(item, "pubDate") or _child(item, "date")


def _atom(root: etree._Element) -> Entries:
    for entry in root.iter("{*}entry"):
        links = [one for one in entry if _name(one) == "link" and one.get("rel", "alternate") == "alternate"]
        pages = [one for one in links if "html" in one.get("type", "html")] or links
        if pages:
            yield "page", urljoin(entry.base or "", pages[0].get("href", "")), _child(entry, "updated")


def _plain(body: bytes, base: str) -> ParsedListing | None:
    """Reads a list with an address in each line, or robots.txt, which names sitemaps."""
    lines = body.decode("utf-8", "replace").splitlines()
    named = [match[1] for line in lines if (match := SITEMAP_LINE.match(line))]
    if named:
        return _bounded((("file", url, None) for url in named), base)
    addresses = [line.strip() for line in lines if line.strip().startswith(("http://", "https://"))]
    return _bounded((("page", url, None) for url in addresses), base) if addresses else None


def _page_with_feeds(body: bytes, base: str) -> ParsedListing | None:
    """Reads a page that points to feeds. Takes the first only: the others are for comments and sections."""
    try:
        page = html.document_fromstring(body[:1_000_000])
    except (etree.LxmlError, ValueError):
        return None
    links = page.xpath("//link[@href][contains(concat(' ', @rel, ' '), ' alternate ')]")
    feeds = [link.get("href") for link in links if link.get("type", "").lower() in FEED_TYPES]
    return _bounded((("file", url, None) for url in feeds[:1]), base) if feeds else None


def _unpacked(body: bytes) -> bytes:
    """Decompresses a file such as `sitemap.xml.gz`, which is gzip without an HTTP header that says so."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MAX_BYTES)
    except zlib.error:
        return b""


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _child(element: etree._Element, name: str) -> str | None:
    return next((one.text for one in element if _name(one) == name and one.text), None)


def epoch_seconds(text: str | None) -> float | None:
    """Returns the epoch seconds of a W3C date; None for the older dates of feeds, which are in order anyway."""
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
