"""Tokenizer, batches and evaluation."""

import inspect
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.data.batches import evaluation_windows, spread
from model.data.tokenizer import (
    END_OF_TEXT,
    END_OF_TEXT_ID,
    LONGEST_WORD,
    encode_documents,
    load_tokenizer,
    token_bytes,
    tokenizer_digest,
    train_tokenizer,
)
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.evaluate import Evaluation, score_windows, summarize

Ids = NDArray[np.uint16]
TEXTS = [inspect.getsource(module) for module in (json, inspect, subprocess)]


def test_the_same_texts_give_the_same_file_in_another_process(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, 700).save(str(tmp_path / "here.json"))
    script = (
        "import inspect, json, subprocess, sys\nfrom model.data.tokenizer import train_tokenizer\n"
        "texts = [inspect.getsource(m) for m in (json, inspect, subprocess)]\n"
        "train_tokenizer(iter(texts), 700).save(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there.json")], check=True, timeout=60)
    assert (tmp_path / "here.json").read_bytes() == (tmp_path / "there.json").read_bytes()
    assert tokenizer_digest(tmp_path / "here.json") == tokenizer_digest(tmp_path / "there.json")


def test_no_text_can_inject_the_special_token(tmp_path: Path) -> None:
    hostile = f"before{END_OF_TEXT}after {END_OF_TEXT}"
    trained = train_tokenizer([*TEXTS, hostile * 50], 700)
    trained.save(str(tmp_path / "tokenizer.json"))
    for tokenizer in (trained, load_tokenizer(tmp_path / "tokenizer.json")):
        (ids,) = encode_documents(tokenizer, [hostile])
        assert ids.dtype == np.uint16 and END_OF_TEXT_ID not in ids
        assert tokenizer.decode(ids.tolist(), skip_special_tokens=False) == hostile


@pytest.mark.parametrize(
    "text", ["", " ", "\r\n\t  x", "naïve 数字123 🙂\u200d", "\x00\x7f", "a" * 5000, "\ufeff e\u0301"]
)
def test_every_text_comes_back_and_its_bytes_are_counted(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 500)
    (ids,) = encode_documents(tokenizer, [text])
    assert tokenizer.decode(ids.tolist()) == text
    assert token_bytes(tokenizer)[ids].sum() == len(text.encode())


def test_a_small_text_gives_a_small_vocabulary_and_a_silly_size_is_refused() -> None:
    assert train_tokenizer(["ab ab"], 4096).get_vocab_size() < 270
    assert token_bytes(train_tokenizer([], 300))[END_OF_TEXT_ID] == 0
    for size in (256, 65536):
        with pytest.raises(ValueError, match="vocab_size"):
            train_tokenizer(TEXTS, size)


def test_a_tokenizer_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("tokens", [0, 1, 2, 16, 17, 18, 100])
def test_evaluation_predicts_each_token_once(tokens: int) -> None:
    windows = evaluation_windows(tokens, 16)
    targets = [start + 1 + i for start, length in windows for i in range(length)]
    assert targets == list(range(1, tokens))
    assert all(0 < length <= 16 for _, length in windows)


def test_the_cap_takes_windows_from_the_whole_text() -> None:
    windows = evaluation_windows(1601, 16)
    assert spread(windows, 10) == windows[::10] and spread(windows, 1000) == windows


def flat_model(vocab_size: int, block_size: int = 16) -> GPT:
    """Gives every id the same probability."""
    model = GPT(GPTConfig(vocab_size, block_size, 1, 1, 1, 8, 8, 8))
    torch.nn.init.zeros_(model.embed_tokens.weight)
    return model


def test_a_uniform_guess_costs_what_it_should_without_the_special_token() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    text, other = "import json\n", "def f(x): return x"
    a, b = encode_documents(tokenizer, [text, other])
    ids = np.concatenate([[0], a, [0], b, [0]]).astype(np.uint16)
    result = evaluate(flat_model(400), ids, token_bytes(tokenizer))
    assert result is not None
    assert result.bytes == len(text) + len(other) and result.tokens == len(a) + len(b)
    expected = math.log2(400) * result.tokens / result.bytes
    assert result.uniform_bits_per_byte == pytest.approx(expected)
    assert result.bits_per_byte == pytest.approx(expected, rel=1e-5)
    assert result.nats_per_token == pytest.approx(math.log(400), rel=1e-5)


def test_slices_and_groups_do_not_change_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(300, 16, 1, 1, 1, 8, 8, 8))
    ids = np.random.default_rng(0).integers(1, 300, 100).astype(np.uint16)
    sizes = np.ones(300, dtype=np.int64)
    windows = evaluation_windows(100, 16)
    whole = score_windows(model, ids, windows, sizes)
    monkeypatch.setattr("model.publishing.evaluate.LOGITS_BYTES", 4 * 300 * 5)
    for window, score in score_windows(model, ids, windows, sizes, tokens_at_once=16).items():
        assert score == pytest.approx(whole[window])
    loss = 0.0
    for start, length in windows:
        row = torch.from_numpy(ids[start : start + length + 1].astype(np.int64))[None]
        loss += model(row[:, :-1], row[:, 1:]).item() * length
    assert sum(nats for nats, _, _ in whole.values()) == pytest.approx(loss, rel=1e-5)


def evaluate(model: GPT, ids: Ids, sizes: NDArray[np.int64]) -> Evaluation | None:
    windows = evaluation_windows(len(ids), model.config.block_size)
    return summarize(score_windows(model, ids, windows, sizes), windows, model.config.vocab_size)


def test_a_run_without_a_break_is_cut_for_training_alone() -> None:
    """Incident: one text of 90,000 characters without a break kept the trainer busy for minutes."""
    run = "a" * 90_000
    tokenizer, plain = train_tokenizer([*TEXTS, run], 400), train_tokenizer(TEXTS, 400)
    assert 128 < token_bytes(tokenizer).max() <= LONGEST_WORD  # uncut it learns a token of 65,536 bytes
    (ids,) = encode_documents(tokenizer, [run])
    assert tokenizer.decode(ids.tolist()) == run
    assert json.loads(tokenizer.to_str())["pre_tokenizer"] == json.loads(plain.to_str())["pre_tokenizer"]


def test_too_little_text_gives_no_evaluation() -> None:
    sizes = np.ones(300, dtype=np.int64)
    assert evaluate(flat_model(300), np.zeros(0, np.uint16), sizes) is None
    assert evaluate(flat_model(300), np.zeros(1, np.uint16), sizes) is None
