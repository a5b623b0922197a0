"""Running averages of the weights, over horizons that grow with the lineage.

A fixed half-life is right for one length of training only: in the first night it remembers the beginning, after a
hundred nights it smooths too little. Here each average looks back over a share of all steps so far, so that its
weights fall with a power of the step instead of exponentially (Karras et al. 2024, "Analyzing and Improving the
Training Dynamics of Diffusion Models"; for optimization, Shamir & Zhang 2013).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.network.gpt import Weights

EVERY = 4
"""Steps between two looks at the weights: they hardly move in between, and each look reads them all."""


class PowerEma:
    """One average for each share; a share of 0.1 looks back over about a tenth of all steps so far."""

    def __init__(self, ema_shares: Sequence[float], weights: Weights) -> None:
        self.by_share: dict[float, Weights] = {
            share: {name: value.detach().clone() for name, value in weights.items()} for share in ema_shares
        }

    @torch.no_grad()
    def update(self, weights: Weights, step: int) -> None:
        """Takes in the weights after `step` steps."""
        if step % EVERY:
            return
        for share, average in self.by_share.items():
            new = min(1.0, EVERY / (share * step))
            torch._foreach_lerp_(list(average.values()), list(weights.values()), new)

    def tensors(self) -> dict[str, Tensor]:
        """Returns all of them by share and name, ready for safetensors."""
        return {f"{share:g}/{name}": value for share, one in self.by_share.items() for name, value in one.items()}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Takes what `tensors` returned. A share that was not kept before begins as the nearest one that was."""
        kept: dict[float, Weights] = {}
        for key, value in saved.items():
            kept_share, _, name = key.rpartition("/")  # no share: the only average of an earlier version
            kept.setdefault(float(kept_share or 0), {})[name] = value
        for share, average in self.by_share.items():
            nearest = kept[min(kept, key=lambda other: abs(other - float(f"{share:g}")))]
            for name, value in average.items():
                value.copy_(nearest[name])
