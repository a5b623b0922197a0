"""Which network learns most in so many seconds: a rule of the budget, the vocabulary, the tokens there are and the
measured speed of the processor, and of nothing else."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

COMPILE_COLD_SECONDS = 30.0
"""What a first compilation costs on 2 cores."""
WORTH_COMPILING_COLD = 90.0
"""Seconds from which a first compilation is won back: compiled steps take 0.6 of the time."""
WORTH_COMPILING_WARM = 12.0
"""The same where the compiler's cache holds this network: 3 s."""


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained."""

    n_layer: int
    n_embd: int
    """Width; heads are 64 wide."""
    block_size: int = 256
    batch_size: int = 8
    """Windows a step."""
    muon_learning_rate: float = 0.025
    adamw_learning_rate: float = 0.003
    weight_decay: float = 0.0
    decay: float = 0.5
    """Share of the time over which the rates fall to 0, in a line."""
    warmup_steps: int = 20
    seed: int = 1

    @property
    def intermediate_size(self) -> int:
        return -(-8 * self.n_embd // 3 // 64) * 64

    def parameters(self, vocab_size: int) -> int:
        """Weights that multiply: 4 attention matrices and SwiGLU's 3 a layer, and the embedding read backwards."""
        block = 4 * self.n_embd**2 + 3 * self.n_embd * self.intermediate_size
        return self.n_layer * block + vocab_size * self.n_embd


SHAPES = ((3, 128), (4, 192), (4, 256), (6, 256), (10, 256))
"""(layers, width), small to large."""
TOKENS_PER_PARAMETER = 0.8
"""The largest shape is taken that still sees so many tokens for each of its parameters ..."""
FEWEST_EPOCHS = 2.5
"""... or reads the text so often: a larger network gains more than half a reading more."""
EPOCHS = 2.9
"""More readings of one text cost more on others than they bring, with dropout and weight decay too (docs/log.md)."""
FEW_STEPS = 700
LOGITS = 52_000_000
"""Most logits of a step: each costs 10 bytes and more, and all of a run must stay under 1.2 GB."""
BEST_UTILIZATION = 0.5
UTILIZATION_WIDTH = 768
"""Training reaches a share of the measured matmul rate that grows with the width, as n_embd / 768, up to 0.5; 0.6 of it
where not compiled."""
MATMUL_SECONDS = 0.25
"""In the first 60 ms of some processes two threads are no faster than one."""


def matmul_rates() -> tuple[float, float]:
    """Floating-point operations a second of a matmul of 1024 x 1024 in bf16 and in fp32: the best of those that take
    turns for MATMUL_SECONDS."""
    import torch

    dtypes = (torch.bfloat16, torch.float32)
    matrices = [torch.ones(1024, 1024, dtype=dtype) for dtype in dtypes]
    best = [float("inf")] * len(dtypes)
    end = time.perf_counter() + MATMUL_SECONDS
    while time.perf_counter() < end:
        for i, matrix in enumerate(matrices):
            began = time.perf_counter()
            matrix @ matrix
            best[i] = min(best[i], time.perf_counter() - began)
    return 2 * 1024**3 / best[0], 2 * 1024**3 / best[1]


def speed_class(rate: float) -> float:
    """The middle of the rate's octave: two runs on one machine choose one network, though no two measurements agree."""
    return float(1.5 * 2 ** math.floor(math.log2(rate)))


def choose_recipe(seconds: float, vocab_size: int, train_tokens: int, rate: float) -> Recipe:
    """For so many seconds of training at `rate` (`matmul_rates`, less where the network is not compiled)."""
    batch_size = min(Recipe.batch_size, max(1, LOGITS // (Recipe.block_size * vocab_size)))
    chosen = Recipe(*SHAPES[0], batch_size=batch_size)
    for n_layer, n_embd in SHAPES:
        recipe = replace(chosen, n_layer=n_layer, n_embd=n_embd)
        enough = min(TOKENS_PER_PARAMETER * recipe.parameters(vocab_size), FEWEST_EPOCHS * train_tokens)
        if tokens_read(recipe, seconds, vocab_size, rate) >= enough:
            chosen = recipe
    return paced(chosen, tokens_read(chosen, seconds, vocab_size, rate))


def tokens_read(recipe: Recipe, seconds: float, vocab_size: int, rate: float) -> float:
    utilization = min(BEST_UTILIZATION, recipe.n_embd / UTILIZATION_WIDTH)
    return seconds * rate * utilization / (6 * recipe.parameters(vocab_size))


def paced(recipe: Recipe, tokens: float) -> Recipe:
    """Few steps: windows half as long, more of them, and higher rates."""
    if tokens >= FEW_STEPS * recipe.batch_size * recipe.block_size:
        return recipe
    batch_size = 3 * recipe.batch_size // 2 or 1
    return replace(recipe, block_size=128, batch_size=batch_size, muon_learning_rate=0.04, adamw_learning_rate=0.006)
