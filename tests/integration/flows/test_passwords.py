"""A password in an address of the profile opens its site, and is kept nowhere."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.browser.browser import Browser
from tasks.browser.chromium import find_binaries
from tasks.contracts.credentials import Credentials, user_of, without_user
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.profiles import load_settings
from tasks.contracts.settings import RenderSettings, Source
from tasks.web.egress import EgressPolicy
from tests.support.loopback import Handler, Loopback, article

PASSWORD = "k3ep%40me-s3cret"  # as it stands in an address: the word has an @
HEADER = "Basic " + b64encode(b"reader:k3ep@me-s3cret").decode()
PROFILE = """
[search]
allow_loopback = ["{address}", "{other}"]
[[search.sources]]
provider = "site"
url = "http://reader:{password}@{address}/"
[[search.sources]]
provider = "feed"
url = "http://reader:{password}@{address}/feed"
[[search.sources]]
provider = "urls"
urls = ["http://reader:{password}@{address}/given", "http://{other}/"]
[render]
delay_seconds = 0
browser = "never"
"""


class Guarded(Loopback):
    """A site that answers only whoever has the password."""

    def answer(self, handler: Handler) -> None:
        if handler.headers.get("Authorization") == HEADER:
            super().answer(handler)
        else:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="readers"')
            handler.send_header("Content-Length", "0")
            handler.end_headers()


@pytest.fixture
def site() -> Iterator[Guarded]:
    with Guarded({"/robots.txt": b"User-agent: *\nDisallow: /no"}) as opened:
        opened.answers |= {
            "/": article("Start", extra='<a href="/linked">x</a><a href="//who:ever@127.0.0.1/stranger">y</a>'),
            "/linked": article("Linked"),
            "/listed": article("Listed"),
            "/given": article("Given", extra=f'<a href="{opened.url}/no">z</a>'),
            "/feed": f"<rss><channel><item><link>{opened.url}/listed</link></item></channel></rss>".encode(),
        }
        yield opened


def run(data: Path, profile: Path, *arguments: str) -> str:
    command = [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(data), "--profile", str(profile), *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"HOME": str(data.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_it_opens_its_site_and_is_kept_nowhere(site: Guarded, tmp_path: Path) -> None:
    data, profile = tmp_path / "data", tmp_path / "profile.toml"
    with Loopback({"/": (302, {"Location": f"{site.url}/given?by=another"}, b"")}, "127.0.0.2") as other:
        values = {"address": site.address, "other": other.address, "password": PASSWORD}
        profile.write_text(PROFILE.format(**values))
        said = run(data, profile, "--json", "collect")
        assert all("authorization" not in headers for _, headers in other.requests)
    for command in (("clean",), ("prepare",), ("stats",), ("trace", f"http://reader:{PASSWORD}@{site.address}/")):
        said += run(data, profile, *command)
    with sqlite3.connect(data / "state" / "state.sqlite") as db:
        ends = dict(db.execute("SELECT url, outcome FROM frontier").fetchall())
        assert not [row for row in db.iterdump() if "s3cret" in row]
    stored = {url for url, outcome in ends.items() if outcome == "stored"}
    assert stored == {f"{site.url}{path}" for path in ("/", "/linked", "/listed", "/given")}, ends
    ledger = [json.loads(line) for line in (data / "raw" / "ledger.jsonl").read_text().splitlines()]
    assert {entry["url"] for entry in ledger} == stored and "@" not in "".join(entry["query"] for entry in ledger)
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) > 10
    for content in [said.encode(), *(path.read_bytes() for path in files)]:
        assert b"s3cret" not in content and HEADER.partition(" ")[2].encode() not in content


@pytest.mark.skipif(find_binaries().chromium is None, reason="no Chromium on this machine")
def test_chromium_gets_in_too(site: Guarded, tmp_path: Path) -> None:
    credentials = Credentials([(site.url, f"reader:{PASSWORD}")])
    browser = Browser(RenderSettings(), Layout(tmp_path), EgressPolicy([site.address]), credentials=credentials)
    try:
        page = browser.read(f"{site.url}/linked", 60.0)
    finally:
        browser.close()
    assert b"Linked" in page.body and page.status == 200
    assert [one.url for one in (page, *page.history)] == [f"{site.url}/linked"] * (1 + len(page.history))


def test_a_source_shows_no_password(tmp_path: Path) -> None:
    source = Source("site", url="https://me:s3cret@a.example:8443/x@y")
    assert source.url == "https://a.example:8443/x@y" and "s3cret" not in repr(source) + source.name
    assert Credentials(source.users).authorization("https://a.example:8443/z")
    for other in ("http://a.example:8443/", "https://a.example/", "https://b.a.example:8443/"):
        assert not Credentials(source.users).authorization(other)
    profile = tmp_path / "profile.toml"
    for line in ("url = 'ftp://me:s3cret@a.example/'", "url = 'https://a.example/'\nusers = [['a', 'me:s3cret']]"):
        profile.write_text(f"[[search.sources]]\n{line}\n")
        with pytest.raises(SettingsError) as error:
            load_settings(str(profile))
        assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("https://a.example/x@y?z=http://b:c@d/", ""),
        ("https://me@a.example/", "me"),
        ("https://me:p@ss:w@a.example?x", "me:p@ss:w"),
        ("HTTP://me:@a.example#f", "me:"),
        ("me:pw@a.example", ""),
    ],
)
def test_where_a_user_stands(url: str, user: str) -> Any:
    assert user_of(url) == user and without_user(url) == url.replace(f"{user}@", "", 1 if user else 0)
