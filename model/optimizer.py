"""Muon on the matrices inside the blocks, AdamW on the embedding and the norms, and the rates over time.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/) steps along the nearest orthogonal matrix to
the momentum. torch.optim.Muon orthogonalizes matrix after matrix; here all matrices of one shape go in one
batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
BETA1 = 0.9


def newton_schulz(matrices: Tensor, dtype: torch.dtype = torch.float32, iterations: int = 5) -> Tensor:
    """(N, R, C) to about U V^T of each singular value decomposition U S V^T; singular values end within
    0.7..1.2.

    The quintic coefficients are Keller Jordan's.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # the smaller side first: cheaper products
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def trunk_rate(step: int, warmup_steps: int, hold_steps: int) -> float:
    """Share of the full rate at a trunk step (from 0): a linear warm-up, constant up to step `hold_steps`, then falling
    with the square root of the steps, without an end; `hold_steps` 0: constant for ever."""
    settled = math.sqrt(hold_steps / max(step, hold_steps)) if hold_steps else 1.0
    return min(1.0, (step + 1) / (warmup_steps + 1)) * settled


def branch_rate(step: int, steps: int) -> float:
    """Share of the full rate at a branch step (0 to steps - 1): linear towards 0."""
    return 1.0 - (step + 1) / (steps + 1)


def adamw_beta2(tokens_per_step: int) -> float:
    """AdamW's second decay, of one half-life in tokens whatever the batch (nanochat's log), at most 0.999."""
    return float(min(0.999, 0.999 ** (tokens_per_step / 16384)))


class MuonAdamW:
    """Both optimizers as one; its state is a flat dictionary of tensors by parameter name."""

    def __init__(
        self,
        model: nn.Module,
        muon_learning_rate: float,
        adamw_learning_rate: float,
        weight_decay: float,
        beta2: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.muon_learning_rate, self.adamw_learning_rate = muon_learning_rate, adamw_learning_rate
        self.weight_decay, self.dtype = weight_decay, dtype
        self.groups: dict[torch.Size, dict[str, nn.Parameter]] = {}
        self.others: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            if name.startswith("layers.") and parameter.ndim == 2:
                self.groups.setdefault(parameter.shape, {})[name] = parameter
            else:
                self.others[name] = parameter
        self.momenta = {
            shape: torch.zeros(len(group), *shape, device=next(iter(group.values())).device)  # (N, R, C)
            for shape, group in self.groups.items()
        }
        self.adamw = torch.optim.AdamW(
            self.others.values(), lr=adamw_learning_rate, betas=(BETA1, beta2), weight_decay=0.0, fused=True
        )

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Apply the gradients at `rate` times the full learning rates, then drop the gradients."""
        for group in self.adamw.param_groups:
            group["lr"] = self.adamw_learning_rate * rate
        self.adamw.step()
        for shape, matrices in self.groups.items():
            parameters: list[Tensor] = list(matrices.values())
            gradients = torch.stack([p.grad for p in parameters if p.grad is not None])  # (N, R, C)
            momentum = self.momenta[shape].lerp_(gradients, 1 - MOMENTUM)
            update = newton_schulz(gradients.lerp_(momentum, MOMENTUM), self.dtype)  # Nesterov
            learning_rate = self.muon_learning_rate * rate
            torch._foreach_mul_(parameters, 1 - learning_rate * self.weight_decay)
            wider = max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_add_(parameters, list(update.unbind()), alpha=-learning_rate * wider)
        for parameter in [*self.others.values(), *(p for g in self.groups.values() for p in g.values())]:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name, ready for safetensors."""
        state: dict[str, Tensor] = {}
        for shape, matrices in self.groups.items():
            state |= {f"momentum.{name}": self.momenta[shape][i] for i, name in enumerate(matrices)}
        for name, parameter in self.others.items():
            if parameter in self.adamw.state:  # empty before the first step
                state |= {f"{key}.{name}": value for key, value in self.adamw.state[parameter].items()}
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Take a state that `tensors` gave; KeyError where a tensor is missing."""
        for shape, matrices in self.groups.items():
            for i, name in enumerate(matrices):
                self.momenta[shape][i].copy_(state[f"momentum.{name}"])
        for name, parameter in self.others.items():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in state]
            if keys:
                self.adamw.state[parameter] = {key: state[f"{key}.{name}"].clone().to(parameter.device) for key in keys}
