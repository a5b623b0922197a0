"""Batches out of nanoGPT's `.bin` format, each a pure function of (generation, committed documents, seed, step).

Two orders. `windows`: as nanoGPT, each window begins anywhere, whatever the documents; some text is seen twice before
other text is seen once. `documents`: epochs; in each the documents are shuffled and laid end to end, and the windows of
that stream are shuffled too, so that every token is seen once an epoch. Either can be given a floor for the newest
documents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Window = tuple[int, int]
"""(start, length): inputs are tokens[start : start + length], targets the same moved by one."""
Places = NDArray[np.int64]

MOST_PASSES = 4
"""The floor for the newest documents holds until they were read so often: past four epochs repeated text teaches little
(Muennighoff et al. 2023), and three short documents must not fill a night."""


def open_tokens(path: Path, committed: int) -> NDArray[np.uint16]:
    """The first `committed` ids of a `.bin` file, memory-mapped; ValueError where the file is shorter."""
    if committed == 0:
        return np.zeros(0, dtype=np.uint16)
    found = path.stat().st_size // 2 if path.exists() else 0
    if found < committed:
        raise ValueError(f"{path} holds {found} tokens, but {committed} are committed; run `run.py rebuild`")
    return np.memmap(path, dtype="<u2", mode="r", shape=(committed,))


@dataclass(frozen=True)
class Plan:
    """All that decides which tokens a step reads, besides the step itself."""

    generation: str
    documents: NDArray[np.void]
    """The committed rows of the table of documents (`documents.read_documents`)."""
    committed: int
    """Tokens."""
    seed: int
    batch_size: int
    block_size: int
    order: str = "windows"
    """windows or documents."""
    new_share: float = 0.0
    """Least share of the windows that are of the newest documents."""
    new_from: int = 0
    """The newest documents begin at this token."""
    first_step: int = 0
    """From which the newest documents are the newest."""
    streams: dict[str, Stream] = field(default_factory=dict, compare=False, repr=False)
    """Of the epochs met last: a cache."""

    def places(self, step: int, detour: int = 0) -> Places:
        """Where the ids of one step are, (B, T + 1): each row's inputs are all but the last, its targets all but the
        first."""
        rows = np.arange(self.batch_size) + step * self.batch_size  # numbered since step 0
        new, before = self._new_rows(rows)
        if self.order == "windows":
            return self._anywhere(step, detour, new)
        places = np.empty((self.batch_size, self.block_size + 1), dtype=np.int64)
        for pool, chosen, numbers in (("all", ~new, rows - before), ("new", new, before)):
            if chosen.any():
                places[chosen] = self._in_epochs(pool, numbers[chosen], detour)
        return places

    def _new_rows(self, rows: Places) -> tuple[NDArray[np.bool_], Places]:
        """Which rows are of the newest documents by the floor, and how many such rows there were before each.

        The floor counts what uniform sampling brings of them anyway.
        """
        size = self.committed - self.new_from
        natural = size / self.committed
        share = (self.new_share - natural) / (1 - natural) if self.new_from and size > self.block_size else 0.0
        if share <= 0:
            return np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=np.int64)
        most = MOST_PASSES * (size // self.block_size)
        since = np.maximum(rows - self.first_step * self.batch_size, 0)
        before = np.minimum(np.floor(since * share), most).astype(np.int64)
        after = np.minimum(np.floor((since + 1) * share), most).astype(np.int64)
        return after > before, before

    def _anywhere(self, step: int, detour: int, new: NDArray[np.bool_]) -> Places:
        first = np.where(new, self.new_from, 0)
        starts = first + _draw(self.generation, self.seed, step, detour, self.committed - self.block_size - first)
        places: Places = starts[:, None] + np.arange(self.block_size + 1)
        return places

    def _in_epochs(self, pool: str, numbers: Places, detour: int) -> Places:
        """The windows with these numbers, counted through the epochs of a pool."""
        first = self.new_from if pool == "new" else 0
        size = (self.committed - first) // self.block_size  # of an epoch, in windows
        places = np.empty((len(numbers), self.block_size + 1), dtype=np.int64)
        for epoch in np.unique(numbers // size).tolist():
            name = f"{self.seed}:{self.generation}:{self.committed}:{first}:{detour}:{epoch}"
            if name not in self.streams:
                if len(self.streams) > 3:  # two pools, each at most between two epochs
                    self.streams.clear()
                self.streams[name] = Stream.of(_since(self.documents, first), name)
            chosen = numbers // size == epoch
            places[chosen] = self.streams[name].windows(numbers[chosen] % size, size, self.block_size)
        return places


@dataclass(frozen=True)
class Stream:
    """The documents of one epoch, shuffled and laid end to end in a circle."""

    offsets: Places
    """Where each document begins in the file, in the order of the stream."""
    begins: Places
    """Where it begins in the stream."""
    length: int
    """Tokens."""
    turn: int
    """Where in the circle the first window begins: the tail that fills no window is another in each epoch."""
    key: NDArray[np.uint64]

    @classmethod
    def of(cls, rows: NDArray[np.void], name: str) -> Stream:
        bits = np.random.Philox(key=_key(name)).random_raw(len(rows) + 5)
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


def _since(documents: NDArray[np.void], first: int) -> NDArray[np.void]:
    """The documents, or the rest of one, from a token on."""
    rows: NDArray[np.void] = documents[documents["offset"] + documents["length"] > first].copy()
    late = first - np.minimum(rows["offset"], first)
    rows["offset"] += late
    rows["length"] -= late.astype(np.uint32)
    return rows


def scramble(numbers: Places, size: int, key: NDArray[np.uint64]) -> Places:
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


def _key(name: str) -> NDArray[np.uint64]:
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")


def _draw(generation: str, seed: int, step: int, detour: int, below: Places) -> Places:
    """One number for each bound.

    The counter-based generator Philox (Salmon et al. 2011) is keyed by seed and generation and its counter is
    the step (and the detour, see `falls`), so there is no state to save. Only raw bits are used: NumPy promises
    those across versions.
    """
    counter = np.array([0, step, detour, 0], dtype=np.uint64)
    bits = np.random.Philox(key=_key(f"{seed}:{generation}"), counter=counter).random_raw(len(below))
    numbers: Places = (bits % below.astype(np.uint64)).astype(np.int64)
    return numbers


def read_batch(tokens: NDArray[np.uint16], places: Places) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (B, T) int64."""
    rows = torch.from_numpy(tokens[places].astype(np.int64))  # (B, T + 1)
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def evaluation_windows(tokens: int, block_size: int) -> list[Window]:
    """Non-overlapping windows, in order, that predict every token but the first once; the last may be
    shorter."""
    return [(start, min(block_size, tokens - 1 - start)) for start in range(0, tokens - 1, block_size)]


def spread(windows: list[Window], most: int) -> list[Window]:
    """At most `most` of the windows, evenly spread over them, the same ones each time."""
    if len(windows) <= most:
        return windows
    return [windows[i * len(windows) // most] for i in range(most)]
