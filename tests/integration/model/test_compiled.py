"""The compiled network, which takes seconds to make, learns what the network as it is written learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.network import amx
from model.network.gpt import GPT, compiled_loss
from model.training.compiler import has_compiler
from tests.unit.model.network.test_amx import BF16, CONFIG, error, needs_amx


def gradients(model: GPT, idx: Tensor, compiled: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    loss = compiled_loss(model) if compiled else model
    with torch.autocast("cpu", dtype, enabled=dtype == BF16):
        value = loss(idx, idx.roll(-1, 1))
    value.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
@pytest.mark.parametrize("able", [pytest.param(True, marks=needs_amx), False])
def test_compiled_gradients_are_the_eager_ones(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With AMX, and without, as on another processor."""
    if not able:
        monkeypatch.setattr(amx, "library", lambda: None)
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = GPT(CONFIG)
    for weight in model.parameters():  # none zero: each gradient reaches each weight
        torch.nn.init.normal_(weight, std=0.1)
    idx = torch.randint(48, (3, 32))
    truth = gradients(model, idx, compiled=False, dtype=torch.float32)
    with torch.profiler.profile() as seen:
        found = gradients(model, idx, compiled=True, dtype=BF16)
    torch._dynamo.reset()
    assert max(error(found[name], truth[name]) for name in truth) < 0.03
    ours = {event.name for event in seen.events() if event.name.startswith("miniature_memory::")}
    names = ("weight_gradient", "attention", "attention_gradient", "swiglu", "swiglu_gradient")
    assert ours == ({f"miniature_memory::{name}" for name in names} if able else set())
