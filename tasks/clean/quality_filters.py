"""Quality filters: is a text good enough to learn from? Pure functions of the text and the settings.

The rules suit small corpora: the full Gopher and FineWeb set keeps 17 % of real documentation pages.
Sources of the thresholds: Gopher (Rae et al. 2021, appendix A1.1), C4 (Raffel et al. 2020), FineWeb (Penedo et al.
2024).

A rule is a function of a text and the settings. It returns what is wrong in a few words, or None; its name is the
outcome. One of your own: a file in this room, which takes `Text` from `text.py`, and its name in RULES.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tasks.clean.language import detect_language
from tasks.clean.text import Text
from tasks.contracts.records import Dropped
from tasks.contracts.settings import CleanSettings

LETTER = re.compile(r"[^\W\d_]")
ELLIPSES = ("...", "\u2026")
BULLETS = (*"\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013", "- ", "* ")
STOPS = (".", "!", "?", '"', "\u201d", "\u3002", "\uff01", "\uff1f")
SHORT_LINE = 30  # characters, as FineWeb has it


def too_short(text: Text, settings: CleanSettings) -> str | None:
    return f"{len(text.words)} words" if len(text.words) < settings.min_words else None


def too_long(text: Text, settings: CleanSettings) -> str | None:
    return f"{len(text.words)} words" if len(text.words) > settings.max_words else None


def short_words(text: Text, settings: CleanSettings) -> str | None:
    mean = text.mean_word_length
    return f"{mean:.1f} characters a word" if mean < settings.min_mean_word_length else None


def long_words(text: Text, settings: CleanSettings) -> str | None:
    mean = text.mean_word_length
    return f"{mean:.1f} characters a word" if mean > settings.max_mean_word_length else None


def symbols(text: Text, settings: CleanSettings) -> str | None:
    share = sum(map(text.text.count, ("#", *ELLIPSES))) / max(1, len(text.words))
    return f"{share:.2f} a word" if share > settings.max_symbol_ratio else None


def not_alphabetic(text: Text, settings: CleanSettings) -> str | None:
    share = sum(map(str.isalpha, text.words)) / max(1, len(text.words))
    if share < settings.min_alphabetic_ratio:  # then those with a comma or a quote are worth a look too
        share = sum(LETTER.search(word) is not None for word in text.words) / max(1, len(text.words))
    return f"{share:.2f} of the words" if share < settings.min_alphabetic_ratio else None


def lorem_ipsum(text: Text, settings: CleanSettings) -> str | None:
    place = text.text.lower().find("lorem ipsum") if settings.refuse_lorem_ipsum else -1
    return f"at character {place}" if place >= 0 else None


def ellipsis_lines(text: Text, settings: CleanSettings) -> str | None:
    share = text.share_of_lines(lambda line: line.endswith(ELLIPSES))
    return f"{share:.2f} of the lines" if share > settings.max_ellipsis_line_ratio else None


def bullet_lines(text: Text, settings: CleanSettings) -> str | None:
    share = text.share_of_lines(lambda line: line.startswith(BULLETS))
    return f"{share:.2f} of the lines" if share > settings.max_bullet_line_ratio else None


def short_lines(text: Text, settings: CleanSettings) -> str | None:
    if settings.max_short_line_ratio >= 1.0:
        return None
    share = text.share_of_lines(lambda line: len(line) < SHORT_LINE)
    return f"{share:.2f} of the lines" if share > settings.max_short_line_ratio else None


def unfinished_lines(text: Text, settings: CleanSettings) -> str | None:
    if settings.min_stopped_line_ratio <= 0.0:
        return None
    share = text.share_of_lines(lambda line: line.endswith(STOPS))
    return f"only {share:.2f} of the lines end in a stop" if share < settings.min_stopped_line_ratio else None


def repetitive(text: Text, settings: CleanSettings) -> str | None:
    """Characters in lines that stood before, as a share of all."""
    distinct = set(text.lines)
    share = 1.0 - sum(map(len, distinct)) / sum(map(len, text.lines)) if len(distinct) < len(text.lines) else 0.0
    return f"{share:.2f} of the characters" if share > settings.max_repeated_line_ratio else None


Rule = Callable[[Text, CleanSettings], str | None]
# In this order: the first rule that a text breaks is its outcome.
RULES: tuple[Rule, ...] = (
    too_short,
    too_long,
    short_words,
    long_words,
    symbols,
    not_alphabetic,
    lorem_ipsum,
    ellipsis_lines,
    bullet_lines,
    short_lines,
    unfinished_lines,
    repetitive,
)


def added_rules() -> list[str]:
    """The rules from other files. They belong to the digest of the rules: who adds one need not think of it."""
    return [f"{rule.__module__}.{rule.__name__}" for rule in RULES if rule.__module__ != __name__]


def apply_quality_filters(text: str, settings: CleanSettings) -> str | Dropped:
    """Returns the language of a good text (ISO 639), or the first rule that the text breaks."""
    looked_at = Text(text)
    for rule in RULES:
        if (detail := rule(looked_at, settings)) is not None:
            return Dropped("clean", rule.__name__, detail)
    language, score = detect_language(text)
    if settings.languages and (language not in settings.languages or score < settings.min_language_score):
        return Dropped("clean", "language", f"{language}, score {score:.2f}")
    return language
