"""UTF-8 that was read as something else, turned back: a line whose every character fits is decoded again.

ftfy knows the common kinds, and how to fix parts of a line; it sees each line first, and whole. Here are those that it
leaves: Western names read as cp1251, DOS code pages. The idea is ftfy's (Robyn Speer): bytes that are valid UTF-8 by
chance are rare, and what comes out must look more like text than what went in.
"""

from __future__ import annotations

import re

import ftfy.bad_codecs  # noqa: F401  # the "sloppy" codecs: what browsers make of bytes that a code page lacks

CODECS = (
    *("latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253"),
    *("sloppy-windows-1254", "sloppy-windows-1257", "iso-8859-2", "mac-roman", "cp437", "cp850", "cp866", "koi8-r"),
)
# In the others two letters in a row are no UTF-8.
CYRILLIC = re.compile("[\u0410-\u044f]{2}")
CYRILLIC_CODECS = ("cp866",)
LAYERS = 3  # mojibake of mojibake of mojibake
SURE = 4  # different characters of more than one byte: so many do not fit by chance
# What ftfy leaves as it is although it could be UTF-8 that was read as this is rather meant.
WELL_KNOWN = "sloppy-windows-1252"

FOREIGN = re.compile("[^\x00-\x7f]")
SEVERAL = re.compile("[^\x00-\x7f]{2}")
ALONE = re.compile("(?<![^\x00-\x7f])([^\x00-\x7f])(?![^\x00-\x7f])")
FAR = re.compile("[\u0530-\u1fff\u2600-\U0010ffff]")  # in none of the code pages
UNLIKELY = re.compile("[^\x80-\u017e\u0180-\u052f\u2010-\u20ac\u2122]")  # when there is little of it
_LATIN = "A-Za-z\xaa\xba\xc0-\xd6\xd8-\xf6\xf8-\u024f\u1e00-\u1eff"
_OTHER = "\u0370-\u03ff\u0400-\u052f"  # Greek, Cyrillic
_SIGN = (
    "\xa2-\xa9\xac-\xaf\xb1\xb4\xb6\xb8\xd7\xf7\u02c6-\u02dd\u2020-\u2022\u2030\u20a7\u2122\u2202-\u2265\u2310\u2320\u2321"
    "\u2500-\u25ca"
)
_MARK = "\xa9\xae\u2122"  # may end a word
# Two scripts in one word, a sign in one, a capital letter with an accent behind a small one.
ODD = re.compile(
    rf"[{_LATIN}][{_OTHER}]|[{_OTHER}][{_LATIN}]|[{_LATIN}](?![{_MARK}](?![{_LATIN}]))[{_SIGN}]|[{_SIGN}][{_LATIN}]"
    r"|[a-z\xdf-\xf6\xf8-\xff][\xc0-\xd6\xd8-\xde\u0102\u0104\u010e\u0139\u013d\u0150\u0158\u0160\u016e\u0170\u0178\u017b\u017d]"
    r"|[\u2500-\u259f]"
)
# Control characters and rare scripts; what decodes to them was something else.
IMPOSSIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u0250-\u02af\u0500-\u058f\u0700-\u08ff\u1380-\u1dff\u2800-\u2fff\ua000-\uabff\ue000-\uf8ff"
    "\ufb00-\ufdff\ufff0-\uffff\U00010000-\U0001efff\U00030000-\U0010ffff]"
)
# What is most likely meant where two code pages fit.
ACCENTED = frozenset(
    "\xe9\xe8\xe0\xe7\xea\xf4\xfb\xf9\xe2\xee\xeb\xef\xe4\xf6\xfc\xdf\xe5\xe6\xf8\xe1\xed\xf3\xfa\xf1\xe3\xf5\xc9\xc4\xd6\xdc\u2019\u201c\u201d\u2018\u2013\u2014\u2026\u20ac\xa3\xb0\xa0\xab\xbb\xa9"
)


def fix_mojibake(line: str) -> str:
    """Returns the line with those parts fixed that are mojibake from end to end.

    Each character of more than one byte has become as many; where one stands alone, the line is split.
    """
    if not SEVERAL.search(line) or FAR.search(line):
        return line
    parts = ALONE.split(line)
    parts[::2] = map(_fix, parts[::2])
    return "".join(parts)


def _fix(part: str) -> str:
    for _ in range(LAYERS):
        if not SEVERAL.search(part) or (better := _likelier(part)) is None:
            break
        part = better
    return part


def _likelier(part: str) -> str | None:
    """Returns the likeliest decoding under all code pages; None where none is likelier than the part itself."""
    if _is_left_by_ftfy(part):
        return None
    odd = len(ODD.findall(part))
    best: tuple[int, int] | None = None
    meant = None
    for codec in CODECS if not CYRILLIC.search(part) else CYRILLIC_CODECS:
        try:
            candidate = part.encode(codec).decode()
        except UnicodeError:
            continue
        decoded = FOREIGN.findall(candidate)
        sure = len(set(decoded)) >= SURE
        if IMPOSSIBLE.search(candidate) or not (sure or (odd and not any(map(UNLIKELY.match, decoded)))):
            continue
        score = (len(ODD.findall(candidate)), sum(sign not in ACCENTED for sign in decoded))
        if score[0] < max(odd, 1) and (best is None or score < best):
            best, meant = score, candidate
    return meant


def _is_left_by_ftfy(part: str) -> bool:
    try:
        return len(set(FOREIGN.findall(part.encode(WELL_KNOWN).decode()))) < SURE
    except UnicodeError:
        return False
