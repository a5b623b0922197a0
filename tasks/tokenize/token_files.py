"""`processed/`: the token files in nanoGPT's format, the table of documents, and the commit record.

`meta.json` goes last and says how much of the other files counts. What lies beyond it was cut by a kill and
is truncated at the next start; what is missing below it means that the files are damaged and made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.data import document_table
from model.data.document_table import DOCUMENT, TABLE
from tasks.contracts.paths import Layout
from tasks.storage.atomic_files import append_durably, sync_folder, write_json

SPLITS = document_table.SPLITS
FILES = {"train": "train.bin", "validation": "val.bin"}
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """`meta.json`."""

    generation: str  # digest of format, rules, tokenizer, and what is forgotten; within one, offsets never change
    rules: str  # digest of what decides the text
    tokenizer: str  # sha256 of raw/tokenizer.json
    vocab_size: int
    next_seq: int  # all documents before it are in
    documents: int
    train_tokens: int
    val_tokens: int

    def tokens(self, split: str) -> int:
        return self.train_tokens if split == "train" else self.val_tokens


def generation_of(rules: str, tokenizer: str, forgotten: str) -> str:
    return hashlib.sha256(f"{FORMAT} {rules} {tokenizer} {forgotten}".encode()).hexdigest()


def read_manifest(layout: Layout) -> Manifest | None:
    """None where nothing was committed, or the record cannot be read (then all is made anew)."""
    try:
        values = json.loads((layout.processed / "meta.json").read_text())
        values.pop("format"), values.pop("dtype"), values.pop("separator")
        return Manifest(**values)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def committed_sizes(layout: Layout, meta: Manifest) -> dict[Path, int]:
    """The bytes of each file that count."""
    sizes = {layout.processed / FILES[split]: 2 * meta.tokens(split) for split in SPLITS}
    sizes[layout.processed / TABLE] = DOCUMENT.itemsize * meta.documents
    return sizes


def mend(layout: Layout) -> list[str]:
    """Cut what was not committed; begin anew where committed bytes are missing. Says what it did."""
    if not layout.processed.exists():
        return []
    meta = read_manifest(layout)
    if meta is None:
        if any(layout.processed.iterdir()):
            reset(layout)
            return ["processed/ had no readable meta.json: made anew"]
        return []
    said = []
    for path, committed in committed_sizes(layout, meta).items():
        size = path.stat().st_size if path.exists() else -1
        if size < committed:
            reset(layout)
            return [f"processed/{path.name} has {max(size, 0)} of {committed} committed bytes: processed/ is made anew"]
        if size > committed:
            _cut(path, committed)
            said.append(f"processed/{path.name}: {size - committed} bytes of a batch that was cut are removed")
    return said


def _cut(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def reset(layout: Layout) -> None:
    """Remove everything; the commit record first, so that a kill in between leaves nothing that looks whole."""
    if layout.processed.exists():
        (layout.processed / "meta.json").unlink(missing_ok=True)
        sync_folder(layout.processed)
        shutil.rmtree(layout.processed)


def append(
    layout: Layout,
    meta: Manifest,
    documents: list[tuple[int, str]],
    tokens: list[npt.NDArray[np.uint16]],
    next_seq: int,
) -> Manifest:
    """Append a batch of (seq, split) documents with their ids, then commit. Returns the new record."""
    rows = np.zeros(len(documents), dtype=DOCUMENT)
    ends = {split: meta.tokens(split) for split in SPLITS}
    for row, (seq, split), ids in zip(rows, documents, tokens, strict=True):
        row["seq"], row["offset"], row["length"], row["split"] = seq, ends[split], len(ids), SPLITS.index(split)
        ends[split] += len(ids)
    layout.processed.mkdir(parents=True, exist_ok=True)
    for path, committed in committed_sizes(layout, meta).items():
        _cut(path, committed)  # a batch that failed halfway and is tried again
    for split in SPLITS:
        parts = [ids for (_, own), ids in zip(documents, tokens, strict=True) if own == split]
        content = np.concatenate(parts).astype("<u2").tobytes() if parts else b""
        append_durably(layout.processed / FILES[split], content)
    append_durably(layout.processed / TABLE, rows.tobytes())
    new = Manifest(
        meta.generation,
        meta.rules,
        meta.tokenizer,
        meta.vocab_size,
        next_seq,
        meta.documents + len(documents),
        ends["train"],
        ends["validation"],
    )
    record = {"format": FORMAT, "dtype": "<u2", "separator": "<|endoftext|>", **asdict(new)}
    write_json(layout.processed / "meta.json", record)
    return new


def document_at(layout: Layout, meta: Manifest, split: str, position: int) -> int:
    """The number in the ledger of the document that the token at a position of a split belongs to."""
    table = read_table(layout, meta)
    rows = table[table["split"] == SPLITS.index(split)]
    return int(rows["seq"][np.searchsorted(rows["offset"], position, side="right") - 1])


def read_table(layout: Layout, meta: Manifest) -> npt.NDArray[np.void]:
    """The committed rows of the table of documents."""
    return document_table.read_table(layout.processed, meta.documents)
