"""Dedup: exact on normalised text, near by MinHash, against everything ever kept. The first in the ledger stays.

MinHash only proposes (`tasks.dedup.minhash`); the true Jaccard similarity of two texts over word 3-grams decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tasks.contracts.records import Cleaned, Dropped
from tasks.dedup.minhash import (
    Grams,
    Signature,
    bands_of,
    estimate,
    jaccard,
    shingles_of_words,
    signature_of,
    values_of,
)
from tasks.dedup.signature_index import SignatureIndex, Similar
from tasks.dedup.words import words_only
from tasks.processes.process_pool import ProcessPool, Spread

# Raise it with every change here, in `minhash` or in `words` that can change a verdict.
RULE_VERSION = 5

# The estimate has a standard deviation of at most 0.033 (240 values): five of them below the threshold no near copy is
# missed in practice, and few texts are read in vain.
ESTIMATE_MARGIN = 0.16
# The most similar ones by estimate are read; a site of pages that are all nearly copies must not cost its square.
MOST_READ = 64
# Documents that were read last and are likely to be asked for again: a few hundred kilobytes.
CACHED = 64


@dataclass(frozen=True, slots=True)
class Distinct:
    """A document that is no copy of another one, and the signature that later ones are compared with."""

    document: Cleaned
    signature: Signature


def dedup(
    cleaned: Sequence[Cleaned | Dropped],
    index: SignatureIndex,
    min_jaccard: float,
    pool: ProcessPool | None = None,
    commit: Callable[[list[Distinct | Dropped]], None] = lambda verdicts: None,
) -> list[Distinct | Dropped]:
    """Compare documents, in ledger order, with all that were kept before; what was dropped before stays dropped.

    Writes nothing itself: `commit` keeps the verdicts and adds what is distinct to the index.

    Args:
        min_jaccard: from this similarity on a document is a copy.
        pool: shares the work on single texts, where given.
        commit: gets the verdicts. Within the stage, so that whoever repeats a stage after a fault repeats its writing.
    """
    documents = [one for one in cleaned if isinstance(one, Cleaned)]
    sizes = [len(one.text) for one in documents]
    signatures = Spread(signature_of, [one.text for one in documents], sizes, pool, urgent=True).results()
    compared = iter(_compare(list(map(Distinct, documents, signatures)), index, min_jaccard))
    verdicts = [one if isinstance(one, Dropped) else next(compared) for one in cleaned]
    commit(verdicts)
    return verdicts


def _compare(batch: list[Distinct], index: SignatureIndex, min_jaccard: float) -> list[Distinct | Dropped]:
    if not batch:
        return []
    floor = min_jaccard - ESTIMATE_MARGIN
    signatures = [one.signature for one in batch]
    known = index.similar(signatures, floor)
    before = _earlier(bands_of(signatures))
    kept: dict[int, str] = {}  # texts of this batch, by seq
    verdicts: list[Distinct | Dropped] = []

    @lru_cache(maxsize=CACHED)
    def words_and_grams(seq: int) -> tuple[bytes, Grams]:
        words = words_only(kept[seq] if seq in kept else index.kept_text(seq))
        return words, shingles_of_words(words)

    for place, one in enumerate(batch):
        near = [other for i in sorted(before.get(place, ())) if isinstance(other := verdicts[i], Distinct)]
        similar = known[place] + _similar(one.signature, near, floor)
        copy = _copy_of(one.document.text, similar, words_and_grams, min_jaccard)
        if copy is None:
            kept[one.document.seq] = one.document.text
        verdicts.append(copy or one)
    return verdicts


def _earlier(bands: npt.NDArray[np.uint32]) -> dict[int, set[int]]:
    """For documents of a batch, (n, 40), the places before theirs that share a band.

    Equal keys stand side by side once sorted: keys 7 7 9 at places 0 2 1 say that document 2 shares a band with 0.
    """
    order = np.argsort(bands, axis=None, kind="stable")
    keys, places = bands.ravel()[order], order // bands.shape[1]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    ends = np.append(starts[1:], len(keys))
    found: defaultdict[int, set[int]] = defaultdict(set)
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        alike = places[start:end].tolist()
        for i, place in enumerate(alike):
            found[place].update(alike[:i])
    return found


def _copy_of(
    text: str, similar: list[Similar], words_and_grams: Callable[[int], tuple[bytes, Grams]], min_jaccard: float
) -> Dropped | None:
    """The verdict that the text is a copy, if one of the similar documents (estimate, number) really is."""
    if not similar:
        return None
    words = words_only(text)
    grams = shingles_of_words(words)
    for _, seq in sorted(similar, key=lambda one: (-one[0], one[1]))[:MOST_READ]:
        their_words, their_grams = words_and_grams(seq)
        similarity = jaccard(grams, their_grams)
        if similarity >= min_jaccard:
            if similarity == 1.0 and words.split() == their_words.split():
                return Dropped("dedup", "duplicate_exact", f"of document {seq}")
            return Dropped("dedup", "duplicate_near", f"of document {seq}, Jaccard {similarity:.2f}")
    return None


def _similar(signature: Signature, others: list[Distinct], floor: float) -> list[Similar]:
    if not others:
        return []
    ratings = estimate(values_of([signature])[0], values_of([other.signature for other in others]))
    return [(float(r), other.document.seq) for r, other in zip(ratings, others, strict=True) if r >= floor]
