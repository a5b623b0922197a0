"""Doctor: checks what a night needs from this machine, and says what to do where it is missing."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from model.contracts.erasure_marks import LATEST, count_marks, in_words, read_metadata
from model.contracts.published_folder import RECORD
from model.training.compiler import compiler_name, has_python_headers
from tasks.browser.chromium import INSTALL, find_binaries, sandboxed, without_sandbox_hint
from tasks.contracts.errors import MiniatureMemoryError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.profiles import load_settings
from tasks.contracts.settings import Settings
from tasks.contracts.time_zone import local_zone
from tasks.search.search_engines import BRAVE_KEY
from tasks.web.user_proxy import read_proxies

PACKAGES = ("prefect", "httpx", "selenium", "trafilatura", "ftfy", "torch", "numpy", "pandas", "tokenizers")
MEMORY_BYTES = 2_000_000_000
DISK_BYTES = 2_000_000_000
TEMPORARY_BYTES = 200_000_000  # Chromium's profile, compiled kernels
DAY = 86400.0
# File systems of other machines: SQLite's log needs shared memory, and locks that hold.
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    fine: bool
    says: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(data_dir: str | None, profile: str) -> list[Finding]:
    """Returns the results of all checks, in order. They change nothing, but make a new data directory's folders."""
    return [
        check("python", sys.version_info >= (3, 11), platform.python_version(), "3.11 or later is needed"),
        _packages(),
        examine_compiler(),
        *_browser(),
        examine_memory(psutil.virtual_memory(), psutil.swap_memory().free, memory_limit()),
        _time_zone(),
        *examine_proxies(os.environ),
        *_profile(profile),
        *_data(data_dir),
    ]


def check(what: str, fine: bool, says: str, advice: str) -> Finding:
    return Finding(what, fine, says if fine else f"{says}: {advice}")


def _packages() -> Finding:
    missing, found = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding("packages", False, f"missing: {', '.join(missing)}. Run ./setup.sh")
    return Finding("packages", True, ", ".join(found))


def examine_compiler() -> Finding:
    name = compiler_name()
    path = shutil.which(name)
    if path is None:
        why = "CXX names no compiler: unset it" if name != "g++" else "apt-get install g++"
        return Finding("compiler", True, f"no {name}: training works, but slower ({why})")
    if not has_python_headers():
        why = "apt-get install python3-dev"
        return Finding("compiler", True, f"{path}, but no Python.h: training works, but slower ({why})")
    return Finding("compiler", True, f"{path}: training is compiled where that is worth it")


def _browser() -> list[Finding]:
    binaries = find_binaries()
    if not (binaries.chromium and binaries.driver):
        says = f"no Chromium or no chromedriver: pages built by scripts are left out; {INSTALL}"
        return [Finding("browser", False, says)]
    found = [Finding("browser", True, f"{binaries.chromium}, {binaries.driver}")]
    if not sandboxed():
        return [*found, Finding("sandbox", True, "none, since Chromium has none for root: better be another user")]
    hint = without_sandbox_hint()
    return [*found, Finding("sandbox", not hint, f"Chromium will not start{hint}" if hint else "Chromium has its own")]


# -- memory and clock ------------------------------------------------------------------------------------


class Memory(NamedTuple):
    """Bytes, as `psutil.virtual_memory` has them."""

    total: int
    available: int


def memory_limit(groups: Path = CONTROL_GROUPS) -> int | None:
    """Returns the bytes that a container or a service may use; None where there is no bound."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such group; "max"
            limit = int((groups / name).read_text(encoding="ascii"))
            return limit if limit < 1 << 60 else None
    return None


def examine_memory(memory: Any, free_swap: int, limit: int | None) -> Finding:
    """Compares what there is, and what is free of it, with what a night takes."""
    total = min(memory.total, limit or memory.total)
    says = f"{total / 1e9:.1f} GB{' for this control group' if total < memory.total else ''}"
    says += f", {memory.available / 1e9:.1f} GB of them free" if total == memory.total else ""
    says += f", {free_swap / 1e9:.1f} GB of swap free"
    if total < 0.9 * MEMORY_BYTES:
        return Finding("memory", False, f"{says}: a night takes 2 GB; add memory, or smaller settings (train.n_embd)")
    room = min(memory.available + free_swap, total)
    advice = "end other programs, or add swap (fallocate -l 2G /swapfile; chmod 600; mkswap; swapon)"
    return check("memory", room >= 0.6 * MEMORY_BYTES, says, advice)


def _time_zone() -> Finding:
    try:
        return Finding("time zone", True, f"{local_zone()}: of the schedules")
    except ValueError as error:
        return Finding("time zone", False, str(error))


def examine_clock(written: Iterable[Path], now: float) -> Finding:
    """A clock that goes wrong: certificates count as invalid, pages as due or not, and the schedule is another one."""
    latest = max((path.stat().st_mtime for path in written if path.exists()), default=0.0)
    says = f"{_day(now)} UTC"
    advice = f"files were written on {_day(latest)}; set the clock (timedatectl set-ntp true)"
    return check("clock", now > latest - DAY, says, advice)


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


# -- the way out -----------------------------------------------------------------------------------------


def examine_proxies(environ: Mapping[str, str]) -> list[Finding]:
    try:
        proxies = read_proxies(environ)
    except MiniatureMemoryError as error:
        return [Finding("proxy", False, str(error))]
    return [Finding("proxy", True, f"{scheme}: {proxy}") for scheme, proxy in proxies.by_scheme.items()]


def _profile(profile: str) -> list[Finding]:
    try:
        return examine_keys(load_settings(profile, {}), os.environ)
    except MiniatureMemoryError as error:
        return [Finding("profile", False, str(error))]


def examine_keys(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    if not any(source.provider == "brave" for source in settings.search.sources):
        return []
    known = bool(environ.get(BRAVE_KEY, "").strip())
    return [check("key", known, f"{BRAVE_KEY} is {'' if known else 'not '}set", "export it, or take brave out")]


# -- the data directory ----------------------------------------------------------------------------------


def _data(data_dir: str | None) -> list[Finding]:
    try:
        layout = find_data_directory(data_dir, to_read=True)
    except MiniatureMemoryError as error:
        return [Finding("data directory", False, str(error))]
    written = (Path(__file__), layout.ledger, layout.database, layout.lock)
    return [
        examine_place(layout, mount_of(layout.root)),
        _examine_room("disk", layout.root, DISK_BYTES, "make room, or choose another with --data-dir"),
        _examine_room("temporary files", Path(tempfile.gettempdir()), TEMPORARY_BYTES, "make room, or set TMPDIR"),
        examine_clock(written, time.time()),
        *_state(layout),
        *_forgetting(layout),
    ]


def _examine_room(what: str, folder: Path, wanted: int, advice: str) -> Finding:
    free, numbers = shutil.disk_usage(folder).free, os.statvfs(folder)
    if numbers.f_files and numbers.f_favail < 10_000:
        return Finding(what, False, f"{numbers.f_favail} more files fit on {folder} (inodes): {advice}")
    return check(what, free >= wanted, f"{free / 1e9:.1f} GB free on {folder}", advice)


class Mount(NamedTuple):
    """Where a file system hangs, its kind, and its options."""

    path: str
    kind: str
    options: tuple[str, ...]


def mount_of(folder: Path) -> Mount:
    """Returns the mount that a folder is on; the last one counts where several lie over each other."""
    mounts = [Mount(one.mountpoint, one.fstype, tuple(one.opts.split(","))) for one in psutil.disk_partitions(all=True)]
    above = [one for one in mounts if folder.is_relative_to(one.path)]
    return max(reversed(above), key=lambda one: len(one.path), default=Mount("/", "", ()))


def examine_place(layout: Layout, mount: Mount) -> Finding:
    """Whether it can be written, and lies on a disk of this machine."""
    where = f"{layout.root} ({mount.kind} on {mount.path})"
    if "ro" in mount.options:
        advice = f"mount -o remount,rw {mount.path}, or --data-dir; commands that only read work"
        return Finding("data directory", False, f"{where} is mounted read-only: {advice}")
    if not layout.is_writable():
        advice = "mend its permissions, or --data-dir; commands that only read work"
        return Finding("data directory", False, f"{where} cannot be written: {advice}")
    if any(mount.kind == kind or (kind.endswith(".") and mount.kind.startswith(kind)) for kind in NETWORK):
        advice = "SQLite and the lock need a disk of this machine (--data-dir)"
        return Finding("data directory", False, f"{where} is on a network: {advice}")
    return Finding("data directory", True, where)


def _state(layout: Layout) -> list[Finding]:
    """Who has the data directory, and whether the state database can be used."""
    found = []
    if layout.lock.exists():
        with suppress(PermissionError), open(layout.lock, "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                found.append(Finding("lock", True, "a run is on: what else writes waits until it ends"))
    if layout.database.exists():
        found += examine_database("state", layout.database, "move it away: the next run makes it anew")
    return found


def examine_database(what: str, path: Path, advice: str) -> list[Finding]:
    """Whether a SQLite file can be read; empty where it can."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        # Of a read-only folder SQLite says that it cannot open the file; that has a line of its own.
        return [] if not os.access(path.parent, os.W_OK) else [Finding(what, False, f"{path}: {error}; {advice}")]
    except sqlite3.DatabaseError as error:
        return [Finding(what, False, f"{path}: {error}; {advice}")]
    return []


def _forgetting(layout: Layout) -> list[Finding]:
    """Reports an unfinished erasure, and a published model that has seen what was forgotten."""
    found = []
    if layout.intent.exists():
        found.append(Finding("forget", False, "one was cut: finish it with python run.py forget"))
    if known := in_words(count_marks(read_metadata(layout.models / LATEST / RECORD) or {})):
        found.append(Finding("model", True, "; ".join(known)))
    return found
