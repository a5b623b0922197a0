"""Text read in windows, each token once an epoch, in an order that only a name decides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Bits = NDArray[np.uint64]


@dataclass(frozen=True)
class Stream:
    """The documents of one epoch, shuffled and laid end to end in a circle, whose windows are shuffled too.

    Three documents A (tokens 0 to 4), B (5 to 6) and C (7 to 9) of the file may come in the order C A B:

        stream     0 1 2 | 3 4 5 6 7 | 8 9         begins  = [0, 3, 8]
        file       7 8 9 | 0 1 2 3 4 | 5 6         offsets = [7, 0, 5]
        windows of 4 tokens from offset 2: 9 0 1 2 and 3 4 5 6; the tail 7 8 is not read in this epoch
    """

    offsets: Positions
    """(D,): where each document begins in the file, in the order of the stream."""
    begins: Positions
    """(D,): where it begins in the stream."""
    length: int
    """Tokens."""
    offset: int
    """Where in the circle the first window begins: the tail that fills no window is another in each epoch."""
    key: Bits
    """(4,): one for each round of the permutation of the windows."""

    @classmethod
    def of(cls, rows: NDArray[np.void], name: str) -> Stream:
        """`rows`: (D,), of the table of documents."""
        bits = philox_bits(name, len(rows) + 5)  # (4 + 1 + D,): the key, the offset, the order of the documents
        order = np.argsort(bits[5:], kind="stable")  # (D,)
        lengths = rows["length"][order].astype(np.int64)  # (D,)
        total = int(lengths.sum())
        begins = np.cumsum(lengths) - lengths  # (D,)
        return cls(rows["offset"][order].astype(np.int64), begins, total, int(bits[4] % np.uint64(total)), bits[:4])

    def token_positions(self, windows: Positions, size: int, block_size: int) -> Positions:
        """Returns where in the file the ids of these windows (N,) of an epoch of `size` windows are, (N, T + 1)."""
        starts = self.offset + feistel_permutation(windows, size, self.key) * block_size  # (N,)
        inside = (starts[:, None] + np.arange(block_size + 1)) % self.length  # (N, T + 1), in the stream
        document = np.searchsorted(self.begins, inside, side="right") - 1  # (N, T + 1)
        positions: Positions = self.offsets[document] + inside - self.begins[document]  # (N, T + 1), in the file
        return positions


def philox_bits(name: str, count: int) -> Bits:
    """Returns raw bits (count,) of the counter-based generator Philox (Salmon et al. 2011), which NumPy promises to
    keep across versions; there is no state to save."""
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")
    return np.random.Philox(key=key).random_raw(count)


def feistel_permutation(numbers: Positions, size: int, key: Bits) -> Positions:
    """Permutes 0 ... size - 1 without a table: a Feistel network of four rounds over the next power of four, walked
    until it ends inside (Black & Rogaway 2002). `numbers` and what is returned: (N,)."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    values = numbers.astype(np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():
        left, right = values[outside] >> bits, values[outside] & mask
        for one in key:
            left, right = right, left ^ (_mix(right ^ one) & mask)
        values[outside] = left << bits | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def _mix(x: Bits) -> Bits:
    """splitmix64's finalizer: every bit of the result depends on every bit given."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Bits = x ^ (x >> np.uint64(31))
    return mixed
