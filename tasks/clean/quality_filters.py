"""Quality filters: is a text good enough to learn from? Pure functions of the text and the settings.

The rules suit small corpora: the full Gopher and FineWeb set keeps 17 % of real documentation pages.
Sources of the thresholds: Gopher (Rae et al. 2021, appendix A1.1), C4 (Raffel et al. 2020), FineWeb (Penedo et al.
2024).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tasks.clean.language import detect_language
from tasks.contracts.records import Dropped
from tasks.contracts.settings import CleanSettings

LETTER = re.compile(r"[^\W\d_]")
ELLIPSES = ("...", "\u2026")
BULLETS = (*"\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013", "- ", "* ")
STOPS = (".", "!", "?", '"', "\u201d", "\u3002", "\uff01", "\uff1f")
SHORT_LINE = 30  # characters, as FineWeb has it
# A word is a run between spaces; Chinese and Japanese write none, so there each character counts.
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
CJK_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


def apply_quality_filters(text: str, settings: CleanSettings) -> str | Dropped:
    """Returns the language of a good text (ISO 639), or the first rule that the text breaks."""
    if broken := _broken_rule(text, settings):
        return broken
    language, score = detect_language(text)
    if settings.languages and (language not in settings.languages or score < settings.min_language_score):
        return Dropped("clean", "language", f"{language}, score {score:.2f}")
    return language


def _broken_rule(text: str, settings: CleanSettings) -> Dropped | None:
    words = CJK_WORD.findall(text) if CJK.search(text) else text.split()
    count = len(words)
    if count < settings.min_words:
        return Dropped("clean", "too_short", f"{count} words")
    if count > settings.max_words:
        return Dropped("clean", "too_long", f"{count} words")
    mean = (len(text) - sum(map(text.count, " \n\t")) if text.isascii() else sum(map(len, words))) / count
    if mean < settings.min_mean_word_length:
        return Dropped("clean", "short_words", f"{mean:.1f} characters a word")
    if mean > settings.max_mean_word_length:
        return Dropped("clean", "long_words", f"{mean:.1f} characters a word")
    symbols = (text.count("#") + text.count("...") + text.count("\u2026")) / count
    if symbols > settings.max_symbol_ratio:
        return Dropped("clean", "symbols", f"{symbols:.2f} a word")
    alphabetic = sum(map(str.isalpha, words)) / count
    if alphabetic < settings.min_alphabetic_ratio:  # then those with a comma or a quote are worth a look too
        alphabetic = sum(LETTER.search(word) is not None for word in words) / count
    if alphabetic < settings.min_alphabetic_ratio:
        return Dropped("clean", "not_alphabetic", f"{alphabetic:.2f} of the words")
    if settings.refuse_lorem_ipsum and (place := text.lower().find("lorem ipsum")) >= 0:
        return Dropped("clean", "lorem_ipsum", f"at character {place}")
    return _broken_line_rule([line for line in map(str.strip, text.split("\n")) if line], settings)


def _broken_line_rule(lines: list[str], settings: CleanSettings) -> Dropped | None:
    def share(holds: Callable[[str], bool]) -> float:
        return sum(map(holds, lines)) / len(lines)

    if (part := share(lambda line: line.endswith(ELLIPSES))) > settings.max_ellipsis_line_ratio:
        return Dropped("clean", "ellipsis_lines", f"{part:.2f} of the lines")
    if (part := share(lambda line: line.startswith(BULLETS))) > settings.max_bullet_line_ratio:
        return Dropped("clean", "bullet_lines", f"{part:.2f} of the lines")
    short, stopped = settings.max_short_line_ratio, settings.min_stopped_line_ratio
    if short < 1.0 and (part := share(lambda line: len(line) < SHORT_LINE)) > short:
        return Dropped("clean", "short_lines", f"{part:.2f} of the lines")
    if stopped > 0.0 and (part := share(lambda line: line.endswith(STOPS))) < stopped:
        return Dropped("clean", "unfinished_lines", f"only {part:.2f} of the lines end in a stop")
    repeated = _repeated_line_ratio(lines)
    if repeated > settings.max_repeated_line_ratio:
        return Dropped("clean", "repetitive", f"{repeated:.2f} of the characters")
    return None


def _repeated_line_ratio(lines: list[str]) -> float:
    """Characters in lines that stood before, as a share of all."""
    distinct = set(lines)
    return 1.0 - sum(map(len, distinct)) / sum(map(len, lines)) if len(distinct) < len(lines) else 0.0
