"""Normalize a text: wrong encodings fixed, NFC, invisible characters dropped, white space tidy. Pure functions."""

from __future__ import annotations

import re
import unicodedata

import ftfy
from ftfy.badness import is_bad

from tasks.clean.mojibake import fix_mojibake
from tasks.contracts.scripts import UNSPACED

FTFY = ftfy.TextFixerConfig(
    uncurl_quotes=False,  # curly quotes are no mistake
    fix_character_width=False,  # it rewrites the commas of Chinese text
    unescape_html="auto",
    normalization="NFC",
)
# What says nothing: control characters, surrogates, private characters, noncharacters; soft hyphens, direction marks,
# byte order marks, word joiners. What stays: joiners and the other format characters that scripts need, and characters
# that the running Python does not know. Tags stay where they spell the name of a flag, behind a black one; spaces of no
# width where the script has no other.
KEPT = "(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f?)"
JUNK = re.compile(
    f"{KEPT}|(?<![{UNSPACED}])\u200b|\u200b(?![{UNSPACED}])"
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufdd0-\ufdef"
    "\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e00ff\U000e01f0-\U000e0fff\U000f0000-\U0010ffff"
    + "".join(chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF))
    + "]"
)
SPACES = re.compile(r"[^\S\n\t]")
# What ftfy fixes besides wrong encodings: entities, control characters, ligatures, line ends, surrogates. It is slow.
FOR_FTFY = re.compile(
    "[&\x00-\x08\x0b-\x1f\x7f-\x9f\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u2028\u2029\u206a-\u206f\ud800-\udfff"
    "\ufb00-\ufb06\ufeff\ufff9-\ufffc\U000e0000-\U000e0fff]"
)
# Quotes, dashes, an ellipsis and no-break spaces are no sign of a wrong encoding without one of these beside them.
UNUSUAL = re.compile("[^\x00-\x7f\xa0\u2013\u2014\u2018\u2019\u201c\u201d\u2026]")
PRIVATE = re.compile("[\ue000-\uf8ff]")
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
    if for_ftfy(line):
        line = _fix_by_ftfy(line)
    line = fix_mojibake(line)
    line = SPACES.sub(" ", line)
    if not line.isprintable():
        line = JUNK.sub(lambda found: found[1] or "", line)
    return unicodedata.normalize("NFC", line)


def _fix_by_ftfy(line: str) -> str:
    """Returns what ftfy makes of a whole line: of parts it would see less, and decide otherwise.

    Private characters are not what a line says; then it took one code page for another.
    """
    fixed = ftfy.fix_text(line, FTFY)
    return ftfy.fix_text(fix_mojibake(line), FTFY) if PRIVATE.search(fixed) and not PRIVATE.search(line) else fixed


def for_ftfy(line: str) -> bool:
    """Whether ftfy could change more of a line than its normal form."""
    return FOR_FTFY.search(line) is not None or (UNUSUAL.search(line) is not None and is_bad(line))
