"""Parquet files that `run.py export dataset` left below the data directory, without the rows of forgotten pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.forget.matcher import ReferenceMatcher
from tasks.storage.atomic_files import replacing

EXPORTED = {"seq", "text", "url", "final_url", "query"}


def is_export(path: Path) -> bool:
    """Whether `run.py export dataset` wrote it."""
    if path.suffix.lower() != ".parquet":
        return False
    import pyarrow as pa  # here, for a night that forgets nothing does not need it
    import pyarrow.parquet as pq

    try:
        return set(pq.read_schema(path).names) >= EXPORTED
    except (OSError, pa.ArrowException):
        return False


def scrub_export(path: Path, matcher: ReferenceMatcher, dry: bool) -> bool:
    """Rewrite it without the rows of forgotten pages. Returns whether there is anything to change."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as source:
        pages = source.read(columns=["url", "final_url", "query"]).to_pylist()
        if not any(_is_forgotten(row, matcher) or row["query"] in matcher for row in pages):
            return False
        if dry:
            return True
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, source.schema_arrow, compression="zstd") as writer,
        ):
            for batch in source.iter_batches(500):
                rows = [row for row in batch.to_pylist() if not _is_forgotten(row, matcher)]
                for row in rows:
                    row["query"] = "" if row["query"] in matcher else row["query"]
                writer.write_table(pa.Table.from_pylist(rows, schema=source.schema_arrow))
    return True


def _is_forgotten(row: dict[str, Any], matcher: ReferenceMatcher) -> bool:
    return matcher.is_page(row["url"]) or matcher.is_page(row["final_url"])
