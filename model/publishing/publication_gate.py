"""The gate of publication (P9) as pure functions: is a challenger worse than the champion, beyond the noise?

Two noises are measured. Text: the standard error of the difference between two models on the same documents.
Nights: how much the score of one lineage scatters from night to night around its own trend. Two comparisons: with the
champion, which is served, and with the best one ever served under the same anchor set. Without the second, a model that
loses half a noise each night would pass every night (drift); the best of many nights was lucky too, so it gets a
wider bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import ArrayLike

ERRORS_TO_CHAMPION = 2.0
ERRORS_TO_BEST = 3.0
"""Standard errors by which a candidate may be worse. The best of n nights lies about sqrt(2 ln n) of them below the
usual one: 3.4 after a year of nights."""
FIRST_NIGHT_NOISE = 0.0025
"""Share of the score, until enough nights have been seen to measure it."""
LATELY = 14
"""Nights that count for it."""
FEWEST_NIGHTS = 7
MOST_STALE = 3
"""Nights in a row that a candidate better on all held-out text may be refused; then the anchor set is drawn anew."""


@dataclass(frozen=True)
class Difference:
    """How much worse a candidate is than another model on the same text, in bits per byte; below 0: better."""

    bits: float
    error: float
    """Standard error, as the documents tell it; 0 where there are too few."""


def compare(challenger: ArrayLike, other: ArrayLike, sizes: ArrayLike, documents: ArrayLike) -> Difference:
    """Returns the difference of two models' summed nats by window, (W,), and its error, by whole documents: the windows
    of one document are good or bad together.

    `sizes`: bytes by window. `documents`: the one that each window begins in.
    """
    bits = (np.asarray(challenger, dtype=float) - np.asarray(other, dtype=float)) / math.log(2)  # (W,)
    size = np.asarray(sizes, dtype=float)  # (W,)
    mean = float(bits.sum() / size.sum())
    _, group = np.unique(np.asarray(documents), return_inverse=True)
    if group.max() + 1 < 8:
        group = np.arange(len(bits))
    groups = int(group.max()) + 1
    if groups < 8:
        return Difference(mean, 0.0)
    off = np.bincount(group, bits - mean * size)  # (documents,): of a ratio, what each adds to the error
    return Difference(mean, float(math.sqrt(groups / (groups - 1) * (off**2).sum()) / size.sum()))


def night_noise(scores: Sequence[float]) -> float | None:
    """Returns the standard deviation of one night's score around the lineage's trend, from the last nights' scores.

    Second differences cancel a trend that is straight over three nights; their median makes one bad night harmless.
    None where there are too few nights to tell.
    """
    lately = list(scores)[-LATELY:]
    if len(lately) < FEWEST_NIGHTS:
        return None
    bends = [abs(a - 2 * b + c) for a, b, c in zip(lately, lately[1:], lately[2:], strict=False)]
    return 1.4826 * median(bends) / math.sqrt(6)


@dataclass(frozen=True)
class Verdict:
    publish: bool
    against: str
    """served or best: what a refused candidate is worse than."""
    difference: float
    """To that one, in bits per byte."""
    tolerance: float
    """What was allowed."""
    stale: int
    """Nights in a row, this one included, in which a candidate better on all held-out text was refused."""


def decide(
    champion: Difference, best: Difference, growing: Difference | None, noise: float, stale: int, fresh: bool = False
) -> Verdict:
    """Returns whether to publish a challenger.

    Args:
        champion: its difference to the served model, on the anchor set.
        best: to the best model ever served, on the anchor set.
        growing: to the served model, on all held-out text.
        noise: the standard deviation of one night's score, in bits per byte.
        stale: what the last verdict said.
        fresh: the anchor set was drawn tonight, so nothing can be stale.
    """
    verdicts = []
    for against, difference, errors in (("served", champion, ERRORS_TO_CHAMPION), ("best", best, ERRORS_TO_BEST)):
        tolerance = errors * math.sqrt(difference.error**2 + 2 * noise**2)
        if not difference.bits <= tolerance:  # NaN counts as worse
            better = growing is not None and growing.bits < 0 and not fresh
            return Verdict(False, against, difference.bits, tolerance, stale + 1 if better else 0)
        verdicts.append(Verdict(True, against, difference.bits, tolerance, 0))
    return verdicts[0]
