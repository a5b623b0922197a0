"""Real Chromium: scripts run, hung pages are killed, nothing is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.browser.browser import Browser, sweep_orphans
from tasks.browser.chromium import MARKER, Binaries, find_binaries, without_sandbox_hint
from tasks.contracts.errors import BrowserError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.records import Dropped, Hit, Page
from tasks.contracts.run_record import tree_bytes
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings
from tasks.processes.process_tree import tree_of
from tasks.render.stage import Renderer, render
from tasks.storage.state_db import open_state
from tasks.web.blocklists import open_blocklists
from tasks.web.egress import EgressPolicy
from tests.support.loopback import PARAGRAPH, Handler, Loopback, article, send

pytestmark = pytest.mark.skipif(find_binaries().chromium is None, reason="no Chromium on this machine")

APP = b"""<html><body><div id=root></div><script>
fetch('/text').then(answer => answer.text()).then(text => setTimeout(() => {
  document.getElementById('root').innerHTML = '<article><h1>Made by a script</h1><p>' + text + '</p></article>';
}, 400));
</script></body></html>"""


def filled(script: str) -> bytes:
    return f"<html><body><div id=root></div><script>{script}</script></body></html>".encode()


LATE = b"""<html><body><nav>%b</nav><main id=root></main><script>
fetch('/later').then(answer => answer.text()).then(text => { document.getElementById('root').innerText = text; });
</script></body></html>""" % (b"All of our pages. " * 30)


def later(handler: Handler) -> None:
    time.sleep(0.4)
    send(handler, 200, {"Content-Type": "text/plain"}, b"It took its time. " * 20)


def endless(handler: Handler) -> None:
    send(handler, 200, {"Content-Length": "100000000000"}, b"<html><body>")
    for number in range(100_000):
        handler.wfile.write(b"<p>%d" % number + b" and so on" * 5000)


def rights(handler: Handler) -> None:
    handler.send_response(203)
    for name, value in (("X-Robots-Tag", "otherbot: noindex"), ("X-Robots-Tag", "noai"), ("Content-Type", "text/html")):
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(article("Rights"))


ANSWERS: dict[str, Any] = {
    "/app": APP,
    "/text": (PARAGRAPH * 5).encode(),
    "/late": LATE,
    "/later": later,
    "/static": article("Static"),
    "/hang": b"<html><body><div id=root></div><script>while (true) {}</script></body></html>",
    "/alerts": b"<html><body><div id=root></div><script>while (true) alert(1)</script></body></html>",
    "/popup": b"<html><body><div id=root></div><script>open('/static')</script></body></html>",
    "/large": b"<html><body><div id=root></div><script>document.body.innerText='x'.repeat(3e6)</script></body></html>",
    "/download": b"<html><body><div id=root></div><script>location = '/file'</script></body></html>",
    "/file": (200, {"Content-Disposition": "attachment; filename=evil.bin"}, b"bytes"),
    "/elsewhere": b"<html><body><div id=root></div><script>location = '/private'</script></body></html>",
    "/private": article("Private"),
    "/away": lambda handler: filled(f"location = 'http://localhost:{handler.server.server_port}/blocked'"),
    "/frames": lambda handler: filled(
        "const frame = document.createElement('iframe');"
        f"frame.src = 'http://localhost:{handler.server.server_port}/blocked';"
        "document.body.append(frame); document.body.append(' words'.repeat(99))"
    ),
    "/blocked": article("Blocked"),
    "/buffers": filled("for (const all = [];;) all.push(new Uint8Array(2e7).fill(1))"),
    "/nodes": filled("for (;;) document.body.appendChild(document.createElement('p')).textContent = 'x'.repeat(99)"),
    "/endless": endless,
    "/left": filled(
        "const had = document.cookie + localStorage.x; document.cookie = 'x=1'; localStorage.x = 1; "
        "document.body.innerText = had + ' words'.repeat(99)"
    ),
    "/moved": (302, {"Location": "/rights"}, b""),
    "/rights": rights,
    "/cut": lambda handler: handler.connection.close(),
    "/robots.txt": b"User-agent: *\nDisallow: /private",
}


def ours(state: Path) -> list[int]:
    """Processes that carry the marker of this data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(state) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def settings(site: Loopback, seconds: float = 10.0, pages: int = 100) -> Settings:
    rendering = RenderSettings(
        delay_seconds=0.0, timeout_seconds=seconds, browser_pages=pages, contact="me@example.org"
    )
    return Settings(search=SearchSettings(allow_loopback=(site.address,)), render=rendering)


@pytest.fixture(scope="module")
def site() -> Iterator[Loopback]:
    with Loopback(ANSWERS) as server:
        yield server


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def browser(site: Loopback, layout: Layout) -> Iterator[Browser]:
    opened = Browser(settings(site).render, layout, EgressPolicy([site.address]))
    yield opened
    opened.close()
    assert ours(layout.state) == []
    assert list((layout.state / "browser").iterdir()) == []


def visit(site: Loopback, path: str, layout: Layout, browser: Browser) -> Page | Dropped:
    renderer = Renderer(settings(site), layout, open_state(layout.database), browser=browser)
    [result] = render([Hit(site.url + path, "urls", "q")], renderer)
    renderer.client.close()
    return result


def test_text_made_by_a_script_is_waited_for(site: Loopback, layout: Layout, browser: Browser) -> None:
    shown = browser.read(site.url + "/app", 10)
    assert b"Made by a script" in shown.body and b"twice a day" in shown.body
    assert (shown.status, shown.url) == (200, site.url + "/app")
    user_agent = next(headers["user-agent"] for path, headers in reversed(site.requests) if path == "/text")
    assert user_agent == browser.settings.introduction and user_agent.endswith("(contact: me@example.org)")


def test_what_is_on_its_way_is_waited_for_beside_other_text(site: Loopback, browser: Browser) -> None:
    assert b"It took its time." in browser.read(site.url + "/late", 10).body


def test_render_takes_chromium_only_where_a_page_needs_it(site: Loopback, layout: Layout, browser: Browser) -> None:
    static, app = visit(site, "/static", layout, browser), visit(site, "/app", layout, browser)
    assert isinstance(static, Page) and not static.rendered
    assert isinstance(app, Page) and app.rendered and app.charset == "utf-8" and app.etag is None


def test_a_host_that_always_needs_chromium_is_asked_once_for_each_page(tmp_path: Path) -> None:
    app = {f"/app{number}": APP for number in range(5)}
    forbidden = (302, {"Location": "/private"}, b"")
    rights = (200, {"X-Robots-Tag": "noai"}, APP)
    pdf = (200, {"Content-Type": "application/pdf"}, b"%PDF-1.4")
    others = {
        "/gone": (404, {}, b""),
        "/elsewhere": forbidden,
        "/noai": rights,
        "/pdf": pdf,
        "/static": article("Static"),
    }
    more = {"/private": APP, "/text": (PARAGRAPH * 5).encode(), "/robots.txt": b"User-agent: *\nDisallow: /private"}
    with Loopback({**app, **others, **more}) as site:
        layout = Layout(tmp_path)
        own = Browser(settings(site).render, layout, EgressPolicy([site.address]))
        with Renderer(settings(site), layout, open_state(layout.database), browser=own) as renderer:
            pages = render([Hit(site.url + path, "urls", "q") for path in app], renderer)
            assert [page.rendered for page in pages if isinstance(page, Page)] == [True] * 5
            assert [site.paths.count(path) for path in app] == [2, 2, 2, 1, 1]
            ends = render([Hit(site.url + path, "urls", "q") for path in others], renderer)
    named = [one.reason if isinstance(one, Dropped) else f"page {one.robots}" for one in ends]
    assert named[:4] == ["not_found", "robots_forbidden", "noindex", "unsupported_media_type"]
    assert named[4] == "page robots.txt: allowed; tdmrep.json: -; x-robots-tag: -; tdm: -", (
        "one that Chromium has shown is not asked again"
    )
    assert site.paths.count("/static") == 1 and site.paths.count("/private") <= 1


def test_one_browser_is_reused(site: Loopback, layout: Layout, browser: Browser) -> None:
    browser.read(site.url + "/static", 10)
    before = set(ours(layout.state))
    browser.read(site.url + "/static", 10)
    assert before & set(ours(layout.state))


@pytest.mark.parametrize("path", ["/buffers", "/nodes"])
def test_a_page_that_takes_memory_is_ended_before_it_has_much(site: Loopback, browser: Browser, path: str) -> None:
    browser.read(site.url + "/static", 10)
    before, peak, done = tree_bytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak.append(tree_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with suppress(PageRejected):  # unless its script bears that it gets no more
        browser.read(site.url + path, 30.0)
    done.set()
    watcher.join()
    assert max(peak) - before < 450_000_000, "a page may add 300 MB; what else is there is Chromium's own work"
    assert b"Static" in browser.read(site.url + "/static", 10).body


def test_a_page_without_end_costs_only_itself(site: Loopback, browser: Browser) -> None:
    with pytest.raises(PageRejected, match=r"too_large|browser_failed"):
        browser.read(site.url + "/endless", 30.0)
    assert b"Static" in browser.read(site.url + "/static", 10).body


def test_no_page_knows_what_another_one_left(site: Loopback, browser: Browser) -> None:
    assert [b"undefined" in browser.read(site.url + "/left", 10).body for _ in range(2)] == [True, True]


def test_what_servers_answered_on_the_way_is_known(site: Loopback, browser: Browser) -> None:
    page = browser.read(site.url + "/moved", 10)
    assert [(answer.url.removeprefix(site.url), answer.status) for answer in page.history] == [
        ("/moved", 302),
        ("/rights", 203),
    ]
    assert page.history[-1].headers.get_list("x-robots-tag") == ["otherbot: noindex", "noai"]
    assert page.status == 203


AS_NOBODY = """#!/bin/sh
chmod 777 "$TMPDIR" && export HOME="$TMPDIR" && exec setpriv --reuid=65534 --regid=65534 --clear-groups {driver} "$@"
"""


@pytest.mark.skipif(bool(without_sandbox_hint(uid=1)), reason="no user namespaces for ordinary users here")
def test_for_everybody_but_root_the_sandbox_is_on(site: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = find_binaries()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        if os.geteuid() == 0:  # then as somebody else
            driver = Path(folder, "driver")
            driver.write_text(AS_NOBODY.format(driver=binaries.driver))
            driver.chmod(0o755)
            binaries = Binaries(binaries.chromium, str(driver))
            monkeypatch.setattr("tasks.browser.chromium.sandboxed", lambda: True)
        opened = Browser(RenderSettings(), Layout(Path(folder)), EgressPolicy([site.address]), binaries)
        try:
            assert b"Static" in opened.read(site.url + "/static", 20).body
            assert opened._service is not None
            tree = tree_of(opened._service.process.pid)
            pages = [one for one in tree if "--type=renderer" in one.cmdline()]
            assert pages and not any("--no-sandbox" in one.cmdline() for one in tree)
            # The sandbox's own mark: no system call passes but those of its filter.
            assert all("Seccomp:\t2" in Path(f"/proc/{one.pid}/status").read_text() for one in pages)
        finally:
            opened.close()


@pytest.mark.parametrize("path", ["/hang", "/alerts"])
def test_a_hung_page_is_killed_and_the_next_one_is_fine(site: Loopback, browser: Browser, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(PageRejected) as refused:
        browser.read(site.url + path, 2.0)
    assert refused.value.reason in ("browser_failed", "timeout") and refused.value.retry
    assert time.monotonic() - started < 8
    assert b"Static" in browser.read(site.url + "/static", 10).body


@pytest.mark.parametrize(
    ("path", "reason"), [("/large", "too_large"), ("/elsewhere", "robots_forbidden"), ("/popup", None)]
)
def test_what_a_script_may_do_to_us(
    site: Loopback, layout: Layout, browser: Browser, path: str, reason: str | None
) -> None:
    result = visit(site, path, layout, browser)
    assert (result.reason if isinstance(result, Dropped) else None) == reason
    assert b"Static" in browser.read(site.url + "/static", 10).body


@pytest.mark.parametrize("listed", [True, False])
def test_a_script_reaches_no_host_that_a_blocklist_names(site: Loopback, tmp_path: Path, listed: bool) -> None:
    (tmp_path / "mine.txt").write_text("localhost\n" if listed else "other.example\n")
    whole, layout = settings(site), Layout(tmp_path)
    lists = open_blocklists(replace(whole.search, blocklists=(str(tmp_path / "mine.txt"),)), layout, lambda _: None)
    asked = len(site.paths)
    with Renderer(whole, layout, open_state(layout.database), blocklists=lists) as renderer:
        away, frames = render([Hit(site.url + path, "urls", "q") for path in ("/away", "/frames")], renderer)
    assert isinstance(frames, Page) and frames.rendered
    assert ("/blocked" in site.paths[asked:]) != listed
    if listed:
        assert isinstance(away, Dropped) and away.reason == "blocklisted" and "mine.txt: localhost" in away.detail


def test_downloads_are_denied(site: Loopback, layout: Layout, browser: Browser) -> None:
    visit(site, "/download", layout, browser)
    folders = [Path.home(), Path.home() / "Downloads", Path.cwd(), Path("/tmp")]
    assert not [folder for folder in folders if list(folder.glob("evil*"))]
    assert "/file" in site.paths, "nothing was downloaded, so nothing was shown"


def test_a_page_that_does_not_load_is_never_the_page_before(site: Loopback, layout: Layout, browser: Browser) -> None:
    browser.read(site.url + "/static", 10)
    before = set(ours(layout.state))
    with pytest.raises(PageRejected, match="forbidden_address"):
        browser.read("http://127.0.0.1:8999/", 5)
    with pytest.raises(PageRejected, match="dead_host"):
        browser.read("http://no-such-host.invalid/", 5)
    with pytest.raises(PageRejected, match="connection_error"):
        browser.read(site.url + "/cut", 5)
    with pytest.raises(PageRejected, match="bad_url"):
        browser.read("file:///etc/passwd", 5)
    assert before & set(ours(layout.state)), "a dead host need not cost the browser"


def test_a_driver_that_dies_leaves_no_chromium_behind(site: Loopback, layout: Layout, browser: Browser) -> None:
    browser.read(site.url + "/static", 10)
    drivers = [process for process in map(psutil.Process, ours(layout.state)) if process.name() == "chromedriver"]
    assert len(drivers) == 1
    drivers[0].kill()
    with pytest.raises(PageRejected, match="browser_failed"):
        browser.read(site.url + "/static", 10)
    assert ours(layout.state) == []
    assert b"Static" in browser.read(site.url + "/static", 10).body


def test_it_is_recycled_after_its_pages(site: Loopback, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    short = Browser(settings(site, pages=2).render, layout, EgressPolicy([site.address]))
    trees = []
    for _ in range(3):
        short.read(site.url + "/static", 10)
        trees.append(set(ours(layout.state)))
    short.close()
    assert trees[0] & trees[1] and not trees[1] & trees[2]
    assert ours(layout.state) == []


@pytest.mark.parametrize(
    "binaries", [Binaries("/bin/false", "/usr/bin/chromedriver"), Binaries("/no/chrome", "/no/driver")]
)
def test_what_does_not_start_says_what_to_install(tmp_path: Path, binaries: Binaries) -> None:
    with pytest.raises(BrowserError, match="apt-get install chromium-headless-shell"):
        Browser(RenderSettings(), Layout(tmp_path), binaries=binaries).read("http://127.0.0.1:9/", 5)
    assert list((tmp_path / "state" / "browser").iterdir()) == []


OWNER = """
import sys, time
from pathlib import Path
from tasks.browser.browser import Browser
from tasks.web.egress import EgressPolicy
from tasks.contracts.paths import Layout
from tasks.contracts.settings import RenderSettings
browser = Browser(RenderSettings(), Layout(Path(sys.argv[1])), EgressPolicy([sys.argv[2]]))
browser.read(f"http://{sys.argv[2]}/static", 10)
print("ready", flush=True)
time.sleep(60)
"""


def test_browsers_of_a_killed_run_are_swept_and_living_ones_are_not(site: Loopback, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), site.address], cwd=PROJECT, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None and owner.stdout.readline() == b"ready\n"
    assert sweep_orphans(layout) == 0 and ours(layout.state)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert ours(layout.state), "killing the parent leaves Chromium behind; else this test shows nothing"
    assert sweep_orphans(layout) > 0
    assert ours(layout.state) == []
    assert list((layout.state / "browser").iterdir()) == []
