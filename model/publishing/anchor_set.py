"""The anchor set: the held-out windows that the gate compares models on, and what it remembers about them.

It is drawn evenly from all held-out text, and kept, so that the nights can be compared. It is drawn anew, as the next
version, when

- the token files are of another generation, where the old windows mean nothing;
- the held-out text has doubled since: else it would speak for an ever smaller part;
- it refused, three nights in a row, a candidate that was better on all held-out text: then it is no measure of that any
  more, and the night's verdict is made again on the new one.

Whatever the reason, what is served is scored on it first and becomes the best to compare with. `models/anchor.json` is
written before a publication and holds the state before it too: one that is killed and made again decides alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model.contracts.atomic_files import write_atomically
from model.data.batches import Window
from model.data.digests import SEAL, read_record, record_text
from model.publishing.publication_gate import FIRST_NIGHT_NOISE, LATELY, night_noise

NAME = "anchor.json"
FORMAT = 1


@dataclass(frozen=True)
class FirstNightSet:
    """The held-out text of the lineage's first night: what forgetting is measured on, for ever."""

    documents: int
    """All seqs below it were committed then; 0: nobody knows."""
    tokens: int
    """The first so many of val.bin, in this generation."""
    best: float | None = None
    """Fewest bits per byte of a served model, in this generation."""


@dataclass(frozen=True)
class Anchor:
    """The set, and the scores on it."""

    version: int
    generation: str
    drawn_at: int
    """Step."""
    val_tokens: int
    """Held-out tokens that it was drawn from."""
    windows: tuple[Window, ...]
    oldest: FirstNightSet
    scores: tuple[tuple[int, float], ...] = ()
    """(step, bits per byte) of each candidate lately, published or not."""
    best_step: int | None = None
    best_nats: tuple[float, ...] = ()
    """By window, of the best model served."""
    stale: int = 0
    noise_share: float | None = None
    """The noise of a night as a share of the score, as last measured."""

    def __post_init__(self) -> None:
        counts = (self.version, self.drawn_at, self.val_tokens, self.stale, *(n for one in self.windows for n in one))
        numbers = (*self.best_nats, *(bits for _, bits in self.scores))
        if not all(type(count) is int for count in counts) or not all(isinstance(one, int | float) for one in numbers):
            raise ValueError("it holds something that is no number")

    @property
    def tokens(self) -> int:
        return sum(length for _, length in self.windows)

    def noise(self, bits_per_byte: float) -> float:
        """Returns the standard deviation of one night's score."""
        return bits_per_byte * (FIRST_NIGHT_NOISE if self.noise_share is None else self.noise_share)

    def with_score(self, step: int, bits_per_byte: float) -> Anchor:
        """Adds one more night; a step that is reached again replaces itself and what came after it."""
        scores = [*(one for one in self.scores if one[0] < step), (step, bits_per_byte)][-LATELY:]
        noise = night_noise([bits for _, bits in scores])
        share = self.noise_share if noise is None else noise / bits_per_byte
        return replace(self, scores=tuple(scores), noise_share=share)

    def due(self, generation: str, val_tokens: int) -> str | None:
        """Returns why it has to be drawn anew, or None."""
        if self.generation != generation:
            return "the token files are of another generation"
        if val_tokens >= 2 * self.val_tokens:
            return "the held-out text has doubled"
        return None


def read_anchor(models_dir: Path, step: int) -> Anchor | None:
    """Returns the state before the publication of this step; None where there is none, or one of another version.

    Raises ValueError where it is damaged.
    """
    try:
        record = read_record(models_dir / NAME)
        if unknown := record.keys() - {"format", "step", "now", "before", SEAL}:
            raise ValueError(f"{NAME} has {', '.join(unknown)}, of which nobody knows")
        if record["format"] != FORMAT:
            return None
        values = record["before"] if record["step"] == step else record["now"]
        return _from_record(values) if values else None
    except FileNotFoundError:
        return None
    except (OSError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{NAME} is not readable: {error}") from error


def write_anchor(models_dir: Path, step: int, before: Anchor | None, now: Anchor) -> None:
    models_dir.mkdir(parents=True, exist_ok=True)
    values = {"format": FORMAT, "step": step, "now": asdict(now), "before": asdict(before) if before else None}
    write_atomically(models_dir / NAME, record_text(values))


def _from_record(values: dict[str, Any]) -> Anchor:
    pairs = {name: tuple((int(a), b) for a, b in values[name]) for name in ("windows", "scores")}
    return Anchor(
        **(values | pairs | {"best_nats": tuple(values["best_nats"]), "oldest": FirstNightSet(**values["oldest"])})
    )
