"""The ids of a token file, each megabyte checked when the first of them is read. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.commit_record import CommittedFile, TokensDamagedError, find_committed
from model.data.digests import MEGABYTE, blocks

ITEM = 2  # bytes of an id


class Tokens:
    """The first ids of a `.bin` file, memory-mapped.

    Args:
        number: how many of them count.
        committed: what they are checked against; None: nothing is.
    """

    def __init__(self, path: Path, number: int, committed: CommittedFile | None) -> None:
        mapped = np.memmap(path, dtype="<u2", mode="r", shape=(number,)) if number else np.zeros(0, dtype=np.uint16)
        self.ids: NDArray[np.uint16] = mapped
        self.committed = committed
        self.unchecked = np.full(blocks(ITEM * number), committed is not None)  # by megabyte

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, positions: NDArray[np.int64] | slice) -> NDArray[np.uint16]:
        """Raises TokensDamagedError where a megabyte that holds one of them is not what was written."""
        if isinstance(positions, slice):
            first, end, _ = positions.indices(len(self.ids))
            needed = np.arange(first * ITEM // MEGABYTE, blocks(end * ITEM))
        else:
            needed = positions // (MEGABYTE // ITEM)
        for block in np.unique(needed[self.unchecked[needed]]).tolist():
            assert self.committed
            self.committed.check(block)
            self.unchecked[block] = False
        return self.ids[positions]


def open_tokens(path: Path, number: int) -> Tokens:
    """Returns the first ids of a `.bin` file.

    Raises TokensDamagedError where it is shorter, or its commit record is damaged.
    """
    found = path.stat().st_size // ITEM if path.exists() else 0
    if found < number:
        raise TokensDamagedError(f"{path} holds {found} tokens, but {number} are committed; run `run.py rebuild`")
    return Tokens(path, number, find_committed(path) if number else None)
