import gzip

import pytest

from tasks.search.feeds_and_sitemaps import MAX_BYTES, epoch_seconds, parse
from tasks.search.queries import Listing

BASE = "https://a.example/feeds/all.xml"

RSS = b"""\xef\xbb\xbf
<?xml version="1.0"?><rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>T</title>
<link>https://a.example/</link><atom:link href="https://a.example/feed" rel="self"/>
<item><title>One &nbsp; &amp; two</title><link> https://a.example/1?x=1&amp;y=2 </link></item>
<item><guid>https://a.example/2</guid></item><item><link><![CDATA[https://a.example/c?a=1&b=2]]></link></item>
<item><link>https://a.example/d?a=1&b=2</link></item>
<item><guid isPermaLink="false">tag:nothing</guid></item>
<item><link>/3</link><enclosure url="https://a.example/3.mp3"/></item></channel></rss>"""
RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><link>https://a.example/</link></channel><item><link>https://a.example/1</link></item></rdf:RDF>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://a.example/blog/"><link rel="self" href="x"/>
<entry><link rel="replies" href="https://a.example/replies"/><link type="application/json" href="/1.json"/>
<link rel="alternate" type="text/html" href="one"/><updated>2026-11-01T00:00:00Z</updated></entry>
<entry><link href="https://a.example/2"/></entry></feed>"""
SITEMAP = b"""<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://x/1">
<url><loc>https://a.example/1</loc><lastmod>2026-11-01</lastmod><image:image><image:loc>https://a.example/i</image:loc>
</image:image></url><url><loc>https://a.example/2</loc></url><url><loc>ftp://a.example/3</loc></url></urlset>"""
INDEX = b"""<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>https://a.example/s1.xml.gz</loc>
<lastmod>2026-11-01T00:00:00+00:00</lastmod></sitemap></sitemapindex>"""


def pages(body: bytes) -> list[str]:
    listed = parse(body, BASE)
    assert listed is not None
    return [page.url for page in listed.pages]


def files(body: bytes) -> list[Listing]:
    listed = parse(body, BASE)
    assert listed is not None and not listed.pages
    return listed.files


def test_feeds() -> None:
    odd = ["https://a.example/c?a=1&b=2", "https://a.example/d?a=1&b=2"]  # both are common, one is not even XML
    assert pages(RSS) == ["https://a.example/1?x=1&y=2", "https://a.example/2", *odd, "https://a.example/3"]
    assert pages(RDF) == ["https://a.example/1"]
    assert pages(ATOM) == ["https://a.example/blog/one", "https://a.example/2"]


def test_sitemaps_plain_and_packed() -> None:
    expected = ["https://a.example/1", "https://a.example/2"]
    assert pages(SITEMAP) == pages(gzip.compress(SITEMAP)) == expected
    assert pages(b"https://a.example/1\n\nhttps://a.example/2\n") == expected


def test_what_names_further_files() -> None:
    assert files(INDEX) == [Listing("https://a.example/s1.xml.gz", epoch_seconds("2026-11-01"))]
    assert (
        files(b"User-agent: *\nDisallow:\nSitemap: https://a.example/map.xml\n")[0].url == "https://a.example/map.xml"
    )
    page = b'<!doctype html><html><head><link rel="alternate" type="application/rss+xml" href="/feed/"></head></html>'
    assert files(page)[0].url == "https://a.example/feed/"


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<html><body>gone</body></html>", b"\x1f\x8bnot gzip", b"<", b"\x00\x01"]
)
def test_what_is_no_listing(body: bytes) -> None:
    assert parse(body, BASE) is None


def test_bombs_stay_small() -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "x" * 10}">' for n in range(9))
    bomb = f"<!DOCTYPE rss [{entities}]><rss><channel><item><link>https://a.example/&a8;</link></item></channel></rss>"
    parse(bomb.encode(), BASE)
    assert parse(gzip.compress(b" " * (MAX_BYTES * 20), 1), BASE) is None


def test_a_cut_sitemap_gives_what_is_whole() -> None:
    assert parse(b"<rss>" + b"<![CDATA[" * 1_000_000, BASE) is not None  # in no time
    assert pages(SITEMAP[:250])[:1] == ["https://a.example/1"]


def test_an_external_entity_is_not_read() -> None:
    text = b'<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/hostname">]><rss><item><link>http://a.example/&x;</link></item></rss>'
    listed = parse(text, BASE)
    assert listed is not None and [page.url for page in listed.pages] == ["http://a.example/&x;"]
