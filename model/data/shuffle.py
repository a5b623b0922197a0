"""Text read in windows, each token once an epoch, in an order that only a name decides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Draws = NDArray[np.uint64]


@dataclass(frozen=True)
class Stream:
    """The documents of one epoch, shuffled and laid end to end in a circle, whose windows are shuffled too."""

    offsets: Places
    """Where each document begins in the file, in the order of the stream."""
    begins: Places
    """Where it begins in the stream."""
    length: int
    """Tokens."""
    turn: int
    """Where in the circle the first window begins: the tail that fills no window is another in each epoch."""
    key: Draws

    @classmethod
    def of(cls, rows: NDArray[np.void], name: str) -> Stream:
        """`rows`: of the table of documents."""
        bits = draws(name, len(rows) + 5)
        order = np.argsort(bits[5:], kind="stable")
        lengths = rows["length"][order].astype(np.int64)
        total = int(lengths.sum())
        begins = np.cumsum(lengths) - lengths
        return cls(rows["offset"][order].astype(np.int64), begins, total, int(bits[4] % np.uint64(total)), bits[:4])

    def windows(self, numbers: Places, size: int, block_size: int) -> Places:
        """Where in the file the ids of these windows of an epoch of `size` are, (N, T + 1)."""
        starts = self.turn + scramble(numbers, size, self.key) * block_size
        inside = (starts[:, None] + np.arange(block_size + 1)) % self.length  # (N, T + 1)
        document = np.searchsorted(self.begins, inside, side="right") - 1
        places: Places = self.offsets[document] + inside - self.begins[document]
        return places


def draws(name: str, count: int) -> Draws:
    """Raw bits of the counter-based generator Philox (Salmon et al. 2011), which NumPy promises to keep across
    versions; there is no state to save."""
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")
    return np.random.Philox(key=key).random_raw(count)


def scramble(numbers: Places, size: int, key: Draws) -> Places:
    """A permutation of 0 ... size - 1, without a table: a Feistel network of four rounds over the next power of four,
    walked until it ends inside (Black & Rogaway 2002)."""
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


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer: every bit of the result depends on every bit given."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed
