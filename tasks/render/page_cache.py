"""Fetched pages on disk, by content, with a row for each URL: a bounded cache from which an interrupted run resumes.

Files are not fsynced: a file whose content does not match its digest is ignored, and the page is fetched again.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sqlite3
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

from tasks.contracts.records import Hit, Page
from tasks.contracts.urls import url_key
from tasks.web.http_client import Response

TABLES = """
CREATE TABLE IF NOT EXISTS pages (
    url_key TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    final_url TEXT NOT NULL,
    status INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    charset TEXT,
    etag TEXT,
    last_modified TEXT,
    rendered INTEGER NOT NULL,
    robots TEXT NOT NULL,
    fetched_at REAL NOT NULL,
    bytes INTEGER NOT NULL          -- on disk, compressed
);
CREATE INDEX IF NOT EXISTS pages_by_age ON pages (fetched_at);
CREATE INDEX IF NOT EXISTS pages_by_content ON pages (sha256);
"""
AS_IN_PAGE = ("final_url", "status", "media_type", "charset", "robots", "etag", "last_modified")  # columns


class PageCache:
    """`<folder>/<xx>/<sha256>.gz` and the table `pages`."""

    def __init__(
        self, db: sqlite3.Connection, folder: Path, max_bytes: int, lock: threading.RLock | None = None
    ) -> None:
        self.db, self.folder, self.max_bytes = db, folder, max_bytes
        self._lock = lock or threading.RLock()
        db.executescript(TABLES)
        if folder.exists() and db.execute("SELECT 1 FROM pages LIMIT 1").fetchone() is None:
            shutil.rmtree(folder)  # the state was lost: no row names these files any more
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, hit: Hit, response: Response, now: float, view: str = "") -> Page:
        """Stores a page. Writes the row first: a row without its file is a miss, a file without a row would stay.

        A page that was fetched in two ways lies there twice; `view` names the second one.
        """
        sha256 = hashlib.sha256(response.body).hexdigest()
        packed = gzip.compress(response.body, compresslevel=1, mtime=0)
        key, path = url_key(hit.url) + view, self._path(sha256)
        with self._lock:
            before = self._row(hit, view)
            self.db.execute(
                "INSERT OR REPLACE INTO pages VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *(key, sha256, response.url, response.status, response.media_type, response.charset),
                    *(response.headers.get("etag"), response.headers.get("last-modified")),
                    *(int(response.rendered), response.robots, now, len(packed)),
                ),
            )
            path.parent.mkdir(exist_ok=True)
            temporary = self.folder / ".page.tmp"
            temporary.write_bytes(packed)
            os.replace(temporary, path)
            if before is not None:
                self._remove_unused_file(before["sha256"])
            return _page(hit, self._row(hit, view), path)

    def unused(self, hit: Hit, now: float, view: str = "") -> Page | None:
        """Returns a page fetched after the hit became due, by a run that was interrupted before it used the page.

        A page of the future is none: the clock was ahead when it was fetched.
        """
        row = self._row(hit, view)
        if row is None or hit.due_at is None or not hit.due_at <= row["fetched_at"] <= now:
            return None
        path = self._path(row["sha256"])
        try:
            is_whole = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == row["sha256"]
        except (OSError, EOFError, zlib.error):
            return None
        return _page(hit, row, path) if is_whole else None

    def body(self, page: Page) -> bytes:
        """Returns the bytes of a page that was put here."""
        return gzip.decompress(Path(page.body_path).read_bytes())

    def trim(self) -> None:
        """Removes the oldest pages above the limit. Call it between batches: within one, pages wait to be extracted."""
        total = self.db.execute("SELECT coalesce(sum(bytes), 0) FROM pages").fetchone()[0]
        oldest = "SELECT url_key, sha256, bytes FROM pages ORDER BY fetched_at, url_key LIMIT 1"
        while total > self.max_bytes and (row := self.db.execute(oldest).fetchone()):
            self.db.execute("DELETE FROM pages WHERE url_key = ?", (row["url_key"],))
            self._remove_unused_file(row["sha256"])
            total -= row["bytes"]

    def _remove_unused_file(self, sha256: str) -> None:
        if not self.db.execute("SELECT 1 FROM pages WHERE sha256 = ?", (sha256,)).fetchone():
            self._path(sha256).unlink(missing_ok=True)

    def _row(self, hit: Hit, view: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None
        with self._lock:
            row = self.db.execute("SELECT * FROM pages WHERE url_key = ?", (url_key(hit.url) + view,)).fetchone()
        return row

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}.gz"


def _page(hit: Hit, row: sqlite3.Row | None, path: Path) -> Page:
    assert row is not None
    return Page(
        hit=hit,
        body_path=str(path),
        body_sha256=row["sha256"],
        rendered=bool(row["rendered"]),
        fetched_at=datetime.fromtimestamp(row["fetched_at"], UTC).isoformat(timespec="seconds"),
        **{name: row[name] for name in AS_IN_PAGE},
    )
