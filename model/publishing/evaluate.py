"""Held-out loss, in nats a token and in bits a byte of text.

Bits per byte do not depend on the tokenizer. A target that is the special token has no bytes: it is left out
of both sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model.data.batches import Window
from model.data.tokens import Tokens
from model.network.device import autocast
from model.network.gpt import GPT

LOGITS_BYTES = 32 * 2**20
"""Most memory that one slice of fp32 logits may take; all at once they took 1 GB."""

WindowScores = dict[Window, tuple[float, int, int]]
"""By window: summed nats, targets counted, bytes of these targets."""


@dataclass(frozen=True)
class Evaluation:
    """What some windows cost a model."""

    nats_per_token: float
    bits_per_byte: float
    uniform_bits_per_byte: float
    """What a uniform guess over the vocabulary costs on the same targets."""
    tokens: int
    """Targets counted."""
    bytes: int
    """Bytes of text that these targets stand for."""


@torch.no_grad()
def score_windows(
    model: GPT,
    tokens: Tokens | NDArray[np.uint16],
    windows: list[Window],
    token_bytes: NDArray[np.int64],
    dtype: torch.dtype = torch.float32,
    tokens_at_once: int = 4096,
) -> WindowScores:
    """Returns each window's summed loss, its targets and their bytes. `token_bytes`: (V,), 0 for the special token."""
    device = model.embed_tokens.weight.device
    logits_at_once = max(1, LOGITS_BYTES // (4 * model.config.vocab_size))

    def nats_of(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Ids (B, T + 1) to the loss of each target (B, T)."""
        batch = torch.from_numpy(rows).to(device)
        with autocast(dtype, device.type):
            features = model.features(batch[:, :-1]).flatten(0, 1)  # (B * T, C)
            targets = batch[:, 1:].flatten()  # (B * T,)
            parts = zip(torch.split(features, logits_at_once), torch.split(targets, logits_at_once), strict=True)
            losses = [F.cross_entropy(model.logits(x).float(), target, reduction="none") for x, target in parts]
        nats: NDArray[np.float64] = torch.cat(losses).double().cpu().numpy().reshape(rows[:, 1:].shape)
        return nats

    scores: WindowScores = {}
    for start, (_, length) in enumerate(windows):  # windows of one length share a forward pass
        if windows[start] in scores:
            continue
        near = windows[start : start + max(1, tokens_at_once // length)]
        group = [window for window in near if window[1] == length and window not in scores]
        rows = np.stack([tokens[first : first + length + 1] for first, _ in group]).astype(np.int64)  # (B, T + 1)
        sizes = token_bytes[rows[:, 1:]]  # (B, T)
        nats = (nats_of(rows) * (sizes > 0)).sum(1)  # (B,)
        counted, size = (sizes > 0).sum(1), sizes.sum(1)  # (B,), (B,)
        scores |= dict(zip(group, zip(nats.tolist(), counted.tolist(), size.tolist(), strict=True), strict=True))
    return scores


def summarize(scores: WindowScores, windows: list[Window], vocab_size: int) -> Evaluation | None:
    """Returns the sum over some of the scored windows; None where they hold no byte of text."""
    nats = sum(scores[window][0] for window in windows)
    tokens = sum(scores[window][1] for window in windows)
    size = sum(scores[window][2] for window in windows)
    if size == 0:
        return None
    return Evaluation(
        nats_per_token=nats / tokens,
        bits_per_byte=nats / math.log(2) / size,
        uniform_bits_per_byte=math.log2(vocab_size) * tokens / size,
        tokens=tokens,
        bytes=size,
    )


def nats(scores: WindowScores, windows: list[Window]) -> list[float]:
    """Returns what each of these windows cost."""
    return [scores[window][0] for window in windows]


def bits(evaluation: Evaluation | None) -> float | None:
    return evaluation.bits_per_byte if evaluation else None


def figures(evaluation: Evaluation | None) -> dict[str, float | None]:
    """Returns what events and records say of an evaluation."""
    names = ("bits_per_byte", "nats_per_token", "uniform_bits_per_byte")
    return {name: getattr(evaluation, name, None) for name in names}
