"""A page of whose text the extractor is not sure: Chromium shows it once more, and the surer reading is taken."""

from __future__ import annotations

from tasks.contracts.records import LOW_CONFIDENCE, Extracted

WITHOUT_TEXT = ("no_text", "too_short")
FORBIDDEN = ("noindex", "reserved")


def is_unsure(result: Extracted) -> bool:
    """Whether another look may help: a text of low confidence, or hardly any. A listing is worth its links alone."""
    may_help = result.dropped is None or result.dropped.reason in WITHOUT_TEXT
    return may_help and result.confidence < LOW_CONFIDENCE


def is_better(second: Extracted, first: Extracted) -> bool:
    """Whether the reading of what Chromium showed counts: it is surer, or it says that the page must not be used."""
    if second.dropped is not None:
        return second.dropped.reason in FORBIDDEN
    return second.confidence > first.confidence
