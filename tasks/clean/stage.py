"""Clean: mend the text, replace personal data, then judge it. Pure functions of the text and the rules.

The rules suit small corpora: the full Gopher and FineWeb set keeps 17 % of real documentation pages.
Sources of the thresholds: Gopher (Rae et al. 2021, appendix A1.1), C4 (Raffel et al. 2020), FineWeb (Penedo et al.
2024).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import ftfy
from ftfy.badness import is_bad

from tasks.clean.boilerplate import line_keys
from tasks.clean.language import detect_language
from tasks.clean.mojibake import fix_mojibake
from tasks.clean.pii import replace_personal_data
from tasks.contracts.records import Dropped
from tasks.contracts.settings import CleanSettings
from tasks.dedup.minhash import Signature, signature_of

# Raise it with every change here that can change a text or a verdict.
RULE_VERSION = 5

FTFY = ftfy.TextFixerConfig(
    uncurl_quotes=False,  # curly quotes are no mistake
    fix_character_width=False,  # it rewrites the commas of Chinese text
    unescape_html="auto",
    normalization="NFC",
)
# Control, format (zero-width, direction marks, BOM, soft hyphen), surrogate, private-use characters;
# joiners stay, since Indic scripts, Persian and emoji need them.
KEPT_FORMAT = {"\n", "\t", "\u200c", "\u200d"}
UNWANTED = {"Cc", "Cf", "Cs", "Co", "Cn"}
SPACES = re.compile(r"[^\S\n\t]")
# What ftfy mends besides wrong encodings: entities, control characters, ligatures, line ends, surrogates. It is slow.
FOR_FTFY = re.compile(
    "[&\x00-\x08\x0b-\x1f\x7f-\x9f\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u2028\u2029\u206a-\u206f\ud800-\udfff"
    "\ufb00-\ufb06\ufeff\ufff9-\ufffc\U000e0000-\U000e0fff]"
)
# Quotes, dashes, an ellipsis and no-break spaces are no sign of a wrong encoding without one of these beside them.
UNUSUAL = re.compile("[^\x00-\x7f\xa0\u2013\u2014\u2018\u2019\u201c\u201d\u2026]")
# What ftfy and Unicode could change; most text has none of it, and most of the time is saved there.
SUSPECT = re.compile(r"[^\n\t -%'-~]")
LETTER = re.compile(r"[^\W\d_]")
BLANK_LINES = re.compile(r"\n{3,}")
ELLIPSES = ("...", "\u2026")
BULLETS = (*"\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013", "- ", "* ")
STOPS = (".", "!", "?", '"', "\u201d", "\u3002", "\uff01", "\uff1f")
SHORT_LINE = 30  # characters, as FineWeb has it
# A word is a run between spaces; Chinese and Japanese write none, so there each character counts.
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
CJK_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Normalized:
    """A text on its way, and what its site's boilerplate is found by."""

    text: str
    line_keys: list[int]  # of `boilerplate.candidate_lines`


@dataclass(frozen=True, slots=True)
class Accepted:
    """A good text: its language, and what it is compared by."""

    language: str  # ISO 639
    signature: Signature


def clean(path: str) -> Normalized:
    """The mended text of a raw file, without personal data."""
    text = replace_personal_data(normalize(_read(path)))
    return Normalized(text, line_keys(text))


def for_ftfy(line: str) -> bool:
    """Whether ftfy could change more of a line than its normal form."""
    return FOR_FTFY.search(line) is not None or (UNUSUAL.search(line) is not None and is_bad(line))


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def apply_quality_filters(text: str, settings: CleanSettings) -> Accepted | Dropped:
    """What is needed of a good text, or the first rule that it breaks."""
    if broken := _broken_rule(text, settings):
        return broken
    language, score = detect_language(text)
    if settings.languages and (language not in settings.languages or score < settings.min_language_score):
        return Dropped("clean", "language", f"{language}, score {score:.2f}")
    return Accepted(language, signature_of(text))


def normalize(text: str) -> str:
    """Mend encoding, normalise to NFC, drop invisible characters, tidy white space; ends in a newline."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _fix_suspect_lines(text)
    if any(end in text for end in (" \n", "\t\n")) or text.endswith((" ", "\t")):
        text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.strip("\n") + "\n"


def _fix_suspect_lines(text: str) -> str:
    pieces, done = [], 0
    while suspect := SUSPECT.search(text, done):
        start, end = text.rfind("\n", done, suspect.start()) + 1 or done, text.find("\n", suspect.start())
        end = end if end >= 0 else len(text)
        pieces += [text[done:start], _fix_line(text[start:end])]
        done = end
    return "".join([*pieces, text[done:]])


def _fix_line(line: str) -> str:
    line = fix_mojibake(line)
    if for_ftfy(line):
        line = ftfy.fix_text(line, FTFY)
    line = SPACES.sub(" ", line)
    if not line.isprintable():
        line = "".join(c for c in line if c in KEPT_FORMAT or unicodedata.category(c) not in UNWANTED)
    return unicodedata.normalize("NFC", line)


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
