"""Google's result pages, as a browser shows them, and the four faces it may show instead.

The browser is another process (`google_window`), for each question anew, with the cookies of the last one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from lxml import etree, html

from tasks.browser.chromium import CHROMIUMS, OWNER, PREFERENCES, PROFILE, environment, find_binaries, sandboxed
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.records import Hit
from tasks.processes.process_tree import kill, tree_of, with_environment
from tasks.search.queries import SourceQuery, SourceResult
from tasks.web import egress_proxy
from tasks.web.egress import EgressPolicy

PAGE = 10  # results a page; `num=` is dead
START_SECONDS = 40.0
MAX_CHARACTERS = 3_000_000
MAX_BYTES = 50_000_000  # of one look, with all that the page loads
FLAGS = (
    *("--mute-audio", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-breakpad", "--disk-cache-size=20000000"),
)
# Its own pages: the next page, maps, accounts, translations, the cache.
OWN_HOSTS = re.compile(
    r"(^|\.)(google\.[a-z]{2,3}(\.[a-z]{2})?|googleusercontent\.com|gstatic\.com|googleadservices\.com|g\.co)$"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the browser came to show."""

    url: str
    status: int
    html: str


def ask_google(question: SourceQuery, layout: Layout, seconds: float) -> SourceResult:
    """One result page of one topic."""
    chromium, driver = find_chromium()
    if chromium is None or driver is None or find_spec("undetected_chromedriver") is None:
        return SourceResult("not_installed")
    try:
        shown = look(address(question), question, layout, chromium, driver, seconds)
    except PageRejected as refused:
        return SourceResult.of(refused)
    outcome = face(shown)
    hits = results(shown, question) if outcome == "results" else ()
    if outcome == "results" and not hits:
        outcome = "no_results"
    return SourceResult(outcome, "" if hits else _where(shown), hits)


def address(question: SourceQuery) -> str:
    source = question.source
    fields = {"q": question.query, "hl": source.hl, "lr": source.lr, "cr": source.cr, "start": question.page * PAGE}
    return f"{source.base}/search?{urlencode({name: value for name, value in fields.items() if value})}"


def face(shown: Shown) -> str:
    """Results, or what Google shows instead: `captcha`, `consent`, `javascript_gate`, `no_results`, `strange_page`.

    Results first: their page has the gate's address too, for browsers without scripts.
    """
    parts = urlsplit(shown.url)
    if parts.path.startswith("/sorry/"):
        return "captcha"
    if (parts.hostname or "").startswith("consent.") or parts.path.startswith("/consent"):
        return "consent"
    page = _parse(shown.html)
    if _headings(page):
        return "results"
    if page.xpath("//form[@id='captcha-form'] | //*[contains(@class, 'g-recaptcha')] | //*[@id='recaptcha']"):
        return "captcha"
    if page.xpath("//form[contains(@action, '//consent.')]"):
        return "consent"
    if page.xpath("//*[@id='search' or @id='topstuff' or @id='botstuff']"):
        return "no_results"
    if "/httpservice/retry/enablejs" in shown.html:
        return "javascript_gate"
    return "strange_page"


def results(shown: Shown, question: SourceQuery) -> tuple[Hit, ...]:
    """From each heading to its closest link; class names change too often to lean on."""
    home = urlsplit(shown.url).hostname
    addresses: dict[str, None] = {}
    for link in _headings(_parse(shown.html)):
        url = unwrap(urljoin(shown.url, link))
        with suppress(ValueError):
            parts = urlsplit(url)
            foreign = parts.hostname and parts.hostname != home and not OWN_HOSTS.search(parts.hostname)
            if parts.scheme in ("http", "https") and foreign:
                addresses[url] = None
    return tuple(Hit(url, "google", question.query, rank=rank) for rank, url in enumerate(addresses))


def unwrap(url: str) -> str:
    """`/url?q=<address>` counts clicks; the address is what was meant."""
    parts = urlsplit(url)
    if parts.path != "/url":
        return url
    fields = parse_qs(parts.query)
    return next((fields[name][0] for name in ("q", "url") if name in fields), url)


def _headings(page: html.HtmlElement) -> list[str]:
    """The links of the result headings: within #search where there is one, since advertisements stand outside."""
    within = page.xpath("//*[@id='search']") or [page]
    links = [
        heading.xpath("(ancestor::a[@href] | descendant::a[@href])[last()]/@href") for heading in within[0].iter("h3")
    ]
    return [str(found[0]) for found in links if found]


def _parse(text: str) -> html.HtmlElement:
    try:
        return html.document_fromstring(text.encode("utf-8", "replace"), parser=html.HTMLParser(encoding="utf-8"))
    except (etree.LxmlError, ValueError):
        return html.document_fromstring("<html><body></body></html>")


def _where(shown: Shown) -> str:
    parts = urlsplit(shown.url)
    return f"HTTP {shown.status} at {parts.hostname}{parts.path}"


# -- the browser -----------------------------------------------------------------------------------------


def find_chromium() -> tuple[str | None, str | None]:
    """The whole Chromium and its driver: undetected-chromedriver hangs with the headless shell."""
    found = find_binaries()
    if found.chromium and "headless-shell" in found.chromium:
        return next(filter(None, map(shutil.which, CHROMIUMS[1:])), None), found.driver
    return found.chromium, found.driver


def look(url: str, question: SourceQuery, layout: Layout, chromium: str, driver: str, seconds: float) -> Shown:
    """What a real browser shows at an address.

    Raises:
        Refused: `browser_failed`, when it does not start or is not done at the deadline.
    """
    folder = layout.state / "google"
    folder.mkdir(parents=True, exist_ok=True)
    environ = environment(layout.state, "")
    temporary = tempfile.mkdtemp(prefix=f"{PROFILE}{environ[OWNER]}:")  # `browser.sweep_orphans` knows it by its name
    with (
        egress_proxy.Proxy(EgressPolicy(question.source.opened)) as way_out,
        way_out.visit(START_SECONDS + seconds, MAX_BYTES),
    ):
        orders = {
            "url": url,
            "seconds": seconds,
            "max_characters": MAX_CHARACTERS,
            "headless": question.source.headless,
            "folder": str(folder),
            "chromium": chromium,
            "driver": driver,
            "version": _version(chromium),
            "flags": [*FLAGS, *egress_proxy.flags(way_out.url), f"--lang={question.source.hl or 'en'}"],
            "preferences": PREFERENCES,
            "sandboxed": sandboxed(),
        }
        return _seen_by_window(orders, {**environ, "TMPDIR": temporary}, START_SECONDS + seconds)


def _seen_by_window(orders: dict[str, Any], environ: dict[str, str], seconds: float) -> Shown:
    """What the other process saw. Whatever it started is ended, and its temporary folder removed."""
    window = subprocess.Popen(
        [sys.executable, "-m", "tasks.search.google_browser"],
        cwd=PROJECT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    try:
        said, _ = window.communicate(json.dumps(orders), timeout=seconds)
        seen = json.loads(said)
        if "error" in seen:
            raise PageRejected("browser_failed", seen["error"])
        return Shown(str(seen["url"]), int(seen["status"]), str(seen["html"]))
    except subprocess.TimeoutExpired as error:
        raise PageRejected("browser_failed", f"not done in {seconds:.0f} s") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PageRejected("browser_failed", "it ended without an answer") from error
    finally:
        kill(tree_of(window.pid) + with_environment("TMPDIR", environ["TMPDIR"]))
        window.wait()
        for pipe in (window.stdin, window.stdout):
            if pipe:
                pipe.close()
        shutil.rmtree(environ["TMPDIR"], ignore_errors=True)


def _version(chromium: str) -> int:
    """The major version, which undetected-chromedriver would look up online."""
    try:
        said = subprocess.run([chromium, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if found := re.search(r"(\d+)\.\d+\.\d+", said):
        return int(found[1])
    raise PageRejected("browser_failed", f"{chromium} does not tell its version")
