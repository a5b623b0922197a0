"""How many near copies are found, and how many documents are lost that are none, by true similarity.

    python -m benchmarks.near_copies --output benchmarks/results/near_copies.json

Originals of 80 to 400 words, each followed by a copy with some of its words replaced; the real index and verdicts, the
true Jaccard similarity over word 3-grams of each pair. Then the same with the pages of one template.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.result import circumstances, write_result
from benchmarks.texts import edited, page_of_template, prose
from tasks.contracts.paths import find_data_directory
from tasks.contracts.records import Cleaned, Dropped
from tasks.dedup.minhash import jaccard, shingles
from tasks.dedup.signature_index import SignatureIndex
from tasks.dedup.stage import Distinct, dedup
from tasks.raw.catalog import Catalog
from tasks.storage.state_db import open_state, transaction

Json = dict[str, Any]
CLASSES = ((0.8, 1.01), (0.7, 0.8), (0.5, 0.7), (0.0, 0.5))
WORDS = (80, 400)
BATCH = 500


class _Index(SignatureIndex):
    """Reads the texts from memory."""

    texts: list[str]

    def kept_text(self, seq: int) -> str:
        return self.texts[seq]


def verdicts_on(texts: list[str]) -> list[bool]:
    """For each text whether it was dropped as a copy of one before it."""
    dropped: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        layout = find_data_directory(folder)
        db = open_state(layout.database)
        index = _Index(Catalog(layout, db), layout)
        index.texts = texts
        for first in range(0, len(texts), BATCH):
            batch = [Cleaned(seq, "", text, "en") for seq, text in enumerate(texts[first : first + BATCH], first)]
            verdicts = dedup(batch, index, 0.7)
            kept = [verdict for verdict in verdicts if isinstance(verdict, Distinct)]
            with transaction(db):
                index.append([one.document.seq for one in kept], [one.signature for one in kept])
            dropped += [isinstance(verdict, Dropped) for verdict in verdicts]
        db.close()
    return dropped


def pairs(number: int) -> list[Json]:
    """Similarity classes with how many pairs there were and how many copies were found."""
    generator = random.Random(1)
    originals = [prose(seed, generator.randint(*WORDS)) for seed in range(number)]
    copies = [edited(text, generator.uniform(0.0, 0.25), seed) for seed, text in enumerate(originals)]
    similarities = [similarity(a, b) for a, b in zip(originals, copies, strict=True)]
    dropped = verdicts_on(originals + copies)[number:]
    rows = []
    for low, high in CLASSES:
        inside = [found for found, j in zip(dropped, similarities, strict=True) if low <= j < high]
        rows.append({"jaccard": [low, min(high, 1.0)], "pairs": len(inside), "dropped": sum(inside)})
    return rows


def similarity(a: str, b: str) -> float:
    return jaccard(shingles(a), shingles(b))


def template(number: int) -> Json:
    pages = [page_of_template(0, seed, 150) for seed in range(number)]
    start = time.process_time()
    dropped = sum(verdicts_on(pages))
    return {"pages": number, "dropped": dropped, "cpu_s": round(time.process_time() - start, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_copies")
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = circumstances(f"python -m benchmarks.near_copies --pairs {arguments.pairs}", ("numpy", "xxhash"))
    result |= {"pairs": pairs(arguments.pairs), "one_template": [template(n) for n in (2500, 5000, 10_000)]}
    write_result(result, arguments.output)


if __name__ == "__main__":
    main()
