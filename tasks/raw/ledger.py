"""Truth: `raw/` and its ledger. A document is stored once, gets one line, and neither changes.

Order of writing, for one batch: the journal (the ledger lines to come), the raw files (temporary names,
fsync, renames), the ledger (append, fsync). After a kill between any two, `recover` replays the journal:
lines whose file is whole are appended, the others are dropped. The journal stays until the next batch,
so that a torn last ledger line is restored from it, too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.contracts.errors import DataDirectoryError, TruthDamagedError
from tasks.contracts.paths import Layout
from tasks.contracts.records import Document, LedgerEntry
from tasks.contracts.urls import site_of, site_slug, url_id
from tasks.storage.atomic_files import append_durably, sync_folder, temporary_of, write_atomically, write_batch

# Until this many documents are held out, every second one of some length is, so that even a first small
# night can be scored: eight, so that five are left when some are dropped later. Then the hash alone decides.
FIRST_HELD_OUT = 8
FIRST_HELD_OUT_MIN_CHARACTERS = 1000


def entry_line(entry: LedgerEntry) -> bytes:
    return (json.dumps(entry.as_dict(), ensure_ascii=False) + "\n").encode()


def parse_line(line: bytes, where: str = "the ledger") -> LedgerEntry:
    """Raises TruthDamagedError, which says where, for what is no ledger line."""
    try:
        return LedgerEntry.of(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise TruthDamagedError(
            f"{where} is damaged ({error}). Restore raw/ from your backup; nothing else was changed."
        ) from error


class Ledger:
    """Appends documents to `raw/` and its ledger.

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
        files = [(raw_path(document), document) for document in documents]
        return self._commit(files, validation_fraction, _write_raw)

    def adopt(self, files: list[tuple[str, Document]], validation_fraction: float) -> list[LedgerEntry]:
        """Add ledger lines for files that a user dropped under `raw/`; they stay where and as they are."""
        return self._commit(files, validation_fraction, _protect)

    def _commit(
        self,
        files: list[tuple[str, Document]],
        validation_fraction: float,
        place: Callable[[list[tuple[Path, Document]]], None],
    ) -> list[LedgerEntry]:
        """Write the journal, then the files, then the ledger."""
        entries = []
        for name, document in files:
            entries.append(self._entry(name, document, validation_fraction))
            self.documents += 1
            self.held_out += entries[-1].split == "validation"
        lines = b"".join(map(entry_line, entries))
        write_atomically(self.layout.journal, lines)
        place([(self.layout.raw / name, document) for name, document in files])
        sync_folder(self.layout.raw)
        append_durably(self.layout.ledger, lines)
        return entries

    def _entry(self, path: str, document: Document, validation_fraction: float) -> LedgerEntry:
        facts = dataclasses.asdict(document)
        content = facts.pop("text").encode()
        return LedgerEntry(
            seq=self.documents,
            path=path,
            sha256=document.sha256,
            bytes=len(content),
            split=self._split(document.text, document.sha256, validation_fraction),
            site=site_of(document.url),
            **facts,
        )

    def _split(self, text: str, sha256: str, validation_fraction: float) -> str:
        """Decided once, here: from the text's hash and the lines before it."""
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


def _write_raw(files: list[tuple[Path, Document]]) -> None:
    for folder in {path.parent for path, _ in files}:
        folder.mkdir(exist_ok=True)
    write_batch([(path, document.text.encode()) for path, document in files], mode=0o444)


def _protect(files: list[tuple[Path, Document]]) -> None:
    for path, _ in files:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # what a link leads to is not ours
        try:
            os.fchmod(handle, os.fstat(handle).st_mode & 0o444)  # nobody may read who could not before
        finally:
            os.close(handle)
    for folder in {path.parent for path, _ in files}:
        sync_folder(folder)


def read_entries(ledger: Path, offset: int = 0) -> Iterator[tuple[LedgerEntry, int]]:
    """Yields the entries from a byte offset on, each with the offset after its line."""
    if not ledger.exists():
        return
    with open(ledger, "rb") as file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            yield parse_line(line, f"{ledger}: the line that ends at byte {offset}"), offset


def require_no_unfinished_erasure(layout: Layout) -> None:
    """Raises DataDirectoryError while an erasure is unfinished: a night, or `forget`, finishes it."""
    if layout.intent.exists():
        raise DataDirectoryError("a forgetting was cut: finish it first with python run.py forget")


def recover(layout: Layout) -> list[str]:
    """Finish or undo an interrupted batch, and restore a torn last line. Costs one batch, not the corpus.

    Returns:
        What was found and recovered, in sentences; empty when all was whole.
    """
    messages = []
    if _cut_torn_line(layout.ledger):
        messages.append("ledger.jsonl ended in a torn line: cut off")
    restored, damaged = _replay(layout)
    if restored:
        messages.append(f"{restored} ledger line(s) restored from the journal of the last batch")
    if damaged:
        messages.append(
            f"{damaged} line(s) of the journal of the last batch were damaged: written again from the ledger"
        )
    return messages


def last_lines(path: Path, number: int) -> list[bytes]:
    """Returns the last lines of a file, each with its newline, read from its end; none where there is no file."""
    if not path.exists():
        return []
    with open(path, "rb") as file:
        size, window = file.seek(0, os.SEEK_END), 65536
        while True:
            start = file.seek(max(0, size - window))
            lines = file.readlines()
            if start == 0 or len(lines) > number:  # the first line of a window may be half of one
                return lines[max(0, len(lines) - number) :]
            window *= 4


def _cut_torn_line(ledger: Path) -> bool:
    """Cut what follows the last newline. A whole last line without its newline is torn, too: the journal has it."""
    torn = b"".join(last_lines(ledger, 1))
    if not torn or torn.endswith(b"\n"):
        return False
    with open(ledger, "r+b") as file:
        file.truncate(file.seek(-len(torn), os.SEEK_END))
        os.fsync(file.fileno())
    return True


def _replay(layout: Layout) -> tuple[int, int]:
    """Append the journal's lines that the ledger lacks and whose raw file is whole. Afterwards the journal repeats the
    ledger's last lines.

    Returns:
        How many were appended, and how many of the journal's are damaged.
    """
    if not layout.journal.exists():
        return 0, 0
    content = layout.journal.read_bytes()
    lines, batch, damaged = [], [], 0
    for line in content.splitlines():
        try:
            batch.append(parse_line(line))
            lines.append(line)
        except TruthDamagedError:
            damaged += 1
    # Also where the journal lost its end: all lines of the ledger from its first one on.
    newest = [parse_line(line, f"{layout.ledger}: its last line").seq for line in last_lines(layout.ledger, 1)]
    since_first = newest[0] + 1 - batch[0].seq if newest and batch else 0
    last = last_lines(layout.ledger, max(1, len(batch), since_first))
    tail = [parse_line(line, f"{layout.ledger}: one of its last lines") for line in last]
    stored = {_identity(entry) for entry in tail}
    next_seq = tail[-1].seq + 1 if tail else 0
    lost: list[bytes] = []
    known = 0
    for line, entry in zip(lines, batch, strict=True):
        path = layout.raw / entry.path
        temporary_of(path).unlink(missing_ok=True)
        if _identity(entry) in stored:
            known += 1
            continue
        if not (entry.forgotten or _is_whole(path, entry.sha256)):
            continue
        seq = next_seq + len(lost)
        # As it stands in the journal, white space included: a tombstone keeps its line's length.
        lost.append(line + b"\n" if entry.seq == seq else entry_line(dataclasses.replace(entry, seq=seq)))
    if lost:
        append_durably(layout.ledger, b"".join(lost))
    repeated = b"".join(last_lines(layout.ledger, known + len(lost)))
    if content != repeated:
        write_atomically(layout.journal, repeated)
    return len(lost), damaged


def _identity(entry: LedgerEntry) -> str | int:
    """Returns what tells two lines apart; a tombstone (the line of a forgotten document) has no path."""
    return entry.path or entry.seq


def _is_whole(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
