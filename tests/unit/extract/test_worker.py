import gzip
from pathlib import Path

import pytest

from tasks.extract.extracted_page import ExtractedPage, PageFile
from tasks.extract.worker import extract_file, read_page
from tests.support.loopback import PARAGRAPH, article

URL = "https://a.example/dir/page"


def read(page: str | bytes, charset: str | None = None) -> ExtractedPage:
    return read_page(page.encode() if isinstance(page, str) else page, URL, charset, "text/html")


def test_text_title_and_licence() -> None:
    head = '<link rel="license" href="/cc"><meta property="og:title" content=" Low  tide ">'
    found = read(article(head=head))
    assert found.metadata.title == "Low tide" and found.metadata.licence == "https://a.example/cc"
    assert found.text.count(PARAGRAPH.strip()[:40]) == 8


def test_the_extractor_is_named_with_its_version() -> None:
    assert read(article()).extractor.startswith("blocks 5 (trafilatura ")
    alone = read_page(article(), URL, None, "text/html", consensus=False)
    assert alone.extractor.startswith("trafilatura ") and alone.metadata.title == "The harbour"
    assert read_page(b"plain", URL, None, "text/plain").extractor == "as it is"


@pytest.mark.parametrize(
    ("body", "kind"), [(b"%PDF-1.7 ...", "PDF"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"PK\x03\x04", "ZIP")]
)
def test_what_is_no_text_is_told_by_its_first_bytes(body: bytes, kind: str) -> None:
    found = read(body)
    assert found.media == kind and found.text == ""
    assert read_page(body, URL, None, "text/plain").media == kind


def test_comments_are_left_out() -> None:
    comments = '<div id="comments" class="comment-list"><p class="comment">First! ' + "Great post. " * 30 + "</p></div>"
    assert "Great post" not in read(article(extra=comments)).text


def test_links_are_absolute_in_order_and_each_once() -> None:
    anchors = "".join(
        f"<a href='{href}'>x</a>"
        for href in (
            *(
                "b",
                "/a?z=1&y=2",
                "b#part",
                "//c.example/",
                "mailto:x@y.example",
                "javascript:1",
                "http://[",
                "page#top",
            ),
            *("/a?y=2&z=1", "http://a.example:99999/", "data:text/html,x", " /spaced ", "http:///?nohost"),
        )
    )
    assert read(article(extra=anchors)).links == (
        "https://a.example/dir/b",
        "https://a.example/a?z=1&y=2",
        "https://c.example/",
        "https://a.example/spaced",
    )


def test_what_stands_behind_an_early_end_of_the_page_is_read() -> None:
    early = article().replace(b"<p>2. ", b"</header></body></html><p>2. ")
    assert early != article() and read(early).text == read(article()).text


def test_base_changes_where_links_lead() -> None:
    found = read(article(head='<base href="https://b.example/x/">', extra="<a href=y>y</a>"))
    assert found.links == ("https://b.example/x/y",)


def test_links_with_spaces_lead_where_browsers_go() -> None:
    found = read(article(extra='<a href=" two words.html ">1</a><a href="/br\noken">2</a><a href="\\x\\y">3</a>'))
    assert found.links == tuple(f"https://a.example/{path}" for path in ("dir/two%20words.html", "broken", "x/y"))


@pytest.mark.parametrize("label", ["windows-1251", "cp1251", None])
def test_queries_are_in_the_encoding_of_the_page(label: str | None) -> None:
    codec = "cp1251" if label and "1251" in label else "utf-8"
    page = article(extra='<a href="/маяк?q=маяк">1</a>', head="<title>Маяк</title>").decode().encode(codec)
    query = "%EC%E0%FF%EA" if codec == "cp1251" else "маяк"
    assert read(page, label).links == (f"https://a.example/маяк?q={query}",)
    declared = page.replace(b"<head>", b"<head><meta charset=%b>" % (label or "").encode(), 1)
    assert read(declared).links == (f"https://a.example/маяк?q={query}",)


@pytest.mark.parametrize("directive", ["nofollow", "noindex, nofollow", "none"])
def test_nofollow_gives_no_links(directive: str) -> None:
    found = read(article(head=f'<meta name="ROBOTS" content="{directive}">', extra="<a href=y>y</a>"))
    assert found.links == () and found.metadata.robots == directive


def test_a_list_of_links_is_dense_and_an_article_is_not() -> None:
    items = "".join(f"<li><a href='/{n}'>A rather long title of article number {n}</a></li>" for n in range(40))
    assert float(read(f"<html><body><main><ul>{items}</ul></main></body></html>").link_density) > 0.9
    menu = "".join(
        f"<li><a href='/{n}'>Binary bitwise operations {n}</a> <small>09 Jul 2021</small></li>" for n in range(8)
    )
    assert float(read(f"<html><body><nav><a href=/>Home</a></nav><ul>{menu}</ul></body></html>").link_density) > 0.5
    text = article(extra="<p>See <a href=x>this</a> and <a href=y>that</a>.</p>")
    assert float(read(text).link_density) < 0.1


def test_plain_text_is_taken_as_it_is() -> None:
    body = b"  two  spaces\r\n\r\n<b>not html</b>\n"
    assert read_page(body, URL, None, "text/plain").text == body.decode()


@pytest.mark.parametrize("body", [b"", b"\0\0\0", b"<", b"<html>", b"\xff\xfe", b"<!---->", b"<?xml version='1.0'?>"])
def test_pages_without_text_have_none(body: bytes) -> None:
    assert read(body).text.strip("\0\ufffd<") == ""


def test_nothing_is_kept_between_pages() -> None:
    assert [read(article()).text for _ in range(4)] == [read(article()).text] * 4


def test_a_page_in_a_file_packed_or_not_and_a_file_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(article())
    (tmp_path / "page.gz").write_bytes(gzip.compress(article()))
    for name in ("page", "page.gz"):
        found = extract_file(PageFile(str(tmp_path / name), URL, None, "text/html"))
        assert found == read_page(article(), URL, None, "text/html") and found.metadata.title == "The harbour"
    with pytest.raises(FileNotFoundError):
        extract_file(PageFile(str(tmp_path / "missing"), URL, None, "text/html"))
