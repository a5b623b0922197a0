"""Each way in which a page can go wrong has one name; real HTTP over loopback."""

import gzip
import socket
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts.errors import BrowserError
from tasks.contracts.paths import Layout
from tasks.contracts.records import Dropped, Hit, Page
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings
from tasks.render.stage import Renderer, render
from tasks.storage.state_db import open_state
from tasks.web.blocklists import open_blocklists
from tests.support.loopback import Handler, Loopback, article, in_turn, send

LIMIT = 200_000


class NoBrowser:
    """Stands where Chromium is not installed; counts how often it was asked."""

    asked = 0

    def read(self, url: str, seconds: float) -> None:
        self.asked += 1
        raise BrowserError("Chromium is not installed: install it.")

    def close(self) -> None:
        pass


def make(folder: Path, *opened: str, blocked: tuple[str, ...] = (), **settings: Any) -> Renderer:
    values = {"delay_seconds": 0.0, "timeout_seconds": 2.0, "max_page_bytes": LIMIT, **settings}
    folder.mkdir(exist_ok=True)
    (folder / "blocked.txt").write_text("\n".join(blocked))
    search = SearchSettings(allow_loopback=opened, blocklists=(str(folder / "blocked.txt"),))
    whole, layout = (
        Settings(search=search, render=RenderSettings(**values, contact="me@example.org")),
        Layout(folder),
    )
    return Renderer(
        whole,
        layout,
        open_state(layout.database),
        sleep=lambda _: None,
        blocklists=open_blocklists(search, layout, lambda _: None),
        browser=NoBrowser(),  # type: ignore[arg-type]
    )


@pytest.fixture
def site() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture
def renderer(tmp_path: Path, site: Loopback) -> Iterator[Renderer]:
    with make(tmp_path, site.address) as opened:
        yield opened


def visit(renderer: Renderer, url: str, **more: Any) -> Page | Dropped:
    [result] = render([Hit(url, "urls", "q", **more)], renderer)
    return result


def reason(renderer: Renderer, url: str) -> str:
    result = visit(renderer, url)
    return result.reason if isinstance(result, Dropped) else "page"


def body_of(page: Page | Dropped) -> bytes:
    assert isinstance(page, Page), page
    return gzip.decompress(Path(page.body_path).read_bytes())


def drip(handler: Handler) -> None:
    send(handler, 200, {"Content-Length": "1000"}, b"")
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.1)


def drip_header(handler: Handler) -> None:
    for _ in range(100):
        handler.wfile.write(b"H")
        time.sleep(0.1)


def cut(handler: Handler) -> None:
    send(handler, 200, {"Content-Length": "1000"}, b"half of it")
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


BOMB = gzip.compress(b"\0" * 60_000_000)
TEXT = article()
OUTCOMES: dict[str, Any] = {
    "page": TEXT,
    "not_found": (404, {}, b"none"),
    "gone:not_found": (410, {}, b"none"),
    "forbidden": (403, {}, b"no"),
    "http_error": (418, {}, b"teapot"),
    "odd:http_error": (304, {}, b""),
    "server_error": (500, {}, b"broken"),
    "unsupported_media_type": (200, {"Content-Type": "application/pdf"}, b"%PDF-1.4"),
    "empty_body": b"  \n ",
    "nothing:empty_body": (204, {"Content-Type": "text/html"}, b""),
    "noindex": (200, {"X-Robots-Tag": "noindex"}, TEXT),
    "reserved": (200, {"TDM-Reservation": "1"}, TEXT),
    "tag:reserved": article(head='<meta name="tdm-reservation" content="1">'),
    "robots_forbidden": TEXT,
    "bad_redirect": (302, {"Location": "file:///etc/passwd"}, b""),
    "loop:redirect_loop": (302, {"Location": "/loop:redirect_loop"}, b""),
    "timeout": drip,
    "header:timeout": drip_header,
    "connection_error": cut,
    "long:connection_error": (200, {"X-Long": "x" * 1_000_000}, TEXT),
    "bad_encoding": (200, {"Content-Encoding": "br"}, b"xx"),
    "garbled:bad_encoding": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08 this is not gzip"),
    "too_large": b"x" * (LIMIT + 1),
    "bomb:too_large": (200, {"Content-Encoding": "gzip"}, BOMB),
    "browser_missing": b"<html><body><div id=root></div><script>1</script></body></html>",
    "zipped:page": (200, {"Content-Encoding": "gzip"}, gzip.compress(TEXT)),
    "lie:page": (200, {"Content-Encoding": "gzip"}, TEXT),
    "unsaid:page": gzip.compress(TEXT),
    "padded:page": (200, {"Content-Encoding": "gzip, gzip"}, gzip.compress(TEXT) + b"\0\0 <!-- cached -->"),
    "bomb_in_bomb:too_large": (200, {"Content-Encoding": "gzip, gzip"}, gzip.compress(BOMB)),
    "text:page": (200, {"Content-Type": "text/plain; charset=latin-1"}, b"plain"),
}


def test_each_page_has_one_named_outcome_and_costs_only_itself(site: Loopback, renderer: Renderer) -> None:
    site.answers = {f"/{name}": answer for name, answer in OUTCOMES.items()}
    site.answers["/robots.txt"] = b"User-agent: *\nDisallow: /robots_forbidden\n"
    hits = [Hit(f"{site.url}/{name}", "urls", "q") for name in OUTCOMES]
    results = render(hits, renderer)
    named = [result.reason if isinstance(result, Dropped) else "page" for result in results]
    assert named == [name.rpartition(":")[2] for name in OUTCOMES]
    assert site.paths.count("/robots.txt") == 1
    assert "/robots_forbidden" not in site.paths
    assert site.paths.count("/server_error") == 1 + renderer.settings.retries
    assert site.paths.count("/not_found") == 1


def test_what_a_page_record_says(site: Loopback, renderer: Renderer) -> None:
    headers = {"Content-Type": 'text/html; charset="ISO-8859-1"', "ETag": '"7"', "X-Robots-Tag": "noarchive"}
    site.answers = {"/": (200, headers, TEXT)}
    page = visit(renderer, site.url + "/")
    assert isinstance(page, Page)
    assert (page.status, page.media_type, page.charset, page.etag) == (200, "text/html", "iso-8859-1", '"7"')
    assert page.robots == "robots.txt: absent; tdmrep.json: -; x-robots-tag: noarchive; tdm: -" and not page.rendered
    assert body_of(page) == TEXT
    assert site.requests[-1][1]["user-agent"].endswith("obeyed) (contact: me@example.org)")


def test_a_server_that_recovers_is_tried_again_at_once(site: Loopback, renderer: Renderer) -> None:
    site.answers = {"/": in_turn((503, {}, b""), (503, {}, b""), TEXT)}
    assert body_of(visit(renderer, site.url + "/")) == TEXT


def test_a_short_retry_after_is_waited_for_and_a_long_one_cools_the_host(site: Loopback, tmp_path: Path) -> None:
    with make(tmp_path, site.address) as renderer:
        slept: list[float] = []
        renderer.sleep = slept.append
        site.answers = {
            "/short": in_turn((429, {"Retry-After": "7"}, b""), TEXT),
            "/long": (429, {"Retry-After": "3600"}, b""),
            "/other": TEXT,
        }
        assert reason(renderer, site.url + "/short") == "page" and slept == [7.0]
        assert reason(renderer, site.url + "/long") == "too_many_requests"
        assert reason(renderer, site.url + "/other") == "host_cooling"
        assert site.paths.count("/long") == 1 and "/other" not in site.paths


def test_redirects_are_followed_to_the_end(site: Loopback, renderer: Renderer) -> None:
    site.answers = {"/": (301, {"Location": "a#part"}, b""), "/a": (307, {"Location": "/b"}, b""), "/b": TEXT}
    page = visit(renderer, site.url + "/")
    assert isinstance(page, Page) and page.final_url == site.url + "/b"
    assert page.hit.url == site.url + "/"


def test_redirects_end_somewhere(site: Loopback, renderer: Renderer) -> None:
    site.answers = {f"/{n}": (302, {"Location": f"/{n + 1}"}, b"") for n in range(50)}
    assert reason(renderer, site.url + "/0") == "redirect_loop"
    assert len(site.paths) == 13  # robots.txt, tdmrep.json, the page, ten redirects


def test_a_redirect_to_the_same_address_with_a_cookie_is_no_loop(site: Loopback, renderer: Renderer) -> None:
    def gate(handler: Handler) -> Any:
        seen = "yes=1" in (handler.headers.get("Cookie") or "")
        return TEXT if seen else (302, {"Location": "/", "Set-Cookie": "yes=1"}, b"")

    site.answers = {"/": gate}
    assert reason(renderer, site.url + "/") == "page"


def test_the_robots_txt_of_each_hop_counts(site: Loopback, tmp_path: Path) -> None:
    with Loopback({"/robots.txt": b"User-agent: *\nDisallow: /", "/": TEXT}) as other:
        site.answers = {"/": (302, {"Location": other.url + "/"}, b"")}
        with make(tmp_path, site.address, other.address) as renderer:
            assert reason(renderer, site.url + "/") == "robots_forbidden"
        assert other.paths == ["/robots.txt"]


def test_robots_txt_that_fails_keeps_us_out_for_now(site: Loopback, renderer: Renderer) -> None:
    site.answers = {"/robots.txt": (503, {}, b""), "/": TEXT}
    result = visit(renderer, site.url + "/")
    assert isinstance(result, Dropped) and result.reason == "robots_unreachable" and result.retry
    assert "/" not in site.paths


def test_loopback_is_closed_unless_opened(site: Loopback, tmp_path: Path) -> None:
    site.answers = {"/": TEXT}
    with make(tmp_path) as renderer:
        assert reason(renderer, site.url) == "forbidden_address"
    with make(tmp_path / "other", "127.0.0.2:" + site.address.partition(":")[2], "127.0.0.1:9") as renderer:
        assert reason(renderer, site.url) == "forbidden_address", "what is open is that address at that port"
    assert site.paths == []


def test_dead_hosts_have_a_name(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with make(tmp_path, address) as renderer:
        result = visit(renderer, f"http://{address}/")
        assert isinstance(result, Dropped) and result.reason == "dead_host" and result.retry
        assert reason(renderer, "http://no-such-host.invalid/") == "dead_host"


def test_a_server_that_speaks_no_tls_has_a_name(site: Loopback, renderer: Renderer) -> None:
    assert reason(renderer, site.url.replace("http:", "https:")) == "tls_error"


def test_a_page_that_did_not_change_is_not_sent_again(site: Loopback, renderer: Renderer) -> None:
    def conditional(handler: Handler) -> Any:
        known = handler.headers.get("If-None-Match") == '"1"'
        return (304, {}, b"") if known else (200, {"ETag": '"1"'}, TEXT)

    site.answers = {"/": conditional}
    assert reason(renderer, site.url + "/") == "page"
    again = visit(renderer, site.url + "/", due_at=time.time() + 1, etag='"1"')
    assert isinstance(again, Dropped) and again.reason == "unchanged" and not again.retry


def test_a_page_that_a_cut_run_left_is_taken_from_the_cache(site: Loopback, tmp_path: Path) -> None:
    site.answers = {"/": TEXT}
    due = time.time() - 10
    with make(tmp_path, site.address) as first:
        visit(first, site.url + "/", due_at=due)
    asked = len(site.requests)
    with make(tmp_path, site.address) as second:
        page = visit(second, site.url + "/", due_at=due)
        assert isinstance(page, Page) and body_of(page) == TEXT
        assert len(site.requests) == asked
        visit(second, site.url + "/", due_at=time.time() + 1)
        assert len(site.requests) > asked


def test_a_missing_browser_is_said_once(site: Loopback, renderer: Renderer, caplog: pytest.LogCaptureFixture) -> None:
    site.answers = {f"/{n}": OUTCOMES["browser_missing"] for n in range(3)}
    results = render([Hit(f"{site.url}/{n}", "urls", "q") for n in range(3)], renderer)
    assert [r.reason for r in results if isinstance(r, Dropped) and "install" in r.detail] == ["browser_missing"] * 3
    assert len(caplog.records) == 1 and renderer.browser.asked == 1  # type: ignore[attr-defined]


def test_memory_stays_small_under_a_bomb(site: Loopback, renderer: Renderer) -> None:
    site.answers = {"/": (200, {"Content-Encoding": "gzip"}, BOMB)}
    tracemalloc.start()
    assert reason(renderer, site.url + "/") == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_redirect_to_what_a_blocklist_names_is_not_followed(site: Loopback, tmp_path: Path) -> None:
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    site.answers = {
        "/": (302, {"Location": "/on"}, b""),
        "/on": (301, {"Location": f"{elsewhere}/bad/page"}, b""),
        "/bad/page": TEXT,
        "/fine": (302, {"Location": f"{elsewhere}/good"}, b""),
        "/good": TEXT,
    }
    with make(tmp_path, site.address, blocked=("localhost/bad", "127.0.0.1/direct")) as renderer:
        stopped = visit(renderer, site.url + "/")
        assert stopped == Dropped("render", "blocklisted", f"blocked.txt: localhost/bad, at {elsewhere}/bad/page")
        assert isinstance(visit(renderer, site.url + "/fine"), Page)
        asked = len(site.requests)
        assert reason(renderer, site.url + "/direct/x") == "blocklisted"
        assert len(site.requests) == asked and "/bad/page" not in site.paths


def test_a_page_cached_before_the_list_grew_is_not_used(site: Loopback, tmp_path: Path) -> None:
    site.answers = {"/": (302, {"Location": "/landing"}, b""), "/landing": TEXT}
    with make(tmp_path, site.address) as renderer:
        assert isinstance(visit(renderer, site.url + "/"), Page)
    with make(tmp_path, site.address, blocked=("127.0.0.1/landing",)) as renderer:
        again = visit(renderer, site.url + "/", due_at=1.0)
        assert isinstance(again, Dropped) and again.reason == "blocklisted"


def test_robots_txt_is_not_fetched_from_a_blocked_host(site: Loopback, tmp_path: Path) -> None:
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    site.answers = {"/robots.txt": (302, {"Location": f"{elsewhere}/robots2.txt"}, b""), "/": TEXT}
    with make(tmp_path, site.address, blocked=("localhost",)) as renderer:
        assert isinstance(visit(renderer, site.url + "/"), Page)
        assert "/robots2.txt" not in site.paths
