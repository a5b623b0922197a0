"""Google's result pages, as a browser shows them, and the four other pages that it may show instead.

The browser runs in another process (`google_browser`), a new one for each query, with the cookies of the last one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
from lxml import etree, html

from tasks.browser.chromium import CHROMIUMS, PREFERENCES, environment, find_binaries, sandboxed
from tasks.contracts.addresses import is_web_address
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.records import Hit
from tasks.processes.process_tree import kill, tree_of, with_environment
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher
from tasks.web import egress_proxy
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import Response

PAGE = 10  # results a page; `num=` is dead
START_SECONDS = 40.0
MAX_CHARACTERS = 3_000_000
MAX_BYTES = 50_000_000  # of one result page with all that it loads
FLAGS = (
    *("--mute-audio", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-breakpad", "--disk-cache-size=20000000"),
)
# How the other pages are recognised, tested in this order.
SIGNS = {
    "captcha": "//form[@id='captcha-form'] | //*[contains(@class, 'g-recaptcha')] | //*[@id='recaptcha']",
    "consent": "//form[contains(@action, '//consent.')]",
    "no_results": "//*[@id='search' or @id='topstuff' or @id='botstuff']",
}
# Google's own pages: the next page, maps, accounts, translations, the cache.
OWN_HOSTS = re.compile(
    r"(^|\.)(google\.[a-z]{2,3}(\.[a-z]{2})?|googleusercontent\.com|gstatic\.com|googleadservices\.com|g\.co)$"
)


def ask_google(query: SourceQuery, searcher: Searcher) -> SourceResult:
    """Asks for one result page of one topic."""
    chromium, driver = find_chromium()
    if chromium is None or driver is None or find_spec("undetected_chromedriver") is None:
        return SourceResult("not_installed")
    try:
        seconds = searcher.settings.timeout_seconds
        response = open_page(address(query), query, searcher.layout, chromium, driver, seconds)
    except PageRejected as rejected:
        return SourceResult.of(rejected)
    outcome = kind_of_page(response)
    hits = results(response, query) if outcome == "results" else ()
    if outcome == "results" and not hits:
        outcome = "no_results"
    return SourceResult(outcome, "" if hits else _where(response), hits)


def address(query: SourceQuery) -> str:
    source = query.source
    fields = {"q": query.query, "hl": source.hl, "lr": source.lr, "cr": source.cr, "start": query.page * PAGE}
    return f"{source.base}/search?{urlencode({name: value for name, value in fields.items() if value})}"


def kind_of_page(response: Response) -> str:
    """Returns `results`, or what Google shows instead: `captcha`, `consent`, `javascript_gate`, `no_results`, ...

    Tests for results first: result pages also have the address of the JavaScript gate, for browsers without scripts.
    """
    parts = urlsplit(response.url)
    if parts.path.startswith("/sorry/"):
        return "captcha"
    if (parts.hostname or "").startswith("consent.") or parts.path.startswith("/consent"):
        return "consent"
    page = _parse(response.body)
    if _headings(page):
        return "results"
    other = "javascript_gate" if b"/httpservice/retry/enablejs" in response.body else "strange_page"
    return next((kind for kind, signs in SIGNS.items() if page.xpath(signs)), other)


def results(response: Response, query: SourceQuery) -> tuple[Hit, ...]:
    """Takes the closest link of each heading, since class names change too often to rely on."""
    home = urlsplit(response.url).hostname
    addresses: dict[str, None] = {}
    for link in _headings(_parse(response.body)):
        with suppress(ValueError):
            url = unwrap(urljoin(response.url, link))
            host = urlsplit(url).hostname
            if is_web_address(url) and host and host != home and not OWN_HOSTS.search(host):
                addresses[url] = None
    return tuple(Hit(url, "google", query.query, rank=rank) for rank, url in enumerate(addresses))


def unwrap(url: str) -> str:
    """Returns the address in `/url?q=<address>`, by which Google counts clicks; any other address unchanged."""
    parts = urlsplit(url)
    if parts.path != "/url":
        return url
    fields = parse_qs(parts.query)
    return next((fields[name][0] for name in ("q", "url") if name in fields), url)


def _headings(page: html.HtmlElement) -> list[str]:
    """Returns the links of the result headings: within #search where it exists, since advertisements are outside."""
    within = page.xpath("//*[@id='search']") or [page]
    links = [
        heading.xpath("(ancestor::a[@href] | descendant::a[@href])[last()]/@href") for heading in within[0].iter("h3")
    ]
    return [str(found[0]) for found in links if found]


def _parse(body: bytes) -> html.HtmlElement:
    try:
        return html.document_fromstring(body, parser=html.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError):
        return html.document_fromstring("<html><body></body></html>")


def _where(response: Response) -> str:
    parts = urlsplit(response.url)
    return f"HTTP {response.status} at {parts.hostname}{parts.path}"


# -- the browser -----------------------------------------------------------------------------------------


def find_chromium() -> tuple[str | None, str | None]:
    """Returns the full Chromium and its driver, since undetected-chromedriver hangs with the headless shell."""
    found = find_binaries()
    if found.chromium and "headless-shell" in found.chromium:
        return next(filter(None, map(shutil.which, CHROMIUMS[1:])), None), found.driver
    return found.chromium, found.driver


def open_page(url: str, query: SourceQuery, layout: Layout, chromium: str, driver: str, seconds: float) -> Response:
    """Returns what a real browser shows at an address.

    Raises:
        PageRejected: `browser_failed`, when it does not start or is not done at the deadline.
    """
    folder = layout.state / "google"
    with (
        closing(egress_proxy.Proxy(EgressPolicy(query.source.opened))) as proxy,
        proxy.visit(START_SECONDS + seconds, MAX_BYTES),
    ):
        orders = {
            "url": url,
            "seconds": seconds,
            "max_characters": MAX_CHARACTERS,
            "headless": query.source.headless,
            "folder": str(folder),
            "chromium": chromium,
            "driver": driver,
            "version": _version(chromium),
            "flags": [*FLAGS, *egress_proxy.flags(proxy.url), f"--lang={query.source.hl or 'en'}"],
            "preferences": PREFERENCES,
            "sandboxed": sandboxed(),
        }
        return _run_browser(orders, environment(layout.state), START_SECONDS + seconds)


def _run_browser(orders: dict[str, Any], environ: dict[str, str], seconds: float) -> Response:
    """Returns what the other process saw. Kills all that it started, and removes its temporary folder."""
    with subprocess.Popen(
        [sys.executable, "-m", "tasks.search.google_browser"],
        cwd=PROJECT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        try:
            seen = json.loads(process.communicate(json.dumps(orders), timeout=seconds)[0])
            if "error" in seen:
                raise PageRejected("browser_failed", seen["error"])
            body = str(seen["html"]).encode("utf-8", "replace")
            return Response(str(seen["url"]), int(seen["status"]), httpx.Headers(), body, rendered=True)
        except subprocess.TimeoutExpired as error:
            raise PageRejected("browser_failed", f"not done in {seconds:.0f} s") from error
        except (ValueError, KeyError, TypeError) as error:
            raise PageRejected("browser_failed", "it ended without an answer") from error
        finally:
            kill(tree_of(process.pid) + with_environment("TMPDIR", environ["TMPDIR"]))
            shutil.rmtree(environ["TMPDIR"], ignore_errors=True)


def _version(chromium: str) -> int:
    """Returns the major version, which undetected-chromedriver would look up online."""
    try:
        output = subprocess.run([chromium, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        output = ""
    if found := re.search(r"(\d+)\.\d+\.\d+", output):
        return int(found[1])
    raise PageRejected("browser_failed", f"{chromium} does not tell its version")
