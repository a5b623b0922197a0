"""Everything below the data directory that is neither truth nor derived, cleared of what is to be forgotten.

State, caches, reports, exports, and what killed runs and curious users left. Each function finds, and unless it is a
dry run removes; called again it goes on where it was cut. What a text file says is blanked out in place, so that a log
that another process is writing stays its log.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout
from tasks.forget.matcher import ReferenceMatcher
from tasks.storage.atomic_files import sync_folder, write_atomically, write_json
from tasks.storage.state_db import transaction

# Looked after elsewhere: the frontier by itself, the documents when their lines are redacted.
OWN_TABLES = ("frontier", "documents", "positions")
COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".zip", ".7z", ".parquet", ".feather", ".arrow")
EXPORTED = {"seq", "text", "url", "final_url", "query"}
SAMPLE = "A sample:"


def scrub_state(db: sqlite3.Connection, mentions: ReferenceMatcher, dry: bool) -> Counter[str]:
    """Rows that mention it go, in every table: all of the state can be lost, so it can be lost in part."""
    counts: Counter[str] = Counter()
    db.create_function("mentioned", 1, lambda value: value in mentions, deterministic=True)
    with transaction(db):
        for table, where in _text_tables(db):
            counts["rows of the state"] += db.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
            if not dry:
                db.execute(f"DELETE FROM {table} WHERE {where}")
        if not dry and db.execute("SELECT 1 FROM sqlite_master WHERE name = 'pages'").fetchone():
            db.execute("DELETE FROM pages")  # their bodies go, whatever they are: see scrub_files
    return +counts


def _text_tables(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Each table that has text, and the condition that one of its texts mentions it."""
    found = []
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in names:
        if table.startswith("sqlite_") or table in OWN_TABLES:
            continue
        columns = [row["name"] for row in db.execute(f"PRAGMA table_info({table})") if row["type"] in ("TEXT", "")]
        if columns:
            found.append((table, " OR ".join(f"mentioned({column})" for column in columns)))
    return found


def wipe_free_pages(db: sqlite3.Connection) -> None:
    """After the deletions: no free page, and no write-ahead log, that still holds what was deleted."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def scrub_files(
    layout: Layout, mentions: ReferenceMatcher, since: str | None, dry: bool
) -> tuple[Counter[str], list[str]]:
    """All files but those of truth, derived data, checkpoints and models.

    Args:
        since: when the first of the documents came that training saw, ISO 8601; samples that were written after it
            may repeat them, and go. None where training saw none.

    Returns:
        How many files of each kind were changed or removed, and the files that cannot be looked into.
    """
    counts: Counter[str] = Counter()
    caches, leftovers = _disposable_folders(layout), list(_leftovers(layout))
    counts["cached files"] = sum(path.is_file() for folder in caches for path in folder.rglob("*"))
    counts["leftovers"] = len(leftovers)
    for path in [] if dry else [*caches, *leftovers]:
        if path.exists():  # a leftover in a cache went with it
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in sorted(layout.reports.glob("*/")):
        counts["reports"] += _scrub_report(folder, mentions, since, dry)
    closed = []
    for path in list(_others(layout, {*caches, *leftovers})):
        if str(path.relative_to(layout.root)) in mentions:
            changed = _remove(path, layout.root, dry)
        elif _is_export(path):
            changed = _scrub_export(path, mentions, dry)
        elif path.suffix.lower() in COMPRESSED:
            closed.append(str(path))
            continue
        else:
            changed = _scrub_other(path, mentions, layout.root, dry)
        counts["other files"] += changed
    return +counts, closed


def remove_raw(layout: Layout, paths: list[str]) -> None:
    """The raw texts, and the folders of sites that have none left; durable when it returns."""
    folders = set()
    for name in paths:
        path = layout.raw / name
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in sorted(folders):
        if folder != layout.raw and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        elif folder.exists():
            sync_folder(folder)
    sync_folder(layout.raw)


def _disposable_folders(layout: Layout) -> list[Path]:
    """Caches, whatever is in them: bodies of other pages link to what is to be forgotten. A night fills them again."""
    if (layout.root / ".restoring" / "whole.json").exists():
        raise DataDirectoryError(f"{layout.root} is being restored from a snapshot: finish that first.")
    pictures = layout.reports / "corpus"  # with the names of sites; `stats --plots` draws them again
    caches = (layout.pages, layout.state / "browser", layout.state / "google", layout.root / ".restoring")
    return [folder for folder in (*caches, pictures) if folder.is_dir()]


def _leftovers(layout: Layout) -> Iterator[Path]:
    """What killed runs left half-written, databases that were set aside, and rebuilds into this very folder."""
    for folder, _, names in os.walk(layout.root):
        if not Path(folder).is_relative_to(layout.checkpoints) and not Path(folder).is_relative_to(layout.models):
            yield from (Path(folder, name) for name in names if name.startswith(".") and name.endswith(".tmp"))
    yield from layout.state.glob("*.damaged-*")
    yield from layout.state.glob(".snapshot.sqlite*")
    for meta in sorted(layout.root.rglob("processed/meta.json")):
        if meta.parent != layout.processed:
            yield meta.parent


def _others(layout: Layout, gone: set[Path]) -> Iterator[Path]:
    """Files that no other part of forgetting looks after."""
    kept = gone | {layout.raw, layout.cleaned, layout.processed, layout.checkpoints, layout.models, layout.lock}
    kept |= {layout.database.with_name(layout.database.name + suffix) for suffix in ("", "-wal", "-shm")}
    for folder, folders, names in os.walk(layout.root):
        folders[:] = sorted(name for name in folders if Path(folder, name) not in kept)
        for path in (Path(folder, name) for name in sorted(names)):
            of_report = path.parent.parent == layout.reports and path.suffix in (".json", ".md")
            if path not in kept and not of_report and not path.is_symlink():
                yield path


# -- reports ---------------------------------------------------------------------------------------------


def _scrub_report(folder: Path, mentions: ReferenceMatcher, since: str | None, dry: bool) -> bool:
    """Its JSON and its Markdown; the pictures show numbers only."""
    samples, changed = since is not None, False  # without its record, nobody knows when it was written
    record = folder / "report.json"
    before = _read_record(record)
    if before is not None:
        with suppress(ValueError, KeyError, TypeError):
            ended = datetime.fromisoformat(before["started"]) + timedelta(seconds=before["seconds"])
            samples = since is not None and ended >= datetime.fromisoformat(since)
        after = _cut_values(before, mentions)
        if samples and isinstance(training := after.get("training"), dict) and training.get("samples"):
            training["samples"] = []
        changed = after != before
        if changed and not dry:
            write_json(record, after)
    elif record.exists():  # torn: a sample in it cannot be told from the rest
        changed = True
        if not dry:
            record.unlink()
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        cut = cut_markdown(text, mentions, samples)
        if cut != text:
            changed = True
            if not dry:
                write_atomically(path, cut.encode())
    return changed


def _read_record(path: Path) -> dict[str, Any] | None:
    """The report's values; None where the file is missing or is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _cut_values(value: Any, mentions: ReferenceMatcher) -> Any:
    if isinstance(value, dict):
        return {mentions.cut(name): _cut_values(one, mentions) for name, one in value.items()}
    if isinstance(value, list):
        return [_cut_values(one, mentions) for one in value]
    return mentions.cut(value) if isinstance(value, str) else value


def cut_markdown(text: str, mentions: ReferenceMatcher, samples: bool) -> str:
    """A report without mentions and, where asked, without what the model wrote."""
    return mentions.cut(_without_samples(text) if samples else text)


def _without_samples(text: str) -> str:
    """`tasks.report.report` indents samples by four spaces, below a line that says so."""
    kept, inside = [], False
    for line in text.split("\n"):
        if line == SAMPLE:
            inside = True
            kept.append(f"{SAMPLE} forgotten")
        elif not (inside and line.startswith("    ")):
            inside = inside and not line
            kept.append(line)
    return "\n".join(kept)


# -- files that we know nothing of -----------------------------------------------------------------------


def _remove(path: Path, root: Path, dry: bool) -> bool:
    """With the folders that it leaves empty: their names may tell as much."""
    if not dry:
        path.unlink()
        for folder in path.parents:
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()
    return True


def _scrub_other(path: Path, mentions: ReferenceMatcher, root: Path, dry: bool) -> bool:
    """Text is blanked out; what is no text and mentions it, such as a tar file, holds more of it, and goes."""
    with open(path, "rb") as file:
        if b"\0" in file.read(8192):
            return _mentions(path, mentions) and _remove(path, root, dry)
    return blank_out(path, mentions, dry)


def blank_out(path: Path, mentions: ReferenceMatcher, dry: bool) -> bool:
    """Overwrite the mentions in a text file with as many bytes: whoever is writing to it goes on writing."""
    changed, position = False, 0
    with open(path, "rb" if dry else "r+b") as file:
        for line in iter(file.readline, b""):
            text = line.decode("utf-8", "surrogateescape")
            if text in mentions:
                changed = True
                if not dry:
                    file.seek(position)
                    file.write(mentions.cut(text, keep_length=True).encode("utf-8", "surrogateescape"))
            position += len(line)
        if changed and not dry:
            file.flush()
            os.fsync(file.fileno())
    return changed


def _mentions(path: Path, mentions: ReferenceMatcher) -> bool:
    size, overlap = 1 << 20, 8192
    with open(path, "rb") as file:
        before = b""
        while block := file.read(size):
            if (before + block).decode("utf-8", "replace") in mentions:
                return True
            before = block[-overlap:]
    return False


# -- exports ---------------------------------------------------------------------------------------------


def _is_export(path: Path) -> bool:
    """Whether `run.py export dataset` wrote it."""
    if path.suffix.lower() != ".parquet":
        return False
    import pyarrow as pa  # here, for a night that forgets nothing is as well without it
    import pyarrow.parquet as pq

    try:
        return set(pq.read_schema(path).names) >= EXPORTED
    except (OSError, pa.ArrowException):
        return False


def _scrub_export(path: Path, mentions: ReferenceMatcher, dry: bool) -> bool:
    """Written anew without the rows of the pages that go."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")
    with pq.ParquetFile(path) as source:
        pages = source.read(columns=["url", "final_url", "query"]).to_pylist()
        if not any(_goes(row, mentions) or row["query"] in mentions for row in pages):
            return False
        if dry:
            return True
        with pq.ParquetWriter(temporary, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches(500):
                rows = [row for row in batch.to_pylist() if not _goes(row, mentions)]
                for row in rows:
                    row["query"] = "" if row["query"] in mentions else row["query"]
                writer.write_table(pa.Table.from_pylist(rows, schema=source.schema_arrow))
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
    return True


def _goes(row: dict[str, Any], mentions: ReferenceMatcher) -> bool:
    return mentions.is_page(row["url"]) or mentions.is_page(row["final_url"])
