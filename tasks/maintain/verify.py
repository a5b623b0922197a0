"""Verify: compares every byte on disk with its digest. Reads all, changes nothing, and fails at no byte.

What is damaged is named with what it is worth and what heals it. What is merely not there, or has no digest, is named
too, and is no damage: what can be lost, what an earlier version wrote, what others put there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoints.divergence import read_rollbacks_file
from model.contracts.job import chunk_path, pending_chunk
from model.contracts.published_folder import RECORD, whole_record
from model.contracts.step_folders import checkpoint_folders, model_folders
from model.data.digests import damaged_blocks, file_digest, read_sealed
from tasks.contracts.errors import MiniatureMemoryError
from tasks.contracts.paths import Layout
from tasks.contracts.records import LedgerEntry
from tasks.dedup.signature_index import COLUMNS, POSITION, row_bytes
from tasks.raw.ledger import last_lines, parse_line
from tasks.raw.validate import check_file
from tasks.storage.state_db import broken_seal, check_structure, is_sealed, open_read_only, seal_path
from tasks.tokenize import token_files
from tasks.tokenize.tokenizer_record import read_tokenizer_record

BACKUP = "truth: restore raw/ from your backup"
AGAIN = "derived: the next night makes it again"
KEPT = "kept: nothing uses it"
NAMED = 5  # files of a folder, megabytes of a file
STATE = "can be lost: the next run sets it aside and makes it anew from raw/"


@dataclass(frozen=True, slots=True)
class Finding:
    path: Path
    what: str
    remedy: str
    is_damage: bool = True

    def __str__(self) -> str:
        return f"{self.path} {self.what} ({self.remedy})"


@dataclass
class Checked:
    """What was read, and what is spoken for."""

    files: set[Path] = field(default_factory=set)
    bytes: int = 0

    def add(self, *paths: Path) -> None:
        for path in paths:
            if path not in self.files and path.is_file():
                self.files.add(path)
                self.bytes += path.stat().st_size


def verify(layout: Layout, checked: Checked | None = None) -> Iterator[Finding]:
    """Yields each finding; the caller keeps other writers out. `checked` counts what was read."""
    checked = Checked() if checked is None else checked
    db, findings = _open_state(layout)
    checked.add(layout.database, seal_path(layout.database), layout.lock)
    yield from findings
    try:
        yield from _verify_raw(layout, db, checked)
        yield from _verify_cleaned(layout, db, checked)
        yield from _verify_index(layout, db, checked)
        yield from _verify_processed(layout, checked)
        yield from _verify_checkpoints(layout, checked)
        yield from _verify_models(layout, checked)
        yield from _name_others(layout, checked)
    finally:
        if db:
            db.close()


# -- the state -------------------------------------------------------------------------------------------


def _open_state(layout: Layout) -> tuple[sqlite3.Connection | None, list[Finding]]:
    """Returns the database where it can be trusted, with what there is to say of it."""
    path = layout.database
    if not path.exists():
        return None, [Finding(path, "is missing", "can be lost: the next run makes it anew", False)]
    if trouble := broken_seal(path):
        return None, [Finding(path, f"is damaged: {trouble}", STATE)]
    seal = seal_path(path)
    said = []
    if not is_sealed(path):
        said = [
            Finding(path, "is not sealed: the last run was cut, or an earlier version's", "the next seals it", False)
        ]
    elif trouble := _trouble(lambda: read_sealed(seal)):
        said = [Finding(seal, trouble, "can be lost: the next run writes it anew")]
    try:
        db = open_read_only(path)
        if trouble := check_structure(db):
            db.close()
            return None, [*said, Finding(path, f"is damaged: {trouble}", STATE)]
        return db, said
    except sqlite3.DatabaseError as error:
        return None, [*said, Finding(path, f"cannot be read: {error}", STATE)]


def _rows(db: sqlite3.Connection | None, query: str) -> list[sqlite3.Row]:
    """None from a database that is not there, or of an earlier version."""
    try:
        return db.execute(query).fetchall() if db else []
    except sqlite3.OperationalError:
        return []


def _position(db: sqlite3.Connection | None, name: str) -> int:
    rows = _rows(db, f"SELECT value FROM positions WHERE name = '{name}'")
    return int(rows[0][0]) if rows else 0


# -- truth -----------------------------------------------------------------------------------------------


def _verify_raw(layout: Layout, db: sqlite3.Connection | None, checked: Checked) -> Iterator[Finding]:
    committed = _position(db, "ledger_bytes")
    yield from _verify_grown(layout.ledger, db, committed, BACKUP, checked)
    known = {row["path"] for row in _rows(db, "SELECT path FROM documents")}
    for entry in _entries(layout):
        if isinstance(entry, Finding):
            yield entry
        elif not entry.forgotten:
            known.discard(entry.path)
            path = layout.raw / entry.path
            if problem := check_file(path, entry.sha256):
                yield Finding(path, problem, BACKUP)
            checked.add(path)
    for name in sorted(known - {""}):  # its line cannot be read, or is not there
        yield Finding(layout.raw / name, "has lost its line in the ledger", BACKUP)
        checked.add(layout.raw / name)
    if committed and not layout.journal.exists():
        yield Finding(layout.journal, "is missing", "the ledger has its lines; the next batch writes it anew", False)
    if layout.journal.exists():
        checked.add(layout.journal)
        journal = layout.journal.read_bytes()
        if journal != b"".join(last_lines(layout.ledger, journal.count(b"\n"))):
            yield Finding(layout.journal, "differs from the ledger's last lines", "the next run writes or replays it")
    yield from _verify_tokenizer(layout, checked)


def _entries(layout: Layout) -> Iterator[LedgerEntry | Finding]:
    content = layout.ledger.read_bytes() if layout.ledger.exists() else b""
    end = 0
    for line in content.splitlines(keepends=True):
        end += len(line)
        where = f"has a line that is none: it ends at byte {end}"
        if not line.endswith(b"\n"):
            yield Finding(layout.ledger, "ends in a torn line", "the next run restores it from the journal")
            continue
        try:
            yield parse_line(line)
        except MiniatureMemoryError:
            yield Finding(layout.ledger, where, BACKUP)


def _verify_tokenizer(layout: Layout, checked: Checked) -> Iterator[Finding]:
    checked.add(layout.tokenizer, layout.tokenizer_record)
    if layout.tokenizer.exists() and not layout.tokenizer_record.exists():
        yield Finding(layout.tokenizer_record, "is missing", BACKUP)
    try:
        if read_tokenizer_record(layout) is None and layout.tokenizer_record.exists():
            yield Finding(layout.tokenizer, "is not what was trained", "provisional: the next night trains it again")
    except MiniatureMemoryError as error:
        yield Finding(layout.tokenizer, f"or its record: {error}", BACKUP)


# -- derived ---------------------------------------------------------------------------------------------


def _verify_cleaned(layout: Layout, db: sqlite3.Connection | None, checked: Checked) -> Iterator[Finding]:
    kept = _rows(db, "SELECT path, cleaned_sha256 FROM documents WHERE outcome = 'kept' ORDER BY seq")
    for row in kept:
        path = layout.cleaned / row["path"]
        yield from _verify_file(path, row["cleaned_sha256"], AGAIN, checked)
    if not kept and layout.cleaned.exists():
        yield Finding(layout.cleaned, "cannot be checked without the digests in the state", AGAIN, False)


def _verify_index(layout: Layout, db: sqlite3.Connection | None, checked: Checked) -> Iterator[Finding]:
    rows = _position(db, POSITION)
    for name in COLUMNS:
        path = layout.state / "dedup" / name
        yield from _verify_grown(path, db, rows * row_bytes(name), AGAIN, checked)


def _verify_processed(layout: Layout, checked: Checked) -> Iterator[Finding]:
    if not layout.processed.exists():
        return
    record = layout.processed / "meta.json"
    checked.add(record)
    manifest = token_files.read_manifest(layout)
    if manifest is None:
        if any(layout.processed.iterdir()):
            yield Finding(record, "is missing or damaged", AGAIN)
        return
    if not manifest.digests:
        yield Finding(record, "has no digests yet: an earlier version wrote it", "the next run adds them", False)
    for path, size in token_files.committed_sizes(layout, manifest).items():
        yield from _compare_blocks(path, manifest.digests.get(path.name), size, AGAIN)
        checked.add(path)
    readme = layout.processed / "README.md"
    checked.add(readme)
    if trouble := token_files.trouble_with_readme(layout, manifest):
        yield Finding(readme, trouble, "explains the files: the next run writes it again", readme.exists())


# -- kept ------------------------------------------------------------------------------------------------


def _verify_checkpoints(layout: Layout, checked: Checked) -> Iterator[Finding]:
    from model.checkpoints.checkpoint import FILES, whole_metadata  # it imports torch

    for folder in checkpoint_folders(layout.checkpoints).values():
        remedy = f"{KEPT}; the next training sets it aside and goes on from the newest whole one"
        checked.add(*(folder / name for name in (*FILES, "metadata.json")))
        if trouble := _trouble(lambda folder=folder: whole_metadata(folder)):  # type: ignore[misc]
            yield Finding(folder, f"is damaged: {trouble}", remedy)
    chunk, rollbacks = chunk_path(layout.checkpoints), layout.checkpoints / "falls.json"
    checked.add(chunk, rollbacks)
    if chunk.exists() and pending_chunk(layout.checkpoints) is None:
        yield Finding(chunk, "is damaged", f"{KEPT}; the chunk that was cut is dropped, the next begins")
    if trouble := _trouble(lambda: rollbacks.exists() and read_rollbacks_file(rollbacks)):
        yield Finding(rollbacks, trouble, "the checkpoints know of the rollbacks too")


def _verify_models(layout: Layout, checked: Checked) -> Iterator[Finding]:
    from model.publishing.anchor_set import NAME, read_anchor  # it imports torch

    for folder in model_folders(layout.models).values():
        trouble = _trouble(lambda folder=folder: whole_record(folder))  # type: ignore[misc]
        if trouble:
            yield Finding(folder, f"is damaged: {trouble}", f"{KEPT}; the next night publishes another, or remove it")
        elif "digests" not in (record := whole_record(folder)):
            yield Finding(
                folder, "has no digests yet", "an earlier version published it; the next night adds them", False
            )
        else:
            checked.add(*(folder / name for name in record["digests"]))
        checked.add(folder / RECORD)
    latest = layout.models / "latest"
    if model_folders(layout.models) and not latest.is_dir():
        yield Finding(latest, "leads to no model", f"{KEPT}; the next publication makes it anew")
    anchor, remedy = layout.models / NAME, "the next publication draws the anchor set anew"
    checked.add(anchor)
    if model_folders(layout.models) and not anchor.exists():
        yield Finding(anchor, "is missing", f"can be lost: {remedy}", False)
    elif trouble := _trouble(lambda: read_anchor(layout.models, -1)):
        yield Finding(anchor, f"is damaged: {trouble}", remedy)


# -- the rest --------------------------------------------------------------------------------------------


def _name_others(layout: Layout, checked: Checked) -> Iterator[Finding]:
    """Names what has no digest; where a folder has many of them, the folder."""
    others: dict[Path, list[Path]] = {}
    for folder in sorted(layout.root.iterdir()):
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path not in checked.files and not _is_log(layout, path):
                others.setdefault(path.parent, []).append(path)
    for folder, paths in others.items():
        if folder.is_relative_to(layout.raw):
            remedy = "texts are taken in with python run.py validate --scan"
        else:
            remedy = "a report, a cache, or what others put there: can be lost"
        if len(paths) > NAMED:
            yield Finding(folder, f"holds {len(paths)} files without a digest", remedy, False)
        for path in paths if len(paths) <= NAMED else ():
            yield Finding(path, "has no digest", remedy, False)


def _is_log(layout: Layout, path: Path) -> bool:
    return path.parent == layout.state and path.name in (f"{layout.database.name}{end}" for end in ("-wal", "-shm"))


# -- what all need ---------------------------------------------------------------------------------------


def _verify_file(path: Path, digest: str | None, remedy: str, checked: Checked) -> Iterator[Finding]:
    checked.add(path)
    if not path.is_file():
        yield Finding(path, "is missing", remedy)
    elif digest is None:
        yield Finding(path, "has no digest yet", "the next run adds it", False)
    else:
        try:
            found = file_digest(path)
        except OSError as error:
            yield Finding(path, f"cannot be read: {error}", remedy)
        else:
            if found != digest:
                yield Finding(path, "is not what was written", remedy)


def _verify_grown(
    path: Path, db: sqlite3.Connection | None, size: int, remedy: str, checked: Checked
) -> Iterator[Finding]:
    rows = _rows(db, f"SELECT sha256 FROM grown_files WHERE name = '{path.name}' ORDER BY block")
    yield from _compare_blocks(path, [row[0] for row in rows] or None, size, remedy)
    checked.add(path)


def _compare_blocks(path: Path, digests: list[str] | None, size: int, remedy: str) -> Iterator[Finding]:
    if not size:
        return
    if not path.is_file():
        yield Finding(path, "is missing", remedy)
    elif digests is None:
        yield Finding(path, "has no digests yet", "the next run adds them", False)
    else:
        try:
            found = list(damaged_blocks(path, digests, size))
        except OSError as error:
            yield Finding(path, f"cannot be read: {error}", remedy)
        else:
            if found:
                more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
                which = ", ".join(map(str, found[:NAMED])) + more
                size_mb = path.stat().st_size / 2**20
                yield Finding(path, f"is not what was written: megabyte {which} of {size_mb:.1f}", remedy)


def _trouble(read: Callable[[], object]) -> str | None:
    """Returns why something cannot be read, or None."""
    try:
        read()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MiniatureMemoryError) as error:
        return f"{error}" or type(error).__name__
    return None
