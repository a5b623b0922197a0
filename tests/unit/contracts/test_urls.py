from __future__ import annotations

import random
import re

import pytest

from tasks.contracts import addresses, urls


def test_a_plain_address_is_its_own_key_as_the_long_way_finds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    made = (f"http{generator.choice(('', 's'))}://{draw(generator, 1)}/{draw(generator, 0)}" for _ in range(20_000))
    plain = [url for url in made if addresses.PLAIN.fullmatch(url)]
    assert len(plain) > 1000
    monkeypatch.setattr(urls, "PLAIN", re.compile("(?!)"))
    assert [urls.url_key(url) for url in plain] == plain


def test_a_plain_address_is_the_page_it_leads_to_as_the_long_way_finds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(2)
    made = (f"http{generator.choice(('', 's'))}://{draw(generator, 1)}/{draw(generator, 0)}" for _ in range(20_000))
    plain = [url for url in made if addresses.PLAIN.fullmatch(url)]
    monkeypatch.setattr(addresses, "PLAIN", re.compile("(?!)"))
    for base in ("https://a.example/b/c", "http://a.example", "file:///home/page.html"):
        assert [addresses.join_web_address(base, url) for url in plain] == plain


def draw(generator: random.Random, least: int) -> str:
    return "".join(generator.choice("az09.-/~_A..//www.xn--") for _ in range(generator.randint(least, 8)))


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://a.example", "https://a.example/"),
        ("HTTPS://A.example:443/x", "https://a.example/x"),
        ("https://a.example/./x/", "https://a.example/x/"),
        ("https://a.example/x?utm_source=y&b=2&a=1#z", "https://a.example/x?a=1&b=2"),
    ],
)
def test_one_page_has_one_key(url: str, key: str) -> None:
    assert urls.url_key(url) == key


KNOWN = [
    ("https://a.example/caf\u00e9?q=\u00e9 x", "https://a.example/caf%C3%A9?q=%C3%A9+x"),
    ("https://a.example/a b?c=d e", "https://a.example/a%20b?c=d+e"),
    ("https://a.example/?b=%c3%a9&a=%2F", "https://a.example/?a=%2F&b=%C3%A9"),
    ("https://a.example/%e9?a", "https://a.example/%E9?a="),
    ("https://a.example/?q=%EF%BF%BD", "https://a.example/?q=%EF%BF%BD"),
]


@pytest.mark.parametrize(("url", "key"), KNOWN)
def test_keys_of_data_directories_stay_as_they_are(url: str, key: str) -> None:
    assert urls.url_key(url) == urls.former_key(url) == key


def test_queries_in_legacy_encodings_have_a_key_each() -> None:
    lamp, tide = "https://a.example/?q=%EC%E0%FF%EA&utm_source=x", "https://a.example/?q=%EF%F0%E8%EB"
    assert urls.url_key(lamp) == "https://a.example/?q=%EC%E0%FF%EA"
    assert urls.url_key(tide) == "https://a.example/?q=%EF%F0%E8%EB"
    assert urls.former_key(lamp) == urls.former_key(tide) == "https://a.example/?q=" + "%EF%BF%BD" * 4
