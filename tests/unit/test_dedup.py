from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus import Corpus
from tasks.dedup import DedupIndex, band_keys, dedup, jaccard, shingles, signature
from tasks.layout import find_data_directory
from tasks.records import Cleaned, Dropped
from tasks.state import open_state, transaction
from tests.corpora import WORDS, document, prose


def edited(text: str, share: float, seed: int) -> str:
    """The text with a share of its words replaced."""
    generator = random.Random(seed)
    words = text.split(" ")
    for i in generator.sample(range(len(words)), int(share * len(words))):
        words[i] = generator.choice(WORDS) + "x"
    return " ".join(words)


@pytest.fixture
def index(tmp_path: Path) -> DedupIndex:
    layout = find_data_directory(tmp_path / "data")
    db = open_state(layout.database)
    corpus = Corpus(layout, db)
    corpus.ledger().append([document(i) for i in range(100)], 0.0)
    corpus.index_new()
    return DedupIndex(db, layout)


def compare(index: DedupIndex, texts: list[str], first: int = 0) -> list[str]:
    paths = {row["seq"]: row["path"] for row in index.db.execute("SELECT seq, path FROM documents")}
    batch = [Cleaned(seq, paths[seq], "site.example", text) for seq, text in enumerate(texts, first)]
    with transaction(index.db):
        verdicts = [dedup(one, index, 0.7) for one in batch]
    return [verdict.reason if isinstance(verdict, Dropped) else "kept" for verdict in verdicts]


def test_signatures_never_change() -> None:
    # Frozen values: a library or a change that alters them would make every stored signature worthless.
    of = signature(shingles("the quick brown fox jumps over the lazy dog"))
    assert of[:4].tolist() == [462260820, 88295896, 455491743, 77317920]
    assert band_keys(of)[0] == -5941758452586089268


def test_the_estimate_follows_the_true_similarity() -> None:
    errors = []
    for seed in range(60):
        text = prose(seed)
        a, b = shingles(text), shingles(edited(text, 0.02 + 0.2 * seed / 60, seed))
        errors.append(float(np.mean(signature(a) == signature(b))) - jaccard(a, b))
    assert abs(np.mean(errors)) < 0.02
    assert np.max(np.abs(errors)) < 0.16


def test_the_same_words_are_an_exact_duplicate_and_the_first_stays(index: DedupIndex) -> None:
    text = prose(1)
    assert compare(index, [text, text.upper().replace("\n\n", " "), prose(2)]) == ["kept", "duplicate_exact", "kept"]


def test_near_copies_are_found_across_batches_and_different_texts_stay(index: DedupIndex) -> None:
    originals = [prose(seed) for seed in range(40)]
    assert compare(index, originals) == ["kept"] * 40
    copies = [edited(text, 0.04, seed) for seed, text in enumerate(originals)]
    assert compare(index, copies, first=40) == ["duplicate_near"] * 40


def test_a_template_with_its_own_content_is_no_copy(index: DedupIndex) -> None:
    template = prose(99, words=120)
    assert compare(index, [template + prose(seed, words=150) for seed in range(30)]) == ["kept"] * 30


def test_very_short_texts_are_compared_too(index: DedupIndex) -> None:
    assert compare(index, ["one", "One!", "two words", ""]) == ["kept", "duplicate_exact", "kept", "kept"]
