"""Spikes: a batch whose loss or gradient stands far above what was usual lately, and is better not learned from.

As AI2's OLMo-core skips steps (over the last 128, six standard deviations), but with median and median absolute
deviation, which the spikes themselves do not move. Ordinary training of small models (docs/log.md) stays below
3.5 of the 6 deviations and 2.8 of the 5 times. A pure function of the numbers seen, all of which a checkpoint holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

WINDOW = 128
"""Steps that count as lately."""
FEWEST = 32
"""Steps before anything is called a spike."""
LOSS_DEVIATIONS = 6.0
"""A loss is a spike above the median by so many standard deviations, as the median absolute deviation tells them."""
GRADIENT_TIMES = 5.0
"""A gradient's norm is a spike above so many times the median: norms are too heavy-tailed for deviations."""
MOST_IN_A_ROW = 5
"""So many spikes one after another are no spikes but a new level: it is learned from, and becomes what is usual."""


@dataclass(frozen=True)
class Spike:
    what: str
    """loss (nats a token) or gradient (norm)."""
    value: float
    limit: float
    """What it was allowed to be."""


@dataclass
class SpikeWatch:
    """The last losses and gradient norms, and what stands out from them."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    in_a_row: int = 0
    """Spikes that came one after another up to now."""

    def see(self, loss: float, norm: float) -> Spike | None:
        """Judges one step by those before it, then counts it among them, a spike too."""
        spike = self._judge(loss, norm)
        self.in_a_row = self.in_a_row + 1 if spike else 0
        if self.in_a_row > MOST_IN_A_ROW:
            self.losses, self.norms, self.in_a_row, spike = [], [], 0, None
        self.losses, self.norms = [*self.losses, loss][-WINDOW:], [*self.norms, norm][-WINDOW:]
        return spike

    def _judge(self, loss: float, norm: float) -> Spike | None:
        if len(self.losses) < FEWEST:
            return None
        usual = median(self.losses)
        deviation = 1.4826 * median(abs(one - usual) for one in self.losses)  # that of a normal distribution
        # Losses that hardly differ at all make no ripple of them a spike.
        limit = usual + LOSS_DEVIATIONS * max(deviation, 0.01 * usual)
        if loss > limit:
            return Spike("loss", loss, limit)
        limit = GRADIENT_TIMES * median(self.norms)
        return Spike("gradient", norm, limit) if norm > limit else None
