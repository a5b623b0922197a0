"""Documents that came together, and how much of their text was read. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.data.document_table import tokens_before


@dataclass(frozen=True)
class Cohort:
    """Documents that were committed together: their text is read as a stream of its own (`model.data.batches`)."""

    name: str
    """Decides the order in which it is read."""
    documents: int
    """All seqs below it are of this cohort or of one before; 0: nobody knows."""
    end: int
    """So many tokens of train.bin are of this cohort or of one before."""
    read: int = 0
    """Windows of it that were read."""


Cohorts = tuple[Cohort, ...]
"""Oldest first."""


def moved(cohorts: Cohorts, rows: NDArray[np.void]) -> Cohorts:
    """Returns the same documents where a rebuild put them; none where nobody knows which they are. `rows`: of the
    table of documents."""
    if not all(cohort.documents for cohort in cohorts):
        return ()
    return tuple(replace(cohort, end=tokens_before(rows, cohort.documents)) for cohort in cohorts)


def windows(cohorts: Cohorts, block_size: int) -> NDArray[np.int64]:
    """Returns the windows in an epoch of each cohort, (C,)."""
    sizes: NDArray[np.int64] = np.diff([0, *(cohort.end for cohort in cohorts)]) // block_size
    return sizes


def with_newest(cohorts: Cohorts, newest: Cohort, block_size: int) -> Cohorts:
    """Adds what came since the last one as another; documents that fill no window wait for more. `newest` ends
    where all text does."""
    cohorts = tuple(replace(cohort, end=min(cohort.end, newest.end)) for cohort in cohorts)
    if not cohorts or not windows(cohorts, block_size).any():
        return (newest,)
    return (*cohorts, newest) if newest.end - cohorts[-1].end >= block_size else cohorts
