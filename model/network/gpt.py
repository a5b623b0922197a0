"""The network: a GPT in nanoGPT's manner whose architecture is exactly Hugging Face's `Qwen3ForCausalLM`.

Against GPT-2: RMSNorm before each sublayer (Zhang & Sennrich 2019), rotary positions (Su et al. 2021) in
Hugging Face's half-split layout, normalized queries and keys (Henry et al. 2020), SwiGLU (Shazeer 2020),
optional grouped queries (Ainslie et al. 2023), tied embeddings, no biases. Parameter names are Hugging Face's
without "model.".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network import amx
from model.network.attention import causal_attention
from model.network.config import GPTConfig
from model.network.layers import Linear, swiglu

Weights = dict[str, Tensor]
"""A network's tensors by name, as `state_dict` returns them."""


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each pair (x[i], x[i + D/2]) by its position's angle. x: (B, T, H, D); cos, sin: (T, 1, 2, D/2)."""
    halves = x.view(*x.shape[:-1], 2, -1)  # (B, T, H, 2, D/2)
    return (halves * cos + halves.flip(-2) * sin).view_as(x)


class CausalSelfAttention(nn.Module):
    """Each position reads from itself and those before it."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = config.n_head, config.n_kv_head, config.head_dim
        self.q_proj = Linear(config.n_embd, config.n_head * config.head_dim)
        self.k_proj = Linear(config.n_embd, config.n_kv_head * config.head_dim)
        self.v_proj = Linear(config.n_embd, config.n_kv_head * config.head_dim)
        self.o_proj = Linear(config.n_head * config.head_dim, config.n_embd)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, causal_mask: Tensor) -> Tensor:
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, self.n_head, self.head_dim)
        k = self.k_proj(x).view(B, T, self.n_kv_head, self.head_dim)
        v = self.v_proj(x).view(B, T, self.n_kv_head, self.head_dim).transpose(1, 2)  # (B, H_kv, T, D)
        q = rotate(self.q_norm(q), cos, sin).to(v.dtype).transpose(1, 2)  # (B, H, T, D)
        k = rotate(self.k_norm(k), cos, sin).to(v.dtype).transpose(1, 2)  # (B, H_kv, T, D)
        y = causal_attention(q, k, v, causal_mask)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(B, T, self.n_head * self.head_dim))  # (B, T, C)
        return out


class SwiGLU(nn.Module):
    """The feed-forward half of a block: one projection gates the other."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.n_embd, config.intermediate_size)
        self.up_proj = Linear(config.n_embd, config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))  # (B, T, C)
        return out


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.n_embd, config.norm_eps)
        self.self_attn = CausalSelfAttention(config)
        self.post_attention_layernorm = RMSNorm(config.n_embd, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, causal_mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, causal_mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class GPT(nn.Module):
    """Embedding, blocks, norm; the embedding read backwards gives the logits."""

    cos: Tensor
    """(T, 1, 2, D/2), as `sin`: of each position's angles; the sine with the sign of each half."""
    sin: Tensor
    causal_mask: Tensor
    """(T, T): minus infinity where a position must not look, else 0."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.n_embd, config.norm_eps)
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        angles = torch.outer(torch.arange(config.block_size).float(), config.rope_theta**-exponents)  # (T, D/2)
        cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)  # (T, 1, D/2)
        self.register_buffer("cos", torch.stack((cos, cos), dim=2), persistent=False)
        self.register_buffer("sin", torch.stack((-sin, sin), dim=2), persistent=False)
        causal_mask = torch.full((config.block_size, config.block_size), -torch.inf).triu(1)  # (T, T)
        self.register_buffer("causal_mask", causal_mask, persistent=False)
        self.apply(self._initialize)
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):  # each block starts as the identity
                nn.init.zeros_(weight)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):  # also the output matrix: small, so that the first guess is flat
            nn.init.normal_(module.weight, std=0.02)

    def features(self, idx: Tensor) -> Tensor:
        """Ids (B, T) to normalized features (B, T, C); ValueError where T is over the block size."""
        out: Tensor = self.norm(self.residual(idx, self.layers))
        return out

    def residual(self, idx: Tensor, blocks: Iterable[Callable[..., Tensor]]) -> Tensor:
        """Ids (B, T) to what the blocks, `layers` or their compiled form, leave (B, T, C)."""
        T = idx.shape[1]
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens given, but block_size is {self.config.block_size}")
        cos, sin, causal_mask = self.cos[:T], self.sin[:T], self.causal_mask[:T, :T]
        x: Tensor = self.embed_tokens(idx)  # (B, T, C)
        for block in blocks:
            x = block(x, cos, sin, causal_mask)
        return x

    def logits(self, features: Tensor) -> Tensor:
        """(..., C) to (..., V), through the tied embedding."""
        return F.linear(features, self.embed_tokens.weight)

    def loss(self, residual: Tensor, targets: Tensor) -> Tensor:
        """What the blocks leave (B, T, C) and targets (B, T) to the mean loss in nats a token (a scalar)."""
        logits = self.logits(self.norm(residual))  # (B, T, V)
        return F.cross_entropy(logits.float().view(-1, self.config.vocab_size), targets.reshape(-1))

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Tensor:
        """Ids (B, T) to logits (B, T, V), or, with targets (B, T), to the mean loss in nats a token (a scalar)."""
        if targets is None:
            return self.logits(self.features(idx))
        return self.loss(self.residual(idx, self.layers), targets)


def compiled_loss(model: GPT) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns `model(idx, targets)`, compiled for one shape of batch when it is first called.

    Block by block: all layers share the code of one, so that a deep network takes no longer than a shallow one.
    Raises where what a processor with AMX calls cannot be built (`amx.library`).
    """
    if model.embed_tokens.weight.device.type == "cpu":
        amx.prepare()
    blocks = [torch.compile(block, dynamic=False) for block in model.layers]
    loss = torch.compile(model.loss, dynamic=False)
    return lambda idx, targets: loss(model.residual(idx, blocks), targets)
