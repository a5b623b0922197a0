import httpx
import pytest

from tasks.contracts.settings import Source
from tasks.search.google import address, kind_of_page, results, unwrap
from tasks.search.queries import SourceQuery
from tasks.web.http_client import Response
from tests.support import google_pages

SEARCH = "https://www.google.com/search?q=tides"
QUESTION = SourceQuery(Source("google", lr="lang_en", cr="countryGB"), "2026-11-22", "tides & boats", 2)
FOUND = ("https://a.example/x?b=1&c=2", "http://b.example/", "https://a.example/x?b=1&c=2")


def shown(url: str, status: int, html: str) -> Response:
    return Response(url, status, httpx.Headers(), html.encode(), rendered=True)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (shown(SEARCH, 200, google_pages.results(*FOUND)), "results"),
        (shown(SEARCH, 200, google_pages.GATE), "javascript_gate"),
        (shown("https://www.google.com/sorry/index?continue=x", 429, google_pages.CAPTCHA), "captcha"),
        (shown(SEARCH, 429, google_pages.CAPTCHA), "captcha"),
        (shown("https://consent.google.com/ml?continue=x", 200, google_pages.CONSENT), "consent"),
        (shown(SEARCH, 200, google_pages.CONSENT), "consent"),
        (shown(SEARCH, 200, google_pages.EMPTY), "no_results"),
        (shown(SEARCH, 200, "<html><body>Be right back</body></html>"), "strange_page"),
        (shown(SEARCH, 200, ""), "strange_page"),
    ],
)
def test_the_kinds_of_pages_are_told_apart(page: Response, expected: str) -> None:
    assert kind_of_page(page) == expected


@pytest.mark.parametrize("wrapped", [False, True])
def test_results_are_the_headings_links_without_googles_own_and_advertisements(wrapped: bool) -> None:
    hits = results(shown(SEARCH, 200, google_pages.results(*FOUND, wrapped=wrapped)), QUESTION)
    assert [(hit.url, hit.rank) for hit in hits] == [(FOUND[0], 0), (FOUND[1], 1)]
    assert {(hit.provider, hit.query) for hit in hits} == {("google", "tides & boats")}


def test_a_page_of_googles_own_results_alone_has_none() -> None:
    assert results(shown(SEARCH, 200, google_pages.results()), QUESTION) == ()


def test_result_pages_are_asked_for_by_start_and_language() -> None:
    expected = "https://www.google.com/search?q=tides+%26+boats&hl=en&lr=lang_en&cr=countryGB&start=20"
    assert address(QUESTION) == expected
    assert address(SourceQuery(Source("google"), "2026-11-22", "tides")).endswith("/search?q=tides&hl=en")


def test_unwrap() -> None:
    assert unwrap("https://www.google.com/url?sa=t&url=https%3A%2F%2Fa.example%2F") == "https://a.example/"
    assert unwrap("https://a.example/url.html") == "https://a.example/url.html"
