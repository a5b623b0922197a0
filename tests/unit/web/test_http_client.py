from __future__ import annotations

import httpx
import pytest

from tasks.web.http_client import Response


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("text/html; charset=UTF-8", "utf-8"),
        ('text/html;Charset="iso-8859-4"; foo=bar', "iso-8859-4"),
        ("text/html; charset = 'utf-8'", "utf-8"),
        ('text/html; charset="utf-8', "utf-8"),
        ("text/html; charset=utf-8, text/html; charset=latin1", "utf-8"),
        ("text/html; xcharset=utf-8", None),
        ('text/html; x-charset="utf-8"', None),
        ('text/html; foo="bar; charset=utf-7"', None),
        ('text/html; foo="bar; charset=utf-7;"; charset=utf-8', "utf-8"),
        ('text/html; foo="a \\" charset=utf-7"; charset=""; charset=utf-8', "utf-8"),
        ("text/html", None),
        ("", None),
    ],
)
def test_the_encoding_that_a_header_names(content_type: str, charset: str | None) -> None:
    assert Response("", 200, httpx.Headers({"content-type": content_type}), b"").charset == charset
