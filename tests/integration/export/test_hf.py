"""What only whole libraries can show: Hugging Face opens a published folder as the same model (DESIGN section 7), and
a compiled network repeats itself (P5)."""

import hashlib
import inspect
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.contracts.job import TrainJob
from model.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, encode_documents, train_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT, compiled_loss
from model.publishing.hf_export import load_published, publish
from model.training.compiler import has_compiler
from model.training.numerics import choose

HOSTILE = [
    f"a{END_OF_TEXT}b",
    "  two\n\n\tthree  ",
    "naïve 数字\uff11\uff123 🙂\u200d\r\n",
    "don't WE'LL 12345",
    "\x00\ufeffe\u0301",
]


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_hugging_face_gives_our_ids_and_logits(tmp_path: Path, kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    text = inspect.getsource(subprocess)
    tokenizer = train_tokenizer([text], 600)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = GPTConfig(tokenizer.get_vocab_size(), 64, 3, 4, kv_heads, 48, 16, 80, rope_theta=5000.0)
    torch.manual_seed(0)
    model = GPT(config)
    for parameter in model.parameters():  # the zeroed projections would hide attention
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    folder = publish(tmp_path / "models", 7, config, dict(model.state_dict()), tmp_path / "tokenizer.json", {})
    assert "lm_head" not in (folder / "model.safetensors").read_bytes()[:20000].decode("latin-1")

    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "models" / "latest"))
    assert type(theirs).__name__ == "Qwen3ForCausalLM" and theirs.dtype == torch.float32
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    for hostile in [text, *HOSTILE]:
        (ours,) = encode_documents(tokenizer, [hostile])
        bare = their_tokenizer(hostile, split_special_tokens=True, add_special_tokens=False)
        assert bare["input_ids"] == ours.tolist()
        assert their_tokenizer(hostile, split_special_tokens=True)["input_ids"] == [END_OF_TEXT_ID, *ours.tolist()]
        assert their_tokenizer.decode(ours.tolist(), skip_special_tokens=False) == hostile
    assert their_tokenizer.eos_token_id == 0 and theirs.generation_config.eos_token_id == 0

    (ids,) = encode_documents(tokenizer, [text])
    idx = torch.from_numpy(ids[:128].astype("int64")).view(2, 64)
    with torch.no_grad():
        expected = theirs(idx).logits
        torch.testing.assert_close(model(idx), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(load_published(folder)(idx), expected, atol=1e-4, rtol=0)
        assert float(expected.std()) > 0.5  # not a comparison of zeros
        generated = theirs.generate(idx[:1, :8], max_new_tokens=4, do_sample=False)
    assert generated.shape[1] <= 12
    assert json.loads((folder / "miniature_memory.json").read_text())["step"] == 7


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_a_compiled_gradient_is_the_same_each_time(tmp_path: Path) -> None:
    """Incident: inductor added up the embedding's gradient from two threads, in the order in which they came."""
    job = TrainJob(
        processed_dir=tmp_path, checkpoints_dir=tmp_path, models_dir=tmp_path, tokenizer_path=tmp_path,
        tokenizer_provisional=True, generation="g", train_tokens=1000, val_tokens=0, threads=2, dtype="float32",
        n_layer=1, n_embd=64,
    )  # fmt: skip
    config = GPTConfig(**job.shape(1024))
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        choose(job, config, None, None)
        torch.manual_seed(0)
        model = GPT(config)
        compiled = compiled_loss(model)
        idx = torch.randint(20, (16, 257))  # few ids, each many times
        seen = set()
        for _ in range(6):
            model.zero_grad()
            compiled(idx[:, :-1], idx[:, 1:]).backward()  # type: ignore[no-untyped-call]  # untyped in torch
            assert model.embed_tokens.weight.grad is not None
            seen.add(hashlib.sha256(model.embed_tokens.weight.grad.numpy().tobytes()).hexdigest())
        assert len(seen) == 1
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
@pytest.mark.parametrize("n_kv_head", [4, 2])
def test_the_compiled_loss_and_gradient_are_the_network_s_own(n_kv_head: int) -> None:
    torch.manual_seed(0)
    config = GPTConfig(65, block_size=256, n_layer=2, n_head=4, n_kv_head=n_kv_head, n_embd=64, head_dim=16)
    model = GPT(config)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)  # no projection is zero any more
    idx, targets = torch.randint(65, (2, 9, 256)).unbind()

    def gradients(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> tuple[float, Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            value = loss(idx, targets)
        value.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return value.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    own, exact = gradients(model, torch.float32)
    compiled = compiled_loss(model)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.03)):
        value, found = gradients(compiled, dtype)
        assert abs(value - own) < tolerance
        assert (found - exact).norm() < tolerance * exact.norm()
