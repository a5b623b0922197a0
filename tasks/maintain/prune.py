"""Prune: removes what is old and disposable. Raw text, derived data, checkpoints and models are never touched.

A report's JSON stays for ever: a few kB, from which the plots of all nights are drawn.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tasks.contracts.paths import Layout

DAY = 86400.0


def prune(layout: Layout, db: sqlite3.Connection, keep_days: int) -> dict[str, int]:
    """Remove what nobody needs any more; needs the writer lock. Returns the number of files removed by kind."""
    old = {
        "report files": list(_old_report_files(layout, time.time() - keep_days * DAY)),
        "pages": list(_lost_pages(layout, db)),
    }
    for path in chain(*old.values()):
        path.unlink(missing_ok=True)
    return {kind: len(paths) for kind, paths in old.items() if paths}


def _old_report_files(layout: Layout, before: float) -> Iterator[Path]:
    """Pictures and Markdown of old runs."""
    for record in sorted(layout.reports.glob("*/report.json")):
        if record.stat().st_mtime < before:
            yield from (path for path in record.parent.iterdir() if path.is_file() and path != record)


def _lost_pages(layout: Layout, db: sqlite3.Connection) -> Iterator[Path]:
    """Cached bodies without a row: written by a run that was killed before it noted them."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'pages'").fetchone():
        return
    known = {row[0] for row in db.execute("SELECT sha256 FROM pages")}
    for path in sorted(layout.pages.glob("*/*")):
        if path.name.removesuffix(".gz") not in known and path.is_file():
            yield path
