"""The table of documents beside the token files: which tokens are whose. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TABLE = "documents.bin"
# One row a kept document, in ledger order. `seq` is its number in the ledger; `offset` and `length` count tokens in the
# file of its split, the closing special token included.
DOCUMENT = np.dtype([("seq", "<u8"), ("offset", "<u8"), ("length", "<u4"), ("split", "<u4")])
TRAIN, VALIDATION = 0, 1


def read_documents(processed_dir: Path, split: int, committed: int) -> NDArray[np.void]:
    """The rows of a split's first `committed` tokens; one row for all of them where there is no table (nanoGPT's own
    data has none), or none that covers them."""
    path = processed_dir / TABLE
    rows: NDArray[np.void] = np.fromfile(path, dtype=DOCUMENT) if path.exists() else np.zeros(0, DOCUMENT)
    rows = rows[(rows["split"] == split) & (rows["offset"] + rows["length"] <= committed)]
    if len(rows) and rows["length"].sum() == committed:
        return rows
    return np.array([(0, 0, committed, split)], dtype=DOCUMENT)[: 1 if committed else 0]


def tokens_before(rows: NDArray[np.void], seq: int) -> int:
    """The tokens of the documents whose number in the ledger is below `seq`: they come first in the file."""
    return int(rows["length"][rows["seq"] < seq].sum())
