from __future__ import annotations

import pytest

from tasks.contracts.records import LOW_CONFIDENCE, Dropped, Extracted
from tasks.extract.second_reading import is_better, is_unsure
from tests.support.corpora import document


def reading(confidence: float, reason: str = "") -> Extracted:
    if reason:
        return Extracted(None, Dropped("extract", reason), (), confidence)
    return Extracted(document(1), None, (), confidence)


@pytest.mark.parametrize(
    ("result", "unsure"),
    [
        (reading(LOW_CONFIDENCE - 0.01), True),
        (reading(LOW_CONFIDENCE), False),
        (reading(0.0, "no_text"), True),
        (reading(0.3, "too_short"), True),
        (reading(0.9, "too_short"), False),
        (reading(0.1, "listing"), False),
        (reading(0.1, "noindex"), False),
        (Extracted(None, Dropped("render", "not_found")), False),
    ],
)
def test_which_pages_are_worth_another_look(result: Extracted, unsure: bool) -> None:
    assert is_unsure(result) == unsure


@pytest.mark.parametrize(
    ("second", "first", "better"),
    [
        (reading(0.41), reading(0.4), True),
        (reading(0.4), reading(0.4), False),
        (reading(0.1), reading(0.4), False),
        (reading(0.3), reading(0.0, "no_text"), True),
        (reading(0.9, "too_short"), reading(0.1), False),
        (Extracted(None, Dropped("render", "timeout")), reading(0.1), False),
        (reading(0.0, "noindex"), reading(0.4), True),
        (Extracted(None, Dropped("render", "reserved")), reading(0.4), True),
    ],
    ids=["surer", "tie", "less sure", "a text at last", "no text", "not shown", "noindex", "reserved"],
)
def test_which_reading_counts(second: Extracted, first: Extracted, better: bool) -> None:
    assert is_better(second, first) == better
