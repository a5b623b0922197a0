"""Each provider against a faithful stand-in on loopback; Google's pages are visited by real Chromium."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from tasks.browser.chromium import MARKER
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings, Source
from tasks.search.frontier import HOUR, Frontier
from tasks.search.google import find_chromium
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher, search
from tasks.storage.state_db import open_state
from tasks.web.blocklists import open_blocklists
from tests.support import google_pages
from tests.support.loopback import Handler, Loopback

KEY = "BSA-this-is-a-secret"
needs_chromium = pytest.mark.skipif(
    None in find_chromium() or "headless-shell" in str(find_chromium()[0]) or not find_spec("undetected_chromedriver"),
    reason="undetected-chromedriver or the whole Chromium is not on this machine",
)


class Web(Loopback):
    """Answers by path alone, whatever the query."""

    def answer(self, handler: Handler) -> None:
        handler.path = urlsplit(handler.path).path
        super().answer(handler)

    def query(self, number: int = -1) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.asked[number][0]).query)

    @property
    def asked(self) -> list[tuple[str, dict[str, str]]]:
        return [(path, headers) for path, headers in self.requests if "robots.txt" not in path]


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def make(folder: Path, clock: Clock | None = None, **settings: Any) -> Searcher:
    layout = Layout(folder)
    # Search engines are open by their address in the profile; feeds and sitemaps are not.
    opened = tuple(urlsplit(source.url).netloc for source in settings.get("sources", ()) if source.url)
    whole = Settings(
        search=SearchSettings(allow_loopback=opened, **settings),
        render=RenderSettings(delay_seconds=0.0, timeout_seconds=15.0),
    )
    clock = clock or Clock()
    frontier = Frontier(open_state(layout.database), whole.search)
    return Searcher(whole, layout, frontier, clock=lambda: clock.now, sleep=clock.sleep)


def ask(source: Source, folder: Path, page: int = 0, query: str = "tides") -> SourceResult:
    with make(folder) as searcher:
        return search(SourceQuery(source, "2026-11-22", query, page), searcher)


def run(searcher: Searcher) -> tuple[list[str], list[str]]:
    """All questions of one run: their outcomes, and what was said."""
    outcomes, said = [], []
    with searcher:
        while question := searcher.next():
            answer = search(question, searcher)
            _, trouble = searcher.record_result(question, answer)
            outcomes.append(answer.outcome)
            said += [trouble] if trouble else []
    return outcomes, said


# -- SearXNG ---------------------------------------------------------------------------------------------


def searxng(web: Web) -> Source:
    return Source("searxng", base_url=web.url, hl="de")


def test_searxng(web: Web, tmp_path: Path) -> None:
    found = {"query": "tides", "results": [{"url": "https://a.example/", "title": "A"}, {"url": "https://b.example/"}]}
    web.answers["/search"] = (200, {"Content-Type": "application/json"}, json.dumps(found).encode())
    answer = ask(searxng(web), tmp_path, page=1)
    assert answer.outcome == "results" and [hit.url for hit in answer.hits] == [
        "https://a.example/",
        "https://b.example/",
    ]
    assert [(hit.provider, hit.query, hit.rank) for hit in answer.hits] == [("searxng", "tides", n) for n in range(2)]
    assert web.query() == {"q": ["tides"], "format": ["json"], "pageno": ["2"], "language": ["de"]}
    assert web.asked[0][1]["accept"] == "application/json"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ((403, {}, b"<h1>Forbidden</h1>"), "json_disabled"),
        ((200, {}, b"<html>the ordinary page</html>"), "json_disabled"),
        ((429, {"Retry-After": "60"}, b"Too Many Requests"), "rate_limited"),
        ((200, {}, b'{"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]}'), "unresponsive"),
        ((200, {}, b'{"results": [], "unresponsive_engines": []}'), "no_results"),
        ((200, {}, b'{"results": {"no": "list"}}'), "no_results"),
        ((200, {}, b"[]"), "json_disabled"),
        ((500, {}, b""), "server_error"),
        ((302, {"Location": "https://elsewhere.example/"}, b""), "bad_redirect"),
    ],
)
def test_searxng_refuses(web: Web, tmp_path: Path, reply: Any, outcome: str) -> None:
    web.answers["/search"] = reply
    assert ask(searxng(web), tmp_path).outcome == outcome


def test_an_instance_that_is_away(tmp_path: Path) -> None:
    assert ask(Source("searxng", base_url="http://127.0.0.1:9"), tmp_path).outcome == "dead_host"


# -- Brave -----------------------------------------------------------------------------------------------


def brave(web: Web) -> Source:
    return Source("brave", base_url=web.url)


def brave_api(handler: Handler) -> Any:
    if handler.headers.get("X-Subscription-Token") != KEY:
        return 422, {}, b'{"error": {"code": "SUBSCRIPTION_TOKEN_INVALID", "status": 422}, "type": "ErrorResponse"}'
    found = {
        "type": "search",
        "query": {"more_results_available": False},
        "web": {"results": [{"url": "https://a.example/"}]},
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()


def test_brave(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAVE_API_KEY", KEY)
    web.answers["/res/v1/web/search"] = brave_api
    answer = ask(brave(web), tmp_path, page=2)
    assert (answer.outcome, answer.last, answer.hits[0].url) == ("results", True, "https://a.example/")
    assert web.query() == {"q": ["tides"], "count": ["20"], "offset": ["2"], "search_lang": ["en"]}


@pytest.mark.parametrize(
    ("key", "reply", "outcome"),
    [
        ("", None, "key_missing"),
        ("wrong", brave_api, "key_refused"),
        (KEY, (401, {}, b""), "key_refused"),
        (KEY, (403, {}, b""), "key_refused"),
        (KEY, (429, {"X-RateLimit-Remaining": "0, 0"}, b""), "rate_limited"),
        (KEY, (200, {}, b"<html>"), "strange_page"),
        ("a\nb", None, "key_refused"),
        ("schlüssel", None, "key_refused"),
    ],
)
def test_brave_refuses(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, reply: Any, outcome: str
) -> None:
    monkeypatch.setenv("BRAVE_API_KEY", key)
    web.answers["/res/v1/web/search"] = reply
    assert ask(brave(web), tmp_path).outcome == outcome
    assert bool(web.asked) == (reply is not None)


def test_the_key_is_nowhere_but_in_the_request(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where the service sends it back, and with every log switched on."""
    caplog.set_level("DEBUG")
    monkeypatch.setenv("BRAVE_API_KEY", KEY)
    said = []
    for number, status in enumerate((200, 401, 422, 429, 500)):
        web.answers["/res/v1/web/search"] = (status, {}, f'{{"error": "{KEY}"}}'.encode())
        folder = tmp_path / str(number)
        searcher = make(folder, sources=(brave(web),), topics=("tides",))
        said += [repr(vars(searcher)), repr(searcher.settings), *run(searcher)[1]]
    assert web.asked[0][1]["x-subscription-token"] == KEY
    assert KEY not in "".join(said) and KEY not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


# -- Feeds and sitemaps ----------------------------------------------------------------------------------


def feed_of(*urls: str) -> bytes:
    items = "".join(f"<item><link>{url}</link></item>" for url in urls)
    return f"<rss version='2.0'><channel>{items}</channel></rss>".encode()


def test_a_feed_is_revisited_conditionally_and_brings_only_what_is_new(web: Web, tmp_path: Path) -> None:
    content = [feed_of("https://a.example/1", "https://a.example/2")]

    def answer(handler: Handler) -> Any:
        tag = f'"{len(content[0])}"'
        if handler.headers.get("If-None-Match") == tag:
            return 304, {"Content-Length": "0"}, b""
        return 200, {"ETag": tag, "Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT"}, content[0]

    web.answers["/feed"] = answer
    clock, found, outcomes = Clock(), [], []
    for night in range(3):
        if night == 2:
            content[0] = feed_of("https://a.example/3", "https://a.example/1", "https://a.example/2")
        searcher = make(tmp_path, clock, sources=(Source("feed", url=web.url + "/feed"),))
        outcomes += run(searcher)[0]
        found.append(sum(searcher.frontier.counts().values()))
        clock.now += 24 * HOUR
    assert outcomes == ["results", "unchanged", "results"] and found == [2, 2, 3]
    assert web.asked[1][1]["if-modified-since"] == "Mon, 02 Nov 2026 00:00:00 GMT"
    row = searcher.frontier.lookup("https://a.example/3")
    assert row is not None and (row["provider"], row["query"]) == ("feed", web.url + "/feed")


def test_a_sitemap_index_with_packed_files(web: Web, tmp_path: Path) -> None:
    def index(*names: str) -> bytes:
        files = "".join(f"<sitemap><loc>{web.url}/{name}</loc></sitemap>" for name in names)
        return f"<sitemapindex>{files}</sitemapindex>".encode()

    def urls(*pages: tuple[str, str]) -> bytes:
        inside = "".join(f"<url><loc>https://a.example/{page}</loc><lastmod>{on}</lastmod></url>" for page, on in pages)
        return f"<urlset>{inside}</urlset>".encode()

    packed = gzip.compress(urls(("old", "2020-01-01"), ("new", "2026-11-01"), ("photo.jpg", "2026-11-01")))
    web.answers = {
        "/map.xml": index("packed.xml.gz", "inner.xml", "gone.xml"),
        "/inner.xml": index("plain.xml", "map.xml"),
        "/packed.xml.gz": (200, {"Content-Type": "application/gzip"}, packed),
        "/plain.xml": urls(("plain", "2026-11-02")),
        "/robots.txt": b"User-agent: *\nDisallow: /private",
    }
    searcher = make(tmp_path, sources=(Source("sitemap", url=web.url + "/map.xml"),))
    outcomes, said = run(searcher)
    assert sorted(outcomes) == ["not_found", "results", "results", "results", "results"]
    assert len(said) == 1 and "gone.xml" in said[0]
    now = time.time() + 10
    order = [hit.url.rpartition("/")[2] for hit in searcher.frontier.due(9, now, now)]
    assert order == ["new", "old", "plain"], "the latest first, media left out"
    assert len([path for path, _ in web.asked if path == "/map.xml"]) == 1, "a circle is walked once"


def test_a_large_sitemap_is_taken_piece_by_piece(web: Web, tmp_path: Path) -> None:
    urls = "".join(f"<url><loc>https://a.example/{number}</loc></url>" for number in range(25))
    web.answers["/map.xml"] = (200, {"ETag": '"1"'}, f"<urlset>{urls}</urlset>".encode())
    clock, known = Clock(), []
    for _ in range(3):
        searcher = make(tmp_path, clock, sources=(Source("sitemap", url=web.url + "/map.xml", max_urls=10),))
        run(searcher)
        known.append(sum(searcher.frontier.counts().values()))
        clock.now += 24 * HOUR
    assert known == [10, 20, 25]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"/feed": b"<html><body>gone</body></html>"}, "no_listing"),
        ({"/feed": feed_of(), "/robots.txt": b"User-agent: *\nDisallow: /"}, "robots_forbidden"),
        ({"/feed": feed_of()}, "no_results"),
        ({"/feed": (302, {"Location": "/new"}, b""), "/new": feed_of("https://a.example/")}, "results"),
        ({"/feed": (302, {"Location": "/feed"}, b"")}, "redirect_loop"),
        ({"/feed": (503, {"Retry-After": "7200"}, b"")}, "server_error"),
        ({"/feed": (302, {"Location": "http://169.254.169.254/"}, b"")}, "forbidden_address"),
        ({}, "not_found"),
    ],
)
def test_feeds_answer_in_their_ways(web: Web, tmp_path: Path, answers: dict[str, Any], outcome: str) -> None:
    web.answers = answers
    outcomes, said = run(make(tmp_path, sources=(Source("feed", url=web.url + "/feed"),)))
    assert outcomes == [outcome] and len(said) == (outcome not in ("results", "no_results"))


def test_a_feed_on_this_machine_is_refused_by_default(web: Web, tmp_path: Path) -> None:
    layout, settings = Layout(tmp_path), Settings(search=SearchSettings(sources=(Source("feed", url=web.url),)))
    frontier = Frontier(open_state(layout.database), settings.search)
    assert run(Searcher(settings, layout, frontier))[0] == ["forbidden_address"] and web.requests == []


def test_a_sitemap_that_names_what_a_blocklist_names(web: Web, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("127.0.0.1/bad\n")
    index = f"<sitemapindex><sitemap><loc>{web.url}/bad/2.xml</loc></sitemap>"
    index += f"<sitemap><loc>{web.url}/1.xml</loc></sitemap></sitemapindex>"
    pages = "".join(f"<url><loc>{web.url}/{name}</loc></url>" for name in ("bad/a", "bad/b", "good"))
    web.answers = {"/index.xml": index.encode(), "/1.xml": f"<urlset>{pages}</urlset>".encode(), "/bad/2.xml": b"x"}
    searcher = make(
        tmp_path,
        sources=(Source("sitemap", url=web.url + "/index.xml"),),
        blocklists=(str(tmp_path / "mine.txt"),),
    )
    frontier = searcher.frontier
    frontier.apply_blocklists(open_blocklists(frontier.settings, searcher.layout, lambda _: None), 0.0)
    outcomes, said = run(searcher)
    assert outcomes == ["results", "blocklisted", "results"] and "mine.txt: 127.0.0.1/bad" in said[0]
    assert frontier.counts() == {"blocklisted": 2, "waiting": 1} and "/bad/2.xml" not in web.paths


# -- Google ----------------------------------------------------------------------------------------------


def html(text: str, status: int = 200) -> Any:
    return status, {"Content-Type": "text/html; charset=utf-8"}, text.encode()


FACES: dict[str, Any] = {
    "results": lambda _: html(google_pages.results("https://a.example/1", "https://b.example/ü", wrapped=True)),
    "javascript_gate": lambda _: html(google_pages.GATE),
    "captcha": lambda _: (302, {"Location": "/sorry/index?continue=x"}, b""),
    "no_results": lambda _: html(google_pages.EMPTY),
}


def google(web: Web) -> Source:
    return Source("google", base_url=web.url, lr="lang_en", pause_seconds=1.0)


def left_behind(folder: Path) -> list[str]:
    """Processes of this data directory that live, and zombies of ours."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARKER) == str(Layout(folder).state)
            dead = process.status() == psutil.STATUS_ZOMBIE and process.ppid() == os.getpid()
        except psutil.Error:
            continue
        found += [f"{process.pid} {process.name()}"] if ours or dead else []
    return found


@needs_chromium
def test_googles_four_faces_in_real_chromium(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAVE_API_KEY", KEY)
    web.answers["/sorry/index"] = html(google_pages.CAPTCHA, 429)
    web.answers["/ml"] = html(google_pages.CONSENT)
    # `consent.localhost` is this machine for Chromium, and a host of its own as consent.google.com is.
    elsewhere = f"{web.url.replace('127.0.0.1', 'consent.localhost')}/ml?continue=x"
    seen = {}
    for name, reply in {**FACES, "consent": lambda _: (302, {"Location": elsewhere}, b"")}.items():
        web.answers["/search"] = reply
        seen[name] = ask(google(web), tmp_path, page=1)
        assert left_behind(tmp_path) == []
    assert {name: answer.outcome for name, answer in seen.items()} == {name: name for name in seen}
    assert [hit.url for hit in seen["results"].hits] == ["https://a.example/1", "https://b.example/ü"]
    assert "429" in seen["captcha"].detail and "/sorry/index" in seen["captcha"].detail
    asked = [path for path, _ in web.requests if path.startswith("/search")]
    assert len(asked) == len(seen), "each question is one request"
    assert parse_qs(urlsplit(asked[0]).query) == {"q": ["tides"], "hl": ["en"], "lr": ["lang_en"], "start": ["10"]}
    [driver] = (tmp_path / "state" / "google").glob("chromedriver-*")
    assert driver.stat().st_mtime < time.time() and b"undetected chromedriver" in driver.read_bytes()
    assert b"undetected chromedriver" not in Path(str(find_chromium()[1])).read_bytes(), "only the copy is patched"


@needs_chromium
def test_a_captcha_sends_the_question_on_and_holds_the_next_night(web: Web, tmp_path: Path) -> None:
    web.answers["/sorry/index"] = html(google_pages.CAPTCHA, 429)
    with Web({"/search": b'{"results": [{"url": "https://a.example/"}]}'}) as other:
        web.answers["/search"] = FACES["captcha"]
        clock = Clock()
        settings = {"sources": (google(web), searxng(other)), "topics": ("tides",), "queries_per_night": 2}
        outcomes, said = run(make(tmp_path, clock, **settings))
        assert outcomes == ["captcha", "results"]
        assert "whether we are human" in said[0] and "going on with searxng" in said[0]
        clock.now += 2 * HOUR
        again = make(tmp_path, clock, **settings)
        assert "left alone until" in again.schedule.cooling_messages(clock.now)[0]
        again.__exit__(None, None, None)
    assert len([path for path, _ in web.requests if path.startswith("/search")]) == 1


@needs_chromium
def test_a_page_that_never_comes_costs_its_deadline_and_nothing_else(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.search.google.START_SECONDS", 6.0)
    release = threading.Event()
    web.answers["/search"] = lambda _: release.wait(30) and None
    searcher = make(tmp_path)
    searcher.settings = RenderSettings(timeout_seconds=2.0)
    started = time.monotonic()
    answer = search(SourceQuery(google(web), "2026-11-22", "tides"), searcher)
    release.set()
    assert answer.outcome == "browser_failed" and time.monotonic() - started < 15
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "state" / "google").glob("profile")) != []


def test_without_undetected_chromedriver_it_says_so(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.search.google.find_spec", lambda _: None)
    assert ask(google(web), tmp_path).outcome == "not_installed" and web.requests == []


def test_the_gpl_package_is_loaded_in_the_window_alone() -> None:
    script = "import sys, run, flows.grow; print('undetected_chromedriver' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- Prefect's cache -------------------------------------------------------------------------------------


def test_a_night_that_was_cut_does_not_ask_the_search_engine_again(web: Web, tmp_path: Path) -> None:
    """Killed between the answer and its settling: the same question, of the same night, is answered from the cache."""
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness

    from tasks import prefect_tasks as stages

    web.answers["/search"] = b'{"results": [{"url": "https://a.example/"}]}'
    settings = {"sources": (searxng(web),), "topics": ("tides",), "queries_per_night": 2}

    @flow
    def ask_without_settling(clock: Clock) -> tuple[SourceQuery | None, SourceResult]:
        with make(tmp_path, clock, **settings) as searcher:
            question = searcher.next()
            assert question is not None
            return question, stages.search(question, searcher)

    clock = Clock()
    with prefect_test_harness(server_startup_timeout=120):
        first = ask_without_settling(clock)
        assert ask_without_settling(clock) == first and len(web.asked) == 1
        clock.now += 24 * HOUR
        assert ask_without_settling(clock)[1].outcome == "results" and len(web.asked) == 2, "another night asks anew"
