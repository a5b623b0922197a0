"""The network's shape, without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class GPTConfig:
    """The network's shape. Raises ValueError, naming the field, where it cannot be built."""

    vocab_size: int
    """Number of token ids: the tokenizer's own, never padded."""
    block_size: int = 256
    """Longest context, in tokens."""
    n_layer: int = 4
    n_head: int = 4
    """Query heads a layer."""
    n_kv_head: int = 4
    """Key and value heads a layer; must divide n_head."""
    n_embd: int = 256
    """Width of the residual stream."""
    head_dim: int = 64
    """Width of a head; even, since positions rotate pairs."""
    intermediate_size: int = 704
    """Width inside SwiGLU; about 8/3 of n_embd costs what GPT-2's 4 x n_embd does."""
    rope_theta: float = 10000.0
    """Base of the rotary wavelengths."""
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type == "int" and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{one.name} must be a whole number of at least 1, not {value!r}")
        if self.n_head % self.n_kv_head:
            raise ValueError(f"n_kv_head ({self.n_kv_head}) must divide n_head ({self.n_head})")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even, not {self.head_dim}")
        for name in ("rope_theta", "norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
