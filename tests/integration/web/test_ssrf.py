"""No page leads us to a service of this machine: whatever it tries, a canary there hears nothing.

The hostile site is on this machine too, at an address of its own that alone is open. The canary's port counts as a
web port here, so that it is the address that keeps us away from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.browser.browser import Browser
from tasks.browser.chromium import Binaries, find_binaries
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.records import Dropped, Hit
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings, Source
from tasks.render.stage import Renderer, render
from tasks.search.google import find_chromium, open_page
from tasks.search.queries import SourceQuery
from tasks.storage.state_db import open_state
from tasks.web.egress import EgressPolicy
from tests.integration.search.test_providers import needs_chromium
from tests.support.canary import Canary
from tests.support.loopback import Loopback, article

# Every way to write this machine's address; names resolve as `resolve` says.
HOSTS = (
    *("127.0.0.1", "127.1", "127.0.0.9", "0.0.0.0", "0", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1"),
    *("017700000001", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "localhost", "localhost.", "x.localhost", "canary.example"),
    *("mixed.example", "rebinding.example", "127.0.0.1.", "user:password@127.0.0.1"),
)
ROOMY = RenderSettings(browser_megabytes=4000)  # the page below has a hundred workers
NAMES = {"canary.example": ["127.0.0.1"], "mixed.example": ["1.1.1.1", "127.0.0.1"]}
BODY = "<html><body>nothing to read here {inside}</body></html>"

# What a page can ask for without leaving: W is where, by `http`, `ws` or `https`; the path says by what.
EVERYTHING = """
<link rel=stylesheet href="{http}/stylesheet"><link rel=prefetch href="{http}/prefetch">
<link rel=preconnect href="{http}/"><link rel=dns-prefetch href="{http}/"><link rel=icon href="{http}/icon">
<link rel=modulepreload href="{http}/modulepreload"><link rel=preload as=script href="{http}/preload">
<link rel=manifest href="{http}/manifest">
<script src="{http}/script"></script><img src="{http}/img"><iframe src="{http}/iframe"></iframe>
<iframe srcdoc="<iframe src='{http}/srcdoc'></iframe>"></iframe>
<object data="{http}/object"></object><embed src="{http}/embed"><video src="{http}/video" preload=auto></video>
<style>@import "{http}/import"; @font-face {{font-family: f; src: url({http}/font)}} p {{font-family: f}}</style>
<p>text</p><iframe name=inside></iframe>
<form method=post target=inside action="{http}/form"><input name=a value=b></form>
<a id=link ping="{http}/ping" href="#top">link</a>
<script type=speculationrules>{{"prefetch": [{{"urls": ["{http}/rules"], "eagerness": "immediate"}}]}}</script>
<script>
const attempt = (act) => {{
  try {{ const given = act(); if (given && given.catch) given.catch(() => 0); }} catch {{}}
}};
const worker = (code) => new Worker(URL.createObjectURL(new Blob([code])));
attempt(() => fetch('{http}/fetch', {{mode: 'no-cors'}}));
attempt(() => fetch('{http}/keepalive', {{mode: 'no-cors', method: 'POST', body: 'x', keepalive: true}}));
attempt(() => {{ const asked = new XMLHttpRequest(); asked.open('POST', '{http}/xhr'); asked.send('x'); }});
attempt(() => new WebSocket('{ws}/websocket'));
attempt(() => new EventSource('{http}/events'));
attempt(() => navigator.sendBeacon('{http}/beacon', 'x'));
attempt(() => document.forms[0].submit());
attempt(() => window.open('{http}/popup'));
attempt(() => document.getElementById('link').click());
attempt(() => worker("fetch('{http}/worker', {{mode: 'no-cors'}})"));
attempt(() => worker("importScripts('{http}/imported')"));
attempt(() => navigator.serviceWorker.register('/worker.js?{http}'));
attempt(() => import('{http}/module'));
attempt(() => new WebTransport('{https}/transport').ready);
attempt(() => {{
  const urls = ['stun:{rest}', 'turn:{rest}?transport=udp', 'turn:{rest}?transport=tcp'];
  const servers = urls.map((one) => ({{urls: one, username: 'a', credential: 'b'}}));
  const peer = new RTCPeerConnection({{iceServers: servers}});
  peer.createDataChannel('x');
  return peer.createOffer().then((offer) => peer.setLocalDescription(offer));
}});
</script>
"""
WORKER = b"const where = location.search.slice(1); fetch(where + '/serviceworker', {mode: 'no-cors'});"


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    with Canary() as opened:
        monkeypatch.setattr("tasks.web.egress.PORTS", (80, 443, opened.port))
        yield opened


@pytest.fixture
def site(canary: Canary) -> Iterator[Loopback]:
    """The hostile site."""
    with Loopback(host="127.0.0.2") as server:
        where = [f"{host}:{canary.port}" for host in HOSTS]
        everything = "".join(everything_at(one) for one in where)
        server.answers = {
            "/everything": BODY.format(inside=everything).encode(),
            "/worker.js": (200, {"Content-Type": "text/javascript"}, WORKER),
            "/article": article(),
        }
        for number, one in enumerate(where):
            for status in (301, 302, 303, 307, 308):
                server.answers[f"/{status}/{number}"] = (status, {"Location": f"http://{one}/redirect"}, b"")
            refresh = f"<meta http-equiv=refresh content='0;url=http://{one}/refresh'>"
            server.answers[f"/refresh/{number}"] = BODY.format(inside=refresh).encode()
        for name, address in elsewhere(canary.port).items():
            leave = f"<script>location = '{address}'</script>"
            server.answers[f"/leave/{name}"] = BODY.format(inside=leave).encode()
        answer = server.answer

        def with_any_query(handler: object) -> None:
            handler.path = handler.path.partition("?")[0]  # type: ignore[attr-defined]
            answer(handler)  # type: ignore[arg-type]

        server.answer = with_any_query  # type: ignore[method-assign]
        yield server


def everything_at(where: str) -> str:
    return EVERYTHING.format(http=f"http://{where}", ws=f"ws://{where}", https=f"https://{where}", rest=where)


def elsewhere(port: int) -> dict[str, str]:
    """Addresses that a script may send the whole page to."""
    return {
        "http": f"http://127.0.0.1:{port}/navigation",
        "https": f"https://[::1]:{port}/navigation",
        "name": f"http://canary.example:{port}/navigation",
        "ftp": f"ftp://127.0.0.1:{port}/navigation",
        "source": f"view-source:http://127.0.0.1:{port}/navigation",
        "file": "file:///etc/passwd",
        "data": f"data:text/html,<img src=http://127.0.0.1:{port}/data><script>fetch(`http://127.0.0.1:{port}/`)</script>",
        "blob": f"blob:http://127.0.0.1:{port}/navigation",
        "script": f"javascript:fetch(`http://127.0.0.1:{port}/script`)",
        "internal": "chrome://version",
    }


def resolver() -> object:
    """The test's name server; `rebinding.example` is a public address first and this machine ever after."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        from tasks.web.egress import resolve_by_system

        if host == "rebinding.example":
            asked.append(host)
            return ["192.0.2.1" if len(asked) == 1 else "127.0.0.1"]
        return NAMES.get(host) or resolve_by_system(host, port)

    return resolve


def egress(site: Loopback, *more: str) -> EgressPolicy:
    return EgressPolicy([site.address, *more], resolver())  # type: ignore[arg-type]


def browsers() -> list[Any]:
    """The one that nights use, and in the long tests the other kind: they take other things from the command line."""
    used, other = find_binaries().chromium, find_chromium()[0]
    long = [pytest.param(other, marks=pytest.mark.long)] if other not in (used, None) else []
    return [used, *long] if used else long


def test_through_httpx(site: Loopback, canary: Canary, tmp_path: Path) -> None:
    whole = Settings(
        search=SearchSettings(allow_loopback=(site.address,)),
        render=RenderSettings(delay_seconds=0.0, timeout_seconds=3.0, browser="never", retries=0),
    )
    layout = Layout(tmp_path)
    hits = [Hit(f"http://{host}:{canary.port}/direct", "urls", "q") for host in HOSTS]
    hits += [Hit(site.url + path, "urls", "q") for path in site.answers if path.startswith("/30")]
    with Renderer(whole, layout, open_state(layout.database), sleep=lambda _: None) as renderer:
        renderer.client.close()
        renderer.client = renderer.politeness.client = type(renderer.client)("test", egress(site))
        results = render(hits, renderer)
    assert canary.seen == []
    reasons = {result.reason for result in results if isinstance(result, Dropped)}
    assert len(results) == len(hits) and all(isinstance(result, Dropped) for result in results)
    assert reasons <= {"forbidden_address", "bad_redirect", "dead_host", "bad_url"}, reasons


@pytest.mark.parametrize("binary", browsers())
def test_through_chromium(site: Loopback, canary: Canary, tmp_path: Path, binary: str) -> None:
    browser = Browser(ROOMY, Layout(tmp_path), egress(site), Binaries(binary, find_binaries().driver))
    try:
        for path in ["/everything", *(path for path in site.answers if path.startswith("/leave/"))]:
            try:
                browser.read(site.url + path, 20.0)
            except PageRejected as refused:
                assert refused.reason in ("forbidden_address", "connection_error", "unsupported_media_type"), path
            assert canary.seen == [], path
        for number, host in list(enumerate(HOSTS))[::3]:
            for path in (f"/302/{number}", f"/refresh/{number}"):
                with pytest.raises(PageRejected, match=r"forbidden_address|dead_host|connection_error"):
                    browser.read(site.url + path, 10.0)
                assert canary.seen == [], (path, host)
        assert b"harbour" in browser.read(site.url + "/article", 10.0).body
        assert canary.seen == []
    finally:
        browser.close()


@pytest.mark.parametrize("binary", browsers())
def test_the_canary_would_have_heard(site: Loopback, canary: Canary, tmp_path: Path, binary: str) -> None:
    """The same page with the canary's address open: else its silence shows nothing."""
    site.answers["/everything"] = BODY.format(inside=everything_at(f"127.0.0.1:{canary.port}")).encode()
    opened = egress(site, f"127.0.0.1:{canary.port}")
    browser = Browser(ROOMY, Layout(tmp_path), opened, Binaries(binary, find_binaries().driver))
    try:
        browser.read(site.url + "/everything", 20.0)
    finally:
        browser.close()
    heard = {line.split(" ")[2].strip("/") for line in canary.seen if line.count(" ") >= 2}
    ways = {"iframe", "fetch", "xhr", "websocket", "events", "beacon", "form", "script", "worker", "imported", "module"}
    assert ways | {"stylesheet", "import", "srcdoc", "object", "keepalive"} <= heard


@needs_chromium
def test_through_the_window_for_google(site: Loopback, canary: Canary, tmp_path: Path) -> None:
    chromium, driver = find_chromium()
    assert chromium and driver
    question = SourceQuery(Source("google", base_url=site.url), "2026-11-22", "tides", 0)
    for path in ("/everything", "/302/0", "/leave/http"):
        try:
            open_page(site.url + path, question, Layout(tmp_path), chromium, driver, 10.0)
        except PageRejected as refused:
            assert refused.reason == "browser_failed"
        assert canary.seen == [], path
