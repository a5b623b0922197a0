"""Dedup: exact on normalised text, near by MinHash, against everything ever kept. The first in the ledger stays.

MinHash (Broder 1997) with banding (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", ch. 3) only
proposes candidates: 40 bands of 6 values over word 3-grams find 99 % of the pairs at a Jaccard similarity of
0.7. The stored signatures sort out most false ones, and the true Jaccard of the two texts decides.

Hashes are XXH3 (a written standard) and the permutations come from SplitMix64, so a signature depends on no
library's version and no random generator.
"""

from __future__ import annotations

import re
import sqlite3

import numpy as np
import numpy.typing as npt
import xxhash

from tasks.layout import Layout, read_cleaned
from tasks.records import Cleaned, Dropped

# Raise it with every change here that can change a verdict.
RULE_VERSION = 1

BANDS, ROWS = 40, 6
SHINGLE_WORDS = 3
# The signature's estimate has a standard deviation of at most 0.033 (240 values): five of them below the
# threshold no near copy is missed in practice, and few texts are read in vain.
ESTIMATE_MARGIN = 0.16
WORD = re.compile(r"\w+")

SCHEMA = """
CREATE TABLE IF NOT EXISTS exact (hash BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signatures (seq INTEGER PRIMARY KEY, signature BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bands (key INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (key, seq)) WITHOUT ROWID;
"""

Signature = npt.NDArray[np.uint32]


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


_CONSTANTS = _splitmix64(2 * BANDS * ROWS)
MULTIPLIERS = _CONSTANTS[: BANDS * ROWS] | np.uint64(1)
OFFSETS = _CONSTANTS[BANDS * ROWS :]


def shingles(text: str) -> npt.NDArray[np.uint64]:
    """The distinct hashed word 3-grams of a text, sorted; of a shorter text, its words as one."""
    words = WORD.findall(text.lower())
    grams = {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}
    return np.sort(np.array([xxhash.xxh3_64_intdigest(gram.encode()) for gram in grams], dtype=np.uint64))


def signature(grams: npt.NDArray[np.uint64]) -> Signature:
    """240 minima, (240,) uint32: multiply-shift hashing of each 3-gram, the upper half kept."""
    minima = np.full(BANDS * ROWS, 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(grams), 1024):  # bounds the memory for long texts
        block = grams[start : start + 1024, None] * MULTIPLIERS + OFFSETS
        np.minimum(minima, (block >> np.uint64(32)).min(axis=0).astype(np.uint32), out=minima)
    return minima


def band_keys(of: Signature) -> list[int]:
    """One signed 64-bit key a band, as SQLite stores integers."""
    rows = of.astype("<u4").reshape(BANDS, ROWS)
    keys = [xxhash.xxh3_64_intdigest(row.tobytes(), seed=band) for band, row in enumerate(rows)]
    return [key - 2**64 if key >= 2**63 else key for key in keys]


def jaccard(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> float:
    """Of two sorted sets of distinct 3-grams."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def exact_hash(text: str) -> bytes:
    """Of the words alone: case, punctuation and white space make no other document."""
    return xxhash.xxh3_128_digest(" ".join(WORD.findall(text.lower())).encode())


class DedupIndex:
    """Everything ever kept, on disk. All writes belong to the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, layout: Layout) -> None:
        self.db = db
        self.layout = layout
        db.executescript(SCHEMA)

    def clear(self) -> None:
        for table in ("exact", "signatures", "bands"):
            self.db.execute(f"DELETE FROM {table}")

    def exact(self, of: bytes) -> int | None:
        row = self.db.execute("SELECT seq FROM exact WHERE hash = ?", (of,)).fetchone()
        return None if row is None else int(row[0])

    def candidates(self, keys: list[int]) -> list[tuple[int, Signature]]:
        """Documents that share a band, oldest first, with their signatures."""
        marks = ",".join("?" * len(keys))
        rows = self.db.execute(
            f"SELECT seq, signature FROM signatures WHERE seq IN (SELECT seq FROM bands WHERE key IN ({marks})) "
            "ORDER BY seq",
            keys,
        )
        return [(row[0], np.frombuffer(row[1], dtype="<u4")) for row in rows]

    def text(self, seq: int) -> str:
        path: str = self.db.execute("SELECT path FROM documents WHERE seq = ?", (seq,)).fetchone()[0]
        return read_cleaned(self.layout, path)

    def add(self, seq: int, exact: bytes, of: Signature, keys: list[int]) -> None:
        self.db.execute("INSERT OR REPLACE INTO exact VALUES (?, ?)", (exact, seq))
        self.db.execute("INSERT OR REPLACE INTO signatures VALUES (?, ?)", (seq, of.astype("<u4").tobytes()))
        self.db.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", [(key, seq) for key in keys])


def dedup(document: Cleaned, index: DedupIndex, min_jaccard: float) -> Cleaned | Dropped:
    """Compare a document with all that were kept before it; one that stays is written below `cleaned/`.

    Call it in ledger order, inside the transaction that also settles the verdicts.
    """
    exact = exact_hash(document.text)
    same = index.exact(exact)
    if same is not None:
        return Dropped("dedup", "duplicate_exact", f"of document {same}")
    grams = shingles(document.text)
    mine = signature(grams)
    keys = band_keys(mine)
    for seq, theirs in index.candidates(keys):
        if float(np.mean(mine == theirs)) < min_jaccard - ESTIMATE_MARGIN:
            continue
        similarity = jaccard(grams, shingles(index.text(seq)))
        if similarity >= min_jaccard:
            return Dropped("dedup", "duplicate_near", f"of document {seq}, Jaccard {similarity:.2f}")
    path = index.layout.cleaned / document.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document.text, encoding="utf-8")
    index.add(document.seq, exact, mine, keys)
    return document
