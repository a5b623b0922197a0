"""Linear layers and SwiGLU: PyTorch's own, but on a processor with AMX, compiled, with the faster parts of `amx`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network import amx


class Linear(nn.Linear):
    """x W^T, without a bias. x: (..., I), returns (..., O)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if not amx.takes(x, dtype, x.shape[:-1].numel(), self.in_features, self.out_features):
            return F.linear(x, self.weight)
        rows = x.to(dtype).reshape(-1, self.in_features).contiguous()
        out: Tensor = _Linear.apply(rows, self.weight)  # type: ignore[no-untyped-call]  # untyped in torch
        return out.view(*x.shape[:-1], self.out_features)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Returns SiLU(gate) up, of one shape."""
    if not amx.takes(gate, gate.dtype, gate.numel()):
        return F.silu(gate) * up
    out: Tensor = _SwiGLU.apply(gate, up)  # type: ignore[no-untyped-call]  # untyped in torch
    return out


class _Linear(torch.autograd.Function):
    """The weight's gradient comes in fp32, as the weight is: no rounding between the sums and the optimizer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        low = weight.to(x.dtype)
        ctx.save_for_backward(x, low)
        return x @ low.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (x, low), grad = ctx.saved_tensors, grads[0].contiguous()
        return grad @ low, amx.weight_gradient(x, grad)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        out: Tensor = amx.swiglu(gate, up)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        of_gate, of_up = amx.swiglu_gradient(*ctx.saved_tensors, grads[0].contiguous())
        return of_gate, of_up
