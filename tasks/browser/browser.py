"""One headless Chromium, reused: started when the first page needs it, restarted now and then, always ended.

A page can hang its renderer so that even the driver stops answering; so a watchdog in this process kills the whole
process tree at the deadline. If our process is killed, the tree stays alive: its environment names its owner, and
`sweep_orphans` kills it at the next start. What pages may reach is decided by the proxy.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import urllib3.exceptions
from selenium import webdriver
from selenium.common.exceptions import NoSuchDriverException, TimeoutException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tasks.browser import chromium
from tasks.browser.network_log import BrowserLog
from tasks.browser.page_scripts import NO_DIALOGS, PROGRESS, SNAPSHOT
from tasks.browser.watchdog import Watch, private_bytes
from tasks.contracts.credentials import Credentials
from tasks.contracts.errors import BrowserError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.settings import RenderSettings
from tasks.processes.process_tree import is_alive, kill, tree_of, with_environment
from tasks.web import egress_proxy
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import HTML, Frame, Response
from tasks.web.robots_txt import speaks_to_robots

START_SECONDS = 30.0
POLL_SECONDS = 0.03
SETTLE_SECONDS = 5.0  # the longest wait for a script to bring the text
ENOUGH_TEXT = 250  # characters; a page with fewer is probably still loading
STEADY_SECONDS = 0.1  # how long the text must stay the same
STEADY_SECONDS_WHILE_LOADING = 0.5  # the same while requests are open that could bring more text
DRIVER_FAILURES = (WebDriverException, urllib3.exceptions.HTTPError, OSError)


class Browser:
    """Renders pages one at a time; after a page that fails, it can render the next one."""

    def __init__(
        self,
        settings: RenderSettings,
        layout: Layout,
        egress: EgressPolicy | None = None,
        binaries: chromium.Binaries | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.settings = settings
        self.binaries = binaries or chromium.find_binaries()
        self._egress = egress or EgressPolicy()
        self._credentials = credentials or Credentials()
        self._proxy: egress_proxy.Proxy | None = None
        self._state = layout.state
        self._driver: webdriver.Chrome | None = None
        self._service: Service | None = None
        self._profile: Path | None = None
        self._pages = 0  # since the start
        self._idle_bytes = 0  # private memory before the first page
        self._bytes = 0  # private memory at the end of the last page
        self._page_bytes = settings.browser_megabytes * 1_000_000

    def read(self, url: str, seconds: float) -> Response:
        """Returns the page after its scripts ran, with the headers that its document came with.

        Raises:
            BrowserError: Chromium or its driver is missing or does not start.
            PageRejected: `browser_failed`, `timeout`, `too_large`, `connection_error`, or why its host was denied.
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
        """Kills its processes now. For another thread than the one that reads, which then cleans up."""
        kill(_tree(self._service))

    def close(self) -> None:
        """Asks it to quit, kills what is left, and removes its profile."""
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
            with suppress(Exception):  # there may be nothing left to stop, but its streams must be closed
                service.stop()
        if self._profile is not None:
            # A script starts Debian's headless shell: if the driver died first, the shell is no child of ours.
            kill(with_environment("TMPDIR", str(self._profile)))
            shutil.rmtree(self._profile, ignore_errors=True)
            self._profile = None
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None
        self._pages = self._bytes = 0

    def _start(self) -> None:
        # Through TMPDIR and not --user-data-dir, with which chromedriver waits for the headless shell for ever.
        environ = chromium.environment(self._state, self._folder())
        self._profile = Path(environ["TMPDIR"])
        self._proxy = egress_proxy.Proxy(self._egress)
        os.environ.setdefault("SE_AVOID_STATS", "true")  # Selenium Manager reports its use otherwise
        self._service = Service(self.binaries.driver, env=environ, log_output=subprocess.DEVNULL)
        watch = Watch(lambda: _tree(self._service), START_SECONDS)
        try:
            with watch:
                self._driver = webdriver.Chrome(self._options(), self._service)
                self._driver.set_script_timeout(self.settings.timeout_seconds)
                self._driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "deny"})
                self._driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NO_DIALOGS})
        except (*DRIVER_FAILURES, ValueError) as error:
            self.close()
            missing = isinstance(error, NoSuchDriverException) or None in (self.binaries.chromium, self.binaries.driver)
            if missing:
                raise BrowserError(f"Chromium or its driver is not installed: {chromium.INSTALL}.") from error
            why = f"{watch.why or _first_line(error)}{chromium.without_sandbox_hint()}"
            raise BrowserError(f"Chromium does not start ({why}): {chromium.INSTALL}.") from error
        self._idle_bytes = sum(map(private_bytes, _tree(self._service)))

    def _folder(self) -> Path:
        """Returns the folder for profiles. The full Chromium puts a socket there, whose path has 107 bytes at most."""
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
        for flag in (
            *chromium.FLAGS,
            *egress_proxy.flags(self._proxy.url),
            f"--user-agent={self.settings.introduction}",
        ):
            options.add_argument(flag)
        options.add_experimental_option("prefs", chromium.PREFERENCES)
        # The driver's network log has the response to each document, headers included.
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
        if self.binaries.chromium:
            options.binary_location = self.binaries.chromium
        if not self._is_shell():
            options.add_argument("--headless=new")
        if not chromium.sandboxed():
            options.add_argument("--no-sandbox")
        return options

    def _watched(self, url: str, seconds: float, visit: egress_proxy.PageBudget) -> Response:
        watch = Watch(lambda: _tree(self._service), seconds, self._idle_bytes, self._page_bytes)
        try:
            with watch:
                page = self._read(url, seconds, visit)
        except TimeoutException as error:
            # The driver may still hold the page before.
            self.close()
            raise PageRejected("timeout", f"Chromium did not load it in {seconds:.0f} s") from error
        except DRIVER_FAILURES as error:
            self.close()
            outcome = "timeout" if watch.late else "browser_failed"
            raise PageRejected(outcome, watch.why or _first_line(error)) from error
        self._bytes = watch.bytes
        return page

    def _read(self, url: str, seconds: float, visit: egress_proxy.PageBudget) -> Response:
        driver = self._driver
        assert driver is not None
        end = time.monotonic() + seconds
        # Before the watchdog's deadline, so that a slow page does not cost the browser.
        driver.set_page_load_timeout(seconds * 0.8)
        log = BrowserLog(driver)
        failure, page = self._load(driver, url, end, log)
        log.read()
        frame = driver.current_window_handle
        self._reset(driver)
        if rejected := visit.denied.get(_authority(log.last_asked(frame) or url)):
            raise rejected
        if failure and visit.exceeded:
            raise PageRejected("too_large", f"more than {self.settings.browser_page_megabytes} MB with all it loads")
        if failure:  # of the network, not of Chromium, which stays open
            raise PageRejected("connection_error", failure)
        if page["media_type"] not in HTML:
            raise PageRejected("unsupported_media_type", str(page["media_type"]))
        if page["length"] > self.settings.max_page_bytes:
            raise PageRejected("too_large", f"{page['length']} characters after its scripts ran")
        history = log.responses(frame)
        status, headers = (history[-1].status, history[-1].headers) if history else (0, httpx.Headers())
        frames = tuple(_frame(one, log) for one in page["frames"])
        return Response(page["url"], status, headers, _bytes(page["html"]), "", True, history, frames)

    def _load(self, driver: webdriver.Chrome, url: str, end: float, log: BrowserLog) -> tuple[str, dict[str, Any]]:
        """Returns why a page did not load ("" where it did), and its `SNAPSHOT`."""
        try:
            driver.get(self._credentials.address(url))
        except WebDriverException as error:
            if "net::ERR_" not in str(error):
                raise
            return _first_line(error), {}
        self._wait_for_text(driver, min(end - 0.5, time.monotonic() + SETTLE_SECONDS), log)
        page: dict[str, Any] = driver.execute_script(SNAPSHOT, self.settings.max_page_bytes, secrets.token_hex(8))
        shown = str(page["url"])
        return "" if shown.startswith(("http://", "https://")) else f"Chromium shows {shown[:80]}", page

    def _wait_for_text(self, driver: webdriver.Chrome, until: float, log: BrowserLog) -> None:
        """Waits until the text stays the same for a while; for a nearly empty page, until the end."""
        before, since = -1, 0.0
        while (now := time.monotonic()) < until:
            state, length, protocol = driver.execute_script(PROGRESS)
            if protocol not in ("http:", "https:"):  # Chromium's own error page
                return
            log.read()
            if length != before or state != "complete":
                before, since = length, now
            enough = STEADY_SECONDS if log.at_rest else STEADY_SECONDS_WHILE_LOADING
            if length >= ENOUGH_TEXT and now - since >= enough:
                return
            time.sleep(POLL_SECONDS)

    def _reset(self, driver: webdriver.Chrome) -> None:
        """Loads an empty page, so that a page which fails to load can never be taken for the one before.

        Also removes cookies, storage and service workers, so that no page can see another.
        """
        driver.get("about:blank")
        driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        if len(driver.window_handles) > 1:  # pop-ups, which cannot be forbidden in the full Chromium
            self.close()


def sweep_orphans(layout: Layout) -> int:
    """Kills browsers of this data directory whose owner is dead, and removes their profiles.

    Returns the number of processes killed.
    """
    ended = 0
    for process in with_environment(chromium.MARKER, str(layout.state)):
        with suppress(psutil.Error, OSError):
            if not is_alive(process.environ().get(chromium.OWNER, "")):
                ended += kill(tree_of(process.pid))
    for folder in (layout.state / "browser", Path(tempfile.gettempdir())):
        for profile in folder.glob(f"{chromium.PROFILE}*:*:*"):
            if not is_alive(profile.name.removeprefix(chromium.PROFILE).rpartition(":")[0]):
                shutil.rmtree(profile, ignore_errors=True)
    return ended


def _tree(service: Service | None) -> list[psutil.Process]:
    process = getattr(service, "process", None)
    return tree_of(process.pid) if process is not None else []


def _frame(found: dict[str, Any], log: BrowserLog) -> Frame:
    """A frame of a `SNAPSHOT`. What its meta tags say to robots joins what its headers say."""
    answer = log.document(found["url"])
    said = [("x-robots-tag", directives) for name, directives in found["named"] if speaks_to_robots(name)]
    headers = httpx.Headers([*answer.headers.multi_items(), *said])
    response = replace(answer, headers=headers, body=_bytes(found["metas"]))
    return Frame(_bytes(found["mark"]), _bytes(found["html"]), response)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _authority(url: str) -> str:
    """Returns `host:port`, as the browser asks the proxy for it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].removeprefix("Message: ")[:200]
