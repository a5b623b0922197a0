"""Decodes bytes as browsers do: by byte order mark, HTTP header, the page's own declaration, then by detection.

The order, the labels and the prescan are those of the WHATWG standards (Encoding; HTML, "determining the character
encoding"). One thing differs: a declared encoding that the bytes plainly contradict is not believed, where a browser
would show damage or the wrong letters. Above all, what is plainly UTF-8 is UTF-8, whatever is declared.
"""

from __future__ import annotations

import codecs
import re

import charset_normalizer
import webencodings
from w3lib.encoding import resolve_encoding, to_unicode

from tasks.web.meta_tags import ATTRIBUTES, COMMENT, NO_MARKUP, attributes_of

PRESCAN_BYTES = 1024
HEAD_BYTES = 65_536  # after the prescan, a declaration is looked for within so many bytes, and within the head
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
    for mark, codec in MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    declared = [codec for codec in (codec_of(charset), prescan(body) if is_html else None) if codec]
    text = body.decode("utf-8", "replace")
    valid, broken = _valid_and_broken(text, body, "utf-8")
    enough = NOT_BY_CHANCE if LIKE_UTF_8.intersection(declared) else 1
    if valid >= enough and broken <= MOST_BROKEN * valid:
        return text
    for codec in declared:
        if (as_declared := _decode_nearly(body, codec)) is not None:
            return as_declared
    return _decoded(body, _guess(body))


def codec_of(label: str | None) -> str | None:
    """Returns the Python codec for a label of the Encoding standard.

    None for an unknown label, and for the encodings of which browsers decode nothing ("replacement").
    """
    encoding = webencodings.lookup(label) if label else None
    return resolve_encoding(encoding.codec_info.name) if encoding else None


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
    foreign = b" ".join(piece for piece in re.split(rb"[<>]", body) if not piece.isascii())
    guesses = charset_normalizer.from_bytes(foreign[:DETECT_BYTES], cp_isolation=[*GUESSES]) if foreign else ()
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
