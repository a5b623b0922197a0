"""Chromium and its driver: where they are, and the options that leave a page little power over them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.processes.process_tree import identity

MARKER = "MINIATURE_MEMORY_BROWSER"  # in the environment of each process: the data directory's state folder
OWNER = "MINIATURE_MEMORY_BROWSER_OWNER"
PROFILE = "miniature-memory-"
# The headless shell takes half the memory of the full browser and is nearly twice as fast.
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "install one with `apt-get install chromium-headless-shell chromium-driver`, or run ./setup.sh"
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
USER_PROXY = re.compile(r"_proxy$", re.IGNORECASE)  # may hold a password; our own proxy is the only one for a browser

FLAGS = (
    *("--disable-gpu", "--no-first-run", "--no-default-browser-check", "--mute-audio", "--no-pings"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-default-apps", "--disable-dev-shm-usage", "--disable-breakpad", "--window-size=1024,768"),
    *(
        "--blink-settings=imagesEnabled=false,lazyLoadEnabled=false",
        "--disable-features=Translate,OptimizationHints,MediaRouter",
    ),
    *("--block-new-web-contents", "--disable-domain-reliability", "--disable-client-side-phishing-detection"),
)
# The full Chromium reads this from its profile only, the headless shell from its command line (`egress_proxy.flags`).
PREFERENCES = {
    "webrtc.ip_handling_policy": "disable_non_proxied_udp",
    "webrtc.multiple_routes_enabled": False,
    "webrtc.nonproxied_udp_enabled": False,
}


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of Chromium and its driver. None leaves it to Selenium Manager, which downloads them."""

    chromium: str | None
    driver: str | None


def find_binaries() -> Binaries:
    """Finds real binaries: on Ubuntu, the package's files are stubs that ask for a snap."""
    found = (path for name in CHROMIUMS if (path := shutil.which(name)) and not _is_snap(path))
    driver = shutil.which("chromedriver")
    return Binaries(next(found, None), driver if driver and not _is_snap(driver) else None)


def _is_snap(path: str) -> bool:
    real = Path(path).resolve()
    with suppress(OSError), open(real, "rb") as file:
        head = file.read(4096)
        return "/snap/" in str(real) or (head.startswith(b"#!") and (b"/snap/bin" in head or b"snap install" in head))
    return False


def environment(state: Path, folder: Path | None = None) -> dict[str, str]:
    """Returns the environment of the driver and its children: marked as ours, without our keys, passwords and proxy.

    Its TMPDIR is made here, in `folder` or the system's, under a name by which `browser.sweep_orphans` finds it.
    """
    owner = identity(psutil.Process())
    clean = {
        name: value for name, value in os.environ.items() if not SECRET.search(name) and not USER_PROXY.search(name)
    }
    temporary = tempfile.mkdtemp(prefix=f"{PROFILE}{owner}:", dir=folder)
    return {**clean, MARKER: str(state), OWNER: owner, "TMPDIR": temporary}


def sandboxed(uid: int | None = None) -> bool:
    """Whether Chromium runs with its sandbox: always, but for root, where Chromium refuses to start with it."""
    return (os.geteuid() if uid is None else uid) != 0


def without_sandbox_hint(uid: int | None = None) -> str:
    """Returns why the sandbox cannot start here; empty for root, and where no reason is found."""
    for path, bad in (
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        with suppress(OSError):
            if sandboxed(uid) and Path(path).read_text(encoding="ascii").strip() == bad:
                return f"; its sandbox needs user namespaces, which {path} = {bad} forbids"
    return ""
