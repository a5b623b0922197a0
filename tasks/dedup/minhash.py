"""MinHash: which documents may be alike, from a few bytes of each.

MinHash (Broder 1997) with banding (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", ch. 3): two documents
share one of 40 bands of 6 values with a probability of 99 % at a Jaccard similarity of 0.7, of 3 % at 0.3. The 240
values are the least and the greatest of 120 hash functions (min-max hash, Ji and others 2013). Of each one byte is kept
(b-bit minwise hashing, Li and Koenig 2010): enough to estimate the similarity to 0.03.

All hashing is integer arithmetic written here, with constants from SplitMix64: a signature depends on no library's
version and no random generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.dedup.words import SPACE, words_only

BANDS, ROWS = 40, 6
VALUES = BANDS * ROWS
SHINGLE_WORDS = 3
FUNCTIONS = VALUES // 2
GRAMS_AT_ONCE = 2048  # 120 x 2048 values of 4 bytes stay in a processor's cache

Grams = npt.NDArray[np.uint64]  # sorted, distinct


@dataclass(frozen=True, slots=True)
class Signature:
    """What is kept of a document to find those like it."""

    bands: bytes  # (40,) of uint32, little-endian: equal in one place is worth a closer look
    values: bytes  # (240,): the share of equal ones estimates the similarity


def _splitmix64(count: int) -> npt.NDArray[np.uint64]:
    """The first values of SplitMix64 (Steele, Lea, Flood 2014) from seed 0."""
    values = []
    state = 0
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        values.append(z ^ (z >> 31))
    return np.array(values, dtype=np.uint64)


_CONSTANTS = _splitmix64(FUNCTIONS + SHINGLE_WORDS + ROWS + 1 + BANDS)
_MULTIPLIERS = (_CONSTANTS[:FUNCTIONS] >> np.uint64(32)).astype(np.uint32)[:, None] | np.uint32(1)
_OF_WORD = _CONSTANTS[FUNCTIONS:][:SHINGLE_WORDS] | np.uint64(1)
_OF_ROW = _CONSTANTS[FUNCTIONS + SHINGLE_WORDS :][:ROWS] | np.uint64(1)
_OF_BAND = _CONSTANTS[-BANDS:]


def shingles(text: str) -> Grams:
    """The distinct hashed word 3-grams of a text, sorted; of a shorter one, all its words as one."""
    return shingles_of_words(words_only(text))


def shingles_of_words(words: bytes) -> Grams:
    """`shingles` of what `tasks.dedup.words.words_only` made of the text."""
    grams = np.sort(_hash_grams(words))
    return grams[np.concatenate(([True], grams[1:] != grams[:-1]))]


def _hash_grams(text: bytes) -> npt.NDArray[np.uint64]:
    """As `shingles_of_words`, in the order of the text and with those that come again."""
    words = _hash_words(text)
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    grams = np.zeros(count, np.uint64)
    for place, multiplier in enumerate(_OF_WORD):
        part = words[place : place + count]
        grams[: len(part)] += part * multiplier
    return _mixed(grams)


def _hash_words(words: bytes) -> npt.NDArray[np.uint64]:
    """A polynomial of each word's bytes modulo 2^64, from the differences of one running sum over all of them."""
    letters = np.frombuffer(words, np.uint8)
    outside = np.ones(len(letters) + 2, bool)
    outside[1:-1] = letters == SPACE
    edges = np.flatnonzero(outside[1:] != outside[:-1])
    starts, ends = edges[::2], edges[1::2]
    sums = np.zeros(len(letters) + 1, np.uint64)
    np.cumsum(letters * _POWERS.upto(len(letters)), out=sums[1:])
    return _mixed((sums[ends] - sums[starts]) * _INVERSE_POWERS.upto(len(letters))[starts])


class _Powers:
    """base^0, base^1, ... modulo 2^64, as many as were ever needed."""

    def __init__(self, base: int) -> None:
        self.base = np.uint64(base)
        self._known = np.ones(1, np.uint64)

    def upto(self, count: int) -> npt.NDArray[np.uint64]:
        """The first `count`, (count,)."""
        if len(self._known) < count:
            self._known = np.full(2 * count, self.base)
            self._known[0] = 1
            np.cumprod(self._known, out=self._known)
        return self._known[:count]


_BASE = int(_CONSTANTS[FUNCTIONS + SHINGLE_WORDS + ROWS]) | 1
_POWERS, _INVERSE_POWERS = _Powers(_BASE), _Powers(pow(_BASE, -1, 2**64))


def sign(grams: npt.NDArray[np.uint64]) -> Signature:
    """Multiply the 3-grams by 120 odd numbers modulo 2^32; the ends of each row make the bands and bytes."""
    narrow = (grams >> np.uint64(32)).astype(np.uint32)
    ends = np.empty((2, FUNCTIONS), np.uint32)
    ends[0], ends[1] = 2**32 - 1, 0
    for start in range(0, len(narrow), GRAMS_AT_ONCE):
        block = _MULTIPLIERS * narrow[start : start + GRAMS_AT_ONCE]
        np.minimum(ends[0], block.min(axis=1), out=ends[0])
        np.maximum(ends[1], block.max(axis=1), out=ends[1])
    keys = _mixed((ends.reshape(BANDS, ROWS) * _OF_ROW).sum(axis=1, dtype=np.uint64) + _OF_BAND)
    values = (ends * np.uint32(0x9E3779B1)) >> np.uint32(24)
    return Signature((keys >> np.uint64(32)).astype("<u4").tobytes(), values.astype(np.uint8).tobytes())


def signature_of(text: str) -> Signature:
    return sign(_hash_grams(words_only(text)))


def bands_of(signatures: Sequence[Signature]) -> npt.NDArray[np.uint32]:
    """Their bands, (n, 40)."""
    return np.frombuffer(b"".join(one.bands for one in signatures), "<u4").reshape(-1, BANDS)


def values_of(signatures: Sequence[Signature]) -> npt.NDArray[np.uint8]:
    """Their values, (n, 240)."""
    return np.frombuffer(b"".join(one.values for one in signatures), np.uint8).reshape(-1, VALUES)


def estimate(mine: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The estimated similarity of one document, (240,), with others, (n, 240); one value in 256 agrees by chance."""
    agreeing: npt.NDArray[np.uint8] = (theirs == mine).sum(axis=1, dtype=np.uint8)  # 240 at most
    share: npt.NDArray[np.float64] = agreeing / VALUES
    return (share - 1 / 256) / (1 - 1 / 256)


def jaccard(a: Grams, b: Grams) -> float:
    """The true similarity of two documents, from all their 3-grams."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Every bit of the input moves every bit of the upper half of the output."""
    values = values ^ (values >> np.uint64(32))
    values = values * np.uint64(0xD6E8FEB86659FD93)
    return values ^ (values >> np.uint64(32))
