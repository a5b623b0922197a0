"""Doctor: checks what a night needs from this machine, and says what to do where it is missing."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from model.contracts.erasure_marks import LATEST, RECORD, count_marks, in_words, read_metadata
from tasks.browser.chromium import INSTALL, find_binaries
from tasks.contracts.errors import MiniatureMemoryError
from tasks.contracts.paths import Layout, find_data_directory

PACKAGES = ("prefect", "httpx", "selenium", "trafilatura", "ftfy", "torch", "numpy", "pandas", "tokenizers")
MEMORY_BYTES = 2_000_000_000
DISK_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    fine: bool
    says: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(data_dir: str | None) -> list[Finding]:
    """Returns the results of all checks, in order; none changes anything."""
    memory = psutil.virtual_memory().total
    return [
        _check("python", sys.version_info >= (3, 11), platform.python_version(), "3.11 or later is needed"),
        _packages(),
        _compiler(),
        _browser(),
        _check("memory", memory >= 0.9 * MEMORY_BYTES, f"{memory / 1e9:.1f} GB", "2 GB are needed"),
        *_data(data_dir),
    ]


def _check(what: str, fine: bool, says: str, advice: str) -> Finding:
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


def _compiler() -> Finding:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler:
        return Finding("compiler", True, f"{compiler}: training is compiled")
    return Finding("compiler", True, "no C++ compiler: training works, but slower (apt-get install g++)")


def _browser() -> Finding:
    binaries = find_binaries()
    if binaries.chromium and binaries.driver:
        return Finding("browser", True, f"{binaries.chromium}, {binaries.driver}")
    return Finding("browser", False, f"no Chromium or no chromedriver: pages built by scripts are left out; {INSTALL}")


def _data(data_dir: str | None) -> list[Finding]:
    try:
        layout = find_data_directory(data_dir)
    except MiniatureMemoryError as error:
        return [Finding("data directory", False, str(error))]
    free = shutil.disk_usage(layout.root).free
    advice = "make room, or choose another with --data-dir"
    disk = _check("disk", free >= DISK_BYTES, f"{free / 1e9:.1f} GB free", advice)
    return [Finding("data directory", True, str(layout.root)), disk, *_forgetting(layout)]


def _forgetting(layout: Layout) -> list[Finding]:
    """Reports an unfinished erasure, and a published model that has seen what was forgotten."""
    found = []
    if layout.intent.exists():
        found.append(Finding("forget", False, "one was cut: finish it with python run.py forget"))
    if known := in_words(count_marks(read_metadata(layout.models / LATEST / RECORD) or {})):
        found.append(Finding("model", True, "; ".join(known)))
    return found
