"""The text of a feed or sitemap: unpacked, and decoded where the header, the XML declaration and the bytes disagree."""

from __future__ import annotations

import codecs
import re
import zlib
from contextlib import suppress

from w3lib.encoding import resolve_encoding

# A byte order mark, or the first characters of "<?xml" without one (XML 1.0, appendix F); UTF-32 before UTF-16.
BEGINNINGS = (
    *(
        (b"\xff\xfe\0\0", "utf-32-le"),
        (b"\0\0\xfe\xff", "utf-32-be"),
        (b"<\0\0\0", "utf-32-le"),
        (b"\0\0\0<", "utf-32-be"),
    ),
    *((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"<\0", "utf-16-le"), (b"\0<\0", "utf-16-be")),
)
DECLARATION = re.compile(rb"[^<]{0,200}<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
WITH_ESCAPES = re.compile("iso-?2022|hz", re.IGNORECASE)  # ASCII bytes stand for other characters there
# Two bytes or four for each character would have been seen, and some of Python's codecs are no encodings of files.
IMPOSSIBLE = re.compile("utf.?(16|32)|u16|u32|ucs|punycode|idna|.*escape", re.IGNORECASE)


def listing_text(body: bytes, charset: str | None, max_bytes: int) -> str:
    """Returns the text of a file, a byte order mark before it.

    Bytes that are UTF-8 are read as UTF-8, whatever the header or the declaration says: text in another encoding is
    hardly ever valid UTF-8 by chance.

    Args:
        charset: the label in the HTTP header, if there is one.
    """
    body = _unpacked(body, max_bytes)
    for beginning, wide in BEGINNINGS:
        if body.startswith(beginning):
            return body.decode(wide, "replace")
    declared = DECLARATION.match(body)
    labels = [label for label in (charset, declared[1].decode("ascii") if declared else None) if label]
    if not any(WITH_ESCAPES.match(label) for label in labels):
        with suppress(UnicodeDecodeError):
            return codecs.utf_8_decode(body, "strict", False)[0]  # a last character may be cut
    known = [codec for label in labels if not IMPOSSIBLE.match(label) and (codec := resolve_encoding(label))]
    for codec in known:
        with suppress(UnicodeDecodeError, LookupError):
            return body.decode(codec)
    return body.decode("utf-8" if "utf-8" in known else "cp1252", "replace")


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    """Decompresses all parts of a file such as `sitemap.xml.gz`, which is gzip without an HTTP header that says so."""
    unpacked = b""
    while body.startswith(b"\x1f\x8b") and len(unpacked) < max_bytes:
        part = zlib.decompressobj(wbits=31)
        try:
            unpacked += part.decompress(body, max_bytes - len(unpacked))
        except zlib.error:
            return unpacked
        body = part.unused_data
    return unpacked or body
