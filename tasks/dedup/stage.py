"""Dedup: exact on normalised text, near by MinHash, against everything ever kept. The first in the ledger stays.

MinHash only proposes (`tasks.dedup.minhash`); the true Jaccard similarity of two texts over word 3-grams decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tasks.contracts.records import Cleaned, Dropped
from tasks.dedup.minhash import Grams, Signature, bands_of, estimate, jaccard, shingles_of_words, values_of
from tasks.dedup.signature_index import SignatureIndex, Similar
from tasks.dedup.words import words_only

# Raise it with every change here, in `minhash` or in `words` that can change a verdict.
RULE_VERSION = 4

# The estimate has a standard deviation of at most 0.033 (240 values): five of them below the threshold no near copy is
# missed in practice, and few texts are read in vain.
ESTIMATE_MARGIN = 0.16
# The most similar ones by estimate are read; a site of pages that are all nearly copies must not cost its square.
MOST_READ = 64
# Documents that were read last and are likely to be asked for again: a few hundred kilobytes.
CACHED = 64


def dedup(
    batch: Sequence[tuple[Cleaned, Signature]], index: SignatureIndex, read: Callable[[int], str], min_jaccard: float
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
    signatures = [signature for _, signature in batch]
    known = index.similar(signatures, floor)
    before = _earlier(bands_of(signatures))
    fresh: dict[int, int] = {}  # kept ones of this batch: place in it by number in the ledger
    verdicts: list[Cleaned | Dropped] = []

    @lru_cache(maxsize=CACHED)
    def words_and_grams(seq: int) -> tuple[bytes, Grams]:
        words = words_only(batch[fresh[seq]][0].text if seq in fresh else read(seq))
        return words, shingles_of_words(words)

    for place, (document, signature) in enumerate(batch):
        near = [other for other in sorted(before.get(place, ())) if isinstance(verdicts[other], Cleaned)]
        similar = known[place] + _similar(signature, [batch[other] for other in near], floor)
        copy = _copy_of(document.text, similar, words_and_grams, min_jaccard)
        if copy is None:
            fresh[document.seq] = place
        verdicts.append(copy or document)
    index.append(list(fresh), [signatures[place] for place in fresh.values()])
    return verdicts


def _earlier(bands: npt.NDArray[np.uint32]) -> dict[int, set[int]]:
    """For documents of a batch, (n, 40), the places before theirs that share a band."""
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


def _similar(signature: Signature, others: list[tuple[Cleaned, Signature]], floor: float) -> list[Similar]:
    if not others:
        return []
    ratings = estimate(values_of([signature])[0], values_of([other for _, other in others]))
    return [(float(r), document.seq) for r, (document, _) in zip(ratings, others, strict=True) if r >= floor]
