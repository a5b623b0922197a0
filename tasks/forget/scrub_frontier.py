"""The frontier, cleared of what is forgotten: of each URL only a keyed hash stays, so that it is not asked again."""

from __future__ import annotations

import sqlite3

from tasks.forget.matcher import ReferenceMatcher
from tasks.search.frontier import Frontier
from tasks.storage.state_db import transaction


def scrub_frontier(frontier: Frontier, matcher: ReferenceMatcher, dry: bool) -> int:
    """Replace each forgotten URL by its hash, and blank it out in the rows of others. Returns the number of URLs."""
    number = after = 0
    some = "SELECT rowid, * FROM frontier WHERE rowid > ? AND url <> '' ORDER BY rowid LIMIT 5000"
    with transaction(frontier.db):
        while rows := frontier.db.execute(some, (after,)).fetchall():
            after = rows[-1]["rowid"]
            number += sum(_scrub_row(frontier, row, matcher, dry) for row in rows)
    return number


def _scrub_row(frontier: Frontier, row: sqlite3.Row, matcher: ReferenceMatcher, dry: bool) -> bool:
    """Returns whether the row's own URL is forgotten."""
    if matcher.is_page(row["url"]):
        if not dry:
            frontier.db.execute("DELETE FROM frontier WHERE rowid = ?", (row["rowid"],))
            frontier.insert_pseudonym(row["url"], row["first_seen"])
        return True
    cut = {name: matcher.cut(row[name] or "") for name in ("query", "detail", "final_url")}
    if not dry and any(cut[name] != (row[name] or "") for name in cut):
        frontier.db.execute(
            "UPDATE frontier SET query = :query, detail = :detail, final_url = :final_url, etag = NULL, "
            "last_modified = NULL WHERE rowid = :rowid",
            cut | {"rowid": row["rowid"]},
        )
    return False
