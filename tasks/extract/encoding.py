"""Decodes pages as browsers do: by byte order mark, HTTP header, the page's own declaration, then by detection.

The order and the prescan are those of the HTML standard ("determining the character encoding").
"""

from __future__ import annotations

import re

from tasks.web.character_encoding import MARKS, codec_of, decode_declared
from tasks.web.meta_tags import ATTRIBUTES, COMMENT, NO_MARKUP, attributes_of

PRESCAN_BYTES = 1024
HEAD_BYTES = 65_536  # after the prescan, a declaration is looked for within so many bytes, and within the head
MARKUP = re.compile(
    COMMENT + rb"|<meta[\s/](?P<meta>" + ATTRIBUTES + rb")>"
    rb"|</?(?P<name>[a-zA-Z][^\s/>]*+)" + ATTRIBUTES + rb"(?:>|\Z)|<[!/?][^>]*+(?:>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
IN_HEAD = frozenset(
    {b"html", b"head", b"script", b"style", b"title", b"noscript", b"meta", b"link", b"base", b"object"}
)
CONTENT_CHARSET = re.compile(rb"charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"']+))", re.IGNORECASE)
XML_DECLARATION = re.compile(rb"<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]+)[\"']")


def decode(body: bytes, charset: str | None, *, is_html: bool = True) -> str:
    """Returns the text of a body.

    Args:
        charset: the label in the HTTP header, if there is one.
        is_html: whether the body may declare its encoding itself.
    """
    declared = (codec_of(charset), prescan(body) if is_html else None)
    return decode_declared(body, [codec for codec in declared if codec])


def query_codec(body: bytes, charset: str | None) -> str:
    """Returns the codec in which browsers write the queries of a page's links: the declared one, or UTF-8."""
    is_marked = body.startswith(tuple(mark for mark, _ in MARKS))
    declared = None if is_marked else codec_of(charset) or prescan(body)
    return "utf-8" if declared is None or declared.startswith("utf-16") else declared


def prescan(body: bytes) -> str | None:
    """Returns the codec that a page declares, by a `meta` tag or else by an XML declaration.

    The first 1024 bytes are read by the standard's prescan. A parser meets a `meta` tag that comes later, and changes
    the encoding then; as in Chromium, only what stands before the first tag that belongs to no head is looked at.
    """
    head = body[:PRESCAN_BYTES]
    if head[:6] in (b"<\0?\0x\0", b"\0<\0?\0x"):
        return "utf-16-le" if head[0] else "utf-16-be"
    for found in MARKUP.finditer(head):
        if found["meta"] is not None and (codec := _meta_codec(found["meta"])):
            return codec
    if codec := _late_meta(body[:HEAD_BYTES]):
        return codec
    declaration = XML_DECLARATION.match(head)
    return _in_bytes(codec_of(declaration[1].decode("ascii"))) if declaration else None


def _late_meta(head: bytes) -> str | None:
    if len(head) <= PRESCAN_BYTES:
        return None
    for found in MARKUP.finditer(NO_MARKUP.sub(b" ", head)):
        if found["meta"] is not None and (codec := _meta_codec(found["meta"])):
            return codec
        if found["name"] and found["name"].lower() not in IN_HEAD:
            return None
    return None


def _meta_codec(attributes: bytes) -> str | None:
    values = attributes_of(attributes)
    if b"charset" in values:
        label = values[b"charset"]
    elif values.get(b"http-equiv", b"").lower() == b"content-type":
        found = CONTENT_CHARSET.search(values.get(b"content", b""))
        label = next((value for value in found.groups() if value), b"") if found else b""
    else:
        return None
    return _in_bytes(codec_of(label.decode("ascii", "ignore")))


def _in_bytes(codec: str | None) -> str | None:
    """Replaces UTF-16: a declaration that could be read as ASCII is not in UTF-16, whatever it says."""
    return "utf-8" if codec and codec.startswith("utf-16") else codec
