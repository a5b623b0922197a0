"""One headless Chromium, reused: started when the first page needs it, recycled, and ended for certain.

A page can hang its renderer so that even the driver stops answering; so a timer in this process ends the whole
process tree at the deadline. If we are killed ourselves, the tree lives on: its environment names its owner, and
`sweep_orphans` ends it at the next start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import urllib3.exceptions
from selenium import webdriver
from selenium.common.exceptions import NoSuchDriverException, TimeoutException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tasks.errors import BrowserError
from tasks.layout import Layout
from tasks.outcomes import Refused
from tasks.process_tree import identity, is_alive, kill, tree_of, with_environment
from tasks.settings import RenderSettings

MARKER = "MINIATURE_MEMORY_BROWSER"
OWNER = "MINIATURE_MEMORY_BROWSER_OWNER"
# The headless shell takes half the memory of the whole browser and is nearly twice as fast.
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "install one with `apt-get install chromium-headless-shell chromium-driver`, or run ./setup.sh"
START_SECONDS = 30.0
PROFILE = "miniature-memory-"
POLL_SECONDS = 0.15
SETTLE_SECONDS = 5.0  # the longest wait for a script to bring the text
ENOUGH_TEXT = 250  # characters; with less the page is probably still loading

FLAGS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-default-apps", "--disable-dev-shm-usage", "--disable-breakpad", "--window-size=1024,768"),
    *("--blink-settings=imagesEnabled=false", "--disable-features=Translate,OptimizationHints,MediaRouter"),
)
SNAPSHOT = """
const entry = performance.getEntriesByType('navigation')[0];
const html = document.documentElement ? document.documentElement.outerHTML : '';
return {url: location.href, status: entry ? entry.responseStatus : 0, media_type: document.contentType,
        length: html.length, html: html.length > arguments[0] ? '' : html};
"""
PROGRESS = """
return [document.readyState, document.body ? document.body.innerText.length : 0, location.protocol];
"""


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """What Chromium made of a page."""

    final_url: str
    status: int
    html: str


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where Chromium and its driver are; None leaves it to Selenium Manager, which downloads them."""

    chromium: str | None
    driver: str | None


def find_binaries() -> Binaries:
    """Real ones only: on Ubuntu the package's files are stubs that ask for a snap."""
    found = (path for name in CHROMIUMS if (path := shutil.which(name)) and not _is_snap(path))
    driver = shutil.which("chromedriver")
    return Binaries(next(found, None), driver if driver and not _is_snap(driver) else None)


def _is_snap(path: str) -> bool:
    real = Path(path).resolve()
    with suppress(OSError), open(real, "rb") as file:
        head = file.read(4096)
        return "/snap/" in str(real) or (head.startswith(b"#!") and (b"/snap/bin" in head or b"snap install" in head))
    return False


class Browser:
    """Reads pages one at a time; every failure of one page leaves it able to read the next."""

    def __init__(self, settings: RenderSettings, layout: Layout, binaries: Binaries | None = None) -> None:
        self.settings = settings
        self.binaries = binaries or find_binaries()
        self._state = layout.state
        self._driver: webdriver.Chrome | None = None
        self._service: Service | None = None
        self._profile: Path | None = None
        self._pages = 0

    def read(self, url: str, seconds: float) -> RenderedPage:
        """The page after its scripts ran.

        Raises:
            BrowserError: Chromium or its driver is missing or does not start.
            Refused: `browser_failed`, `timeout`, `too_large` or `connection_error`.
        """
        if self._pages >= self.settings.browser_pages:
            self.close()
        if self._driver is None:
            self._start()
        self._pages += 1
        try:
            with self._supervised(seconds) as killed:
                return self._read(url, seconds)
        except Refused:
            raise
        except TimeoutException as error:
            # What the driver holds now may still be the page before.
            self.close()
            raise Refused("timeout", f"Chromium did not load it in {seconds:.0f} s") from error
        except (WebDriverException, urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            why = f"hung; killed after {seconds:.0f} s" if killed.is_set() else _first_line(error)
            raise Refused("browser_failed", why) from error

    def close(self) -> None:
        """Ask it to end, then end what is left, and remove its profile."""
        service, self._service = self._service, None
        driver, self._driver = self._driver, None
        tree = _tree(service)
        if driver is not None and tree:
            timer = threading.Timer(5.0, kill, (tree,))
            timer.start()
            with suppress(WebDriverException, urllib3.exceptions.HTTPError, OSError):
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
        self._pages = 0

    def _start(self) -> None:
        owner = identity(psutil.Process())
        # Through TMPDIR and not --user-data-dir, with which chromedriver waits for the headless shell for ever.
        self._profile = Path(tempfile.mkdtemp(prefix=f"{PROFILE}{owner}:", dir=self._folder()))
        environment = {**os.environ, MARKER: str(self._state), OWNER: owner, "TMPDIR": str(self._profile)}
        os.environ.setdefault("SE_AVOID_STATS", "true")  # Selenium Manager reports its use otherwise
        self._service = Service(self.binaries.driver, env=environment, log_output=subprocess.DEVNULL)
        try:
            with self._supervised(START_SECONDS) as killed:
                self._driver = webdriver.Chrome(self._options(), self._service)
                self._driver.set_script_timeout(self.settings.timeout_seconds)
                self._driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "deny"})
        except (WebDriverException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.close()
            missing = isinstance(error, NoSuchDriverException) or None in (self.binaries.chromium, self.binaries.driver)
            if missing:
                raise BrowserError(f"Chromium or its driver is not installed: {INSTALL}.") from error
            why = f"no answer in {START_SECONDS:.0f} s" if killed.is_set() else _first_line(error)
            raise BrowserError(f"Chromium does not start ({why}): {INSTALL}.") from error

    def _folder(self) -> Path:
        """The whole Chromium puts a socket below it, whose path may have 107 bytes in all."""
        folder = self._state / "browser"
        folder.mkdir(parents=True, exist_ok=True)
        short = len(os.fsencode(folder)) + 90 <= 107
        return folder if short or self._is_shell() else Path(tempfile.gettempdir())

    def _is_shell(self) -> bool:
        return "headless-shell" in (self.binaries.chromium or "")

    def _options(self) -> Options:
        options = Options()
        options.page_load_strategy = "eager"
        options.unhandled_prompt_behavior = "dismiss"
        for flag in (*FLAGS, f"--user-agent={self.settings.user_agent}"):
            options.add_argument(flag)
        if self.binaries.chromium:
            options.binary_location = self.binaries.chromium
        if not self._is_shell():
            options.add_argument("--headless=new")
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium refuses to run as root with it
        return options

    def _read(self, url: str, seconds: float) -> RenderedPage:
        driver = self._driver
        assert driver is not None
        end = time.monotonic() + seconds
        # Before the supervisor's deadline: a page that is only slow does not cost the browser.
        driver.set_page_load_timeout(seconds * 0.8)
        try:
            driver.get(url)
        except WebDriverException as error:
            if "net::ERR_" not in str(error):
                raise
            # The network's failure, not Chromium's: it goes on.
            raise Refused("connection_error", _first_line(error)) from error
        self._settle(driver, min(end - 0.5, time.monotonic() + SETTLE_SECONDS))
        shot: dict[str, Any] = driver.execute_script(SNAPSHOT, self.settings.max_page_bytes)
        self._leave(driver)
        if not shot["url"].startswith(("http://", "https://")):
            raise Refused("connection_error", f"Chromium shows {shot['url'][:80]}")
        if shot["media_type"] not in ("text/html", "application/xhtml+xml"):
            raise Refused("unsupported_media_type", str(shot["media_type"]))
        if shot["length"] > self.settings.max_page_bytes:
            raise Refused("too_large", f"{shot['length']} characters after its scripts ran")
        return RenderedPage(shot["url"], int(shot["status"]), shot["html"])

    def _settle(self, driver: webdriver.Chrome, until: float) -> None:
        """Wait until the text stays the same for two polls; a nearly empty page gets all the time there is."""
        lengths: list[int] = []
        while time.monotonic() < until:
            state, length, protocol = driver.execute_script(PROGRESS)
            if protocol not in ("http:", "https:"):  # Chromium's own error page
                return
            lengths.append(length)
            if state == "complete" and len(set(lengths[-3:])) == 1 and len(lengths) >= 3 and length >= ENOUGH_TEXT:
                return
            time.sleep(POLL_SECONDS)

    def _leave(self, driver: webdriver.Chrome) -> None:
        """An empty page between two: what failed to load can then never be taken for the page before."""
        driver.get("about:blank")
        if len(driver.window_handles) > 1:  # it opened pop-ups
            self.close()

    @contextmanager
    def _supervised(self, seconds: float) -> Iterator[threading.Event]:
        killed = threading.Event()

        def end() -> None:
            killed.set()
            kill(_tree(self._service))

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield killed
        finally:
            timer.cancel()


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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].removeprefix("Message: ")[:200]
