import json

import lxml.html
import pytest

from tasks.extract.metadata import PageMetadata, iso_date, read_metadata

URL = "https://a.example/dir/page"


def facts(head: str = "", body: str = "", html: str = "<html>") -> PageMetadata:
    return read_metadata(
        lxml.html.document_fromstring(f"{html}<head>{head}</head><body><p>x</p>{body}</body></html>"), URL
    )


def structured(**values: object) -> str:
    return f'<script type="application/ld+json">{json.dumps({"@type": "NewsArticle", **values})}</script>'


def test_a_page_that_says_nothing() -> None:
    assert facts() == PageMetadata()


def test_titles() -> None:
    head = '<title>Low tide | The Harbour</title><meta property="og:title" content=" Low\n tide ">'
    found = facts(head + structured(headline="Low tide again"))
    assert found.title == "Low tide" and set(found.titles) == {"Low tide", "Low tide | The Harbour", "Low tide again"}
    assert facts("<title></title>", "<h1>From <b>here</b></h1>").title == "From here"


@pytest.mark.parametrize(
    ("head", "published"),
    [
        ('<meta property="article:published_time" content="2024-03-09T08:00:00+01:00">', "2024-03-09T08:00:00+01:00"),
        ('<meta name="date" content="2024-03-09">', "2024-03-09"),
        ('<meta itemprop="datePublished" content="2024-03-09T08:00:00Z">', "2024-03-09T08:00:00+00:00"),
        (structured(datePublished="2024-03-09"), "2024-03-09"),
        (structured(datePublished=None) + '<meta name="dc.date" content="2024/3/9">', "2024-03-09"),
        ('<meta name="date" content="yesterday"><meta name="pubdate" content="2024-03-09">', "2024-03-09"),
        ('<meta name="date" content="0001-01-01">', None),
    ],
)
def test_dates(head: str, published: str | None) -> None:
    assert facts(head).published == published


def test_a_time_tag_is_the_last_resort() -> None:
    body = '<time datetime="2024-03-09">9 March</time><time datetime="2020-01-01">then</time>'
    assert facts(body=body).published == "2024-03-09"
    assert facts('<meta name="date" content="2024-03-08">', body).published == "2024-03-08"


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("20240309", "2024-03-09"),
        ("2024-03-09T08:00", "2024-03-09T08:00:00"),
        ("Sat, 09 Mar 2024 08:00:00 GMT", "2024-03-09T08:00:00+00:00"),
        ("2024.03.09 08:00", "2024-03-09"),
        ("2024-13-45", None),
        ("1", None),
        ("", None),
        ("9" * 10_000, None),
    ],
)
def test_dates_as_pages_write_them(value: str, date: str | None) -> None:
    assert iso_date(value) == date


@pytest.mark.parametrize(
    ("head", "body", "author"),
    [
        ('<meta name="author" content="By Ada Byron">', "", "Ada Byron"),
        (structured(author=[{"name": "Ada Byron"}, {"name": "Mary Shelley"}]), "", "Ada Byron, Mary Shelley"),
        (structured(author="Ada Byron", comment=[{"@type": "Comment", "author": {"name": "troll"}}]), "", "Ada Byron"),
        ("", '<a rel="author" href="/ada">Ada Byron</a>', "Ada Byron"),
        ('<meta property="article:author" content="https://face.example/ada">', "", None),
        ('<meta name="author" content="@ada">', "", None),
        ('<meta name="author" content="Ada Byron"><meta name="author" content="Ada Byron">', "", "Ada Byron"),
    ],
)
def test_authors(head: str, body: str, author: str | None) -> None:
    assert facts(head, body).author == author


@pytest.mark.parametrize(
    ("html", "head", "language"),
    [
        ('<html lang="EN_gb">', "", "en-gb"),
        ("<html>", '<meta http-equiv="Content-Language" content="de, en">', "de"),
        ("<html>", '<meta property="og:locale" content="pt_BR">', "pt-BR"),
        ('<html lang="">', structured(inLanguage="fr"), "fr"),
        ('<html lang="{{ lang }}">', "", None),
    ],
)
def test_languages(html: str, head: str, language: str | None) -> None:
    assert facts(head, html=html).language == language


CC = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("head", "body", "licence"),
    [
        ('<link rel="license" href="/cc">', "", "https://a.example/cc"),
        ("", f'<a rel="license" href="{CC}">CC</a>', CC),
        (f'<meta name="dcterms.license" content="{CC}">', "", CC),
        ('<meta name="license" content="Apache-2.0">', "", None),
        (structured(license={"@type": "CreativeWork", "url": CC}), "", CC),
        (structured(image={"@type": "ImageObject", "license": CC}), "", None),
        ("", f'<footer><a href="{CC}deed.de">CC BY</a> <a href="{CC}">again</a></footer>', f"{CC}deed.de"),
        (
            "",
            f'<a href="{CC}">a photo</a> <a href="https://creativecommons.org/licenses/by-nc/2.0/">one more</a>',
            None,
        ),
        (f'<meta name="copyright" content="some rights: {CC}">', "", CC),
        ('<link rel="license" href="javascript:alert(1)">', "", None),
    ],
)
def test_licences(head: str, body: str, licence: str | None) -> None:
    assert facts(head, body).licence == licence


def test_rights_are_what_the_page_says_in_words() -> None:
    assert facts('<meta name="dcterms.rights" content=" Apache-2.0 ">').rights == "Apache-2.0"


@pytest.mark.parametrize("script", ["[" * 100_000, "{", "", "null", "3", '"x"', "[" + "[]," * 50_000 + "[]]"])
def test_broken_structured_data_says_nothing(script: str) -> None:
    assert facts(f'<script type="application/ld+json">{script}</script>') == PageMetadata()


def test_lone_surrogates_cannot_be_written_and_are_replaced() -> None:
    assert facts(structured(headline="a\ud800b")).titles == ("a\ufffdb",)


@pytest.mark.parametrize(
    ("name", "robots"), [("Robots", "noindex"), ("Miniature-Memory/1.0", "noindex"), ("miniature-memory-bot", "")]
)
def test_robots_tags_for_all_crawlers_or_for_us(name: str, robots: str) -> None:
    assert facts(f'<meta name="{name}" content="NoIndex"><meta name="otherbot" content="none">').robots == robots
