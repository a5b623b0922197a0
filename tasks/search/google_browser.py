"""Opens one page in the full Chromium through undetected-chromedriver: `python -m tasks.search.google_browser`.

Runs in its own process, so that its parent can kill it at a deadline, its memory is freed, and the GPL-3.0 package is
loaded only here. Reads its orders from standard input as JSON, writes what it saw to standard output as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
from selenium.common.exceptions import WebDriverException

from tasks.processes.process_tree import kill

STABLE_SECONDS = 1.0
POLL_SECONDS = 0.25
QUIT_SECONDS = 5.0
SNAPSHOT = """
const entry = performance.getEntriesByType('navigation')[0];
return {url: location.href, status: entry ? entry.responseStatus : 0,
        html: document.documentElement ? document.documentElement.outerHTML.slice(0, arguments[0]) : ''};
"""


def patched_driver(original: str, folder: Path) -> Path:
    """Returns a copy of the driver patched by undetected-chromedriver, which would otherwise patch the original.

    The copy gets its name last: a kill in the middle leaves no half-patched driver behind.
    """
    about = os.stat(original)
    ready = folder / f"chromedriver-{about.st_size}-{int(about.st_mtime)}"
    if not ready.exists():
        for old in folder.glob("chromedriver-*"):
            old.unlink()
        copy = folder / "chromedriver-new"
        shutil.copyfile(original, copy)
        copy.chmod(0o755)
        import_module("undetected_chromedriver.patcher").Patcher(executable_path=str(copy)).auto()
        os.replace(copy, ready)
    return ready


def open_page(orders: dict[str, Any]) -> dict[str, Any]:
    """Returns what Chromium shows at `url`: its address, status and HTML."""
    uc: Any = import_module("undetected_chromedriver")
    folder = Path(orders["folder"])
    profile = folder / "profile"
    profile.mkdir(parents=True, exist_ok=True)
    for lock in profile.glob("Singleton*"):  # of a browser that was killed; the data directory is ours alone
        lock.unlink()
    options = _options(uc.ChromeOptions, orders["sandboxed"])
    options.page_load_strategy = "eager"
    for flag in orders["flags"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", orders["preferences"])
    driver = uc.Chrome(
        options=options,
        user_data_dir=str(profile),
        driver_executable_path=str(patched_driver(orders["driver"], folder)),
        browser_executable_path=orders["chromium"],
        version_main=orders["version"],
        headless=orders["headless"],
        no_sandbox=not orders["sandboxed"],
        use_subprocess=True,
    )
    driver.set_page_load_timeout(orders["seconds"])
    driver.get(orders["url"])
    page = _wait_until_stable(driver, orders)
    with suppress(psutil.Error, WebDriverException):  # asked to end, it writes its cookies first
        driver.execute_cdp_cmd("Browser.close", {})
        psutil.Process(driver.browser_pid).wait(QUIT_SECONDS)
    return page


def _options(kind: Any, sandboxed: bool) -> Any:
    """Returns options that ignore `--no-sandbox`, which undetected-chromedriver adds, where the sandbox works."""

    class Options(kind):  # type: ignore[misc]  # the package has no types
        def add_argument(self, argument: str) -> None:
            if not (sandboxed and argument == "--no-sandbox"):
                super().add_argument(argument)

    return Options()


def _wait_until_stable(driver: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Returns the page once its address and size stay the same: the JavaScript gate leads elsewhere after a moment."""
    end, same_since, last = time.monotonic() + orders["seconds"], time.monotonic(), ("", 0)
    while True:
        page: dict[str, Any] = {}
        with suppress(WebDriverException):  # between two pages there is no document
            page = driver.execute_script(SNAPSHOT, orders["max_characters"])
        state = (page.get("url", ""), len(page.get("html", "")))
        now = time.monotonic()
        if state != last:
            same_since, last = now, state
        if page and (now - same_since >= STABLE_SECONDS or now >= end):
            return page
        if now >= end + 5:
            raise TimeoutError("the page never came to rest")
        time.sleep(POLL_SECONDS)


def _become_subreaper() -> None:
    """Makes processes that Chromium and its driver leave behind our children, so that they can be killed and reaped."""
    pr_set_child_subreaper = 36
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _kill_all_children() -> None:
    kill(psutil.Process().children(recursive=True))
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    orders = json.load(sys.stdin)
    answer_to = os.dup(1)
    os.dup2(2, 1)  # so that what a library prints does not mix with the answer
    _become_subreaper()
    try:
        answer = open_page(orders)
    except Exception as error:
        answer = {"error": (str(error).strip() or type(error).__name__).splitlines()[0][:200]}
    _kill_all_children()
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        json.dump(answer, out)
    # Skips the driver's own clean-up at exit, which would wait for processes that are gone.
    out.close()
    os._exit(0)


if __name__ == "__main__":
    main()
