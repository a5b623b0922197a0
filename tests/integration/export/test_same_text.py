"""One published model, four ways to let it write: `sample`, the network without a cache, transformers and llama.cpp.

Incident: the exports put no begin-of-text token before a prompt, though every document in training has one. From a
prompt of a few tokens they wrote other, worse text than `sample` did.
"""

import inspect
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.tokenizer import END_OF_TEXT_ID, load_tokenizer, train_tokenizer
from model.network.config import GPTConfig
from model.network.decoder import context_start
from model.network.gpt import GPT
from model.publishing.hf_export import load_published, publish
from model.publishing.sample import Sampling, load_decoder, sample
from tasks.export.gguf import export_gguf
from tests.support.llama_cpp import complete, llama_cpp

BLOCK, TOKENS = 160, 100
SOURCE = inspect.getsource(subprocess)
PROMPTS = [
    *("The ", "a", "\n", " ", "def ", "1984", "It's", "\u00fc", "\U0001f642", "WE'LL see..."),
    *(SOURCE[start : start + 20 + start // 200] for start in range(0, 5000, 500)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([SOURCE], 600)
    tokenizer.save(str(directory / "tokenizer.json"))
    shape: dict[str, Any] = {"n_layer": 3, "n_head": 4, "n_kv_head": 2, "n_embd": 96, "head_dim": 16}
    config = GPTConfig(tokenizer.get_vocab_size(), BLOCK, **shape, intermediate_size=160, rope_theta=5000.0)
    torch.manual_seed(0)
    model = GPT(config)
    for parameter in model.parameters():  # the zeroed projections would hide attention
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    with torch.no_grad():
        model.embed_tokens.weight[END_OF_TEXT_ID] *= 0.1  # seldom the likeliest: the texts shall be long
    publish(directory / "models", 7, config, dict(model.state_dict()), directory / "tokenizer.json", {})
    return directory / "models" / "latest"


@pytest.fixture(scope="module")
def sampled(folder: Path) -> list[str]:
    tokenizer, how = load_tokenizer(folder / "tokenizer.json"), Sampling(TOKENS, temperature=0)
    texts = ["".join(sample(load_decoder(folder), tokenizer, prompt, how)) for prompt in PROMPTS]
    assert len(PROMPTS) == 20 and len({len(text) for text in texts}) > 10  # not twenty times the same
    return texts


def test_what_is_published_begins_a_text_as_training_does(folder: Path) -> None:
    published, own = load_tokenizer(folder / "tokenizer.json"), load_tokenizer(folder.parents[1] / "tokenizer.json")
    for prompt in PROMPTS:
        bare = own.encode(prompt).ids
        assert published.encode(prompt, add_special_tokens=False).ids == bare
        assert published.encode(prompt).ids == [END_OF_TEXT_ID, *bare]
    assert published.get_vocab() == own.get_vocab()


def test_transformers_writes_what_sample_writes_alone_and_in_batches(
    folder: Path, sampled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))

    def written(prompts: list[str]) -> list[str]:
        inputs = tokenizer(prompts, return_tensors="pt", padding=True)
        ids = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts

    for prompt, text in list(zip(PROMPTS, sampled, strict=True))[:5]:
        assert written([prompt]) == [text], prompt
    assert written(PROMPTS) == sampled


def test_llama_cpp_writes_what_sample_writes(folder: Path, sampled: list[str], tmp_path: Path) -> None:
    with llama_cpp(export_gguf(folder, tmp_path / "model.gguf")) as server:
        for prompt, text in zip(PROMPTS, sampled, strict=True):
            assert prompt + complete(server, prompt, n_predict=TOKENS)["content"] == text, prompt


def test_past_the_block_all_cut_the_context_alike(folder: Path, tmp_path: Path) -> None:
    """llama.cpp has another rule: whoever serves with it gives it what `context_start` leaves."""
    decoder, network, ids = load_decoder(folder), load_published(folder), [END_OF_TEXT_ID]
    with llama_cpp(export_gguf(folder, tmp_path / "model.gguf")) as server:
        while len(ids) < 3 * BLOCK:
            context = ids[context_start(len(ids), BLOCK) :]
            following = [int(decoder.logits(ids).argmax())]
            while len(context) + len(following) < BLOCK:
                following.append(int(decoder.logits(ids + following).argmax()))
            assert following == greedy(network, context, len(following))
            if len(context) < BLOCK:  # at one that is full, llama.cpp has no room for an answer
                answer = complete(server, context, n_predict=len(following))
                assert answer["tokens"] == following
            ids += following


@torch.no_grad()
def greedy(network: GPT, ids: list[int], number: int) -> list[int]:
    written: list[int] = []
    for _ in range(number):
        written.append(int(network(torch.tensor([ids + written]))[0, -1].argmax()))
    return written
