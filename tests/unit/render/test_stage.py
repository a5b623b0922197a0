import os
import time
from pathlib import Path

import httpx
import pytest

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.render.javascript_pages import needs_browser, visible_text_length
from tasks.render.page_cache import PageCache
from tasks.storage.state_db import open_state
from tasks.web.http_client import Response, _retry_after

LONG = b"<p>" + b"words and more words " * 40 + b"</p>"
MIDDLE = b"<p>" + b"navigation and a line or two " * 15 + b"</p>"
NOTICE = b"<p>We and our <a href=/all>partners</a> store <b>cookies</b>" + b" and ask for your choice" * 20 + b"</p>"
SCRIPT = b"<script src=app.js></script>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html><body>" + LONG + SCRIPT, False),
        (b"<html><body><p>short, but nothing will make it longer</p>", False),
        (b"<html><body><div id=root></div>" + SCRIPT, True),
        (b'<html><body><DIV ID="app"> </DIV>' + MIDDLE + SCRIPT, True),
        (b"<html><body>" + MIDDLE + SCRIPT, False),
        (b"<body><noscript>You need to enable JavaScript</noscript>" + MIDDLE + SCRIPT, True),
        (b"<body><noscript>Enable JavaScript for comments</noscript>" + LONG * 3 + SCRIPT, False),
        (b"<nav>" + LONG * 3 + b"</nav><h1>Title</h1>" + SCRIPT, True),
        (b"<div>" + NOTICE * 3 + b"</div><div class=page></div>" + SCRIPT, True),
        (b"<app-shell theme=dark>\n</app-shell>" + MIDDLE + SCRIPT, True),
        (b'<div class="card skeleton-line"></div>' + MIDDLE + SCRIPT, True),
        (b"<main aria-busy='true'>" + MIDDLE + b"</main>" + SCRIPT, True),
        (b"<my-icon></my-icon>" + MIDDLE + SCRIPT, False),
        (b"<frameset cols='*,*'><frame src=a><noframes>" + LONG * 3 + b"</noframes></frameset>", True),
        (b"<p>See below.</p><IFRAME title=x SRC='article.html'></IFRAME>", True),
        (b"<p>See below.</p><iframe width=1 srcdoc='&lt;p&gt;An article'></iframe>", True),
        (b"<p>See below.</p><iframe src=https://video.example/1></iframe>", False),
        (b"<p>See below.</p><iframe src=about:blank></iframe>", False),
        (b"<iframe src=article.html></iframe>" + LONG * 3, False),
        (b"<my-page><template id=x shadowrootmode=open><p>Text</template></my-page>" + LONG * 3, True),
        (b"<template id=row><p>{text}</p></template>" + LONG, False),
        (b"<head><script>" + b"var x = 1;" * 999 + b"</script></head><body>Loading", True),
    ],
)
def test_which_pages_need_a_browser(body: bytes, expected: bool) -> None:
    assert needs_browser(body, "https://a.example/") is expected


def test_headers_are_text_and_the_head_is_not() -> None:
    assert visible_text_length(b"<head><title>title</title></head><header>seen</header>") == 4
    assert visible_text_length(b"<head><script>'</head>'</script><title>title</title><body>seen <b>too</b>") == 8


@pytest.mark.parametrize(
    "piece",
    [b"<script", b"<", b"<div id=root", b"<head>", b"<style><script>", b"<!--", b"<iframe ", b"<app-root>", b"<b>x"],
)
def test_the_verdict_takes_linear_time(piece: bytes) -> None:
    started = time.perf_counter()
    needs_browser(b"<script>" + piece * (2_000_000 // len(piece)), "https://a.example/")
    assert time.perf_counter() - started < 2.0


def test_retry_after() -> None:
    assert _retry_after("120") == 120
    assert _retry_after("Fri, 01 Jan 1999 00:00:00 GMT") == 0
    assert _retry_after("soon") is None


@pytest.mark.parametrize("location", ["", "ftp://a.example/", "javascript:alert(1)", "file:///etc/passwd", "http://["])
def test_redirects_lead_to_web_addresses_alone(location: str) -> None:
    with pytest.raises(PageRejected, match="bad_redirect"):
        _ = Response("https://a.example/", 302, httpx.Headers({"location": location}), b"").redirect


NOW = 1000.0


def fetched(body: bytes) -> Response:
    return Response("https://a.example/", 200, httpx.Headers({"etag": '"1"'}), body, "robots.txt: absent")


def cache(tmp_path: Path, max_bytes: int = 1_000_000) -> PageCache:
    return PageCache(open_state(tmp_path / "state.sqlite"), tmp_path / "pages", max_bytes)


def test_a_cached_page_is_used_only_if_nobody_has_used_it(tmp_path: Path) -> None:
    pages = cache(tmp_path)
    pages.put(Hit("https://a.example/", "urls", "q"), fetched(b"body"), now=100.0)
    cut = pages.unused(Hit("https://a.example/", "urls", "q", due_at=90.0), NOW)
    assert cut is not None and cut.etag == '"1"'
    assert pages.unused(Hit("https://a.example/", "urls", "q", due_at=110.0), NOW) is None
    assert pages.unused(Hit("https://a.example/", "urls", "q"), NOW) is None
    assert pages.unused(Hit("https://a.example/other", "urls", "q", due_at=90.0), NOW) is None
    # Of the future: the clock was ahead.
    assert pages.unused(Hit("https://a.example/", "urls", "q", due_at=90.0), 99.0) is None


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b garbage", None])
def test_a_damaged_or_lost_file_is_no_page(tmp_path: Path, damage: bytes | None) -> None:
    pages = cache(tmp_path)
    path = Path(pages.put(Hit("https://a.example/", "urls", "q"), fetched(b"body"), now=100.0).body_path)
    path.unlink() if damage is None else path.write_bytes(damage)
    assert pages.unused(Hit("https://a.example/", "urls", "q", due_at=90.0), NOW) is None


def test_the_cache_keeps_to_its_bound_oldest_out_first(tmp_path: Path) -> None:
    pages = cache(tmp_path, max_bytes=5_500)
    for number in range(10):
        pages.put(Hit(f"https://a.example/{number}", "urls", "q"), fetched(os.urandom(1000)), now=100.0 + number)
    pages.trim()
    left = [n for n in range(10) if pages.unused(Hit(f"https://a.example/{n}", "urls", "q", due_at=0.0), NOW)]
    assert left == [5, 6, 7, 8, 9]
    assert sum(path.stat().st_size for path in (tmp_path / "pages").rglob("*.gz")) <= 5_500


def test_two_urls_share_a_file_until_both_are_gone(tmp_path: Path) -> None:
    pages = cache(tmp_path, max_bytes=30)
    for number in range(2):
        page = pages.put(Hit(f"https://a.example/{number}", "urls", "q"), fetched(b"same"), now=100.0 + number)
    pages.trim()
    assert Path(page.body_path).exists()
    pages.max_bytes = 0
    pages.trim()
    assert not Path(page.body_path).exists()
