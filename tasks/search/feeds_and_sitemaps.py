"""Feeds and sitemaps: the pages that they list. RSS, Atom, JSON Feed, sitemaps and their indexes, gzip, plain lists.

Protocol: https://www.sitemaps.org/protocol.html. A sitemap may be a feed, and users often give a page that points to
its feed, so the kind is recognised by the content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from html.entities import html5
from typing import Any
from urllib.parse import urljoin

from lxml import etree, html

from tasks.contracts.addresses import is_web_address
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.search.listing_text import listing_text
from tasks.search.queries import Listing, SourceQuery, SourceResult
from tasks.search.stage import Searcher
from tasks.web.http_client import Deadline, HttpClient, Response, conditional_headers, follow_redirects
from tasks.web.politeness import PolitenessPolicy

MAX_BYTES = 10_000_000  # after decompression; the rest of a larger file is ignored
MAX_ADDRESSES = 50_000  # the protocol's own limit
MAX_REDIRECTS = 5
ACCEPT = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/xml, text/xml, text/plain;q=0.8, "
    "text/html;q=0.5"
)
FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/feed+xml")
# An "&" that begins no entity of XML, as many feeds have it: libxml2 drops all text after the first one. Skips CDATA.
LOOSE_AMPERSAND = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)(\w{1,32};)?", re.DOTALL
)
NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f]")
REFERENCE = re.compile(r"&#(?:(\d{1,7})|x([0-9a-fA-F]{1,7}));")
# Where a listing may begin behind warnings of a server's program.
BEGINNING = re.compile(r"<\?xml\s|<(?:rss|feed|urlset|sitemapindex|rdf:RDF)\b", re.IGNORECASE)
JUNK = 4_000  # characters before the listing
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
        listed = parse(response.body, response.url, response.charset)
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


def parse(body: bytes, base: str, charset: str | None = None) -> ParsedListing | None:
    """Returns what a file lists; None where it is no listing.

    Args:
        base: the file's address.
        charset: the label in the HTTP header, if there is one.
    """
    text = listing_text(body, charset, MAX_BYTES).lstrip("\ufeff\0 \t\r\n")
    if text.startswith("{"):
        return _bounded(_json_feed(text), base) if "jsonfeed.org" in text[:JUNK] else None
    beginnings = [found.start() for found in BEGINNING.finditer(text[:JUNK])][:5]
    for start in dict.fromkeys((0, *beginnings) if text.startswith("<") else beginnings):
        root = _root(text[start:])
        if root is not None and (reader := READERS.get(_name(root))):
            return _bounded(reader(root), base)
    return _page_with_feeds(text, base) if text.startswith("<") else _plain(text, base)


def _root(text: str) -> etree._Element | None:
    parser = etree.XMLParser(
        encoding="utf-8",  # over what the declaration says
        resolve_entities=False,
        no_network=True,
        recover=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        xml = REFERENCE.sub(_without_surrogate, LOOSE_AMPERSAND.sub(_mended, NOT_IN_XML.sub("", text)))
        return etree.fromstring(xml.encode(), parser)
    except (etree.LxmlError, ValueError):
        return None


def _mended(found: re.Match[str]) -> str:
    """Returns CDATA as it is, the character of an entity of HTML, or an escaped "&"."""
    if found[0].startswith("<"):
        return found[0]
    name = found[1] or ""
    return escape(html5.get(name, f"&{name}"))


def _without_surrogate(found: re.Match[str]) -> str:
    """Returns a character reference; U+FFFD for half a character, which libxml2 takes but cannot give back."""
    number = int(found[1]) if found[1] else int(found[2], 16)
    return "\ufffd" if 0xD800 <= number <= 0xDFFF else found[0]


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
        if is_web_address(url):
            (listed.files if kind == "file" else listed.pages).append(Listing(url, epoch_seconds(changed)))
    return listed


def _sitemap(root: etree._Element) -> Entries:
    for entry in root:
        if (kind := _name(entry)) in ("url", "sitemap"):
            yield "file" if kind == "sitemap" else "page", _child(entry, "loc"), _child(entry, "lastmod")


def _rss(root: etree._Element) -> Entries:
    """Reads RSS 2.0, and RSS 1.0, which has its items beside the channel."""
    for item in _all(root, "item"):
        links = [one for one in item if _name(one) == "link"]
        link = next((_resolved(one, one.text) for one in links if (one.text or "").strip()), None)
        yield "page", link or _guid(item) or _alternate(links), _child(item, "pubdate") or _child(item, "date")


def _guid(item: etree._Element) -> str | None:
    guid = next((one for one in item if _name(one) == "guid"), None)
    if guid is None or guid.get("isPermaLink", "true").lower() != "true":
        return None
    return guid.text if (guid.text or "").strip().startswith(("http://", "https://")) else None


def _atom(root: etree._Element) -> Entries:
    for entry in _all(root, "entry"):
        link = _alternate([one for one in entry if _name(one) == "link"])
        yield "page", link, _child(entry, "updated") or _child(entry, "modified")


def _alternate(links: list[etree._Element]) -> str | None:
    """Returns the page among the links of an entry: HTML if there is any."""
    links = [one for one in links if one.get("rel", "alternate") == "alternate" and one.get("href")]
    pages = [one for one in links if "html" in one.get("type", "html")] or links
    return _resolved(pages[0], pages[0].get("href")) if pages else None


def _resolved(element: etree._Element, address: str | None) -> str | None:
    """Returns an address with the `xml:base` of its element and of those around it, if they can be joined."""
    try:
        return urljoin((element.base or "").strip(), (address or "").strip())
    except ValueError:
        return address


def _json_feed(text: str) -> Entries:
    """Reads a JSON Feed (https://www.jsonfeed.org/version/1.1/)."""
    try:
        feed: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    items = feed.get("items") if isinstance(feed, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            fields = ("url", "external_url", "date_modified", "date_published")
            texts = {name: value for name in fields if isinstance(value := item.get(name), str)}
            changed = texts.get("date_modified") or texts.get("date_published")
            yield "page", texts.get("url") or texts.get("external_url"), changed


# By the name of the root, in lower case.
READERS: dict[str, Callable[[etree._Element], Entries]] = {
    "urlset": _sitemap,
    "sitemapindex": _sitemap,
    "rss": _rss,
    "rdf": _rss,
    "feed": _atom,
}


def _plain(text: str, base: str) -> ParsedListing | None:
    """Reads a list with an address in each line, or robots.txt, which names sitemaps."""
    lines = text.splitlines()
    named = [match[1] for line in lines if (match := SITEMAP_LINE.match(line))]
    if named:
        return _bounded((("file", url, None) for url in named), base)
    addresses = [line.strip() for line in lines if line.strip().startswith(("http://", "https://"))]
    return _bounded((("page", url, None) for url in addresses), base) if addresses else None


def _page_with_feeds(text: str, base: str) -> ParsedListing | None:
    """Reads a page that points to feeds. Takes the first only: the others are for comments and sections."""
    try:
        page = html.document_fromstring(text[:1_000_000].encode(), parser=html.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError):
        return None
    links = page.xpath("//link[@href][contains(concat(' ', @rel, ' '), ' alternate ')]")
    feeds = [link.get("href") for link in links if link.get("type", "").lower() in FEED_TYPES]
    return _bounded((("file", url, None) for url in feeds[:1]), base) if feeds else None


def _all(root: etree._Element, name: str) -> Iterator[etree._Element]:
    return (element for element in root.iter() if _name(element) == name)


def _name(element: etree._Element) -> str:
    """Returns the local name in lower case, also where its prefix was never declared."""
    return element.tag.rpartition("}")[2].rpartition(":")[2].lower() if isinstance(element.tag, str) else ""


def _child(element: etree._Element, name: str) -> str | None:
    return next((one.text for one in element if _name(one) == name and one.text), None)


def epoch_seconds(text: str | None) -> float | None:
    """Returns the epoch seconds of a W3C date; None for the older dates of feeds, which are in order anyway."""
    try:
        at = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
