"""The published model as GGUF: read back with gguf's own reader, and run by llama.cpp itself against our network."""

import inspect
import json
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from model.contracts.published_folder import CARD
from model.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, encode_documents, load_tokenizer, train_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.hf_export import load_published, publish
from tasks.contracts.errors import DataDirectoryError
from tasks.export.gguf import export_gguf
from tests.support.llama_cpp import complete, llama_cpp

TEXT = inspect.getsource(subprocess)
HOSTILE = [
    f"a{END_OF_TEXT}b",
    "  two\n\n\tthree  ",
    "na\u00efve \u6570\u5b57\uff11\uff123 \U0001f642\u200d\r\n",
    "don't WE'LL 12345",
    "\ufeffe\u0301",
    TEXT,
]
# Nothing that llama.cpp would guess right: heads narrower than width / heads, another rotary base, grouped queries.
SHAPE: dict[str, Any] = {"n_layer": 3, "n_head": 4, "n_kv_head": 2, "n_embd": 96, "head_dim": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_model(tmp_path_factory.mktemp("model"), intermediate_size=160)


def published_model(directory: Path, **shape: Any) -> Path:
    tokenizer = train_tokenizer([TEXT], 600)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = GPTConfig(tokenizer.get_vocab_size(), 64, **(SHAPE | shape), rope_theta=5000.0)
    torch.manual_seed(0)
    model = GPT(config)
    for parameter in model.parameters():  # the zeroed projections would hide attention
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    publish(directory / "models", 7, config, dict(model.state_dict()), directory / "tokenizer.json", {})
    return directory / "models" / "latest"


def contents(path: Path) -> tuple[dict[str, Any], dict[str, gguf.ReaderTensor]]:
    reader = gguf.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items()}, {t.name: t for t in reader.tensors}


def test_every_key_and_every_tensor_is_the_published_one(folder: Path, tmp_path: Path) -> None:
    keys, tensors = contents(export_gguf(folder, tmp_path / "model.gguf"))
    expected = {
        "general.architecture": "qwen3",
        "general.file_type": 0,
        "qwen3.vocab_size": 600,
        "qwen3.context_length": 64,
        "qwen3.embedding_length": 96,
        "qwen3.feed_forward_length": 160,
        "qwen3.block_count": 3,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 16,
        "qwen3.attention.value_length": 16,
        "qwen3.rope.freq_base": 5000.0,
        "qwen3.rope.dimension_count": 16,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.bos_token_id": END_OF_TEXT_ID,
        "tokenizer.ggml.eos_token_id": END_OF_TEXT_ID,
        "tokenizer.ggml.padding_token_id": END_OF_TEXT_ID,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.token_type": [3] + [1] * 599,
    }
    assert {name: keys[name] for name in expected} == expected
    assert keys["qwen3.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    assert keys["tokenizer.ggml.tokens"] == [tokenizer.id_to_token(i) for i in range(600)]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    assert [tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]] == [tuple(pair) for pair in merges]

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 3)
    published = load_file(folder / "model.safetensors")
    assert "output.weight" not in tensors and len(tensors) == len(published)
    for name, value in published.items():
        stored = tensors[str(names.get_name(name, try_suffixes=(".weight",)))]
        assert stored.tensor_type == gguf.GGMLQuantizationType.F32
        np.testing.assert_array_equal(stored.data.reshape(value.shape), value)


@pytest.mark.parametrize(("kind", "step"), [("f16", 2e-3), ("bf16", 8e-3), ("q8_0", 2e-2)])
def test_smaller_kinds_round_the_matrices_and_leave_the_norms(
    folder: Path, tmp_path: Path, kind: str, step: float
) -> None:
    keys, tensors = contents(export_gguf(folder, tmp_path / "model.gguf", kind))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 3)
    assert keys["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"]
    for name, value in load_file(folder / "model.safetensors").items():
        stored = tensors[str(names.get_name(name, try_suffixes=(".weight",)))]
        assert stored.tensor_type.name == ("F32" if value.ndim == 1 else kind.upper())
        back = gguf.dequantize(stored.data, stored.tensor_type).reshape(value.shape)
        assert np.abs(back - value).max() <= step * np.abs(value).max()


def test_a_row_that_no_block_of_32_fits_stays_f16(tmp_path: Path) -> None:
    folder = published_model(tmp_path, n_embd=80, intermediate_size=96)
    _, tensors = contents(export_gguf(folder, tmp_path / "model.gguf", "q8_0"))
    assert tensors["blk.0.ffn_up.weight"].tensor_type.name == "F16"  # rows of 80
    assert tensors["blk.0.ffn_down.weight"].tensor_type.name == "Q8_0"  # rows of 96


def test_what_a_model_should_not_know_goes_with_it(tmp_path: Path) -> None:
    folder = published_model(tmp_path, intermediate_size=160)
    (folder / CARD).write_text("# A model that knows more than it should")
    keys, _ = contents(export_gguf(folder, tmp_path / "model.gguf"))
    assert keys["general.description"] == "# A model that knows more than it should"


def test_nothing_is_overwritten_and_nothing_half_written_stays(folder: Path, tmp_path: Path) -> None:
    target = export_gguf(folder, tmp_path / "model.gguf")
    before = target.read_bytes()
    with pytest.raises(DataDirectoryError, match="give another name"):
        export_gguf(folder, target, "f16")
    assert target.read_bytes() == before
    (tmp_path / "broken").mkdir()
    broken = published_model(tmp_path / "broken", intermediate_size=160)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataDirectoryError, match="could not be exported"):
        export_gguf(broken, tmp_path / "other.gguf")
    assert [path.name for path in tmp_path.glob("*.gguf*")] == ["model.gguf"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("kind", "tolerance"), [("f32", 1e-4), ("f16", 0.05), ("q8_0", 1.0)])
def test_llama_cpp_gives_our_ids_and_our_logits(folder: Path, tmp_path: Path, kind: str, tolerance: float) -> None:
    tokenizer, model = load_tokenizer(folder / "tokenizer.json"), load_published(folder)
    with llama_cpp(export_gguf(folder, tmp_path / "model.gguf", kind)) as server:
        for text in HOSTILE:
            question = {"content": text, "add_special": True, "parse_special": False}
            begin, *ids = server.post("/tokenize", json=question).json()["tokens"]
            assert begin == END_OF_TEXT_ID and ids == encode_documents(tokenizer, [text])[0].tolist()
            assert server.post("/detokenize", json={"tokens": ids}).json()["content"] == text

        prompt = encode_documents(tokenizer, [TEXT])[0][:40].tolist()
        theirs = complete(server, prompt, n_predict=1, n_probs=600)["completion_probabilities"][0]["top_logprobs"]
        ours = next_logprobs(model, prompt)
        assert len(theirs) == 600 and float(ours.std()) > 0.5  # every id, and not a comparison of zeros
        assert max(abs(one["logprob"] - float(ours[one["id"]])) for one in theirs) < tolerance


@torch.no_grad()
def next_logprobs(model: GPT, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = model(torch.tensor([ids]))[0, -1]
    return logits.log_softmax(-1)
