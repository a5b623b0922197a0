"""One scorer for every checkpoint: nats a token and bits a byte on all of val.bin, in windows that do not overlap.

    python -m benchmarks.learning_score --data DIR --checkpoint DIR|ckpt.pt [--nanogpt DIR] --block-sizes 64 256

Prints one JSON object: by block size, the same targets for every model. In fp32; a block size over the model's own is
left out. A process of its own: nanoGPT's code is imported here and nowhere else.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.learning_data import PreparedData, open_data
from model.data.batches import evaluation_windows
from model.network.config import GPTConfig
from model.network.gpt import GPT

LOGITS_BYTES = 24 * 2**20
"""Most that the fp32 logits of one forward pass take."""

Logits = Callable[[Tensor], Tensor]
"""Ids (B, T) to logits (B, T, V)."""


def load_ours(folder: Path) -> tuple[Logits, GPTConfig]:
    record = json.loads((folder / "run.json").read_text())
    config = GPTConfig(**record["config"])
    model = GPT(config)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval(), config


def load_nanogpt(checkpoint: Path, code: Path) -> tuple[Logits, Any]:
    """nanoGPT's own model.py around its checkpoint."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", code / "model.py")
    if spec is None or spec.loader is None:
        raise ValueError(f"{code} has no model.py: not nanoGPT's folder")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = module.GPTConfig(**saved["model_args"])
    model = module.GPT(config).eval()
    model.load_state_dict({name.removeprefix("_orig_mod."): value for name, value in saved["model"].items()})

    def logits(idx: Tensor) -> Tensor:
        found: Tensor = model(idx, idx)[0]  # without targets it gives the last position alone
        return found

    return logits, config


@torch.no_grad()
def score(logits: Logits, data: PreparedData, block_size: int, vocab_size: int) -> dict[str, float | int]:
    """Over every token of val.bin but the first; those without bytes (special ones) are left out."""
    rows_at_once = max(1, LOGITS_BYTES // (4 * vocab_size * block_size))
    windows = evaluation_windows(len(data.val), block_size)
    nats, tokens, size = 0.0, 0, 0
    for begin in range(0, len(windows), rows_at_once):
        group = windows[begin : begin + rows_at_once]
        for length in sorted({w[1] for w in group}):
            ids = np.stack([data.val[s : s + n + 1] for s, n in group if n == length]).astype(np.int64)  # (B, T + 1)
            batch = torch.from_numpy(ids)
            found = logits(batch[:, :-1].contiguous()).float()  # (B, T, V)
            losses = F.cross_entropy(found.flatten(0, 1), batch[:, 1:].flatten(), reduction="none").double().numpy()
            bytes_ = data.token_bytes[ids[:, 1:]].ravel()
            nats += float(losses[bytes_ > 0].sum())
            tokens += int((bytes_ > 0).sum())
            size += int(bytes_.sum())
    found_scores: dict[str, float | int] = {"nats_per_token": round(nats / tokens, 4), "tokens": tokens}
    if data.bytes_known:
        found_scores |= {"bits_per_byte": round(nats / math.log(2) / size, 4), "bytes": size}
    return found_scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_score")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--block-sizes", type=int, nargs="+", required=True, help="0: the model's own")
    arguments = parser.parse_args()
    if arguments.checkpoint.is_dir():
        logits, config = load_ours(arguments.checkpoint)
    else:
        logits, config = load_nanogpt(arguments.checkpoint, arguments.nanogpt)
    data = open_data(arguments.data)
    sizes = sorted({size or config.block_size for size in arguments.block_sizes if size <= config.block_size})
    scores = {size: score(logits, data, size, config.vocab_size) for size in sizes}
    print(json.dumps({"block_size": config.block_size, "by_block_size": scores}))


if __name__ == "__main__":
    main()
