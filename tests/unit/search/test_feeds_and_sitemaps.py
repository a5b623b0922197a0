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


ODD = """<?xml version="1.0" encoding="{label}"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>https://a.example/{word}</loc></url></urlset>"""


@pytest.mark.parametrize(
    ("label", "codec", "charset", "word"),
    [
        *(
            ("utf-8", "utf-8", None, "größe"),
            ("utf-8", "utf-8", "iso-8859-1", "größe"),
            ("utf-8", "utf-16", None, "größe"),
        ),
        *(
            ("utf-16", "utf-8", None, "größe"),
            ("UTF-16", "ascii", None, "plain"),
            ("iso-8859-1", "utf-8", None, "größe"),
        ),
        *(("utf-8", "utf-8-sig", "windows-1252", "größe"), ("windows-1251", "utf-8-sig", None, "размер")),
        *(
            ("utf-8", "utf-16-le", "utf-8", "größe"),
            ("utf-16", "utf-16-be", None, "размер"),
            ("utf-8", "utf-32", None, "größe"),
        ),
        *(("utf-8", "windows-1252", "iso-8859-1", "größe"), ("windows-1251", "windows-1251", None, "размер")),
        *(("windows-1251", "windows-1251", "utf-8", "размер"), ("koi8-r", "windows-1251", "windows-1251", "размер")),
        *(
            ("gb2312", "gb18030", None, "大小"),
            ("iso-2022-jp", "iso-2022-jp", None, "大きさ"),
            ("utf-16", "cp1252", None, "größe"),
        ),
        *(("nonsense", "utf-8", "nonsense", "größe"), ("punycode", "iso-2022-jp", "iso-2022-jp", "大きさ")),
    ],
)
def test_header_declaration_mark_and_bytes_that_disagree(
    label: str, codec: str, charset: str | None, word: str
) -> None:
    body = ODD.format(label=label, word=word).encode(codec)
    for whole in (body, gzip.compress(body)):
        listed = parse(whole, BASE, charset)
        assert listed is not None and [page.url for page in listed.pages] == [f"https://a.example/{word}"]


def test_where_nothing_is_declared_the_letters_tell() -> None:
    for codec, word in (("cp1251", "размер-ткани"), ("cp1253", "μέγεθος-υφάσματος"), ("euc_kr", "옷감의-크기와-색깔")):
        body = ODD.format(label="utf-8", word=word).replace(' encoding="utf-8"', "").encode(codec)
        assert pages(body) == [f"https://a.example/{word}"]


def test_what_comes_before_the_declaration() -> None:
    good = ODD.format(label="utf-8", word="1").encode()
    warning = b"<br />\n<b>Warning</b>: Undefined index in <b>/srv/map.php</b> on line <b>7</b><br />\n"
    for before in (b"\n\n", b"\xef\xbb\xbf\n", b"\0", b"Notice: nothing here\n", warning, b"<!-- <rss> of today -->"):
        assert pages(before + good) == ["https://a.example/1"]
    assert pages(good.replace(b"<url>", b"<url>\x0b\x00")) == ["https://a.example/1"]


def test_gzip_in_several_parts() -> None:
    half = len(SITEMAP) // 2
    assert pages(gzip.compress(SITEMAP[:half]) + gzip.compress(SITEMAP[half:])) == pages(SITEMAP)
    assert pages(gzip.compress(SITEMAP)[:-9]) == pages(SITEMAP)  # cut at the end


@pytest.mark.parametrize(
    ("feed", "expected"),
    [
        (  # xml:base on any element; relative bases add up
            '<rss xml:base="https://b.example/x/"><item xml:base="y/"><link>1</link></item>'
            "<item><link> 2 </link></item></rss>",
            ["https://b.example/x/y/1", "https://b.example/x/2"],
        ),
        ('<rss><item><link xml:base="https://b.example/">1</link></item></rss>', ["https://b.example/1"]),
        (
            '<feed xml:base="https://b.example/"><entry xml:base="x/"><link xml:base="y/" href="1"/></entry></feed>',
            ["https://b.example/x/y/1"],
        ),
        (
            "<rss><item><link>https://a.example/caf&eacute;?a=1&b=2&copy=3&nbsp;</link></item></rss>",
            ["https://a.example/café?a=1&b=2&copy=3"],
        ),
        ("<rss><item><title>1 &LT; 2 &QUOT;</title><link>/1</link></item></rss>", ["https://a.example/1"]),
        ("<RSS><Channel><ITEM><Link>/1</Link></ITEM></Channel></RSS>", ["https://a.example/1"]),
        ("<rdf:RDF><item><link>/1</link></item></rdf:RDF>", ["https://a.example/1"]),  # no namespace is declared
        (
            '<rss><item><atom:link rel="alternate" href="/1"/><guid isPermaLink="false">x</guid></item></rss>',
            ["https://a.example/1"],
        ),
        ("<rss><item><guid>not-an-address</guid></item></rss>", []),
        (
            '<feed><entry><link type="text/html" href="/1"/><modified>2026-11-01</modified></entry></feed>',
            ["https://a.example/1"],
        ),
        (
            '{"version": "https://jsonfeed.org/version/1.1", '
            '"items": [{"id": "1", "url": "/1"}, {"external_url": "/2"}, 3, {}]}',
            ["https://a.example/1", "https://a.example/2"],
        ),
        ('{"version": "https://jsonfeed.org/version/1.1", "items": 7}', []),
        ('{"version": "https://jsonfeed.org/version/1.1", "items": [', []),
    ],
)
def test_variants_of_feeds(feed: str, expected: list[str]) -> None:
    assert pages(feed.encode()) == expected


def test_what_names_further_files() -> None:
    assert files(INDEX) == [Listing("https://a.example/s1.xml.gz", epoch_seconds("2026-11-01"))]
    assert (
        files(b"User-agent: *\nDisallow:\nSitemap: https://a.example/map.xml\n")[0].url == "https://a.example/map.xml"
    )
    page = b'<!doctype html><html><head><link rel="alternate" type="application/rss+xml" href="/feed/"></head></html>'
    assert files(page)[0].url == "https://a.example/feed/"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{}",
        b'{"version": 1}',
        b"<html><body>gone</body></html>",
        b"\x1f\x8bnot gzip",
        b"<",
        b"\x00\x01",
    ],
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
