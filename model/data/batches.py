"""Batches out of nanoGPT's `.bin` format, each a pure function of a plan and a step.

Documents that came together are a cohort. Its text is a stream of its own: shuffled documents, shuffled windows, each
token once before any is read twice; and it goes on where it stopped, night after night. Some rows of the batches are
reserved for the newest cohort until all of it was read once; the others are spread over the text of all cohorts alike,
so that nothing is forgotten.

Words: a *row* is one window of one batch; rows are counted through all steps from the plan's first, `batch_size` a
step. Rows are given to cohorts in *blocks* of `ROWS`, so that any step is found without the steps before it. The
*window* of a row counts how many rows its cohort had before. An example with a batch size of 4 and two cohorts:

    step                        0          1
    cohort of each row      1 0 0 1    0 1 0 0
    window of each row      0 0 1 1    2 2 3 4
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.cohorts import Cohorts, windows
from model.data.shuffle import Positions, Stream, philox_bits
from model.data.tokens import Tokens

Window = tuple[int, int]
"""(start, length): inputs are tokens[start : start + length], targets the same moved by one."""

ROWS = 65536
"""Rows of a block: they are given to cohorts so many at once."""


@dataclass(frozen=True)
class Plan:
    """All that decides which tokens a step reads, besides the step itself."""

    documents: NDArray[np.void]
    """Rows of the table of documents (`document_table.read_documents`), (D,), up to the last cohort's end at least."""
    block_size: int
    cohorts: Cohorts
    """With what was read of each before the first step."""
    seed: int
    batch_size: int
    new_share: float = 0.0
    """Share of the rows that are reserved for the last cohort, until all of it was read once."""
    first_step: int = 0
    """From which this plan holds."""
    _streams: dict[int, dict[tuple[int, int], Stream]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _blocks: dict[int, tuple[Positions, Positions]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def token_positions(self, step: int, data_order: int = 0) -> Positions:
        """Returns where the ids of one step are in the file, (B, T + 1): each row's inputs are all but the last, its
        targets all but the first. `data_order`: how often the order has changed (see `divergence`)."""
        rows = np.arange(self.batch_size) + (step - self.first_step) * self.batch_size  # (B,)
        cohorts, read = np.empty_like(rows), np.empty_like(rows)  # (B,): cohort of each row, and its window there
        for block in np.unique(rows // ROWS).tolist():
            here = rows // ROWS == block  # (B,)
            cohorts[here], read[here] = (values[rows[here] % ROWS] for values in self._block(block))
        epochs, inside = np.divmod(read, self._windows[cohorts])  # (B,): which epoch of the cohort, and which window
        positions = np.empty((self.batch_size, self.block_size + 1), dtype=np.int64)  # (B, T + 1)
        for cohort, epoch in set(zip(cohorts.tolist(), epochs.tolist(), strict=True)):
            chosen = (cohorts == cohort) & (epochs == epoch)  # (B,)
            stream, size = self._stream(cohort, data_order, epoch), int(self._windows[cohort])
            positions[chosen] = stream.token_positions(inside[chosen], size, self.block_size)
        return positions

    def cohorts_at(self, step: int) -> Cohorts:
        """Returns the cohorts with what was read of each before that step."""
        block, rows = divmod((step - self.first_step) * self.batch_size, ROWS)
        counts = np.bincount(self._cohorts_of(block)[:rows], minlength=len(self.cohorts))  # (C,)
        read = self._read_before(block) + counts  # (C,)
        return tuple(replace(cohort, read=int(n)) for cohort, n in zip(self.cohorts, read, strict=True))

    def unread_tokens(self, step: int) -> int:
        """Returns the tokens of all cohorts that were never read before that step."""
        read = np.array([cohort.read for cohort in self.cohorts_at(step)])  # (C,)
        return int(np.maximum(self._windows - read, 0).sum()) * self.block_size

    @cached_property
    def _windows(self) -> Positions:
        """(C,): windows in an epoch of each cohort."""
        return windows(self.cohorts, self.block_size)

    def _block(self, block: int) -> tuple[Positions, Positions]:
        """Returns the cohort that each of a block's rows reads, (ROWS,), and its window there, (ROWS,), counted
        through all of the cohort's epochs.

        Cohorts 1 0 0 1, of which 7 and 3 windows were read before the block: windows 3 7 8 4.
        """
        if block not in self._blocks:
            cohorts = self._cohorts_of(block)  # (ROWS,)
            counts = np.bincount(cohorts, minlength=len(self.cohorts))  # (C,)
            # The rows sorted by cohort have consecutive windows from what was read of the cohort before.
            first = self._read_before(block) - (np.cumsum(counts) - counts)  # (C,)
            read = np.empty_like(cohorts)  # (ROWS,)
            read[np.argsort(cohorts, kind="stable")] = np.arange(ROWS) + np.repeat(first, counts)
            if len(self._blocks) > 1:
                self._blocks.clear()
            self._blocks[block] = cohorts, read
        return self._blocks[block]

    def _read_before(self, block: int) -> Positions:
        """Returns the windows read of each cohort before a block, (C,)."""
        read = np.array([cohort.read for cohort in self.cohorts])
        for earlier in range(block):
            read += np.bincount(self._cohorts_of(earlier), minlength=len(self.cohorts))
        return read

    def _cohorts_of(self, block: int) -> Positions:
        """Returns the cohort of each of a block's rows, (ROWS,): drawn by the cohorts' sizes, but for reserved ones.

        A row is reserved where the whole number of reserved rows so far grows: with a share of 0.4 after
        0 1 2 3 4 5 rows these are 0 0 0 1 1 2, so rows 2 and 4 are.
        """
        ends = np.cumsum(self._windows)  # (C,)
        window = philox_bits(f"{self.seed}:{self.first_step}:{block}", ROWS) % np.uint64(ends[-1])  # (ROWS,), of all
        cohorts: Positions = np.searchsorted(ends, window.astype(np.int64), side="right")  # (ROWS,)
        unread = max(0, int(self._windows[-1]) - self.cohorts[-1].read)
        reserved = ((block * ROWS + np.arange(ROWS + 1)) * self.new_share).astype(np.int64)  # (ROWS + 1,)
        cohorts[np.diff(np.minimum(reserved, unread)) > 0] = len(self.cohorts) - 1
        return cohorts

    def _stream(self, cohort: int, data_order: int, epoch: int) -> Stream:
        begun = self._streams.setdefault(cohort, {})
        if (data_order, epoch) not in begun:
            if len(begun) > 1:  # a batch may lie between two epochs
                begun.clear()
            rows = self._rows_between(self.cohorts[cohort - 1].end if cohort else 0, self.cohorts[cohort].end)
            name = f"{self.seed}:{self.cohorts[cohort].name}:{data_order}:{epoch}"
            begun[data_order, epoch] = Stream.of(rows, name)
        return begun[data_order, epoch]

    def _rows_between(self, first: int, end: int) -> NDArray[np.void]:
        """Returns the documents, or parts of them, from a token on and up to another."""
        begins = self._begins  # (D,)
        here = slice(int(np.searchsorted(begins, first, side="right")) - 1, int(np.searchsorted(begins, end)))
        rows: NDArray[np.void] = self.documents[here].copy()
        ends = np.minimum(begins[here] + rows["length"], end)
        rows["offset"] = np.maximum(begins[here], first)
        rows["length"] = ends - rows["offset"].astype(np.int64)
        return rows

    @cached_property
    def _begins(self) -> Positions:
        return self.documents["offset"].astype(np.int64)


def read_batch(tokens: Tokens | NDArray[np.uint16], positions: Positions) -> tuple[Tensor, Tensor]:
    """Returns inputs and targets, each (B, T) int64."""
    rows = torch.from_numpy(tokens[positions].astype(np.int64))  # (B, T + 1)
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def evaluation_windows(tokens: int, block_size: int) -> list[Window]:
    """Returns non-overlapping windows, in order, that predict every token but the first once; the last may be
    shorter."""
    return [(start, min(block_size, tokens - 1 - start)) for start in range(0, tokens - 1, block_size)]


def spread(windows: list[Window], most: int) -> list[Window]:
    """Returns at most `most` of the windows, evenly spread over them, the same ones each time."""
    if len(windows) <= most:
        return windows
    return [windows[i * len(windows) // most] for i in range(most)]
