"""The network for one reader, in numpy: the text so far in, the logits of its next token out.

Keys and values of what was read are kept, so that a token costs one pass of one position. At these sizes such a pass is
a row of matrix-vector products, bound by memory: numpy needs no second of imports for them, and no second thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.network.config import GPTConfig

Array = NDArray[np.float32]


def context_start(length: int, block_size: int) -> int:
    """Returns where the context of the next token begins, in a text of `length` tokens.

    When the block is full, its older half is dropped, and what is left is read again from position 0. So text of any
    length costs at most twice what a block of it does, and where the context begins depends on the length alone.
    """
    step = max(1, block_size // 2)
    return -(-max(0, length - block_size) // step) * step


@dataclass(frozen=True)
class _Layer:
    attention_norm: Array  # (C,)
    qkv: Array  # (G D, C): heads of queries, then of keys, then of values; G = H + 2 H_kv
    head_norms: Array  # (H + H_kv, D)
    out: Array  # (C, H D)
    mlp_norm: Array  # (C,)
    gate_up: Array  # (2 F, C)
    down: Array  # (C, F)
    keys: Array  # (H_kv, block_size, D), as `values`: of the positions that were read
    values: Array


class Decoder:
    """Gives the logits that `GPT` gives, within float noise. Not for two threads at a time."""

    def __init__(self, config: GPTConfig, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes the weights by their names in `GPT`. Raises KeyError where one is missing."""
        self.config = config
        self._embedding: Array = np.asarray(weights["embed_tokens.weight"], np.float32)  # (V, C)
        self._norm: Array = np.asarray(weights["norm.weight"], np.float32)  # (C,)
        self._layers = [_layer(config, weights, f"layers.{number}.") for number in range(config.n_layer)]
        exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
        angles = np.outer(np.arange(config.block_size, dtype=np.float32), np.float32(config.rope_theta) ** -exponents)
        self._cos, self._sin = np.cos(angles)[:, None], np.sin(angles)[:, None]  # (T, 1, D/2)
        self._read: list[int] = []  # the ids whose keys and values are kept

    def logits(self, ids: Sequence[int]) -> Array:
        """Returns the logits (V,) of the token after `ids`, a text from its begin-of-text token on.

        A pure function: what was asked before decides only how much of the context is still to be read.
        """
        context = list(ids[context_start(len(ids), self.config.block_size) :])
        if not context:
            raise ValueError("no tokens given: a text begins with the begin-of-text token")
        known = len(self._read)
        if known >= len(context) or self._read != context[:known]:
            known = 0
        self._read = []  # until all is read: an interrupt in between leaves nothing half true
        x = self._embedding[context[known:]]  # (T, C)
        for layer in self._layers:
            x = x + self._attention(layer, self._normalized(x, layer.attention_norm), known)
            x = x + self._mlp(layer, self._normalized(x, layer.mlp_norm))
        self._read = context
        logits: Array = self._embedding @ self._normalized(x[-1], self._norm)  # (V,)
        return logits

    def _normalized(self, x: Array, weight: Array) -> Array:
        """x / rms(x) * weight over the last dimension."""
        squares = np.vecdot(x, x)[..., None] / np.float32(x.shape[-1])
        out: Array = x / np.sqrt(squares + np.float32(self.config.norm_eps)) * weight
        return out

    def _attention(self, layer: _Layer, x: Array, known: int) -> Array:
        """What positions `known` and on read from all up to themselves; x: (T, C), returns (T, C)."""
        H, H_kv, D = self.config.n_head, self.config.n_kv_head, self.config.head_dim
        T = len(x)
        end = known + T
        heads = (x @ layer.qkv.T).reshape(T, H + 2 * H_kv, D)
        qk = self._rotated(self._normalized(heads[:, : H + H_kv], layer.head_norms), known)  # (T, H + H_kv, D)
        layer.keys[:, known:end] = qk[:, H:].swapaxes(0, 1)
        layer.values[:, known:end] = heads[:, H + H_kv :].swapaxes(0, 1)
        q = qk[:, :H].swapaxes(0, 1).reshape(H_kv, -1, D)  # (H_kv, H / H_kv T, D)
        scores = q @ layer.keys[:, :end].swapaxes(1, 2) * np.float32(D**-0.5)  # (H_kv, H / H_kv T, end)
        if T > 1:
            future = np.triu(np.full((T, end), -np.inf, np.float32), known + 1)  # (T, end)
            scores = (scores.reshape(H, T, end) + future).reshape(H_kv, -1, end)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ layer.values[:, :end]).reshape(H, T, D).swapaxes(0, 1)  # (T, H, D)
        out: Array = mixed.reshape(T, H * D) @ layer.out.T
        return out

    def _rotated(self, x: Array, known: int) -> Array:
        """Turns each pair (x[i], x[i + D/2]) by its position's angle. x: (T, heads, D)."""
        cos, sin = self._cos[known : known + len(x)], self._sin[known : known + len(x)]
        half = x.shape[-1] // 2
        one, other = x[..., :half], x[..., half:]
        return np.concatenate((one * cos - other * sin, other * cos + one * sin), axis=-1)

    def _mlp(self, layer: _Layer, x: Array) -> Array:
        both = x @ layer.gate_up.T  # (T, 2 F)
        gate, up = both[:, : self.config.intermediate_size], both[:, self.config.intermediate_size :]
        half = np.float32(0.5)
        silu = gate * (half + half * np.tanh(half * gate))  # the sigmoid as tanh, which never overflows
        out: Array = (silu * up) @ layer.down.T  # (T, C)
        return out


def _layer(config: GPTConfig, weights: Mapping[str, NDArray[Any]], prefix: str) -> _Layer:
    def weight(*names: str) -> Array:
        return np.concatenate([np.asarray(weights[f"{prefix}{name}.weight"], np.float32) for name in names])

    q_norm, k_norm = weight("self_attn.q_norm"), weight("self_attn.k_norm")  # (D,)
    cache = (config.n_kv_head, config.block_size, config.head_dim)
    return _Layer(
        attention_norm=weight("input_layernorm"),
        qkv=weight("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        head_norms=np.stack([q_norm] * config.n_head + [k_norm] * config.n_kv_head),
        out=weight("self_attn.o_proj"),
        mlp_norm=weight("post_attention_layernorm"),
        gate_up=weight("mlp.gate_proj", "mlp.up_proj"),
        down=weight("mlp.down_proj"),
        keys=np.zeros(cache, np.float32),
        values=np.zeros(cache, np.float32),
    )
