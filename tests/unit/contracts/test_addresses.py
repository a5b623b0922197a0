from __future__ import annotations

import pytest

from tasks.contracts.addresses import join_web_address

BASE = "https://a.example/d/page?old=1"


@pytest.mark.parametrize(
    ("href", "address"),
    [
        ("a page.html", "https://a.example/d/a%20page.html"),
        (" \t/x\n", "https://a.example/x"),
        ("/long\n    name", "https://a.example/long%20%20%20%20name"),
        ("/bro\r\n\tken", "https://a.example/broken"),
        ("/x?q=two words #part", "https://a.example/x?q=two%20words%20"),
        ("\\x\\y?z=a\\b", "https://a.example/x/y?z=a\\b"),
        ("\\\\b.example\\x", "https://b.example/x"),
        ("///b.example/x", "https://b.example/x"),
        ("HTTPS:///b.example/x", "https://b.example/x"),
        ("https:/x", "https://a.example/x"),
        ("https:x", "https://a.example/d/x"),
        ("http:/b.example/x", "http://b.example/x"),
        ("http:\\\\b.example\\x", "http://b.example/x"),
        ("?new=2", "https://a.example/d/page?new=2"),
        ("", "https://a.example/d/page?old=1"),
        ("#part", "https://a.example/d/page?old=1"),
        ("/caf\u00e9?q=\u00e9", "https://a.example/caf\u00e9?q=\u00e9"),
        ("http://b example/x", None),
        ("mailto:me@a.example", None),
        ("javascript:void 0", None),
        ("http://[", None),
    ],
)
def test_an_address_means_what_browsers_make_of_it(href: str, address: str | None) -> None:
    assert join_web_address(BASE, href) == address


@pytest.mark.parametrize(
    ("codec", "href", "address"),
    [
        ("cp1251", "/маяк?слово=маяк&n=1", "https://a.example/маяк?%F1%EB%EE%E2%EE=%EC%E0%FF%EA&n=1"),
        ("cp932", "/?q=ア表", "https://a.example/?q=%83A%95\\"),  # trail bytes may be ASCII
        ("cp1252", "/?q=5 €→", "https://a.example/?q=5%20%80%26%238594%3B"),  # an arrow is not in it
        ("utf-8", "/?q=ア", "https://a.example/?q=ア"),
    ],
)
def test_a_query_is_in_the_encoding_of_its_page(codec: str, href: str, address: str) -> None:
    assert join_web_address(BASE, href, codec) == address
