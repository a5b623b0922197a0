"""Decodes bytes as browsers do: by byte order mark, HTTP header, the page's own declaration, then by detection.

The order, the labels and the prescan are those of the WHATWG standards (Encoding; HTML, "determining the character
encoding"). One thing differs: a declared encoding that the bytes plainly contradict is not believed, where a browser
would show damage.
"""

from __future__ import annotations

import codecs
import re

import charset_normalizer

PRESCAN_BYTES = 1024
DETECT_BYTES = 20_000
DAMAGE = 0.001  # largest share of invalid bytes with which a declared encoding is still believed
MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
# The usual encodings of pages that declare none (WHATWG's fallbacks by language); DOS code pages are not among them.
GUESSES = (
    *("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
# The labels of the Encoding standard, by the Python codec that reads their encoding. Latin-1 means windows-1252, as
# everywhere on the web.
CODECS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6": (
        "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i "
        "iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987"
    ),
    "iso8859-7": (
        "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
        "iso_8859-7:1987 sun_eu_greek"
    ),
    "iso8859-8": (
        "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 "
        "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical"
    ),
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": (
        "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 "
        "iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252"
    ),
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": (
        "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
        "windows-1254 x-cp1254"
    ),
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": ("chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030"),
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": (
        "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949"
    ),
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
}
CODEC_OF = {label: codec for codec, labels in CODECS.items() for label in labels.split()}
# Tags and comments of the prescan; one that does not end within the scanned bytes is ignored.
MARKUP = re.compile(
    rb"<!--.*?-->|<!-->|<meta[\t\n\f\r /](?P<meta>[^<>]*)|</?[a-zA-Z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>|<[!/?][^>]*>",
    re.IGNORECASE | re.DOTALL,
)
ATTRIBUTE = re.compile(rb"([^\s/>=]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+)))?")
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
    declared = [codec_of(charset), prescan(body) if is_html else None, "utf-8"]
    for codec in dict.fromkeys(name for name in declared if name):
        if (text := _decode_nearly(body, codec)) is not None:
            return text
    guess = charset_normalizer.from_bytes(body[:DETECT_BYTES], cp_isolation=[*GUESSES]).best()
    return _decoded(body, guess.encoding if guess else "cp1252")


def codec_of(label: str | None) -> str | None:
    """Returns the Python codec for a label of the Encoding standard; None for an unknown label."""
    return CODEC_OF.get(label.strip("\t\n\x0c\r ").lower()) if label else None


def query_codec(body: bytes, charset: str | None) -> str:
    """Returns the codec in which browsers write the queries of a page's links: the declared one, or UTF-8."""
    is_marked = body.startswith(tuple(mark for mark, _ in MARKS))
    declared = None if is_marked else codec_of(charset) or prescan(body)
    return "utf-8" if declared is None or declared.startswith("utf-16") else declared


def prescan(body: bytes) -> str | None:
    """Returns the codec that the first 1024 bytes declare, by a `meta` tag or else by an XML declaration."""
    head = body[:PRESCAN_BYTES]
    if head[:6] in (b"<\0?\0x\0", b"\0<\0?\0x"):
        return "utf-16-le" if head[0] else "utf-16-be"
    for found in MARKUP.finditer(head):
        if found["meta"] is not None and (codec := _meta_codec(found["meta"])):
            return codec
    declaration = XML_DECLARATION.match(head)
    return _in_bytes(codec_of(declaration[1].decode("ascii"))) if declaration else None


def _meta_codec(attributes: bytes) -> str | None:
    values: dict[bytes, bytes] = {}
    for name, *quoted in ATTRIBUTE.findall(attributes):
        values.setdefault(name.lower(), next((value for value in quoted if value), b""))
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
    text = _decoded(body, codec)
    return text if text.count("\ufffd") <= DAMAGE * len(body) else None


def _decoded(body: bytes, codec: str) -> str:
    return codecs.decode(body, codec, "windows-controls" if codec.startswith("cp125") else "replace")


def _windows_controls(error: UnicodeError) -> tuple[str, int]:
    """Maps undefined bytes of Windows code pages to the control characters of the same number, as the standard does."""
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    return (chr(byte) if 0x80 <= byte <= 0x9F else "\ufffd"), error.start + 1


codecs.register_error("windows-controls", _windows_controls)
