"""Nights over sources and pages that are broken on purpose: each costs itself alone, and the night is done."""

from __future__ import annotations

import gzip
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from protego import Protego

from flows.add import add_files
from flows.steps import run_steps
from tasks import stages
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings, Source
from tasks.tokenize.token_files import read_manifest
from tests.support.loopback import Loopback, article

DATA_STEPS = ("collection", "validation", "cleaning", "preparation")
FEED = """<feed xmlns="http://www.w3.org/2005/Atom" {base}>{entries}</feed>"""
ENTRY = '<entry><link href="{}"/></entry>'
PORTS = ("http://a.example:99999/", "http://a.example:abc/", "http://[::1/", "http://[::1]x/")
LATER = {"Retry-After": "9" * 400}


def feed(*addresses: str, base: str = "") -> bytes:
    return FEED.format(base=base, entries="".join(map(ENTRY.format, addresses))).encode()


def night(layout: Layout, settings: Settings) -> dict[str, Any]:
    """The record of a night without training, as its report has it."""
    record = run_steps(settings, layout, DATA_STEPS, stages, Silent(), lambda _: None)
    values: dict[str, Any] = json.loads((layout.reports / record.run_id / "report.json").read_text())
    return values


@pytest.fixture
def site() -> Any:
    with Loopback({f"/good/{number}": article(f"Harbour {number}") for number in range(10)}) as opened:
        good = iter([f"{opened.url}/good/{number}" for number in range(10)])
        sitemap = f"<urlset><url><loc>{next(good)}</loc></url>{{}}</urlset>"
        opened.answers |= {
            "/ports": feed(next(good), *PORTS),
            "/base": feed(next(good), "b", base="xml:base='http://[x:99999/'"),
            "/half": feed("http://a.example/&#xD800;", next(good)),
            "/files": "".join(map("<sitemap><loc>{}</loc></sitemap>".format, PORTS)),
            "/cut": sitemap.format("<url><loc").removesuffix("</urlset>").encode(),
            "/packed": gzip.compress(sitemap.format("").encode())[:-12],
            "/list": "\n".join([next(good), *PORTS]).encode(),
            "/strange": (503, {"Retry-After": "1\xb2"}, b""),
            "/date": (429, {"Retry-After": "Mon, 01 Jan 9999999999 00:00:00 GMT"}, b""),
            "/far": (302, {"Location": "http://a.example:99999/"}, b""),
        }
        opened.answers["/files"] = f"<sitemapindex>{opened.answers['/files']}</sitemapindex>".encode()
        yield opened


def settings_of(site: Loopback, *sources: Source) -> Settings:
    search = SearchSettings(sources=sources, allow_loopback=(site.address,), revisit_listing_hours=0, retry_hours=0)
    return Settings("border", search, RenderSettings(delay_seconds=0, browser="never", retries=0))


def test_what_strangers_write_ends_no_night(site: Loopback, tmp_path: Path) -> None:
    listings = ("ports", "base", "half", "files", "cut", "packed", "list", "strange", "date")
    pages = [f"{site.url}/{name}" for name in ("strange", "far", "date", "good/9")]
    source = (Source("feed", url=f"{site.url}/{name}") for name in listings)
    settings, layout = settings_of(site, *source, Source("urls", urls=tuple(pages))), find_data_directory(tmp_path)
    first = night(layout, settings)
    assert first["outcome"] == "done"
    assert first["stages"]["collect"]["counts"] == {
        "bad_redirect": 1,
        "dead_host": 1,
        "not_found": 1,
        "server_error": 1,
        "stored": 6,
        "too_many_requests": 1,
    }
    assert night(layout, settings)["outcome"] == "done"


def test_a_pause_of_ages_is_a_day(site: Loopback, tmp_path: Path) -> None:
    """It once was a number that no clock can hold."""
    site.answers["/later"] = (503, LATER, b"")
    sources = (Source("feed", url=f"{site.url}/later"), Source("urls", urls=(f"{site.url}/good/1",)))
    layout, began = find_data_directory(tmp_path), time.time()
    assert night(layout, settings_of(site, *sources))["outcome"] == "done"
    with closing(sqlite3.connect(layout.database)) as db:
        assert began + 86_000 < db.execute("SELECT max(next_at) FROM hosts").fetchone()[0] < time.time() + 86_401
        due = db.execute("SELECT due_at FROM listings").fetchone()[0]
    assert began + 600_000 < due < time.time() + 7 * 86_400


def test_a_robots_txt_that_asks_for_a_pause_of_ages(site: Loopback, tmp_path: Path) -> None:
    site.answers["/robots.txt"] = (429, LATER, b"")
    record = night(find_data_directory(tmp_path), settings_of(site, Source("urls", urls=(f"{site.url}/good/1",))))
    assert record["outcome"] == "done" and record["stages"]["collect"]["counts"] == {"robots_unreachable": 1}


def test_what_nobody_thought_of_is_counted_and_its_traceback_named(
    site: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that fails on what one host sends; another host is read as ever."""
    parse = Protego.parse

    def failing(text: str) -> Any:
        if "boom" in text:
            raise IndexError("boom\x1b[2J")
        return parse(text)

    monkeypatch.setattr(Protego, "parse", failing)
    with Loopback(
        {"/robots.txt": b"User-agent: *\nDisallow: /boom", "/": article(), "/feed": feed()}, "127.0.0.3"
    ) as other:
        sources = (
            Source("feed", url=f"{other.url}/feed"),
            Source("urls", urls=(f"{other.url}/", f"{site.url}/good/1")),
        )
        search = SearchSettings(sources=sources, allow_loopback=(site.address, other.address))
        settings = Settings("border", search, RenderSettings(delay_seconds=0, browser="never"))
        record = night(find_data_directory(tmp_path), settings)
    assert record["outcome"] == "done"
    assert record["stages"]["collect"]["counts"] == {"stored": 1, "unforeseen": 1}
    assert record["stages"]["search"]["counts"]["feed unforeseen"] == 1
    (kept,) = tmp_path.glob("reports/*/tracebacks.txt")
    assert [message for message in record["messages"] if str(kept) in message and message.startswith("2 ")]
    text = kept.read_text()
    assert text.count("IndexError: boom\\u001b[2J") == 2 and f"{other.url}/" in text and "in failing" in text


def test_where_nothing_can_be_collected_what_is_there_is_still_prepared(site: Loopback, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.html").write_bytes(article(f"Quay number {number} of the town"))
    layout = find_data_directory(tmp_path / "data")
    settings = settings_of(site, Source("urls", urls=(f"{site.url}/good/1",)))
    add_files(sorted(tmp_path.glob("*.html")), settings, layout, Silent())
    search = SearchSettings(sources=settings.search.sources, blocklists=(str(tmp_path / "nowhere"),))
    with pytest.raises(SettingsError, match="nowhere"):
        night(layout, Settings("border", search))
    manifest = read_manifest(layout)
    assert manifest is not None and manifest.documents > 0 and site.requests == []
    (report,) = layout.reports.glob("*_border/report.json")
    assert "nothing more is collected" in json.loads(report.read_text())["messages"][0]
