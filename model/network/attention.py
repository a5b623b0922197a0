"""Causal attention, with a gradient that is fast on a processor.

PyTorch's fused attention is quick forwards, but its gradient on a CPU takes eight times as long, a third of a small
network's training step. The same gradient (Dao et al., "FlashAttention", 2022, appendix B.2) as matrix products over a
few sequences at a time, whose scores stay in the cache, takes half of that once it is compiled. On a processor with AMX
both ways are our own (`amx.cpp`): up to 700 positions, all scores of a head stay in the cache, and no block above the
diagonal is computed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network import amx

CACHED_BYTES = 1_600_000
"""Of scores at a time."""


def causal_attention(q: Tensor, k: Tensor, v: Tensor, causal_mask: Tensor) -> Tensor:
    """Returns each position's mix of the values up to its own, (B, H, T, D). q: (B, H, T, D); k, v: (B, H_kv, T, D).

    causal_mask: (T, T), minus infinity where a position must not look, else 0; reading it costs less than computing it.
    """
    groups = q.shape[1] // k.shape[1]
    if not (torch.compiler.is_compiling() and q.device.type == "cpu"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=groups > 1)
    if amx.takes(q, q.dtype, *q.shape[2:]):
        rows = (x.transpose(1, 2).contiguous() for x in (q, k, v))  # (B, T, H, D), as the projections left them
        mixed: Tensor = _AmxAttention.apply(*rows)  # type: ignore[no-untyped-call]  # untyped in torch
        return mixed.transpose(1, 2)
    if groups > 1:
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # once, not in each product of the gradient
    out: Tensor = _CausalAttention.apply(q, k, v, causal_mask)  # type: ignore[no-untyped-call]  # untyped in torch
    return out


class _CausalAttention(torch.autograd.Function):
    """PyTorch's forward pass, and the gradient from the logarithm of each row's sum that it leaves."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal_mask: Tensor) -> Tensor:
        out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
        ctx.save_for_backward(q, k, v, causal_mask, out, log_sum)
        result: Tensor = out
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, causal_mask, out, log_sum = ctx.saved_tensors
        grad = grads[0].contiguous()
        H, T, D = q.shape[1:]
        scale = D**-0.5
        inner = (grad.float() * out.float()).sum(-1, keepdim=True)  # (B, H, T, 1)
        rows = max(1, CACHED_BYTES // (H * T * T * q.element_size()))  # sequences at a time
        parts = []
        for qs, ks, vs, gs, sums, inners in zip(
            *(x.split(rows) for x in (q, k, v, grad, log_sum.unsqueeze(-1), inner)), strict=True
        ):
            share = torch.exp((qs @ ks.mT).float() * scale + (causal_mask - sums))  # (rows, H, T, T), the softmax
            of_scores = (share * ((gs @ vs.mT).float() - inners) * scale).to(q.dtype)
            parts.append((of_scores @ ks, of_scores.mT @ qs, share.to(q.dtype).mT @ gs))
        return (*(torch.cat(part) for part in zip(*parts, strict=True)), None)


class _AmxAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, logs = amx.attention(q, k, v)
        ctx.save_for_backward(q, k, v, out, logs)
        result: Tensor = out
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        of_q, of_k, of_v = amx.attention_gradient(*ctx.saved_tensors, grads[0].contiguous())
        return of_q, of_k, of_v
