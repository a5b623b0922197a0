"""Real Chromium: scripts run, hung pages are killed, nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.browser import MARKER, Binaries, Browser, find_binaries, sweep_orphans
from tasks.errors import BrowserError
from tasks.layout import PROJECT, Layout
from tasks.outcomes import Refused
from tasks.records import Dropped, Hit, Page
from tasks.render import Renderer, render
from tasks.settings import RenderSettings, SearchSettings, Settings
from tasks.state import open_state
from tests.loopback import PARAGRAPH, Loopback, article

pytestmark = pytest.mark.skipif(find_binaries().chromium is None, reason="no Chromium on this machine")

APP = b"""<html><body><div id=root></div><script>
fetch('/text').then(answer => answer.text()).then(text => setTimeout(() => {
  document.getElementById('root').innerHTML = '<article><h1>Made by a script</h1><p>' + text + '</p></article>';
}, 400));
</script></body></html>"""
ANSWERS: dict[str, Any] = {
    "/app": APP,
    "/text": (PARAGRAPH * 5).encode(),
    "/static": article("Static"),
    "/hang": b"<html><body><div id=root></div><script>while (true) {}</script></body></html>",
    "/alerts": b"<html><body><div id=root></div><script>while (true) alert(1)</script></body></html>",
    "/popup": b"<html><body><div id=root></div><script>open('/static')</script></body></html>",
    "/large": b"<html><body><div id=root></div><script>document.body.innerText='x'.repeat(3e6)</script></body></html>",
    "/download": b"<html><body><div id=root></div><script>location = '/file'</script></body></html>",
    "/file": (200, {"Content-Disposition": "attachment; filename=evil.bin"}, b"bytes"),
    "/elsewhere": b"<html><body><div id=root></div><script>location = '/private'</script></body></html>",
    "/private": article("Private"),
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


def settings(seconds: float = 10.0, pages: int = 100) -> Settings:
    rendering = RenderSettings(delay_seconds=0.0, timeout_seconds=seconds, browser_pages=pages)
    return Settings(search=SearchSettings(allow_loopback=True), render=rendering)


@pytest.fixture(scope="module")
def site() -> Iterator[Loopback]:
    with Loopback(ANSWERS) as server:
        yield server


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def browser(layout: Layout) -> Iterator[Browser]:
    opened = Browser(settings().render, layout)
    yield opened
    opened.close()
    assert ours(layout.state) == []
    assert list((layout.state / "browser").iterdir()) == []


def visit(url: str, layout: Layout, browser: Browser) -> Page | Dropped:
    renderer = Renderer(settings(), layout, open_state(layout.database), browser=browser)
    [result] = render([Hit(url, "urls", "q")], renderer)
    renderer.client.close()
    return result


def test_text_made_by_a_script_is_waited_for(site: Loopback, layout: Layout, browser: Browser) -> None:
    shown = browser.read(site.url + "/app", 10)
    assert "Made by a script" in shown.html and "twice a day" in shown.html
    assert (shown.status, shown.final_url) == (200, site.url + "/app")
    user_agent = next(headers["user-agent"] for path, headers in reversed(site.requests) if path == "/text")
    assert user_agent == browser.settings.user_agent


def test_render_takes_chromium_only_where_a_page_needs_it(site: Loopback, layout: Layout, browser: Browser) -> None:
    static, app = visit(site.url + "/static", layout, browser), visit(site.url + "/app", layout, browser)
    assert isinstance(static, Page) and not static.rendered
    assert isinstance(app, Page) and app.rendered and app.charset == "utf-8" and app.etag is None


def test_one_browser_is_reused(site: Loopback, layout: Layout, browser: Browser) -> None:
    browser.read(site.url + "/static", 10)
    before = set(ours(layout.state))
    browser.read(site.url + "/static", 10)
    assert before & set(ours(layout.state))


@pytest.mark.parametrize("path", ["/hang", "/alerts"])
def test_a_hung_page_is_killed_and_the_next_one_is_fine(site: Loopback, browser: Browser, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        browser.read(site.url + path, 2.0)
    assert refused.value.reason in ("browser_failed", "timeout") and refused.value.retry
    assert time.monotonic() - started < 8
    assert "Static" in browser.read(site.url + "/static", 10).html


@pytest.mark.parametrize(
    ("path", "reason"), [("/large", "too_large"), ("/elsewhere", "robots_forbidden"), ("/popup", None)]
)
def test_what_a_script_may_do_to_us(
    site: Loopback, layout: Layout, browser: Browser, path: str, reason: str | None
) -> None:
    result = visit(site.url + path, layout, browser)
    assert (result.reason if isinstance(result, Dropped) else None) == reason
    assert "Static" in browser.read(site.url + "/static", 10).html


def test_downloads_are_denied(site: Loopback, layout: Layout, browser: Browser) -> None:
    visit(site.url + "/download", layout, browser)
    folders = [Path.home(), Path.home() / "Downloads", Path.cwd(), Path("/tmp")]
    assert not [folder for folder in folders if list(folder.glob("evil*"))]
    assert "/file" in site.paths, "nothing was downloaded, so nothing was shown"


def test_a_page_that_does_not_load_is_never_the_page_before(site: Loopback, layout: Layout, browser: Browser) -> None:
    browser.read(site.url + "/static", 10)
    before = set(ours(layout.state))
    with pytest.raises(Refused, match="connection_error"):
        browser.read("http://127.0.0.1:1/", 5)
    assert before & set(ours(layout.state)), "a dead host need not cost the browser"


def test_a_driver_that_dies_leaves_no_chromium_behind(site: Loopback, layout: Layout, browser: Browser) -> None:
    browser.read(site.url + "/static", 10)
    drivers = [process for process in map(psutil.Process, ours(layout.state)) if process.name() == "chromedriver"]
    assert len(drivers) == 1
    drivers[0].kill()
    with pytest.raises(Refused, match="browser_failed"):
        browser.read(site.url + "/static", 10)
    assert ours(layout.state) == []
    assert "Static" in browser.read(site.url + "/static", 10).html


def test_it_is_recycled_after_its_pages(site: Loopback, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    short = Browser(settings(pages=2).render, layout)
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
        Browser(settings().render, Layout(tmp_path), binaries).read("http://127.0.0.1:9/", 5)
    assert list((tmp_path / "state" / "browser").iterdir()) == []


OWNER = """
import sys, time
from pathlib import Path
from tasks.browser import Browser
from tasks.layout import Layout
from tasks.settings import RenderSettings
browser = Browser(RenderSettings(), Layout(Path(sys.argv[1])))
browser.read(sys.argv[2], 10)
print("ready", flush=True)
time.sleep(60)
"""


def test_browsers_of_a_killed_run_are_swept_and_living_ones_are_not(site: Loopback, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), site.url + "/static"], cwd=PROJECT, stdout=subprocess.PIPE
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
