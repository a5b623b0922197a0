"""Turns the ledger line of a forgotten document into a tombstone, in place and of the same length.

So no offset and no number changes. A tombstone keeps what `records.OUTLASTS` names; white space, which JSON allows at
the end of a line, fills the rest.
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
from tasks.raw.ledger import last_lines, read_entries
from tasks.storage.atomic_files import write_atomically

# Where another document's line may refer to what is forgotten: the feed that led to it, the address of a licence.
MAY_REFER = ("query", "robots", "rights", "licence")

Line = tuple[int, str]
"""An offset in the ledger and the line that belongs there, without its end."""


def tombstone(entry: LedgerEntry, forgotten: dict[str, str], start: int, end: int) -> Line:
    """Returns the line for a forgotten document, between two offsets of the ledger."""
    return start, _padded(dataclasses.replace(entry, forgotten=forgotten).as_dict(), end - start)


def lines_of_others(ledger: Path, matcher: ReferenceMatcher, forgotten: Collection[int]) -> Iterator[Line]:
    """Yields the lines of other documents that refer to what is forgotten, without it. Reads the whole ledger."""
    start = 0
    for entry, end in read_entries(ledger):
        refer = [name for name in MAY_REFER if getattr(entry, name) in matcher]
        if refer and entry.seq not in forgotten:
            yield start, _padded(entry.as_dict() | dict.fromkeys(refer, ""), end - start)
        start = end


def _padded(values: dict[str, Any], length: int) -> str:
    content = json.dumps(values, ensure_ascii=False)
    spare = length - 1 - len(content.encode())
    assert spare >= 0, "a tombstone is never longer than its line"
    return content + " " * spare


def overwrite(layout: Layout, lines: Collection[Line]) -> None:
    """Write these lines at their offsets; durable when it returns. Repairs one that a kill left half-written."""
    if not lines:
        return
    with open(layout.ledger, "r+b") as file:
        for offset, line in lines:
            file.seek(offset)
            file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    if layout.journal.exists():  # since the ledger was recovered, it repeats the ledger's last lines
        number = layout.journal.read_bytes().count(b"\n")
        write_atomically(layout.journal, b"".join(last_lines(layout.ledger, number)))
