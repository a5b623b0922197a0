from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from model.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, encode_documents, train_tokenizer
from tasks.tokenize.encoder import Encoder
from tests.support.corpora import prose

ALPHABET = "ab Z'sStT019 \t\n\r.,-_\u00e9\u65e5\u200d\U0001f600\u0391\u03a3\u00df\x00\ufffd<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([prose(seed) for seed in range(30)], 500)


@pytest.fixture(scope="module")
def path(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(tokenizer.to_str())
    return path


def assert_same_ids(path: Path, tokenizer: Tokenizer, texts: list[str]) -> None:
    for ours, theirs in zip(Encoder(path).encode(texts), encode_documents(tokenizer, texts), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_ids_are_the_frozen_tokenizers(path: Path, tokenizer: Tokenizer) -> None:
    generator = random.Random(0)
    hostile = ["".join(generator.choices(ALPHABET, k=generator.randint(0, 60))) for _ in range(3000)]
    assert_same_ids(path, tokenizer, [*hostile, *(prose(seed) for seed in range(20)), ""])


@pytest.mark.parametrize("text", [" " * 400_000 + "x", "\n" * 200_000, "a" * 200_000, "= " * 100_000, " \t" * 100_000])
def test_endless_runs_are_encoded_too(path: Path, tokenizer: Tokenizer, text: str) -> None:
    assert_same_ids(path, tokenizer, ["before", text, "after"])


def test_a_literal_special_token_stays_plain_text(path: Path) -> None:
    (ids,) = Encoder(path).encode([f"one {END_OF_TEXT} two"])
    assert END_OF_TEXT_ID not in ids


def test_a_tokenizer_that_splits_otherwise_is_refused(path: Path, tmp_path: Path) -> None:
    other = Tokenizer.from_file(str(path))
    other.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    (tmp_path / "tokenizer.json").write_text(other.to_str())
    with pytest.raises(ValueError, match="does not split text as this version does"):
        Encoder(tmp_path / "tokenizer.json")
