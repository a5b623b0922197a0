"""Truth: `raw/` and its ledger. A document is stored once, gets one line, and neither changes.

Order of writing, for one batch: the journal (the ledger lines to come), the raw files (temporary name,
fsync, rename), the ledger (append, fsync). A kill between any two is mended by `mend`, which replays the
journal: lines whose file is whole are appended, the others never happened. The journal stays until the
next batch, so that a torn last ledger line is restored from it too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.contracts.errors import DataDirectoryError, TruthDamagedError
from tasks.contracts.paths import Layout
from tasks.contracts.records import Document, LedgerEntry
from tasks.contracts.urls import site_of, site_slug, url_id
from tasks.storage.atomic_files import append_durably, sync_folder, write_atomically

# Until this many documents are held out, every second one of some length is, so that even a first small
# night can be scored: eight, so that five are left when some are dropped later. Then the hash alone decides.
FIRST_HELD_OUT = 8
FIRST_HELD_OUT_MIN_CHARACTERS = 1000


def entry_line(entry: LedgerEntry) -> bytes:
    return (json.dumps(entry.as_dict(), ensure_ascii=False) + "\n").encode()


def parse_line(line: bytes) -> LedgerEntry:
    values: dict[str, Any] = json.loads(line)
    return LedgerEntry.of(values)


def _parse_or_refuse(line: bytes, where: str) -> LedgerEntry:
    try:
        return parse_line(line)
    except (ValueError, TypeError) as error:
        raise TruthDamagedError(
            f"{where} is damaged ({error}). Restore raw/ from your backup; nothing else was changed."
        ) from error


class Ledger:
    """Append to the truth and read it in order.

    Args:
        layout: where it lies.
        documents: lines in the ledger so far.
        held_out: how many of them are validation.
    """

    def __init__(self, layout: Layout, documents: int, held_out: int) -> None:
        self.layout = layout
        self.documents = documents
        self.held_out = held_out

    def append(self, documents: list[Document], validation_fraction: float) -> list[LedgerEntry]:
        """Store a batch; when this returns, it is durable."""
        entries = self._entries([(raw_path(document), document) for document in documents], validation_fraction)
        lines = b"".join(entry_line(entry) for entry in entries)
        write_atomically(self.layout.journal, lines)
        for entry, document in zip(entries, documents, strict=True):
            _write_raw(self.layout.raw / entry.path, document.text.encode())
        for folder in {(self.layout.raw / entry.path).parent for entry in entries}:
            sync_folder(folder)
        sync_folder(self.layout.raw)
        append_durably(self.layout.ledger, lines)
        return entries

    def adopt(self, files: list[tuple[str, Document]], validation_fraction: float) -> list[LedgerEntry]:
        """Give files that a user dropped under `raw/` their lines; they stay where and as they are."""
        entries = self._entries(files, validation_fraction)
        lines = b"".join(entry_line(entry) for entry in entries)
        write_atomically(self.layout.journal, lines)
        for path, _ in files:
            os.chmod(self.layout.raw / path, 0o444)
        append_durably(self.layout.ledger, lines)
        return entries

    def _entries(self, files: list[tuple[str, Document]], validation_fraction: float) -> list[LedgerEntry]:
        entries = []
        for path, document in files:
            entry = self._entry(path, document, validation_fraction)
            entries.append(entry)
            self.documents += 1
            self.held_out += entry.split == "validation"
        return entries

    def _entry(self, path: str, document: Document, validation_fraction: float) -> LedgerEntry:
        content = document.text.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        return LedgerEntry(
            seq=self.documents,
            path=path,
            sha256=sha256,
            bytes=len(content),
            split=self._split(document.text, sha256, validation_fraction),
            site=site_of(document.url),
            url=document.url,
            final_url=document.final_url,
            title=document.title,
            provider=document.provider,
            query=document.query,
            fetched_at=document.fetched_at,
            extractor=document.extractor,
            robots=document.robots,
            rights=document.rights,
            published=document.published,
            author=document.author,
            language=document.language,
            licence=document.licence,
        )

    def _split(self, text: str, sha256: str, validation_fraction: float) -> str:
        """Settled once, here: from the text's hash and what the ledger held before it."""
        if int(sha256[:8], 16) < validation_fraction * 2**32:
            return "validation"
        filling = self.held_out < FIRST_HELD_OUT and self.documents % 2 == 1
        return "validation" if filling and len(text) >= FIRST_HELD_OUT_MIN_CHARACTERS else "train"


def raw_path(document: Document) -> str:
    """`source_<site>/<time>__<SITE>__<url id>__<text hash>.txt`, below `raw/`."""
    slug = site_slug(site_of(document.url))
    stamp = "".join(c for c in document.fetched_at[:19] if c.isdigit())
    name = f"{stamp[:8]}_{stamp[8:]}__{slug.upper()}__{url_id(document.url)}__{document.sha256[:16]}.txt"
    return f"source_{slug}/{name}"


def _write_raw(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.parent / f".{path.name}.tmp"
    with open(temporary, "wb") as file:
        os.fchmod(file.fileno(), 0o444)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def read_entries(ledger: Path, offset: int = 0) -> Iterator[tuple[LedgerEntry, int]]:
    """The lines from a byte offset on, each with the offset after it."""
    if not ledger.exists():
        return
    with open(ledger, "rb") as file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            yield _parse_or_refuse(line, f"{ledger}: the line that ends at byte {offset}"), offset


def require_no_cut_forgetting(layout: Layout) -> None:
    """Raises DataDirectoryError while half of something is forgotten: a night, or `forget`, goes on with it."""
    if layout.intent.exists():
        raise DataDirectoryError("a forgetting was cut: finish it first with python run.py forget")


def mend(layout: Layout) -> list[str]:
    """Finish or undo a batch that was cut, and restore a torn last line. Costs one batch, not the corpus.

    Returns:
        What was found and mended, in sentences; empty when all was whole.
    """
    said = []
    if _cut_torn_line(layout.ledger):
        said.append("ledger.jsonl ended in a torn line: cut off")
    restored = _replay(layout)
    if restored:
        said.append(f"{restored} ledger line(s) restored from the journal of the last batch")
    return said


def _tail(ledger: Path, lines: int) -> list[LedgerEntry]:
    """The last lines of the ledger, read from its end."""
    if not ledger.exists():
        return []
    with open(ledger, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        window = 4096
        while True:
            start = max(0, size - window)
            file.seek(start)
            found = file.read().splitlines()
            if start == 0 or len(found) > lines:  # the first line of a window may be half of one
                return [_parse_or_refuse(line, f"{ledger}: one of its last lines") for line in found[-lines:]]
            window *= 4


def _cut_torn_line(ledger: Path) -> bool:
    """Cut what follows the last newline. A whole last line without its newline is torn too: the journal has it."""
    if not ledger.exists():
        return False
    with open(ledger, "r+b") as file:
        size = position = file.seek(0, os.SEEK_END)
        while position:
            start = max(0, position - 65536)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position == size:
            return False
        file.truncate(position)
        file.flush()
        os.fsync(file.fileno())
    return True


def _replay(layout: Layout) -> int:
    """Append the journal's lines that the ledger lacks and whose raw file is whole."""
    if not layout.journal.exists():
        return 0
    lines = layout.journal.read_bytes().splitlines()
    batch = [_parse_or_refuse(line, f"{layout.journal} (the journal of the last batch)") for line in lines]
    tail = _tail(layout.ledger, max(1, len(batch)))
    stored = {_identity(entry) for entry in tail}
    next_seq = tail[-1].seq + 1 if tail else 0
    lost: list[bytes] = []
    for line, entry in zip(lines, batch, strict=True):
        path = layout.raw / entry.path
        (path.parent / f".{path.name}.tmp").unlink(missing_ok=True)
        if _identity(entry) in stored or not (entry.forgotten or _is_whole(path, entry.sha256)):
            continue
        seq = next_seq + len(lost)
        # As it stands in the journal, white space included: a redacted line keeps its length.
        lost.append(line + b"\n" if entry.seq == seq else entry_line(dataclasses.replace(entry, seq=seq)))
    if lost:
        append_durably(layout.ledger, b"".join(lost))
    return len(lost)


def _identity(entry: LedgerEntry) -> str | int:
    """What tells two lines apart; a redacted one has no path."""
    return entry.path or entry.seq


def _is_whole(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
