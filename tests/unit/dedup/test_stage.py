from __future__ import annotations

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.records import Cleaned, Dropped
from tasks.dedup.minhash import bands_of, estimate, jaccard, shingles, sign, signature_of, values_of
from tasks.dedup.signature_index import SignatureIndex
from tasks.dedup.stage import Distinct, dedup
from tasks.dedup.words import words_only
from tasks.raw.catalog import Catalog
from tasks.storage.state_db import open_state, transaction
from tests.support.corpora import WORDS, prose


def edited(text: str, share: float, seed: int) -> str:
    """The text with a share of its words replaced."""
    generator = random.Random(seed)
    words = text.split(" ")
    for i in generator.sample(range(len(words)), int(share * len(words))):
        words[i] = generator.choice(WORDS) + "x"
    return " ".join(words)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


class Compared(SignatureIndex):
    """An index that remembers the texts it has seen."""

    def __init__(self, layout: Layout) -> None:
        self.db = open_state(layout.database)
        super().__init__(Catalog(layout, self.db), layout)
        self.texts: dict[int, str] = {}

    def kept_text(self, seq: int) -> str:
        return self.texts[seq]

    def settle(self, texts: list[str]) -> list[str]:
        """The verdicts on one batch."""
        first = len(self.texts)
        self.texts |= dict(enumerate(texts, first))
        batch = [Cleaned(seq, "", text, "en") for seq, text in list(self.texts.items())[first:]]
        verdicts = dedup(batch, self, 0.7)
        kept = [verdict for verdict in verdicts if isinstance(verdict, Distinct)]
        with transaction(self.db):
            self.append([one.document.seq for one in kept], [one.signature for one in kept])
        return [verdict.reason if isinstance(verdict, Dropped) else "kept" for verdict in verdicts]


@pytest.fixture
def compared(layout: Layout) -> Compared:
    return Compared(layout)


@pytest.mark.parametrize(
    "text",
    [
        "It's 1_2 o\u2019clock",
        "x\u2122y \xb0C 3\xd74 \xab\xe9t\xe9\xbb",
        "a\x1cb\x85c",
        "ÉTÉ d'été ΣΑΣ",
        "",
        "x" * 9,
        "a-b/c\td",
    ],
)
def test_words_are_the_same_with_and_without_the_regular_expression(text: str) -> None:
    assert words_only(text).decode().split() == re.findall(r"\w+", text.lower())


def test_words_of_scripts_without_spaces_are_characters_with_their_marks() -> None:
    assert words_only("日本語、ขึ้น! ÉTÉ").decode().split() == ["日", "本", "語", "ขึ้", "น", "été"]


@pytest.mark.parametrize("letters", ["灯塔管理员每天傍晚爬上一百零九级台阶修剪芯", "กขคงจฉชซดตถทนบปผพมยรลวสห"])
def test_an_edited_copy_without_spaces_is_a_near_copy(compared: Compared, letters: str) -> None:
    """A sentence was a word before, so that one new character in each made another document of it."""
    generator = random.Random(1)
    sentences = ["".join(generator.choices(letters, k=30)) for _ in range(40)]
    copy = [sentence[:15] + "x" + sentence[16:] for sentence in sentences]
    assert compared.settle(["\n".join(sentences), "\n".join(copy)]) == ["kept", "duplicate_near"]


def test_signatures_never_change() -> None:
    # Frozen values: a library or a change that alters them would make every stored signature worthless.
    of = signature_of("the quick brown fox jumps over the lazy dog")
    assert bands_of([of])[0, :4].tolist() == [4205374917, 4044865722, 566329766, 1604140873]
    assert list(of.values[:4]) == [224, 120, 187, 111]


def test_equal_words_have_equal_hashes_wherever_they_stand() -> None:
    assert len(shingles("one two three " * 40)) == 3
    assert np.array_equal(shingles("gr\u00fcn \u65e5\u672c, ok"), shingles("\u2014GR\u00dcN \u65e5\u672c\u3002OK\n"))
    distinct = [shingles(word) for word in ("a", "b", "ab", "ba", "a b", "b a", "aa", "aaa", "a_", "a1", "")]
    assert len({int(grams[0]) for grams in distinct}) == len(distinct)


def test_the_estimate_follows_the_true_similarity() -> None:
    errors = []
    for seed in range(60):
        text = prose(seed)
        a, b = shingles(text), shingles(edited(text, 0.02 + 0.2 * seed / 60, seed))
        errors.append(estimate(values_of([sign(a)])[0], values_of([sign(b)]))[0] - jaccard(a, b))
    assert abs(np.mean(errors)) < 0.02
    assert np.max(np.abs(errors)) < 0.16


@pytest.mark.parametrize(("similarity", "found"), [(0.7, 0.98), (0.8, 0.999)])
def test_documents_so_similar_share_a_band(similarity: float, found: float) -> None:
    generator = np.random.default_rng(0)
    pairs = 400
    shared = 0
    for _ in range(pairs):
        size = int(generator.integers(80, 400))
        common = math.ceil(2 * size * similarity / (1 + similarity))
        pool = generator.integers(0, 2**64, 2 * size - common, dtype=np.uint64)
        a, b = sign(np.sort(pool[:size])), sign(np.sort(pool[size - common :]))
        shared += bool((bands_of([a]) == bands_of([b])).any())
    assert shared >= found * pairs


def test_the_same_words_are_an_exact_duplicate_and_the_first_stays(compared: Compared) -> None:
    text = prose(1)
    assert compared.settle([text, text.upper().replace("\n\n", " "), prose(2)]) == ["kept", "duplicate_exact", "kept"]


def test_near_copies_are_found_across_batches_and_different_texts_stay(compared: Compared) -> None:
    originals = [prose(seed) for seed in range(40)]
    assert compared.settle(originals) == ["kept"] * 40
    copies = [edited(text, 0.04, seed) for seed, text in enumerate(originals)]
    assert compared.settle(copies) == ["duplicate_near"] * 40


def test_a_template_with_its_own_content_is_no_copy(compared: Compared) -> None:
    template = prose(99, words=120)
    assert compared.settle([template + prose(seed, words=150) for seed in range(30)]) == ["kept"] * 30


def test_very_short_texts_are_compared_too(compared: Compared) -> None:
    assert compared.settle(["one", "One!", "two words", ""]) == ["kept", "duplicate_exact", "kept", "kept"]


def test_rows_that_were_written_and_not_committed_do_not_count(compared: Compared) -> None:
    texts = [prose(seed) for seed in range(6)]
    assert compared.settle(texts[:2]) == ["kept"] * 2
    compared.db.execute("BEGIN")
    compared.append([77], [signature_of(texts[2])])
    compared.db.execute("ROLLBACK")
    assert compared.settle(texts[2:]) == ["kept"] * 4
    assert compared.settle(texts) == ["duplicate_exact"] * 6


def test_a_file_of_the_index_that_is_cut_short_is_noticed(compared: Compared) -> None:
    compared.settle([prose(seed) for seed in range(3)])
    assert compared.is_whole()
    path = compared.folder / "bands.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert not compared.is_whole()


def test_a_large_site_of_one_template_loses_nothing(compared: Compared) -> None:
    template = prose(99, words=100)
    pages = [template + prose(seed, words=100) for seed in range(150)]
    assert compared.settle(pages[:100]) + compared.settle(pages[100:]) == ["kept"] * 150
