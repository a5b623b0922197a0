"""`processed/`: the token files in nanoGPT's format, the table of documents, how to read them, and the commit record.

`meta.json` goes last: it says how much of the other files counts, and has a digest of each megabyte of that. What lies
beyond was cut by a kill and is truncated at the next start; where something below it is missing or differs, all is
damaged and made anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.data import document_table
from model.data.commit_record import ITEMS, NAME, TokensDamagedError
from model.data.digests import SEAL, digests_from, extended, read_record, record_text
from model.data.document_table import DOCUMENT, TABLE
from tasks.contracts.errors import ProcessedDamagedError
from tasks.contracts.paths import Layout
from tasks.storage.atomic_files import append_durably, sync_folder, write_atomically

SPLITS = document_table.SPLITS
FILES = {"train": "train.bin", "validation": "val.bin"}
FORMAT = 1
README = """# Token files

Ids as nanoGPT's `train.py` reads them: uint16, little-endian, `<|endoftext|>` (id 0) behind each document. To see text,
in this folder, with `pip install numpy tokenizers`:

```python
import json
import numpy as np
from tokenizers import Tokenizer

meta = json.load(open("meta.json"))  # how much of the files counts
tokenizer = Tokenizer.from_file("../raw/tokenizer.json")
ids = np.fromfile("train.bin", dtype="<u2", count=meta["train_tokens"])
print(tokenizer.decode(ids[:200].tolist(), skip_special_tokens=False))
```
"""
NO_VALIDATION = """
`val.bin` is empty: no document fell to validation yet. Until one does, nothing can be evaluated, by nanoGPT neither.
"""


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
    digests: dict[str, list[str]] = field(default_factory=dict)
    """Of each file the digest of each megabyte that counts; empty where an earlier version wrote it."""

    def __post_init__(self) -> None:
        counts = (self.vocab_size, self.next_seq, self.documents, self.train_tokens, self.val_tokens)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("meta.json has a count that is none")

    def tokens(self, split: str) -> int:
        return self.train_tokens if split == "train" else self.val_tokens


class InSplit(Protocol):
    """A document: its ledger number, and which split it belongs to."""

    @property
    def seq(self) -> int: ...

    @property
    def split(self) -> str: ...


def generation_of(rules: str, tokenizer: str, forgotten: str) -> str:
    return hashlib.sha256(f"{FORMAT} {rules} {tokenizer} {forgotten}".encode()).hexdigest()


def read_manifest(layout: Layout) -> Manifest | None:
    """None where nothing was committed, or the record cannot be read (then all is made anew)."""
    try:
        values = read_record(layout.processed / NAME)
        values.pop("format"), values.pop("dtype"), values.pop("separator"), values.pop(SEAL, None)
        return Manifest(**values)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def committed_sizes(layout: Layout, manifest: Manifest) -> dict[Path, int]:
    """The bytes of each file that count."""
    return {layout.processed / name: item * getattr(manifest, key) for name, (key, item) in ITEMS.items()}


def recover(layout: Layout) -> list[str]:
    """Cut what was not committed; remove everything where committed bytes are missing. Returns what was done."""
    if not layout.processed.exists():
        return []
    manifest = read_manifest(layout)
    if manifest is None:
        if any(layout.processed.iterdir()):
            reset(layout)
            return ["processed/ had no readable meta.json: made anew"]
        return []
    messages = []
    for path, committed in committed_sizes(layout, manifest).items():
        size = path.stat().st_size if path.exists() else -1
        if size < committed:
            reset(layout)
            return [f"processed/{path.name} has {max(size, 0)} of {committed} committed bytes: processed/ is made anew"]
        if size > committed:
            _cut(path, committed)
            messages.append(f"processed/{path.name}: {size - committed} bytes of a batch that was cut are removed")
    _write_readme(layout, manifest)
    if not manifest.digests:  # an earlier version wrote them
        sizes = committed_sizes(layout, manifest)
        _commit(layout, replace(manifest, digests={path.name: digests_from(path, 0, sizes[path]) for path in sizes}))
    return messages


def _cut(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def reset(layout: Layout) -> None:
    """Remove everything; the commit record first, so that a kill in between leaves nothing that looks whole."""
    if layout.processed.exists():
        (layout.processed / NAME).unlink(missing_ok=True)
        sync_folder(layout.processed)
        shutil.rmtree(layout.processed)


def append(
    layout: Layout,
    manifest: Manifest,
    documents: Sequence[InSplit],
    tokens: list[npt.NDArray[np.uint16]],
) -> Manifest:
    """Append the ids of the next documents, then commit. Returns the new record.

    Raises ProcessedDamagedError where the end of a file is not what was written.
    """
    rows = np.zeros(len(documents), dtype=DOCUMENT)
    ends = {split: manifest.tokens(split) for split in SPLITS}
    for row, one, ids in zip(rows, documents, tokens, strict=True):
        row["seq"], row["length"], row["split"] = one.seq, len(ids), SPLITS.index(one.split)
        row["offset"] = ends[one.split]
        ends[one.split] += len(ids)
    layout.processed.mkdir(parents=True, exist_ok=True)
    for path, committed in committed_sizes(layout, manifest).items():
        _cut(path, committed)  # a batch that failed halfway and is tried again
    for split in SPLITS:
        parts = [ids for one, ids in zip(documents, tokens, strict=True) if one.split == split]
        content = np.concatenate(parts).astype("<u2").tobytes() if parts else b""
        append_durably(layout.processed / FILES[split], content)
    append_durably(layout.processed / TABLE, rows.tobytes())
    new = replace(
        manifest,
        next_seq=documents[-1].seq + 1,
        documents=manifest.documents + len(documents),
        train_tokens=ends["train"],
        val_tokens=ends["validation"],
    )
    new = replace(new, digests=_grown_digests(layout, manifest, new))
    _write_readme(layout, new)
    _commit(layout, new)
    return new


def _grown_digests(layout: Layout, before: Manifest, after: Manifest) -> dict[str, list[str]]:
    old, new = committed_sizes(layout, before), committed_sizes(layout, after)
    try:
        return {path.name: extended(path, before.digests.get(path.name, []), old[path], new[path]) for path in new}
    except (ValueError, IndexError) as error:
        raise ProcessedDamagedError(f"{error}; a night derives it again from cleaned/") from error


def _commit(layout: Layout, manifest: Manifest) -> None:
    record = {"format": FORMAT, "dtype": "<u2", "separator": "<|endoftext|>", **asdict(manifest)}
    write_atomically(layout.processed / NAME, record_text(record).encode())


def _write_readme(layout: Layout, manifest: Manifest) -> None:
    if trouble_with_readme(layout, manifest):
        write_atomically(layout.processed / "README.md", _readme(manifest))


def trouble_with_readme(layout: Layout, manifest: Manifest) -> str | None:
    """Returns what is wrong with the README that belongs to the files; None where nothing is."""
    path = layout.processed / "README.md"
    if not path.exists():
        return "is missing"
    return None if path.read_bytes() == _readme(manifest) else "is not what was written"


def _readme(manifest: Manifest) -> bytes:
    return (README + (NO_VALIDATION if manifest.val_tokens == 0 else "")).encode()


def document_at(layout: Layout, manifest: Manifest, split: str, position: int) -> int:
    """The number in the ledger of the document that the token at a position of a split belongs to."""
    table = read_table(layout, manifest)
    rows = table[table["split"] == SPLITS.index(split)]
    return int(rows["seq"][np.searchsorted(rows["offset"], position, side="right") - 1])


def read_table(layout: Layout, manifest: Manifest) -> npt.NDArray[np.void]:
    """The committed rows of the table of documents. Raises ProcessedDamagedError where the file is damaged."""
    try:
        return document_table.read_table(layout.processed, manifest.documents)
    except TokensDamagedError as error:
        raise ProcessedDamagedError(f"{error}; a night derives it again from cleaned/") from error
