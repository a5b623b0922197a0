"""The table of documents beside the token files: which tokens are whose. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.commit_record import find_committed

TABLE = "documents.bin"
# One row a kept document, in ledger order. `seq` is its number in the ledger; `offset` and `length` count tokens in the
# file of its split, the closing special token included.
DOCUMENT = np.dtype([("seq", "<u8"), ("offset", "<u8"), ("length", "<u4"), ("split", "<u4")])
SPLITS = ("train", "validation")
TRAIN, VALIDATION = range(len(SPLITS))


def read_table(processed_dir: Path, rows: int = -1) -> NDArray[np.void]:
    """Returns the first `rows` of the table, all for -1. Raises TokensDamagedError where it is not what was written."""
    if not rows:
        return np.zeros(0, DOCUMENT)
    if committed := find_committed(processed_dir / TABLE):
        committed.check_all()
    return np.fromfile(processed_dir / TABLE, dtype=DOCUMENT, count=rows)


def read_documents(processed_dir: Path, split: int, committed: int) -> NDArray[np.void]:
    """Returns the rows of a split's first `committed` tokens; one row for all of them where there is no table
    (nanoGPT's own data has none), or none that covers them."""
    table = read_table(processed_dir, -1 if (processed_dir / TABLE).exists() else 0)
    rows: NDArray[np.void] = table[(table["split"] == split) & (table["offset"] + table["length"] <= committed)]
    if len(rows) and rows["length"].sum() == committed:
        return rows
    return np.array([(0, 0, committed, split)], dtype=DOCUMENT)[: 1 if committed else 0]


def tokens_before(rows: NDArray[np.void], seq: int) -> int:
    """Returns the tokens of the documents before `seq`: they come first in the file."""
    return int(rows["length"][rows["seq"] < seq].sum())
