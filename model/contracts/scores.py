"""What a chunk's candidate and the model before it scored. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Scores:
    """The scores of the model that is served after a chunk, in bits per byte of held-out text; None: nothing to judge
    by. Their names are those in `miniature_memory.json`, in the "done" event and in the night's report."""

    candidate: str
    """The chunk's best candidate: which average, or the cooldown."""
    bits_per_byte: float | None = None
    """On the growing set."""
    bits_per_byte_before: float | None = None
    """Of the model served before, on the same text."""
    anchor_bits_per_byte: float | None = None
    anchor_bits_per_byte_before: float | None = None
    anchor_version: int | None = None
    anchor_tokens: int = 0
    uniform_bits_per_byte: float | None = None
    """Of a uniform guess over the vocabulary."""
    oldest_bits_per_byte: float | None = None
    """On the held-out text of the first night."""
    oldest_bits_per_byte_best: float | None = None
    """The lowest that a served model had there."""

    @classmethod
    def of_published(cls, record: dict[str, Any]) -> Scores:
        """Returns those in a published model's record, which an earlier version may have written."""
        return cls(**{one.name: record[one.name] for one in fields(cls) if one.name in record})

    def of_model(self) -> dict[str, Any]:
        """Returns those of the model itself: what its record keeps."""
        return {name: value for name, value in asdict(self).items() if not name.endswith("_before")}
