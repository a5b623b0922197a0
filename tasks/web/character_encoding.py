"""Decodes bytes by what is declared of them, by their byte order mark, or by detection.

The labels are those of the WHATWG Encoding standard. One thing differs from browsers: a declared encoding that the
bytes plainly contradict is not believed, where a browser would show damage or the wrong letters. Above all, what is
plainly UTF-8 is UTF-8, whatever is declared.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from itertools import islice

import charset_normalizer
import webencodings
from w3lib.encoding import resolve_encoding, to_unicode

DETECT_BYTES = 20_000
FEW_BROKEN = 2  # bytes that no declared encoding is doubted for
# Broken sequences for a valid one, up to which a page is plainly UTF-8. Text in other encodings, read as UTF-8, has two
# or more.
MOST_BROKEN = 0.5
MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
# Here a letter in six is valid UTF-8 by chance, or more.
LIKE_UTF_8 = frozenset({"cp874", "gb18030", "big5hkscs", "cp932", "euc_jp", "cp949"})
NOT_BY_CHANCE = 5  # valid sequences
# The usual encodings of pages that declare none (WHATWG's fallbacks by language), the likeliest first. DOS code pages
# are not among them.
GUESSES = (
    *("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr", "tis_620"),
)


def codec_of(label: str | None) -> str | None:
    """Returns the Python codec for a label of the Encoding standard.

    None for an unknown label, and for the encodings of which browsers decode nothing ("replacement").
    """
    encoding = webencodings.lookup(label) if label else None
    return resolve_encoding(encoding.codec_info.name) if encoding else None


def decode_declared(body: bytes, declared: Sequence[str]) -> str:
    """Returns the text of a body, for which codecs are declared; the first counts most."""
    for mark, codec in MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    text = body.decode("utf-8", "replace")
    valid, broken = _valid_and_broken(text, body, "utf-8")
    enough = NOT_BY_CHANCE if LIKE_UTF_8.intersection(declared) else 1
    if valid >= enough and broken <= MOST_BROKEN * valid:
        return text
    for codec in declared:
        if (as_declared := _decode_nearly(body, codec)) is not None:
            return as_declared
    return _decoded(body, _guess(body))


def _decode_nearly(body: bytes, codec: str) -> str | None:
    """Returns the text; None where the bytes are clearly in another encoding."""
    if codec.startswith("utf-16") and b"\0" not in body:
        return None  # in UTF-16 each digit, space and line end has one
    text = _decoded(body, codec)
    valid, broken = _valid_and_broken(text, body, codec)
    return text if broken <= max(FEW_BROKEN, valid) else None


def _valid_and_broken(text: str, body: bytes, codec: str) -> tuple[int, int]:
    """Returns how many characters that are not ASCII a body has, and how many sequences of bytes are none."""
    written = body.count(b"\xef\xbf\xbd") if codec == "utf-8" else 0  # U+FFFD is a character too
    broken = text.count("\ufffd") - written
    return len(text) - len(text.encode("ascii", "ignore")) - broken, broken


def _guess(body: bytes) -> str:
    """Returns the likeliest codec of the text between the tags; tags are ASCII, and tell nothing."""
    pieces = (piece[0] for piece in re.finditer(rb"[^<>]+", body) if not piece[0].isascii())
    foreign = b" ".join(islice(pieces, DETECT_BYTES))[:DETECT_BYTES]
    guesses = charset_normalizer.from_bytes(foreign, cp_isolation=[*GUESSES]) if foreign else ()
    ranked = [(round(one.chaos, 1), -one.coherence, GUESSES.index(one.encoding), one.encoding) for one in guesses]
    return resolve_encoding(min(ranked)[-1]) or "cp1252" if ranked else "cp1252"


def _decoded(body: bytes, codec: str) -> str:
    single_byte = codec.startswith(("cp125", "cp874"))
    return codecs.decode(body, codec, "windows-controls") if single_byte else to_unicode(body, codec)


def _windows_controls(error: UnicodeError) -> tuple[str, int]:
    """Maps undefined bytes of Windows code pages to the control characters of the same number, as the standard does."""
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    return (chr(byte) if 0x80 <= byte <= 0x9F else "\ufffd"), error.start + 1


codecs.register_error("windows-controls", _windows_controls)
