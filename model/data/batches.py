"""Batches out of nanoGPT's `.bin` format, each a pure function of a plan and a step.

Documents that came together are a cohort. Its text is a stream of its own: shuffled documents, shuffled windows, each
token once before any is read twice; and it goes on where it stopped, night after night. Some windows are kept for the
newest cohort until all of it was read once; the others are spread over the text of all cohorts alike, so that nothing
is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.cohorts import Cohorts, windows
from model.data.shuffle import Places, Stream, draws

Window = tuple[int, int]
"""(start, length): inputs are tokens[start : start + length], targets the same moved by one."""

ROWS = 65536
"""Which cohorts the rows of the batches read is settled for so many at once."""


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

    documents: NDArray[np.void]
    """Rows of the table of documents (`documents.read_documents`), up to the last cohort's end at least."""
    cohorts: Cohorts
    """With what was read of each before the first step."""
    seed: int
    batch_size: int
    block_size: int
    new_share: float = 0.0
    """Share of the rows that are kept for the last cohort, until all of it was read once."""
    first_step: int = 0
    """From which this plan holds."""
    _streams: dict[int, dict[tuple[int, int], Stream]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _blocks: dict[int, tuple[Places, Places]] = field(default_factory=dict, init=False, compare=False, repr=False)
    _totals: list[Places] = field(default_factory=list, init=False, compare=False, repr=False)

    def places(self, step: int, detour: int = 0) -> Places:
        """Where the ids of one step are, (B, T + 1): each row's inputs are all but the last, its targets all but the
        first. `detour` moves the order on (see `falls`)."""
        rows = np.arange(self.batch_size) + (step - self.first_step) * self.batch_size
        cohorts, numbers = np.empty_like(rows), np.empty_like(rows)
        for block in np.unique(rows // ROWS).tolist():
            here = rows // ROWS == block
            cohorts[here], numbers[here] = (values[rows[here] % ROWS] for values in self._block(block))
        epochs = numbers // self._windows[cohorts]
        numbers = numbers % self._windows[cohorts]
        places = np.empty((self.batch_size, self.block_size + 1), dtype=np.int64)
        for cohort, epoch in set(zip(cohorts.tolist(), epochs.tolist(), strict=True)):
            chosen = (cohorts == cohort) & (epochs == epoch)
            stream, size = self._stream(cohort, detour, epoch), int(self._windows[cohort])
            places[chosen] = stream.windows(numbers[chosen], size, self.block_size)
        return places

    def cohorts_at(self, step: int) -> Cohorts:
        """With what was read of each before that step."""
        rows = (step - self.first_step) * self.batch_size
        cohorts = self._cohorts_of(rows // ROWS)[: rows % ROWS]
        read = self._read_before(rows // ROWS) + np.bincount(cohorts, minlength=len(self.cohorts))
        return tuple(replace(cohort, read=int(n)) for cohort, n in zip(self.cohorts, read, strict=True))

    def unread_tokens(self, step: int) -> int:
        """Of all cohorts, before that step."""
        read = np.array([cohort.read for cohort in self.cohorts_at(step)])
        return int(np.maximum(self._windows - read, 0).sum()) * self.block_size

    @cached_property
    def _windows(self) -> Places:
        return windows(self.cohorts, self.block_size)

    def _block(self, number: int) -> tuple[Places, Places]:
        """The cohort that each of a block's rows reads, and the number of the window there, counted through all of
        the cohort's epochs."""
        if number not in self._blocks:
            cohorts = self._cohorts_of(number)
            counts = np.bincount(cohorts, minlength=len(self.cohorts))
            first = self._read_before(number) - (np.cumsum(counts) - counts)
            numbers = np.empty_like(cohorts)
            numbers[np.argsort(cohorts, kind="stable")] = np.arange(ROWS) + np.repeat(first, counts)
            if len(self._blocks) > 1:
                self._blocks.clear()
            self._blocks[number] = cohorts, numbers
        return self._blocks[number]

    def _read_before(self, block: int) -> Places:
        """Windows of each cohort."""
        if not self._totals:
            self._totals.append(np.array([cohort.read for cohort in self.cohorts]))
        while len(self._totals) <= block:
            counts = np.bincount(self._cohorts_of(len(self._totals) - 1), minlength=len(self.cohorts))
            self._totals.append(self._totals[-1] + counts)
        return self._totals[block]

    def _cohorts_of(self, block: int) -> Places:
        ends = np.cumsum(self._windows)
        anywhere = draws(f"{self.seed}:{self.first_step}:{block}", ROWS) % np.uint64(ends[-1])
        cohorts: Places = np.searchsorted(ends, anywhere.astype(np.int64), side="right")
        unread = max(0, int(self._windows[-1]) - self.cohorts[-1].read)
        kept = np.minimum(((block * ROWS + np.arange(ROWS + 1)) * self.new_share).astype(np.int64), unread)
        cohorts[np.diff(kept) > 0] = len(self.cohorts) - 1
        return cohorts

    def _stream(self, cohort: int, detour: int, epoch: int) -> Stream:
        begun = self._streams.setdefault(cohort, {})
        if (detour, epoch) not in begun:
            if len(begun) > 1:  # a batch may lie between two epochs
                begun.clear()
            rows = self._rows_between(self.cohorts[cohort - 1].end if cohort else 0, self.cohorts[cohort].end)
            begun[detour, epoch] = Stream.of(rows, f"{self.seed}:{self.cohorts[cohort].name}:{detour}:{epoch}")
        return begun[detour, epoch]

    def _rows_between(self, first: int, end: int) -> NDArray[np.void]:
        """The documents, or parts of them, from a token on and up to another."""
        begins = self._begins
        here = slice(int(np.searchsorted(begins, first, side="right")) - 1, int(np.searchsorted(begins, end)))
        rows: NDArray[np.void] = self.documents[here].copy()
        ends = np.minimum(begins[here] + rows["length"], end)
        rows["offset"] = np.maximum(begins[here], first)
        rows["length"] = ends - rows["offset"].astype(np.int64)
        return rows

    @cached_property
    def _begins(self) -> Places:
        return self.documents["offset"].astype(np.int64)


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
