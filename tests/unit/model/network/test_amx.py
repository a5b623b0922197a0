"""What runs on AMX is what PyTorch computes, whatever the sizes, the threads and the numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.network import amx
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.training.compiler import has_compiler
from model.training.optimizer import COEFFICIENTS, MOMENTUM, MuonAdamW, newton_schulz

BF16 = torch.bfloat16
needs_amx = pytest.mark.skipif(not has_compiler() or amx.library() is None, reason="no AMX: nothing of it runs here")


def error(value: Tensor, truth: Tensor) -> float:
    value, truth = value.detach().double(), truth.detach().double()
    return float((value - truth).norm() / truth.norm())


def with_threads(n: int, compute: Callable[[], Any]) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return compute()
    finally:
        torch.set_num_threads(before)


@needs_amx
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(32, 32, 32), (96, 64, 160), (256, 544, 32), (1312, 96, 1056), (4096, 384, 64)]
)
def test_the_gradient_of_weights(rows: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(rows)
    x, grad = torch.randn(rows, inputs).to(BF16), torch.randn(rows, outputs).to(BF16)
    found = amx.weight_gradient(x, grad)
    assert found.dtype == torch.float32
    assert error(found, grad.double().T @ x.double()) < 1e-6  # sums in fp32 of exact products
    for threads in (1, 3, 64):  # more than there are blocks, too
        assert torch.equal(with_threads(threads, lambda: amx.weight_gradient(x, grad)), found)


def heads(B: int, T: int, H: int, G: int, D: int, size: float = 1.0) -> list[Tensor]:
    torch.manual_seed(T)
    shapes = ((B, T, H, D), (B, T, G, D), (B, T, G, D), (B, T, H, D))
    return [(torch.randn(shape) * scale).to(BF16) for shape, scale in zip(shapes, (size, size, 1, 1), strict=True)]


@needs_amx
@pytest.mark.parametrize(
    ("B", "T", "H", "G", "D", "size"),
    [
        (2, 256, 4, 4, 64, 1.0),
        (1, 32, 1, 1, 32, 1.0),
        (3, 96, 4, 2, 32, 1.0),
        (1, 544, 2, 1, 96, 1.0),
        (1, 128, 2, 2, 128, 1.0),
        (2, 128, 2, 2, 64, 6.0),  # nearly one-hot rows
    ],
)
def test_attention_and_its_gradient(B: int, T: int, H: int, G: int, D: int, size: float) -> None:
    q, k, v, grad = heads(B, T, H, G, D, size)
    exact = [x.double().transpose(1, 2).requires_grad_() for x in (q, k, v)]
    eq, ek, ev = exact
    truth = F.scaled_dot_product_attention(eq, ek, ev, is_causal=True, enable_gqa=True)
    truths = torch.autograd.grad(truth, exact, grad.double().transpose(1, 2))
    out, logs = amx.attention(q, k, v)
    found = amx.attention_gradient(q, k, v, out, logs, grad)
    assert error(out.transpose(1, 2), truth) < 0.005  # bf16 keeps 8 bits
    assert all(error(x.transpose(1, 2), t) < 0.01 for x, t in zip(found, truths, strict=True))
    again = with_threads(3, lambda: amx.attention_gradient(q, k, v, *amx.attention(q, k, v), grad))
    assert all(torch.equal(x, y) for x, y in zip(found, again, strict=True))


@needs_amx
def test_attention_of_huge_scores_is_finite_and_of_nan_is_nan() -> None:
    q, k, v, grad = heads(1, 64, 1, 1, 32, 300.0)
    out, logs = amx.attention(q, k, v)
    assert out.isfinite().all() and all(x.isfinite().all() for x in amx.attention_gradient(q, k, v, out, logs, grad))
    q[0, 40] = torch.nan
    out, _ = amx.attention(q, k, v)
    assert out[0, 40].isnan().all() and out[0, :40].isfinite().all() and out[0, 41:].isfinite().all()


@needs_amx
def test_no_position_sees_the_future() -> None:
    q, k, v, grad = heads(1, 128, 2, 2, 32)
    out, _ = amx.attention(q, k, v)
    k[0, 70:], v[0, 70:] = 5, -5
    assert torch.equal(amx.attention(q, k, v)[0][0, :70], out[0, :70])
    grad[0, 70:] = 0
    _, of_k, of_v = amx.attention_gradient(q, k, v, *amx.attention(q, k, v), grad)
    assert not of_k[0, 70:].any() and not of_v[0, 70:].any() and of_v[0, :70].any()


@needs_amx
def test_swiglu_and_its_gradient() -> None:
    torch.manual_seed(0)
    gate, up, grad = (torch.randn(7, 96).to(BF16) * 4 for _ in range(3))
    gate[0, :6] = torch.tensor([0.0, -0.0, 90.0, -90.0, 3e38, -3e38])
    up[0, 4:6] = grad[0, 4:6] = 0.5
    exact = [x.double().requires_grad_() for x in (gate, up)]
    truth = F.silu(exact[0]) * exact[1]
    truths = torch.autograd.grad(truth, exact, grad.double())
    for found, real in zip((amx.swiglu(gate, up), *amx.swiglu_gradient(gate, up, grad)), (truth, *truths), strict=True):
        torch.testing.assert_close(found.double(), real, rtol=0.005, atol=1e-6)


@needs_amx
@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 64, 160), (2, 160, 64), (1, 32, 32)])
def test_muon_is_the_optimizers_own(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    parameters, gradients, momenta = torch.randn(shape), torch.randn(shape), torch.randn(shape)
    moved = momenta.lerp(gradients, 1 - MOMENTUM)
    update = newton_schulz(gradients.lerp(moved, MOMENTUM), torch.float32)
    before = parameters.clone()
    kept = momenta.clone(), parameters.clone()
    amx.muon([*parameters], [*gradients], momenta, COEFFICIENTS, MOMENTUM, 0.9, 0.1)
    torch.testing.assert_close(momenta, moved)
    assert error((before * 0.9 - parameters) / 0.1, update) < 0.03  # bf16 through four steps
    with_threads(3, lambda: amx.muon([*kept[1]], [*gradients], kept[0], COEFFICIENTS, MOMENTUM, 0.9, 0.1))
    assert torch.equal(kept[1], parameters) and torch.equal(kept[0], momenta)


@needs_amx
def test_muon_of_no_gradient_moves_nothing() -> None:
    parameter = torch.ones(32, 32)
    amx.muon([parameter], [torch.zeros(32, 32)], torch.zeros(1, 32, 32), COEFFICIENTS, MOMENTUM, 1.0, 0.1)
    assert torch.equal(parameter, torch.ones(32, 32))


CONFIG = GPTConfig(48, block_size=32, n_layer=1, n_head=2, n_kv_head=1, n_embd=64, head_dim=32, intermediate_size=96)


@needs_amx
def test_the_compiled_optimizer_takes_the_same_step() -> None:
    idx, models = torch.randint(48, (3, 32)), []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = GPT(CONFIG)
        optimizer = MuonAdamW(model, 0.05, 0.003, 0.1, 0.98, BF16)
        if compiled:
            optimizer.compile()
            assert optimizer.on_amx == set(optimizer.groups)
        model(idx, idx.roll(-1, 1)).backward()
        optimizer.step(1.0)
        models.append(dict(model.named_parameters()))
    for name, parameter in models[0].items():
        torch.testing.assert_close(models[1][name], parameter, atol=0.002, rtol=0.02, msg=name)


def test_a_compiler_that_refuses_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, cache = tmp_path / "bin" / "g++", tmp_path / "cache"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho 'amx.cpp:1:1: error: unknown option -mamx-tile' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    with pytest.raises(RuntimeError, match=r"cannot build amx.cpp.*unknown option -mamx-tile"):
        amx.build()
    assert not list(cache.iterdir())


@needs_amx
def test_an_optimizer_that_could_not_be_compiled_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = MuonAdamW(GPT(replace(CONFIG, intermediate_size=2004)), 0.05, 0.003, 0.1, 0.98, BF16)

    def fail(*_: object, **__: object) -> Callable[..., None]:
        raise OSError("the disk is full")

    before = dict(optimizer.passes)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)  # fails when it is first called, as the real one does
    with pytest.raises(OSError, match="disk is full"):
        optimizer.compile()
    assert optimizer.on_amx == set() and optimizer.passes == before
