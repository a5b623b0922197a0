"""The scale of the loss in fp16, whose smallest gradients would otherwise be 0 (Micikevicius et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

GROW_AFTER = 2000
"""Steps without an overflow after which the scale doubles: the numbers of torch.amp.GradScaler, which itself needs an
optimizer of torch's own kind. Powers of two only, so that scaling there and back changes no bit."""


@dataclass
class LossScale:
    value: float = 65536.0
    good_steps: int = 0
    """Since the scale last changed."""

    def fitted(self) -> None:
        """All gradients were finite."""
        self.good_steps += 1
        if self.good_steps == GROW_AFTER:
            self.value, self.good_steps = 2 * self.value, 0

    def overflowed(self) -> bool:
        """Some gradient was not: halves the scale. Returns False where there is nothing left to halve."""
        if self.value <= 1.0:
            return False
        self.value, self.good_steps = self.value / 2, 0
        return True
