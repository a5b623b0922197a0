"""Thousands of broken bytes for each parser that strangers feed: a named outcome or an answer, and nothing else.

`docs/reliability.md` lists them; with WRITE_DOCS=1 the tests write it.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tasks.contracts.addresses import is_web_address, join_web_address
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import PROJECT
from tasks.contracts.settings import Source
from tasks.contracts.urls import former_key, site_of, url_id, url_key
from tasks.extract.worker import read_page
from tasks.render.javascript_pages import main_text_length, needs_browser
from tasks.render.meta_refresh import refresh_target
from tasks.search import google
from tasks.search.feeds_and_sitemaps import parse
from tasks.search.queries import SourceQuery
from tasks.web import egress_proxy
from tasks.web.content_encoding import decoded
from tasks.web.http_client import Response, reject_bad_status
from tasks.web.robots_txt import RobotsTxt, decode_robots_txt
from tasks.web.usage_rights import check_response, file_reservation, said_of_training
from tests.support.mutations import mutations

FEW, MANY = 300, 10_000
SECONDS = 10.0  # the longest that one case may take
PAGE = "http://a.example/a/b?c=d"
DOCUMENT = PROJECT / "docs" / "reliability.md"

LISTINGS = (
    b'<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url>'
    b"<loc>http://a.example/1?a=b</loc><lastmod>2024-01-01T00:00:00Z</lastmod></url></urlset>",
    b'<?xml version="1.0"?><sitemapindex><sitemap><loc>http://a.example:8080/s.xml</loc></sitemap></sitemapindex>',
    b'<rss version="2.0" xml:base="http://a.example/"><channel><item><link>http://a.example/p?x=1&amp;y=2</link>'
    b'<guid isPermaLink="true">http://a.example/g</guid><pubDate>Mon, 01 Jan 2024 00:00:00 GMT</pubDate></item>'
    b"</channel></rss>",
    b'<feed xmlns="http://www.w3.org/2005/Atom" xml:base="http://a.example/b/"><entry xml:base="c/"><link '
    b'rel="alternate" type="text/html" href="d/"/><updated>2024-01-01T00:00:00+02:00</updated></entry></feed>',
    b'{"version":"https://jsonfeed.org/version/1.1","items":[{"url":"http://a.example/j","date_published":"2024"}]}',
    b"http://a.example/1\nhttp://a.example:81/2\nhttps://b.example/3?q=x\n",
    b"User-agent: *\nSitemap: http://a.example/s.xml\n",
    b'<html><head><link rel="alternate" type="application/rss+xml" href="/feed.xml"></head></html>',
    gzip.compress(b"<urlset><url><loc>http://a.example/1</loc></url></urlset>"),
)
ROBOTS = (
    b"User-agent: *\nDisallow: /a*b$\nAllow: /\nCrawl-delay: 2\nContent-Signal: ai-train=no\nLicense: http://x/\n",
    b"\xef\xbb\xbfUser-agent: miniature-memory\nDisallow: /x%20y\nContent-Usage: /a train-ai=n\nRequest-rate: 1/5s",
)
RESERVATIONS = (b'[{"location":"/a*b$","tdm-reservation":1},{"location":"*","tdm-reservation":0}]',)
PAGES = (
    b'<html lang="en"><head><base href="/b/"><title>A b</title><meta name="author" content="X Y"><meta name="robots" '
    b'content="nofollow"><script type="application/ld+json">{"@type":"Article","headline":"A","datePublished":'
    b'"2024-01-01","author":{"name":"B C"},"license":"http://x/"}</script></head><body><article><h1>A b</h1><p>Some '
    b"words that are long enough to be kept as a paragraph.</p><pre><code>x=1\n</code></pre><math><mi>x</mi></math>"
    b'<table><tr><td>a</td></tr></table><ul><li>a<li>b</ul><a href="/x?y=z">w</a></article></body></html>',
    b'<html><head><meta http-equiv="refresh" content="0; url=http://a.example/x?y"><meta name="tdm-reservation" '
    b'content="1"></head><body><a href="http://b.example:80/">l</a><iframe src="/f"></iframe><script>1</script></body>',
)
RESULTS = (
    b'<html><body><div id="search"><a href="/url?q=http://b.example/x&amp;sa=1"><h3>T</h3></a><a '
    b'href="https://c.example/"><h3>U</h3></a></div></body></html>',
)
HEADERS = (
    *(b"Mon, 01 Jan 2024 00:00:00 GMT", b"120", b'text/html; charset="utf-8"', b"noindex, otherbot: none"),
    *(b"ai-train=no", b"http://a.example/x", b"1"),
)
ADDRESSES = (
    *(b"http://a.example:8080/p/a?q=1&b=%20#f", b"https://[2001:db8::1]:443/", b"//a.example/x", b"\\\\a.example\\x"),
    *(b"http://user:pw@a.example/\xc3\xbc?\xc3\xbc=\xed\xa0\x80", b"http://xn--bcher-kva.example/"),
)
HEADS = (
    b"CONNECT a.example:443 HTTP/1.1\r\nHost: a",
    b"GET http://a.example/x HTTP/1.1\r\nContent-Length: 3\r\nHost: a",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: x",
)


def use(address: str | None) -> None:
    """What is taken for an address can be compared, named and written."""
    if address is not None and is_web_address(address):
        for do in (url_key, former_key, site_of, url_id, str.encode):
            do(address)


def listing(content: bytes) -> None:
    found = parse(content, "http://a.example/feed.xml")
    for one in (*found.pages, *found.files) if found else ():
        assert is_web_address(one.url)
        use(one.url)


def robots(content: bytes) -> None:
    rules = RobotsTxt(decode_robots_txt(content))
    delay = rules.crawl_delay
    assert isinstance(delay, float | int)
    rules.allows(PAGE)
    said = (rules.forbidding_line(PAGE), said_of_training(rules.group, PAGE), *rules.licenses)
    "\n".join(map(str, said)).encode()


def head_of_page(content: bytes) -> None:
    use(refresh_target(content, PAGE))
    needs_browser(content, PAGE)
    main_text_length(content.lower())
    check_response(httpx.Headers(), [], content)


def page(content: bytes) -> None:
    found = read_page(content, PAGE, None, "text/html")
    json.dumps(dataclasses.asdict(found), ensure_ascii=False).encode()
    for link in found.links:
        assert is_web_address(link)
        use(link)


def results(content: bytes) -> None:
    response = Response("http://www.google.example/search", 200, httpx.Headers(), content)
    google.kind_of_page(response)
    for hit in google.results(response, SourceQuery(Source("google"), "2024-01-01", "q")):
        use(hit.url)


def headers(content: bytes) -> None:
    value = content.decode("latin-1")
    names = ("content-type", "location", "retry-after", "content-signal", "tdm-reservation", "x-robots-tag")
    for status in (200, 301, 429):
        response = Response(PAGE, status, httpx.Headers(dict.fromkeys(names, value), encoding="latin-1"), b"")
        assert response.media_type and (response.charset is None or response.charset)
        with suppress(PageRejected):
            use(response.redirect)
        try:
            reject_bad_status(response)
            check_response(response.headers, [value], b"")
        except PageRejected as rejected:
            assert rejected.retry_after is None or 0 <= rejected.retry_after <= 7 * 86_400
            rejected.detail.encode()


def addresses(content: bytes) -> None:
    for errors in ("surrogateescape", "replace"):
        address = content.decode("utf-8", errors)
        use(address)
        use(join_web_address(PAGE, address))
        use(join_web_address(PAGE, address, "cp1252"))


def encodings(content: bytes) -> None:
    for declared in ("gzip", "deflate", "", "br", "gzip, gzip"):
        with suppress(PageRejected):
            assert sum(map(len, decoded([content[:7], content[7:]], declared, 10_000, is_text=True))) < 10_000_000


def proxied_heads(content: bytes) -> None:
    with suppress(PageRejected):
        egress_proxy._authority(*egress_proxy._request_line(content))
    with suppress(PageRejected):
        egress_proxy._body_length(content)
    egress_proxy._with_headers(egress_proxy._status(content), content)


@dataclass(frozen=True)
class Parser:
    what: str
    read: Callable[[bytes], Any]
    seeds: tuple[bytes, ...]


PARSERS = (
    Parser("feeds, sitemaps, lists", listing, LISTINGS),
    Parser("robots.txt", robots, ROBOTS),
    Parser("tdmrep.json", lambda content: file_reservation(content.decode("utf-8", "replace"), PAGE), RESERVATIONS),
    Parser("redirects and reservations in a page", head_of_page, PAGES),
    Parser("text, claims and links of a page", page, PAGES),
    Parser("result pages of Google", results, RESULTS),
    Parser("response headers", headers, HEADERS),
    Parser("addresses", addresses, ADDRESSES),
    Parser("compressed bodies", encodings, (gzip.compress(b"hello " * 50), b"plain")),
    Parser("requests and responses in Chromium's proxy", proxied_heads, HEADS),
)
each = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.what)


def feed(parser: Parser, number: int) -> None:
    for content in mutations(parser.seeds, number, parser.what):
        began = time.monotonic()
        try:
            parser.read(content)
        except PageRejected:
            pass
        except Exception as error:
            raise AssertionError(f"{parser.what}: {content!r}") from error
        assert time.monotonic() - began < SECONDS, content


@each
def test_broken_bytes_raise_nothing_but_named_outcomes(parser: Parser) -> None:
    feed(parser, FEW)


@pytest.mark.long
@each
def test_ten_thousand_broken_bytes_each(parser: Parser) -> None:
    feed(parser, MANY)


def table() -> str:
    rows = [f"| {parser.what} | {FEW:,} | {MANY:,} |" for parser in PARSERS]
    return "\n".join(
        [
            "# What strangers' bytes may do",
            "",
            "Cost one page or one source. Each parser that reads them gets broken ones: good ones with flipped bits,",
            "parts removed, doubled, cut off, or replaced by what has broken parsers before. No case raises anything",
            "but a named outcome, or takes ten seconds. A test makes the cases, the same ones each time, and writes",
            "this page (`tests/unit/test_strangers_bytes.py`).",
            "",
            "| parser | cases in `./setup.sh test` | in `./setup.sh test long` |",
            "|---|---:|---:|",
            *rows,
            "",
            "What is raised all the same ends as `unforeseen`, with its traceback in the report's folder",
            "(`tasks/web/border.py`).",
            "",
        ]
    )


def test_the_document_lists_the_parsers() -> None:
    if os.environ.get("WRITE_DOCS") == "1":
        DOCUMENT.write_text(table(), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == table()
