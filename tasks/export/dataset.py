"""Export the kept texts with their provenance as Parquet, for pandas, `datasets`, DuckDB and the like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout, read_cleaned
from tasks.raw.catalog import Catalog
from tasks.storage.state_db import open_state

BATCH = 500
SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("text", pa.string()),
        ("url", pa.string()),
        ("final_url", pa.string()),
        ("title", pa.string()),
        ("site", pa.string()),
        ("fetched_at", pa.string()),
        ("provider", pa.string()),
        ("query", pa.string()),
        ("language", pa.string()),
        ("split", pa.string()),
        ("raw_sha256", pa.string()),
        ("robots", pa.string()),
        ("rights", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("published", pa.string()),
        ("claimed_language", pa.string()),
    ]
)


def export_dataset(layout: Layout, target: Path) -> int:
    """Write all kept documents, in ledger order, a batch at a time. Returns their number.

    Raises:
        DataDirectoryError: the file is there already.
    """
    if target.exists():
        raise DataDirectoryError(f"{target} is there already: give another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    number = 0
    db = open_state(layout.database)
    try:
        with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
            for rows in _batches(Catalog(layout, db), layout):
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                number += len(rows)
    finally:
        db.close()
    temporary.rename(target)
    return number


def _batches(corpus: Catalog, layout: Layout) -> Iterator[list[dict[str, object]]]:
    seq = 0
    while rows := corpus.kept(seq, BATCH):
        batch = []
        for row in rows:
            entry = corpus.entry(row["seq"])
            values = entry.as_dict() | {"raw_sha256": entry.sha256, "language": row["language"]}
            values["claimed_language"] = entry.language
            values["text"] = read_cleaned(layout, row["path"])
            batch.append({name: values[name] for name in SCHEMA.names})
        yield batch
        seq = rows[-1]["seq"] + 1
