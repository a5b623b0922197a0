from __future__ import annotations

import httpx
import pytest

from tasks.contracts.credentials import Credentials
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import Deadline, HttpClient, Response
from tests.support.loopback import Loopback


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


def test_a_link_with_a_password_does_not_log_in_and_the_profile_s_own_does() -> None:
    with Loopback({"/": b"x"}) as site:
        link = f"{site.url.replace('://', '://stranger:secret@')}/"
        for credentials, sent in ((None, None), (Credentials([(site.url, "me:own")]), "Basic bWU6b3du")):
            client = HttpClient("test", EgressPolicy([site.address]), credentials)
            client.get(link, deadline=Deadline(10.0), max_bytes=1000)
            client.close()
            assert site.requests[-1][1].get("authorization") == sent
