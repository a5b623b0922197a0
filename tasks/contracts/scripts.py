"""Scripts that put no space between words: there each character, with the marks that belong to it, counts as a word."""

from __future__ import annotations

import re
import unicodedata

# Ranges for a regular expression.
UNSPACED = (
    "\u0e00-\u0eff\u0f40-\u0fbc"  # Thai, Lao; Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese, Shan, Mon
    "\u1780-\u17ff\u1950-\u19ff"  # Khmer; Tai Le, New Tai Lue
    "\u1a00-\u1aaf\u1b00-\u1b7f\ua980-\ua9df\uaa80-\uaadf"  # Buginese, Tai Tham; Balinese; Javanese; Tai Viet
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\ua000-\ua48f"  # Yi
)
# Their vowel signs and tones, which Python's `\w` leaves out.
MARKS = "".join(
    sign
    for sign in re.findall(f"[{UNSPACED}]", "".join(map(chr, range(0x0E00, 0x10000))))
    if unicodedata.category(sign)[0] == "M"
)
# And what else belongs to the character before: the dots of Tibetan syllables, joiners, variation selectors.
CHARACTER = re.compile(f"[{UNSPACED}][{MARKS}\u0f0b\u0f0c\u200b-\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]*")
WORD = re.compile(rf"{CHARACTER.pattern}|[^\s{UNSPACED}]+")


def words(text: str) -> list[str]:
    """Returns the words of a text: runs between spaces, and the characters of scripts without spaces."""
    return text.split() if text.isascii() or not CHARACTER.search(text) else WORD.findall(text)
