"""Pages through the user's proxy: by plain HTTP and in Chromium, over a real proxy that alone can reach the site."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.browser.browser import Browser
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.records import Dropped, Hit, Page
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings
from tasks.render.stage import Renderer, render
from tasks.storage.state_db import open_state
from tasks.web.egress import EgressPolicy
from tests.end_to_end.conftest import free_port
from tests.support.http_proxy import HttpProxy
from tests.support.loopback import Loopback, article
from tests.support.tls import wrapped

APP = b"""<html><head><script src="/app.js"></script></head><body><div id="root"></div></body></html>"""
CODE = b"addEventListener('load', () => { document.body.innerHTML = `" + article("By a script") + b"`; });"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_but_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # As `keep_loopback_direct` does at the start of a program, for the browser's driver.
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,::1")


@pytest.fixture
def site() -> Iterator[Loopback]:
    script = (200, {"Content-Type": "text/javascript"}, CODE)
    with Loopback({"/": article(), "/app": APP, "/app.js": script, "/robots.txt": b""}) as server:
        yield server


@pytest.fixture
def secure_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """The same under TLS, as harbour.example; its certificate is trusted."""
    server = Loopback({"/": article("Behind TLS")})
    file = tmp_path / "certificate.pem"
    server._server.socket = wrapped(server._server.socket, file, "harbour.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with server:
        yield server


def visit(folder: Path, *urls: str, **more: object) -> list[Page | Dropped]:
    """What becomes of these pages."""
    loopback = tuple(more.pop("allow_loopback", ()))  # type: ignore[arg-type, var-annotated]
    quick = RenderSettings(delay_seconds=0.0, timeout_seconds=20.0, retries=0, **more)  # type: ignore[arg-type]
    settings, layout = Settings(search=SearchSettings(allow_loopback=loopback), render=quick), Layout(folder)
    with Renderer(settings, layout, open_state(layout.database)) as renderer:
        return render([Hit(url, "urls", "q") for url in urls], renderer)


def test_a_site_that_only_the_proxy_can_reach(
    site: Loopback, secure_site: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to = {"harbour.example:80": site.address, "harbour.example:443": secure_site.address}
    wanted = b64encode(b"me@home:s p").decode()
    with HttpProxy(leads_to, authorization=f"Basic {wanted}") as proxy:
        address = proxy.url.replace("://", "://me%40home:s%20p@")
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("https_proxy", address)
        pages = visit(tmp_path, "http://harbour.example/", "https://harbour.example/", browser="never")
        assert all(isinstance(page, Page) for page in pages), pages
        assert "GET http://harbour.example/" in proxy.asked and "CONNECT harbour.example:443" in proxy.asked
        assert all("proxy-authorization" not in headers for _, headers in site.requests + secure_site.requests)


def test_a_page_of_scripts_goes_through_the_gate_and_the_proxy(
    site: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy({"harbour.example:80": site.address}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        [page] = visit(tmp_path, "http://harbour.example/app")
        assert isinstance(page, Page) and page.rendered, page
        assert proxy.asked.count("GET http://harbour.example/app.js") == 1


def test_what_is_on_this_machine_is_asked_directly(
    site: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy({}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        pages = visit(tmp_path, f"{site.url}/", f"{site.url}/app", allow_loopback=[site.address])
        assert all(isinstance(page, Page) for page in pages) and proxy.asked == []


def test_what_a_proxy_does_not_do_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ("http://harbour.example/", "https://harbour.example/")

    def reasons(folder: str) -> list[str]:
        return [page.reason for page in visit(tmp_path / folder, *urls, browser="never") if isinstance(page, Dropped)]

    dead = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, dead)
    assert reasons("dead") == ["proxy_failed"] * 2
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid:3128")
    assert reasons("unknown")[0] == "proxy_failed"
    with HttpProxy({}, authorization="Basic eDp5") as proxy:  # and nobody gives it
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        # A robots.txt that is answered with 407 was not read: nothing may be fetched.
        assert reasons("locked") == ["proxy_failed"] * 2
    with HttpProxy({}) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert reasons("no such host") == ["robots_unreachable", "dead_host"]


def test_in_chromium_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with HttpProxy({}) as refusing:
        monkeypatch.setenv("https_proxy", refusing.url)
        browser = Browser(RenderSettings(), Layout(tmp_path), EgressPolicy())
        try:
            for url in ("http://harbour.example/", "https://harbour.example/"):
                with pytest.raises(PageRejected, match=r"proxy_failed: the proxy of https?_proxy, 127\.0\.0\.1:"):
                    browser.read(url, 10.0)
            with pytest.raises(PageRejected, match="forbidden_address"):
                browser.read("http://metadata.google.internal/", 10.0)
            assert refusing.asked == ["CONNECT harbour.example:443"]
        finally:
            browser.close()
    assert not [one for one in threading.enumerate() if one.name == "proxy"]
