"""Undoes a Content-Encoding in small steps, and believes the bytes more than the header, as browsers do.

Servers declare gzip and send plain text, compress twice or without a word, call either form of deflate by that name,
and send padding after the end. What came before the damage of a body is kept.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from tasks.contracts.outcomes import PageRejected

STEP = 65536  # the most that is decompressed at once: 65 kB of gzip can hold 67 MB
HEAD = 512  # bytes by which a format is recognised
MAX_CODINGS = 3
GZIP, ZLIB, DEFLATE = 31, 15, -15  # as zlib numbers its formats
MAGIC = b"\x1f\x8b\x08"
FORMATS = {
    "gzip": (GZIP, ZLIB),
    "x-gzip": (GZIP, ZLIB),
    "deflate": (GZIP, ZLIB, DEFLATE),
    "": (GZIP,),  # nothing was declared
}
NOT_UNDONE = frozenset(("br", "zstd", "compress", "x-compress", "dcb", "dcz"))  # nor asked for
MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[!?a-zA-Z]")


def decoded(pieces: Iterable[bytes], declared: str, max_bytes: int, *, is_text: bool) -> Iterator[bytes]:
    """Yields a body in pieces of at most `STEP` bytes, or of the size they came in.

    Args:
        declared: the Content-Encoding header; a name in it that is no compression is ignored.
        max_bytes: what a layer of compression may hold that lies below another one.
        is_text: whether it is a page, which is also unpacked where nothing was declared.

    Raises:
        PageRejected: `bad_encoding`, or `too_large` for a layer within.
    """
    codings = [name for part in declared.lower().split(",") if (name := part.strip()) in FORMATS.keys() | NOT_UNDONE]
    if len(codings) > MAX_CODINGS:
        raise PageRejected("bad_encoding", declared[:100])
    layers = [*filter(None, reversed(codings)), *([""] if is_text else [])]
    body = iter(pieces)
    for coding in layers:
        body = _undo(_bounded(body, max_bytes + 2 * STEP), coding)
    return body


def _bounded(pieces: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > max_bytes:
            raise PageRejected("too_large", f"more than {max_bytes} bytes within a compression")
        yield piece


def _undo(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    """Undoes one layer; passes on what is not compressed."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= HEAD:
            break
    body = chain([head], pieces)
    for wbits in FORMATS.get(coding, ()):
        opening = _opening(head, wbits)
        if opening is not None and (coding or b"\0" not in opening):  # else a file to download
            yield from _inflate(body, wbits)
            return
    is_damaged = head.startswith(MAGIC) or b"\0" in head
    if (coding and is_damaged) or (coding in NOT_UNDONE and head and not MARKUP.match(head)):
        raise PageRejected("bad_encoding", f"{coding} that cannot be read")
    yield from body


def _opening(head: bytes, wbits: int) -> bytes | None:
    """Returns what the first bytes decompress to; None where they are in another format."""
    try:
        return zlib.decompressobj(wbits).decompress(head[:HEAD], STEP)
    except zlib.error:
        return None


def _inflate(pieces: Iterable[bytes], wbits: int) -> Iterator[bytes]:
    """Decompresses one or several streams. Ends at what is no further stream, or at damage."""
    decoder, has_begun = zlib.decompressobj(wbits), False
    for piece in pieces:
        left = piece
        while left:
            before = decoder.copy()
            try:
                inflated = decoder.decompress(left, STEP)
            except zlib.error as error:
                for byte in _until_damage(before, left):
                    has_begun = has_begun or bool(byte)
                    yield byte
                if not has_begun:
                    raise PageRejected("bad_encoding", str(error)) from error
                return
            has_begun = has_begun or bool(inflated)
            yield inflated
            left = decoder.unconsumed_tail
            if decoder.eof:
                left = decoder.unused_data
                if len(left) < len(MAGIC):
                    break  # the next piece may tell what it is
                if not left.startswith(MAGIC):
                    return
                decoder = zlib.decompressobj(GZIP)
    yield decoder.decompress(b"", STEP)


def _until_damage(decoder: zlib._Decompress, damaged: bytes) -> Iterator[bytes]:
    try:
        for byte in damaged:
            yield decoder.decompress(bytes([byte]), STEP)
    except zlib.error:
        return
