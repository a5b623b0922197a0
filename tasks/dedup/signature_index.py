"""The signatures of everything ever kept: fixed-width rows in append-only files below `state/dedup/`.

A batch of new documents is compared with all of them in one pass over `bands.bin`: 160 bytes a document, a few
hundredths of a second for 300,000. A B-tree would answer one question faster, but each new document would change 40
of its pages. How many rows count is committed in `state.sqlite`, together with the verdicts; what lies beyond
was cut by a kill and is written again. The state has a digest of each megabyte, too, checked when a run first reads it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from model.data.digests import MEGABYTE, blocks
from tasks.contracts.errors import DerivedDamagedError
from tasks.contracts.paths import Layout, read_cleaned
from tasks.dedup.minhash import BANDS, VALUES, Signature, bands_of, estimate, values_of
from tasks.raw.catalog import Catalog
from tasks.storage.grown_files import GrownFiles
from tasks.storage.state_db import transaction

POSITION = "dedup_rows"
# Of each file the type and number of values in a row.
COLUMNS = {"seqs.bin": ("<u8", 1), "bands.bin": ("<u4", BANDS), "values.bin": ("u1", VALUES)}
ROWS_AT_ONCE = 8192  # 1.3 MB of bands
FILTER_BITS = 20
FILTER_SHIFT = np.uint32(32 - FILTER_BITS)

Rows = npt.NDArray[np.int64]
Similar = tuple[float, int]
"""Estimated similarity, and the document's number in the ledger."""


class SignatureIndex:
    """`append` and `clear` must be called inside the caller's transaction."""

    def __init__(self, catalog: Catalog, layout: Layout) -> None:
        self.catalog, self.layout = catalog, layout
        self.folder = layout.state / "dedup"
        self.digests = GrownFiles(catalog.db, DerivedDamagedError, "a night makes it again from raw/")

    @property
    def rows(self) -> int:
        return self.catalog.position(POSITION)

    def is_whole(self) -> bool:
        """Whether the files hold every committed row."""
        rows = self.rows
        files = [(self.folder / name, rows * row_bytes(name)) for name in COLUMNS]
        return rows == 0 or all(path.exists() and path.stat().st_size >= committed for path, committed in files)

    def clear(self) -> None:
        self.catalog.set_position(POSITION, 0)
        for name in COLUMNS:
            self.digests.forget(self.folder / name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_digests(self) -> None:
        """Of what an earlier version wrote."""
        rows = self.rows
        with transaction(self.catalog.db):
            for name in COLUMNS:
                if rows and self.is_whole() and not self.digests.digests(self.folder / name):
                    self.digests.grew(self.folder / name, 0, rows * row_bytes(name))

    def kept_text(self, seq: int) -> str:
        """The cleaned text of a document of an earlier batch."""
        return read_cleaned(self.layout, *self.catalog.cleaned_file(seq))

    def append(self, seqs: list[int], signatures: list[Signature]) -> None:
        """Add kept documents; they count once the caller's transaction commits."""
        if not seqs:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = self.rows
        contents = {
            "seqs.bin": np.array(seqs, "<u8").tobytes(),
            "bands.bin": b"".join(one.bands for one in signatures),
            "values.bin": b"".join(one.values for one in signatures),
        }
        for name, content in contents.items():
            with open(self.folder / name, "ab") as file:
                file.truncate(rows * row_bytes(name))  # rows that were written and not committed
                file.write(content)
            self.digests.grew(self.folder / name, rows * row_bytes(name), (rows + len(seqs)) * row_bytes(name))
        self.catalog.set_position(POSITION, rows + len(seqs))

    def similar(self, signatures: list[Signature], floor: float) -> list[list[Similar]]:
        """For each of the documents those of the index that share a band with it and are so similar by estimate."""
        if not self.rows:
            return [[] for _ in signatures]
        candidates = self._candidates(bands_of(signatures))
        rows = np.unique(np.concatenate(candidates))
        values, seqs = self._read("values.bin", rows), self._read("seqs.bin", rows)[:, 0]
        found = []
        for own, mine in zip(values_of(signatures), candidates, strict=True):
            places = np.searchsorted(rows, mine)
            ratings = estimate(own, values[places])
            chosen = ratings >= floor
            found.append(list(zip(ratings[chosen].tolist(), seqs[places[chosen]].tolist(), strict=True)))
        return found

    def _candidates(self, bands: npt.NDArray[np.uint32]) -> list[Rows]:
        """Returns for each of n documents, (n, 40), the rows that share a band with it, ascending.

        A bitmap of the upper bits of all wanted keys (a Bloom filter with one hash) passes over nearly every stored
        key; the few left are looked up exactly.
        """
        keys, key_of = np.unique(bands, return_inverse=True)  # (k,) sorted; (n * 40,) into keys
        wanted = np.zeros(2**FILTER_BITS, dtype=bool)
        wanted[keys >> FILTER_SHIFT] = True
        found_keys, found_rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]  # pairs (place in keys, row)
        for first, block in self._blocks():  # (rows * 40,) stored keys
            places = np.flatnonzero(wanted[block >> FILTER_SHIFT])
            values = block[places]
            nearest = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
            equal = keys[nearest] == values
            found_keys.append(nearest[equal])
            found_rows.append(first + places[equal] // BANDS)
        pairs, rows = np.concatenate(found_keys), np.concatenate(found_rows)
        order = np.argsort(pairs, kind="stable")
        rows, starts = rows[order], np.searchsorted(pairs[order], np.arange(len(keys) + 1))
        shared = np.diff(starts) > 0  # (k,): keys that a stored row has
        return [
            np.unique(np.concatenate([rows[:0], *(rows[starts[key] : starts[key + 1]] for key in own[shared[own]])]))
            for own in key_of.reshape(bands.shape)
        ]

    def _read(self, name: str, rows: Rows) -> npt.NDArray[Any]:
        """Some rows of a file, ascending; block after block, since the pages of a mapped file would count as ours."""
        of, width = COLUMNS[name]
        found = np.empty((len(rows), width), dtype=of)
        with open(self.folder / name, "rb") as file:
            for block in np.unique(rows // ROWS_AT_ONCE):
                start, end = np.searchsorted(rows, [block * ROWS_AT_ONCE, (block + 1) * ROWS_AT_ONCE])
                inside = rows[start:end] - rows[start]
                file.seek(int(rows[start]) * row_bytes(name))
                count = int(inside[-1]) + 1
                self._check(name, int(rows[start]), count)
                found[start:end] = np.fromfile(file, of, count * width).reshape(count, width)[inside]
        return found

    def _blocks(self) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
        """The committed rows of bands in pieces: (first row, values one after the other)."""
        left, first = self.rows, 0
        if not left:
            return
        with open(self.folder / "bands.bin", "rb") as file:
            while left > 0:
                count = min(left, ROWS_AT_ONCE)
                self._check("bands.bin", first, count)
                yield first, np.fromfile(file, dtype="<u4", count=count * BANDS)
                left, first = left - count, first + count

    def check_part(self, first: int, number: int) -> int:
        """Compare so many megabytes of each file from one on. Returns how many the longest file has."""
        rows, most = self.rows, 0
        for name in COLUMNS if self.is_whole() else ():
            size = rows * row_bytes(name)
            self.digests.check(self.folder / name, size, first * MEGABYTE, min(size, (first + number) * MEGABYTE))
            most = max(most, blocks(size))
        return most

    def _check(self, name: str, first: int, count: int) -> None:
        width = row_bytes(name)
        self.digests.check(self.folder / name, self.rows * width, first * width, (first + count) * width)


def row_bytes(name: str) -> int:
    of, width = COLUMNS[name]
    return np.dtype(of).itemsize * width
