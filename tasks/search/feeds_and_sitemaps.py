"""Feeds and sitemaps: which pages they name. RSS, Atom, sitemaps and their indexes, gzip, plain lists.

Protocol: https://www.sitemaps.org/protocol.html; a sitemap may be a feed, and a feed's address is often given as the
page that points to it, so each is known by its content.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import urljoin

from lxml import etree, html

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.search.queries import Listing, SourceQuery, SourceResult
from tasks.web.http_client import Deadline, HttpClient, Response
from tasks.web.politeness import PolitenessPolicy

MAX_BYTES = 10_000_000  # after decompression; of a larger one the beginning is read
MAX_ADDRESSES = 50_000  # the protocol's own bound
MAX_REDIRECTS = 5
ACCEPT = "application/atom+xml, application/rss+xml, application/xml, text/xml, text/plain;q=0.8, text/html;q=0.5"
FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/feed+xml")
# An "&" that is no entity of XML's own, as feeds have them; libxml2 loses all that follow the first. CDATA stays.
LOOSE_AMPERSAND = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)", re.DOTALL
)
SITEMAP_LINE = re.compile(r"^\s*sitemap:\s*(\S+)", re.IGNORECASE)


class Listed:
    """The addresses of one file, in its order, and the further files it names."""

    def __init__(self) -> None:
        self.pages: list[Listing] = []
        self.files: list[Listing] = []


def ask_listing(
    question: SourceQuery,
    client: HttpClient,
    hosts: PolitenessPolicy,
    seconds: float,
    unknown: Callable[[list[Hit]], list[Hit]],
) -> SourceResult:
    """What is new in one feed or sitemap file, the latest first, asked conditionally and politely."""
    try:
        response = fetch(question, client, hosts, seconds)
        listed = parse(response.body, response.url)
    except PageRejected as refused:
        return SourceResult.of(refused)
    if listed is None:
        return SourceResult("no_listing", response.media_type)
    newest = sorted(listed.pages, key=lambda one: -(one.modified or 0.0))
    provider = question.source.provider
    # By source and not by file: a sitemap's files are renamed and split as they grow.
    hits = unknown([Hit(one.url, provider, question.source.url, rank=rank) for rank, one in enumerate(newest)])
    most = question.source.max_urls
    return SourceResult(
        "results" if listed.pages or listed.files else "no_results",
        hits=tuple(hits[:most]),
        listings=tuple(listed.files),
        cut=len(hits) > most,
        etag=response.headers.get("etag"),
        last_modified=response.headers.get("last-modified"),
    )


def fetch(question: SourceQuery, client: HttpClient, hosts: PolitenessPolicy, seconds: float) -> Response:
    """As `render` fetches: robots.txt and the host's pace on each hop.

    Raises:
        Refused: `unchanged` among others.
    """
    conditions = {"If-None-Match": question.etag, "If-Modified-Since": question.last_modified}
    headers = {"Accept": ACCEPT, **{name: value for name, value in conditions.items() if value}}
    url = question.query
    for _ in range(MAX_REDIRECTS + 1):
        hosts.permit(url)
        try:
            with hosts.turn(url):
                deadline = Deadline(seconds)
                answer = client.get(url, deadline=deadline, max_bytes=MAX_BYTES, truncate=True, headers=headers)
        except PageRejected as refused:
            if refused.retry_after:
                hosts.cool(url, refused.retry_after)
            raise
        target = answer.redirect
        if target is None:
            return answer
        url = target
    raise PageRejected("redirect_loop", f"more than {MAX_REDIRECTS} redirects")


def parse(body: bytes, base: str) -> Listed | None:
    """None for what is no listing."""
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


Found = Iterator[tuple[str, str | None, str | None]]  # what it is, its address, when it changed


def _bounded(found: Found, base: str) -> Listed:
    listed = Listed()
    for kind, address, changed in found:
        if len(listed.pages) + len(listed.files) >= MAX_ADDRESSES:
            break
        if not address or not address.strip():
            continue
        try:
            url = urljoin(base, address.strip())
        except ValueError:
            continue
        if url.startswith(("http://", "https://")):
            (listed.files if kind == "file" else listed.pages).append(Listing(url, moment(changed)))
    return listed


def _sitemap(root: etree._Element) -> Found:
    for entry in root:
        if (kind := _name(entry)) in ("url", "sitemap"):
            yield "file" if kind == "sitemap" else "page", _child(entry, "loc"), _child(entry, "lastmod")


def _rss(root: etree._Element) -> Found:
    """RSS 2.0 and, with its items beside the channel, 1.0."""
    for item in root.iter("{*}item"):
        guid = next((one for one in item if _name(one) == "guid"), None)
        permanent = guid is not None and guid.get("isPermaLink", "true").lower() == "true"
        link = _child(item, "link") or (guid.text if guid is not None and permanent else None)
        yield "page", link, _child(item, "pubDate") or _child(item, "date")


def _atom(root: etree._Element) -> Found:
    for entry in root.iter("{*}entry"):
        links = [one for one in entry if _name(one) == "link" and one.get("rel", "alternate") == "alternate"]
        pages = [one for one in links if "html" in one.get("type", "html")] or links
        if pages:
            yield "page", urljoin(entry.base or "", pages[0].get("href", "")), _child(entry, "updated")


def _plain(body: bytes, base: str) -> Listed | None:
    """One address a line, or robots.txt, which names sitemaps."""
    lines = body.decode("utf-8", "replace").splitlines()
    named = [match[1] for line in lines if (match := SITEMAP_LINE.match(line))]
    if named:
        return _bounded((("file", url, None) for url in named), base)
    addresses = [line.strip() for line in lines if line.strip().startswith(("http://", "https://"))]
    return _bounded((("page", url, None) for url in addresses), base) if addresses else None


def _page_with_feeds(body: bytes, base: str) -> Listed | None:
    """A page that points to its feed; only the first, since the others are its comments and sections."""
    try:
        page = html.document_fromstring(body[:1_000_000])
    except (etree.LxmlError, ValueError):
        return None
    links = page.xpath("//link[@href][contains(concat(' ', @rel, ' '), ' alternate ')]")
    feeds = [link.get("href") for link in links if link.get("type", "").lower() in FEED_TYPES]
    return _bounded((("file", url, None) for url in feeds[:1]), base) if feeds else None


def _unpacked(body: bytes) -> bytes:
    """`sitemap.xml.gz` is a gzip file, which HTTP knows nothing of."""
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


def moment(text: str | None) -> float | None:
    """Epoch seconds of a W3C date; feeds' older form of dates is left alone, since feeds are in order anyway."""
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
