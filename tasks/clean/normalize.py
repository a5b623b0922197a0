"""Normalize a text: wrong encodings fixed, NFC, invisible characters dropped, white space tidy. Pure functions."""

from __future__ import annotations

import re
import unicodedata

import ftfy
from ftfy.badness import is_bad

from tasks.clean.mojibake import fix_mojibake

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
# What ftfy fixes besides wrong encodings: entities, control characters, ligatures, line ends, surrogates. It is slow.
FOR_FTFY = re.compile(
    "[&\x00-\x08\x0b-\x1f\x7f-\x9f\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u2028\u2029\u206a-\u206f\ud800-\udfff"
    "\ufb00-\ufb06\ufeff\ufff9-\ufffc\U000e0000-\U000e0fff]"
)
# Quotes, dashes, an ellipsis and no-break spaces are no sign of a wrong encoding without one of these beside them.
UNUSUAL = re.compile("[^\x00-\x7f\xa0\u2013\u2014\u2018\u2019\u201c\u201d\u2026]")
# What ftfy and Unicode could change; most text has none of it, and most of the time is saved there.
SUSPECT = re.compile(r"[^\n\t -%'-~]")
BLANK_LINES = re.compile(r"\n{3,}")


def normalize(text: str) -> str:
    """Fix the encoding, normalize to NFC, drop invisible characters, tidy white space; ends in a newline."""
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


def for_ftfy(line: str) -> bool:
    """Whether ftfy could change more of a line than its normal form."""
    return FOR_FTFY.search(line) is not None or (UNUSUAL.search(line) is not None and is_bad(line))
