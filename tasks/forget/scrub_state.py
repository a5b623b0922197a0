"""`state/state.sqlite` without what is forgotten: all of the state can be lost, so it can be lost in part."""

from __future__ import annotations

import sqlite3
from collections import Counter

from tasks.forget.matcher import ReferenceMatcher
from tasks.storage.state_db import transaction

# Each table with text, and the condition that one of its texts refers to what is forgotten. Cleared elsewhere: the
# frontier by `scrub_frontier`, the documents when their ledger lines become tombstones.
TEXT_TABLES = """
SELECT tables.name, group_concat('refers(' || columns.name || ')', ' OR ')
FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table' AND columns.type IN ('TEXT', '') AND tables.name NOT LIKE 'sqlite_%'
    AND tables.name NOT IN ('frontier', 'documents', 'positions', 'upgrades')
GROUP BY tables.name
"""


def scrub_state(db: sqlite3.Connection, matcher: ReferenceMatcher, dry: bool) -> Counter[str]:
    """Delete the rows that refer to what is forgotten, in every table. Returns their number."""
    counts: Counter[str] = Counter()
    db.create_function("refers", 1, lambda value: value in matcher, deterministic=True)
    with transaction(db):
        for table, where in db.execute(TEXT_TABLES).fetchall():
            counts["rows of the state"] += db.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
            if not dry:
                # The bodies of all cached pages are removed by `scrub_files`, so all rows about them go.
                db.execute(f"DELETE FROM {table} WHERE {'1' if table == 'pages' else where}")
    return +counts


def wipe_free_pages(db: sqlite3.Connection) -> None:
    """After the deletions: no free page, and no write-ahead log, that still holds what was deleted."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
