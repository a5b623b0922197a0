"""Times that lie ahead: a run wrote them while the clock of this machine was wrong, and nothing would be due for years.

Nobody knows when those visits were, but for that they are over: they count as made a day ago, so that start pages,
feeds and failures are due, and articles keep most of their pause.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from tasks.storage.state_db import transaction

TOLERANCE = 3600.0  # seconds; a clock that is set right by less did no harm
DAY = 86_400.0

# The newest times, each found without reading its table: the last host and page, and all files of feeds and sitemaps.
NEWEST = """
SELECT max(at) FROM (
    SELECT max(visited_at) AS at FROM hosts UNION ALL SELECT max(visited_at) FROM listings
    UNION ALL SELECT first_seen FROM (SELECT first_seen FROM frontier ORDER BY rowid DESC LIMIT 1)
)
"""
VISITS = """
UPDATE {table} SET visited_at = :then, due_at = :then + max(0.0, due_at - visited_at) WHERE visited_at > :now
"""
NEVER_VISITED = "UPDATE {table} SET due_at = :now WHERE visited_at IS NULL AND due_at > :now"
OTHERS = (
    "UPDATE frontier SET first_seen = :then WHERE first_seen > :now",
    "UPDATE hosts SET visited_at = :then WHERE visited_at > :now",
    "UPDATE hosts SET next_at = 0 WHERE next_at > :now + :day",
    "UPDATE questions SET asked_at = :then WHERE asked_at > :now",
)


def mend_times_ahead(db: sqlite3.Connection, now: float) -> str | None:
    """Brings times that lie ahead back to yesterday. Returns a message where there were any."""
    newest = db.execute(NEWEST).fetchone()[0]
    if newest is None or newest <= now + TOLERANCE:
        return None
    values = {"now": now, "then": now - DAY, "day": DAY}
    with transaction(db):
        visits = sum(db.execute(VISITS.format(table=table), values).rowcount for table in ("frontier", "listings"))
        for query in (*(NEVER_VISITED.format(table=table) for table in ("frontier", "listings")), *OTHERS):
            db.execute(query, values)
    return (
        f"the clock of this machine was ahead at an earlier run, which wrote {_local(newest)}: "
        f"{visits:,} visit(s) count as made a day ago"
    )


def _local(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"{at:.3g} seconds"
