"""Export the kept texts with their provenance as Parquet, for pandas, `datasets`, DuckDB and the like."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout, read_cleaned
from tasks.raw.catalog import Catalog
from tasks.storage.atomic_files import replacing
from tasks.storage.state_db import open_state_to_read

BATCH = 500
TEXTS = (
    *("text", "url", "final_url", "title", "site", "fetched_at", "provider", "query", "language", "split"),
    *("raw_sha256", "robots", "rights", "licence", "author", "published", "claimed_language"),
)
SCHEMA = pa.schema([("seq", pa.int64()), *((name, pa.string()) for name in TEXTS)])


def export_dataset(layout: Layout, target: Path) -> int:
    """Write all kept documents, in ledger order, a batch at a time. Returns their number.

    Raises:
        DataDirectoryError: the file is there already.
    """
    if target.exists():
        raise DataDirectoryError(f"{target} is there already: give another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    number = seq = 0
    with closing(open_state_to_read(layout.database)) as db, replacing(target) as temporary:
        catalog = Catalog(layout, db)
        with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
            while rows := catalog.kept(seq, BATCH):
                documents = [_document(layout, catalog, row) for row in rows]
                writer.write_table(pa.Table.from_pylist(documents, schema=SCHEMA))
                number += len(rows)
                seq = rows[-1]["seq"] + 1
    return number


def _document(layout: Layout, catalog: Catalog, row: sqlite3.Row) -> dict[str, Any]:
    entry = catalog.entry(row["seq"])
    texts = {"text": read_cleaned(layout, row["path"], row["cleaned_sha256"]), "raw_sha256": entry.sha256}
    return entry.as_dict() | texts | {"language": row["language"], "claimed_language": entry.language}
