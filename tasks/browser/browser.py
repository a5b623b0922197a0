"""One headless Chromium, reused: started when the first page needs it, recycled, and ended for certain.

A page can hang its renderer so that even the driver stops answering; so a watch in this process ends the whole
process tree at the deadline. If we are killed ourselves, the tree lives on: its environment names its owner, and
`sweep_orphans` ends it at the next start. What its pages may reach, the proxy decides.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import urllib3.exceptions
from selenium import webdriver
from selenium.common.exceptions import NoSuchDriverException, TimeoutException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tasks.browser.chromium import (
    FLAGS,
    INSTALL,
    MARKER,
    OWNER,
    PREFERENCES,
    PROFILE,
    Binaries,
    environment,
    find_binaries,
    sandboxed,
    without_sandbox_hint,
)
from tasks.browser.network_log import BrowserLog
from tasks.browser.watchdog import Watch, private_bytes
from tasks.contracts.errors import BrowserError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.settings import RenderSettings
from tasks.processes.process_tree import is_alive, kill, tree_of, with_environment
from tasks.web import egress_proxy
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import Response

START_SECONDS = 30.0
POLL_SECONDS = 0.03
SETTLE_SECONDS = 5.0  # the longest wait for a script to bring the text
ENOUGH_TEXT = 250  # characters; with less the page is probably still loading
STEADY_SECONDS = 0.1  # how long the text must stay the same
STEADY_SECONDS_ON_THE_WAY = 0.5  # and where requests are still under way that could bring more of it
HTML = ("text/html", "application/xhtml+xml")
DRIVER_FAILURES = (WebDriverException, urllib3.exceptions.HTTPError, OSError)

SNAPSHOT = """
const html = document.documentElement ? document.documentElement.outerHTML : '';
return {url: location.href, media_type: document.contentType,
        length: html.length, html: html.length > arguments[0] ? '' : html};
"""
PROGRESS = """
return [document.readyState, document.body ? document.body.innerText.length : 0, location.protocol];
"""


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """What Chromium made of a page, and what servers answered on the way to it: redirects, then the document."""

    final_url: str
    html: str
    answers: tuple[Response, ...]

    @property
    def status(self) -> int:
        """Of the document; 0 where a script wrote it."""
        return self.answers[-1].status if self.answers else 0


class Browser:
    """Reads pages one at a time; every failure of one page leaves it able to read the next."""

    def __init__(
        self,
        settings: RenderSettings,
        layout: Layout,
        gate: EgressPolicy | None = None,
        binaries: Binaries | None = None,
    ) -> None:
        self.settings = settings
        self.binaries = binaries or find_binaries()
        self._gate = gate or EgressPolicy()
        self._proxy: egress_proxy.Proxy | None = None
        self._state = layout.state
        self._driver: webdriver.Chrome | None = None
        self._service: Service | None = None
        self._profile: Path | None = None
        self._pages = 0
        self._idle_bytes = 0  # private memory before the first page
        self._bytes = 0  # and at the end of the last one
        self._page_bytes = settings.browser_megabytes * 1_000_000

    def read(self, url: str, seconds: float) -> RenderedPage:
        """The page after its scripts ran.

        Raises:
            BrowserError: Chromium or its driver is missing or does not start.
            Refused: `browser_failed`, `timeout`, `too_large`, `connection_error`, or why the gate was closed to it.
        """
        if not url.startswith(("http://", "https://")):
            raise PageRejected("bad_url", url)
        if self._pages >= self.settings.browser_pages or self._bytes > self._idle_bytes + self._page_bytes / 2:
            self.close()
        if self._driver is None:
            self._start()
        assert self._proxy is not None
        self._pages += 1
        with self._proxy.visit(seconds, self.settings.browser_page_megabytes * 1_000_000) as visit:
            return self._watched(url, seconds, visit)

    def kill(self) -> None:
        """End its processes now. For another thread than the one that reads, which then cleans up."""
        kill(_tree(self._service))

    def close(self) -> None:
        """Ask it to end, then end what is left, and remove its profile."""
        service, self._service = self._service, None
        driver, self._driver = self._driver, None
        tree = _tree(service)
        if driver is not None and tree:
            timer = threading.Timer(5.0, kill, (tree,))
            timer.start()
            with suppress(*DRIVER_FAILURES):
                driver.quit()
            timer.cancel()
        kill(tree)
        if service is not None:
            with suppress(Exception):  # nothing can be left to stop; its streams are still to be closed
                service.stop()
        if self._profile is not None:
            # Debian's headless shell is started by a script: where the driver died first, it is nobody's child.
            kill(with_environment("TMPDIR", str(self._profile)))
            shutil.rmtree(self._profile, ignore_errors=True)
            self._profile = None
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None
        self._pages = self._bytes = 0

    def _start(self) -> None:
        environ = environment(self._state, "")
        # Through TMPDIR and not --user-data-dir, with which chromedriver waits for the headless shell for ever.
        self._profile = Path(tempfile.mkdtemp(prefix=f"{PROFILE}{environ[OWNER]}:", dir=self._folder()))
        self._proxy = egress_proxy.Proxy(self._gate)
        os.environ.setdefault("SE_AVOID_STATS", "true")  # Selenium Manager reports its use otherwise
        environ["TMPDIR"] = str(self._profile)
        self._service = Service(self.binaries.driver, env=environ, log_output=subprocess.DEVNULL)
        watch = Watch(lambda: _tree(self._service), START_SECONDS)
        try:
            with watch:
                self._driver = webdriver.Chrome(self._options(), self._service)
                self._driver.set_script_timeout(self.settings.timeout_seconds)
                self._driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "deny"})
        except (*DRIVER_FAILURES, ValueError) as error:
            self.close()
            missing = isinstance(error, NoSuchDriverException) or None in (self.binaries.chromium, self.binaries.driver)
            if missing:
                raise BrowserError(f"Chromium or its driver is not installed: {INSTALL}.") from error
            why = f"{watch.why or _first_line(error)}{without_sandbox_hint()}"
            raise BrowserError(f"Chromium does not start ({why}): {INSTALL}.") from error
        self._idle_bytes = sum(map(private_bytes, _tree(self._service)))

    def _folder(self) -> Path:
        """The whole Chromium puts a socket below it, whose path may have 107 bytes in all."""
        folder = self._state / "browser"
        folder.mkdir(parents=True, exist_ok=True)
        short = len(os.fsencode(folder)) + 90 <= 107
        return folder if short or self._is_shell() else Path(tempfile.gettempdir())

    def _is_shell(self) -> bool:
        return "headless-shell" in (self.binaries.chromium or "")

    def _options(self) -> Options:
        assert self._proxy is not None
        options = Options()
        options.page_load_strategy = "eager"
        options.unhandled_prompt_behavior = "dismiss"
        for flag in (*FLAGS, *egress_proxy.flags(self._proxy.url), f"--user-agent={self.settings.introduction}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", PREFERENCES)
        # The driver's log of the network tells what each document was answered with, headers included.
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
        if self.binaries.chromium:
            options.binary_location = self.binaries.chromium
        if not self._is_shell():
            options.add_argument("--headless=new")
        if not sandboxed():
            options.add_argument("--no-sandbox")
        return options

    def _watched(self, url: str, seconds: float, visit: egress_proxy.PageBudget) -> RenderedPage:
        watch = Watch(lambda: _tree(self._service), seconds, self._idle_bytes, self._page_bytes)
        try:
            with watch:
                page = self._read(url, seconds, visit)
        except TimeoutException as error:
            # What the driver holds now may still be the page before.
            self.close()
            raise PageRejected("timeout", f"Chromium did not load it in {seconds:.0f} s") from error
        except DRIVER_FAILURES as error:
            self.close()
            raise PageRejected(
                "timeout" if watch.late else "browser_failed", watch.why or _first_line(error)
            ) from error
        self._bytes = watch.bytes
        return page

    def _read(self, url: str, seconds: float, visit: egress_proxy.PageBudget) -> RenderedPage:
        driver = self._driver
        assert driver is not None
        end = time.monotonic() + seconds
        # Before the watch's deadline: a page that is only slow does not cost the browser.
        driver.set_page_load_timeout(seconds * 0.8)
        log = BrowserLog(driver)
        failure, shot = self._show(driver, url, end, log)
        log.read()
        frame = driver.current_window_handle
        self._leave(driver)
        if refused := visit.refused.get(_authority(log.last_asked(frame) or url)):
            raise refused
        if failure and visit.exceeded:
            raise PageRejected("too_large", f"more than {self.settings.browser_page_megabytes} MB with all it loads")
        if failure:  # the network's, not Chromium's: it goes on
            raise PageRejected("connection_error", failure)
        if shot["media_type"] not in HTML:
            raise PageRejected("unsupported_media_type", str(shot["media_type"]))
        if shot["length"] > self.settings.max_page_bytes:
            raise PageRejected("too_large", f"{shot['length']} characters after its scripts ran")
        return RenderedPage(shot["url"], shot["html"], log.answers(frame))

    def _show(self, driver: webdriver.Chrome, url: str, end: float, log: BrowserLog) -> tuple[str, dict[str, Any]]:
        """Why a page did not load, "" where it did; and what it came to."""
        try:
            driver.get(url)
        except WebDriverException as error:
            if "net::ERR_" not in str(error):
                raise
            return _first_line(error), {}
        self._settle(driver, min(end - 0.5, time.monotonic() + SETTLE_SECONDS), log)
        shot: dict[str, Any] = driver.execute_script(SNAPSHOT, self.settings.max_page_bytes)
        shown = str(shot["url"])
        return "" if shown.startswith(("http://", "https://")) else f"Chromium shows {shown[:80]}", shot

    def _settle(self, driver: webdriver.Chrome, until: float, log: BrowserLog) -> None:
        """Wait until the text stays the same for a while; a nearly empty page gets all the time there is."""
        before, since = -1, 0.0
        while (now := time.monotonic()) < until:
            state, length, protocol = driver.execute_script(PROGRESS)
            if protocol not in ("http:", "https:"):  # Chromium's own error page
                return
            log.read()
            if length != before or state != "complete":
                before, since = length, now
            enough = STEADY_SECONDS if log.at_rest else STEADY_SECONDS_ON_THE_WAY
            if length >= ENOUGH_TEXT and now - since >= enough:
                return
            time.sleep(POLL_SECONDS)

    def _leave(self, driver: webdriver.Chrome) -> None:
        """An empty page between two: what failed to load can then never be taken for the page before.

        And no cookie, storage or service worker stays, so that no page knows or meets another.
        """
        driver.get("about:blank")
        driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        if len(driver.window_handles) > 1:  # it opened pop-ups, which the whole Chromium cannot be kept from
            self.close()


def sweep_orphans(layout: Layout) -> int:
    """End the browsers of this data directory whose owner is dead, and remove their profiles. Gives how many
    processes were ended."""
    ended = 0
    for process in with_environment(MARKER, str(layout.state)):
        with suppress(psutil.Error, OSError):
            if not is_alive(process.environ().get(OWNER, "")):
                ended += kill(tree_of(process.pid))
    for folder in (layout.state / "browser", Path(tempfile.gettempdir())):
        for profile in folder.glob(f"{PROFILE}*:*:*"):
            if not is_alive(profile.name.removeprefix(PROFILE).rpartition(":")[0]):
                shutil.rmtree(profile, ignore_errors=True)
    return ended


def _tree(service: Service | None) -> list[psutil.Process]:
    process = getattr(service, "process", None)
    return tree_of(process.pid) if process is not None else []


def _authority(url: str) -> str:
    """`host:port`, as the proxy is asked for it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].removeprefix("Message: ")[:200]
