"""A published folder's shape and names, ours and Hugging Face's, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from model.data.tokenizer import END_OF_TEXT_ID
from model.network.config import GPTConfig

WEIGHTS = "model.safetensors"
PREFIX = "model."
"""Before the names that `GPT` gives its weights."""

Tensor = TypeVar("Tensor")


def hugging_face_config(config: GPTConfig) -> dict[str, Any]:
    """Returns the `config.json` of a `Qwen3ForCausalLM`."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.block_size,
        "initializer_range": 0.02,
        "rms_norm_eps": config.norm_eps,
        # transformers 5 reads rope_parameters, transformers 4 and llama.cpp read rope_theta
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": config.n_layer,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "torch_dtype": "float32",
    }


def read_config(folder: Path) -> GPTConfig:
    """Returns the shape that a published folder's `config.json` describes. Raises KeyError where a size is missing."""
    theirs = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return GPTConfig(
        vocab_size=theirs["vocab_size"],
        block_size=theirs["max_position_embeddings"],
        n_layer=theirs["num_hidden_layers"],
        n_head=theirs["num_attention_heads"],
        n_kv_head=theirs["num_key_value_heads"],
        n_embd=theirs["hidden_size"],
        head_dim=theirs["head_dim"],
        intermediate_size=theirs["intermediate_size"],
        rope_theta=theirs["rope_theta"],
        norm_eps=theirs["rms_norm_eps"],
    )


def without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a published folder's weights by their names in `GPT`."""
    return {name.removeprefix(PREFIX): value for name, value in weights.items()}
