from __future__ import annotations

import random
import re

import pytest

from tasks.contracts import urls


def test_a_plain_address_is_its_own_key_as_the_long_way_finds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    made = (f"http{generator.choice(('', 's'))}://{draw(generator, 1)}/{draw(generator, 0)}" for _ in range(20_000))
    plain = [url for url in made if urls.PLAIN.fullmatch(url)]
    assert len(plain) > 1000
    monkeypatch.setattr(urls, "PLAIN", re.compile("(?!)"))
    assert [urls.url_key(url) for url in plain] == plain


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
