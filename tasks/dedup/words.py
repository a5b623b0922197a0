"""What counts as a word where texts are compared: runs of letters, digits and underscores, in lower case.

In scripts without spaces it is each character with its marks, as in `tasks.contracts.scripts`.
"""

from __future__ import annotations

import re

from tasks.contracts.scripts import CHARACTER, MARKS

NO_WORD = re.compile(rf"[^\w{MARKS}]+")
SPACE = ord(" ")
# No parts of words, and often all that keeps a text from being ASCII.
TYPOGRAPHY = "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u2022\xa0\xb7\xa9\xae\xb6\xa7\xab\xbb\xb0\xd7\u2122\u2192"
# ASCII text needs no regular expression, and is three times as fast without.
_TABLE = bytes(
    SPACE if byte < 128 and NO_WORD.fullmatch(chr(byte)) else ord(chr(byte).lower()) if byte < 128 else byte
    for byte in range(256)
)


def words_only(text: str) -> bytes:
    """The words in order, lower case, in UTF-8, with spaces between them and nothing else."""
    if not text.isascii():
        for sign in TYPOGRAPHY:
            text = text.replace(sign, " ")
    if text.isascii():
        return text.encode().translate(_TABLE)
    if CHARACTER.search(text):
        text = CHARACTER.sub(r" \g<0> ", text)
    return NO_WORD.sub(" ", text.lower()).encode()
