"""The text of a feed or sitemap: unpacked, and decoded where the header, the XML declaration and the bytes disagree."""

from __future__ import annotations

import re
import zlib

from tasks.web.character_encoding import codec_of, decode_declared

# A byte order mark, or "<" without one (XML 1.0, appendix F); UTF-32 before UTF-16, whose mark is its beginning.
WIDE = (
    *((b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be")),
    *((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<\0", "utf-16-be")),
)
DECLARATION = re.compile(rb"[^<]{0,200}<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")


def listing_text(body: bytes, charset: str | None, max_bytes: int) -> str:
    """Returns the text of a file, without its byte order mark.

    Args:
        charset: the label in the HTTP header, if there is one.
    """
    body = _unpacked(body, max_bytes)
    for beginning, codec in WIDE:
        if body.startswith(beginning):
            return body.decode(codec, "replace").removeprefix("\ufeff")
    declaration = DECLARATION.match(body)
    codecs = (codec_of(charset), codec_of(declaration[1].decode("ascii")) if declaration else None)
    # A declaration that could be read as ASCII is not in UTF-16, whatever it says.
    return decode_declared(body, [codec for codec in codecs if codec and not codec.startswith("utf-16")])


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
