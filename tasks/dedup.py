"""Dedup: exact on normalised text, near by MinHash, against everything ever kept. The first in the ledger stays.

MinHash only proposes (`tasks.minhash`); the true Jaccard similarity of two texts over word 3-grams decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from tasks.dedup_index import DedupIndex, Rows
from tasks.minhash import Signature, estimate, jaccard, shingles
from tasks.records import Cleaned, Dropped
from tasks.words import words_only

# Raise it with every change here, in `minhash` or in `words` that can change a verdict.
RULE_VERSION = 3

# The estimate has a standard deviation of at most 0.033 (240 values): five of them below the threshold no near copy is
# missed in practice, and few texts are read in vain.
ESTIMATE_MARGIN = 0.16
# The most similar ones by estimate are read; a site of pages that are all nearly copies must not cost its square.
MOST_READ = 64


def dedup(
    batch: Sequence[tuple[Cleaned, Signature]], index: DedupIndex, read: Callable[[int], str], min_jaccard: float
) -> list[Cleaned | Dropped]:
    """Compare documents, in ledger order, with all that were kept before; those kept are added to the index.

    Call it inside the transaction that also settles the verdicts.

    Args:
        read: the cleaned text of a document kept in an earlier batch, by its number in the ledger.
        min_jaccard: from this similarity on a document is a copy.
    """
    if not batch:
        return []
    floor = min_jaccard - ESTIMATE_MARGIN
    fresh = _Fresh()
    verdicts: list[Cleaned | Dropped] = []
    older = index.candidates(np.stack([signature.bands for _, signature in batch]))
    for (document, signature), rows in zip(batch, older, strict=True):
        similar = _similar(signature, index, rows, floor) + fresh.similar(signature, floor)
        copy = _copy_of(document.text, similar, lambda seq: fresh.texts.get(seq) or read(seq), min_jaccard)
        if copy is None:
            fresh.add(document, signature)
        verdicts.append(copy or document)
    index.append(list(fresh.texts), fresh.signatures)
    return verdicts


def _copy_of(
    text: str, similar: list[tuple[float, int]], read: Callable[[int], str], min_jaccard: float
) -> Dropped | None:
    """The verdict that the text is a copy, if one of the similar documents (estimate, number) really is."""
    if not similar:
        return None
    grams = shingles(text)
    for _, seq in sorted(similar, key=lambda one: (-one[0], one[1]))[:MOST_READ]:
        theirs = read(seq)
        similarity = jaccard(grams, shingles(theirs))
        if similarity >= min_jaccard:
            if words_only(text).split() == words_only(theirs).split():
                return Dropped("dedup", "duplicate_exact", f"of document {seq}")
            return Dropped("dedup", "duplicate_near", f"of document {seq}, Jaccard {similarity:.2f}")
    return None


def _similar(signature: Signature, index: DedupIndex, rows: Rows, floor: float) -> list[tuple[float, int]]:
    """Of these rows of the index the ones similar by estimate: (estimate, number in the ledger)."""
    if not len(rows):
        return []
    ratings = estimate(signature.values, index.values(rows))
    return [(float(ratings[i]), index.seq(int(rows[i]))) for i in np.flatnonzero(ratings >= floor)]


class _Fresh:
    """What this batch keeps: not in the index yet."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}  # by number in the ledger, in its order
        self.signatures: list[Signature] = []
        self._seqs: list[int] = []
        self._by_band: defaultdict[int, list[int]] = defaultdict(list)

    def add(self, document: Cleaned, signature: Signature) -> None:
        for key in signature.bands.tolist():
            self._by_band[key].append(len(self._seqs))
        self._seqs.append(document.seq)
        self.texts[document.seq] = document.text
        self.signatures.append(signature)

    def similar(self, signature: Signature, floor: float) -> list[tuple[float, int]]:
        places = sorted({place for key in signature.bands.tolist() for place in self._by_band.get(key, ())})
        if not places:
            return []
        ratings = estimate(signature.values, np.stack([self.signatures[place].values for place in places]))
        return [(float(r), self._seqs[p]) for r, p in zip(ratings, places, strict=True) if r >= floor]
