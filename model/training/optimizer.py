"""Muon on the matrices inside the blocks, AdamW on the embedding and the norms, and the learning rates over time.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/) steps along the nearest orthogonal matrix to
the momentum. torch.optim.Muon orthogonalizes matrix after matrix; here all matrices of one shape go in one
batch, and queries, keys and values are a matrix for each head, which learns more and costs less (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.network import amx
from model.network.gpt import GPT

MOMENTUM = 0.85
"""Muon's usual 0.95 suits half a million tokens a step; with a few thousand 0.8 to 0.9 learn more (docs/log.md)."""
BETA1 = 0.9
OF_HEADS = ("q_proj.weight", "k_proj.weight", "v_proj.weight")
COEFFICIENTS = (
    (8.0579, -22.0522, 15.5407),
    (3.9263, -2.7538, 0.4974),
    (3.4545, -2.4875, 0.4775),
    (2.5115, -1.8524, 0.4388),
)
"""Of Newton and Schulz, a x + b x^3 + c x^5: the first comes nearest to 1 on 0.003..1, each next one on what those
before it leave (Amsel et al., "The Polar Express", 2025). All but the last are for 1.02 times as large singular values:
past 1, where bf16's rounding takes the largest, they would run away."""
RATIONAL = (0.9611725, 99.0585619, 2550.2466838)
"""x (a + b / (1 + c x^2)): what lifts the least of 0.004..1 highest, to 0.385, and nothing above 1."""
AFTER_RATIONAL = (3.0611068, -4.5231785, 2.5209487)
"""The polynomial that comes nearest to 1 on 0.385..1."""
WORTH_COMPILING = 100_000
"""Elements of a matrix."""
LOWEST = 0.1
"""The learning rates fall to this share of the full ones (decision 13)."""


def orthogonalize(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns the nearest orthogonal matrices, about U V^T where (N, R, C) are U S V^T, computed in `dtype`: singular
    values from 0.004 of the Frobenius norm up end within 0.94..1.06, in less than fp32 within 0.76..1.21."""
    return _rational(matrices) if dtype == torch.float32 else newton_schulz(matrices, dtype)


def newton_schulz(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """`orthogonalize` by products alone, which tiles and GPUs are made for; rounding in bf16 does not hurt it."""
    R, C = matrices.shape[-2:]
    x = (matrices / (1.01 * matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    wide = x.mT if R > C else x  # the smaller side first: cheaper products
    for step in COEFFICIENTS:
        wide = _polynomial(wide @ wide.mT, *step) @ wide
    orthogonal: Tensor = wide.mT if R > C else wide
    return orthogonal


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """Returns a I + b G + c G^2."""
    polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
    return polynomial


def _rational(x: Tensor) -> Tensor:
    """One rational step and one polynomial, on the Gram matrix G of the smaller side: half as long as Newton and
    Schulz's four polynomials, and nearer to orthogonal.

    The rational step (QDWH, Nakatsukasa, Bai & Gygi 2010) is x (a I + b M) with M = (I + c G)^-1. As c G M = I - M,
    the Gram matrix of what it leaves takes one product more. Squares every rounding: fp32 alone has the digits for it.
    """
    tall = x.shape[-2] > x.shape[-1]
    gram = x.mT @ x if tall else x @ x.mT
    norm = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None].sqrt() + 1e-7
    gram.div_(norm.square())
    a, b, c = RATIONAL
    shifted = c * gram
    shifted.diagonal(dim1=-2, dim2=-1).add_(1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(shifted).L)
    gram = torch.baddbmm(gram, inverse, inverse, beta=a * a, alpha=-b * b / c)
    gram.add_(inverse, alpha=(b * b - 2 * a * b) / c).diagonal(dim1=-2, dim2=-1).add_(2 * a * b / c)
    first = inverse.mul_(b)
    first.diagonal(dim1=-2, dim2=-1).add_(a)
    product = first.div_(norm) @ _polynomial(gram, *AFTER_RATIONAL)
    return x @ product if tall else product @ x


def lr_multiplier(step: int, warmup_steps: int, hold_steps: int) -> float:
    """Returns the share of the full learning rates at a step (from 0): a linear warm-up, constant up to `hold_steps`,
    then decay with step^(-2/3) to a tenth, and constant there for ever; `hold_steps` 0: no decay."""
    decay = max(LOWEST, (hold_steps / max(step, hold_steps)) ** (2 / 3)) if hold_steps else 1.0
    return min(1.0, (step + 1) / (warmup_steps + 1)) * decay


def cooldown_lr_multiplier(step: int, steps: int) -> float:
    """Returns the share of the full learning rates at a cooldown's step (0 to steps - 1): linear towards 0 (Haegele et
    al. 2024)."""
    return 1.0 - (step + 1) / (steps + 1)


def adamw_beta2(tokens_per_step: int) -> float:
    """AdamW's second decay, of one half-life in tokens whatever the batch (nanochat's log), at most 0.999."""
    return float(min(0.999, 0.999 ** (tokens_per_step / 16384)))


Pass = Callable[..., None]


def _nesterov(gradient: Tensor, momentum: Tensor, out: Tensor) -> None:
    """Moves the momentum towards the gradient, and leaves in `out` where it would go next."""
    momentum.lerp_(gradient, 1 - MOMENTUM)
    out.copy_(gradient.lerp(momentum, MOMENTUM))


def _descend(parameter: Tensor, update: Tensor, keep: Tensor, rate: Tensor) -> None:
    parameter.mul_(keep).addcmul_(update, rate, value=-1)


def _alike(*matrices: Tensor) -> tuple[Tensor, ...]:
    """As they are, or all as one row where all lie in memory in one order."""
    return tuple(m.view(-1) for m in matrices) if all(m.is_contiguous() for m in matrices) else matrices


def _gradient(name: str, parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError(f"{name} has no gradient: call backward before step")
    return parameter.grad.contiguous()


class MuonAdamW:
    """Both optimizers as one; its state is a flat dictionary of tensors by parameter name."""

    def __init__(
        self,
        model: GPT,
        muon_learning_rate: float,
        adamw_learning_rate: float,
        weight_decay: float,
        beta2: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.muon_learning_rate, self.adamw_learning_rate = muon_learning_rate, adamw_learning_rate
        self.weight_decay, self.dtype = weight_decay, dtype
        self.groups: dict[torch.Size, dict[str, nn.Parameter]] = {}
        """By the shape of their matrices, one of which may be some rows of a parameter."""
        self.others: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            if name.startswith("layers.") and parameter.ndim == 2:
                rows = model.config.head_dim if name.endswith(OF_HEADS) else parameter.shape[0]
                self.groups.setdefault(torch.Size((rows, parameter.shape[1])), {})[name] = parameter
            else:
                self.others[name] = parameter
        self.momenta = {
            shape: torch.cat([torch.zeros_like(p).detach() for p in group.values()]).view(-1, *shape)  # (N, R, C)
            for shape, group in self.groups.items()
        }
        self.on_amx: set[torch.Size] = set()
        """Shapes whose step is `amx.muon`."""
        self.passes: dict[torch.Size, tuple[Pass, Pass]] = dict.fromkeys(self.groups, (_nesterov, _descend))
        self.adamw = torch.optim.AdamW(
            self.others.values(), lr=adamw_learning_rate, betas=(BETA1, beta2), weight_decay=0.0, fused=True
        )

    @torch.no_grad()
    def compile(self) -> None:
        """Compiles the passes over memory.

        On a processor with AMX a matrix's whole step stays in a core's cache instead. Elsewhere what is several passes
        becomes one, for matrices that do not stay in a cache anyway; one kernel for all sizes that lie the same way.

        Raises whatever the compiler does.
        """
        nesterov: Pass = torch.compile(_nesterov, dynamic=True)
        descend: Pass = torch.compile(_descend, dynamic=True)
        one = torch.ones((), device=next(iter(self.momenta.values())).device)
        passes, on_amx = dict(self.passes), set[torch.Size]()
        suits = one.device.type == "cpu" and self.dtype == torch.bfloat16 and amx.prepare()
        for shape, momenta in self.momenta.items():
            if suits and all(size % amx.BLOCK == 0 for size in shape):
                on_amx.add(shape)
            elif shape.numel() >= WORTH_COMPILING:
                matrix, out = momenta[0].clone(), self._wide(momenta[:1])[0]
                nesterov(*_alike(matrix, matrix.clone(), out))
                descend(*_alike(matrix, out), one, one)
                passes[shape] = nesterov, descend
        self.passes, self.on_amx = passes, on_amx  # all of it or nothing

    def _wide(self, momenta: Tensor) -> Tensor:
        """Makes room for (N, R, C), in memory as `orthogonalize` takes it: in bf16 the smaller side first."""
        N, R, C = momenta.shape
        if R <= C or self.dtype == torch.float32:
            return torch.empty_like(momenta, dtype=self.dtype)
        return torch.empty(N, C, R, dtype=self.dtype, device=momenta.device).mT

    @torch.no_grad()
    def step(self, lr_multiplier: float) -> None:
        """Applies the gradients at `lr_multiplier` times the full learning rates, then drops the gradients.

        ValueError where a matrix has none.
        """
        for settings in self.adamw.param_groups:
            settings["lr"] = self.adamw_learning_rate * lr_multiplier
        self.adamw.step()
        for shape, group in self.groups.items():
            learning_rate = self.muon_learning_rate * lr_multiplier
            wider = max(1.0, shape[0] / shape[1]) ** 0.5
            keep, step = 1 - learning_rate * self.weight_decay, learning_rate * wider
            parameters = [m for p in group.values() for m in p.detach().view(-1, *shape)]
            gradients = [m for name, p in group.items() for m in _gradient(name, p).view(-1, *shape)]
            if shape in self.on_amx:
                amx.muon(parameters, gradients, self.momenta[shape], COEFFICIENTS, MOMENTUM, keep, step)
            else:
                self._muon(shape, parameters, gradients, keep, step)
        for parameter in [*self.others.values(), *(p for g in self.groups.values() for p in g.values())]:
            parameter.grad = None

    def _muon(
        self, shape: torch.Size, parameters: list[Tensor], gradients: list[Tensor], keep: float, rate: float
    ) -> None:
        momenta, (nesterov, descend) = self.momenta[shape], self.passes[shape]
        factors = torch.tensor([keep, rate]).to(momenta.device).unbind()
        ahead = self._wide(momenta)  # (N, R, C)
        for gradient, momentum, out in zip(gradients, momenta, ahead, strict=True):
            nesterov(*_alike(gradient, momentum, out))
        for parameter, update in zip(parameters, orthogonalize(ahead, self.dtype), strict=True):
            descend(*_alike(parameter, update), *factors)

    def _momenta_by_name(self, shape: torch.Size) -> dict[str, Tensor]:
        """Each as large as its parameter."""
        group = self.groups[shape]
        momenta = torch.split(self.momenta[shape].flatten(0, 1), [len(parameter) for parameter in group.values()])
        return dict(zip(group, momenta, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the whole state by name, ready for safetensors."""
        state: dict[str, Tensor] = {}
        for shape in self.groups:
            state |= {f"momentum.{name}": momentum for name, momentum in self._momenta_by_name(shape).items()}
        for name, parameter in self.others.items():
            if parameter in self.adamw.state:  # empty before the first step
                state |= {f"{key}.{name}": value for key, value in self.adamw.state[parameter].items()}
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes a state that `tensors` returned; KeyError where a tensor is missing."""
        for shape in self.groups:
            for name, momentum in self._momenta_by_name(shape).items():
                momentum.copy_(state[f"momentum.{name}"])
        for name, parameter in self.others.items():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in state]
            if keys:
                self.adamw.state[parameter] = {key: state[f"{key}.{name}"].clone().to(parameter.device) for key in keys}
