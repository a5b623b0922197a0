"""Redacting ledger lines in place: a line keeps its length, so that no offset and no number moves.

What a forgotten document's line keeps is in `records.OUTLASTS`; the place of the rest is filled with white space, which
JSON allows at the end of a line.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tasks.contracts.paths import Layout
from tasks.contracts.records import LedgerEntry
from tasks.forget.matcher import ReferenceMatcher
from tasks.raw.ledger import read_entries
from tasks.storage.atomic_files import write_atomically

# What another document's line may say of what goes: a feed that it was found by, a licence's address.
SAID_OF_OTHERS = ("query", "robots", "rights", "licence")

Line = tuple[int, str]
"""An offset in the ledger and the line that belongs there, without its end."""


def redacted(entry: LedgerEntry, forgotten: dict[str, str], start: int, end: int) -> Line:
    """The line of a document whose text is forgotten, between two offsets of the ledger."""
    return start, _padded(dataclasses.replace(entry, forgotten=forgotten).as_dict(), end - start)


def lines_of_others(ledger: Path, mentions: ReferenceMatcher, going: Collection[int]) -> Iterator[Line]:
    """The lines of documents that stay and mention what goes, without it. Reads the whole ledger."""
    start = 0
    for entry, end in read_entries(ledger):
        said = [name for name in SAID_OF_OTHERS if getattr(entry, name) in mentions]
        if said and entry.seq not in going:
            yield start, _padded(entry.as_dict() | dict.fromkeys(said, ""), end - start)
        start = end


def _padded(values: dict[str, Any], length: int) -> str:
    content = json.dumps(values, ensure_ascii=False)
    spare = length - 1 - len(content.encode())
    assert spare >= 0, "a redacted line is never the longer one"
    return content + " " * spare


def overwrite(layout: Layout, lines: Collection[Line]) -> None:
    """Put these lines in their places; durable when it returns. Mends one that a kill left half-written."""
    if not lines:
        return
    with open(layout.ledger, "r+b") as file:
        for offset, line in lines:
            file.seek(offset)
            file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    _renew_journal(layout)


def _renew_journal(layout: Layout) -> None:
    """The journal is the ledger's last lines over again, since the ledger was mended before; so is the new one."""
    if layout.journal.exists():
        number = layout.journal.read_bytes().count(b"\n")
        write_atomically(layout.journal, b"".join(_last_lines(layout.ledger, number)))


def _last_lines(path: Path, number: int) -> list[bytes]:
    with open(path, "rb") as file:
        size, window = file.seek(0, os.SEEK_END), 65536
        while True:
            start = max(0, size - window)
            file.seek(start)
            lines = file.read().splitlines(keepends=True)
            if start == 0 or len(lines) > number:  # the first line of a window may be half of one
                return lines[len(lines) - min(number, len(lines)) :]
            window *= 4
