"""One page's text, title and links, worked out in a process that may be killed: `python -m tasks.article`.

It speaks frames over its standard streams (four bytes of length, then JSON) and ends when its input does, so that
it never outlives who started it. Nothing is kept between pages.
"""

from __future__ import annotations

import codecs
import gzip
import json
import logging
import os
import re
import resource
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import charset_normalizer
import lxml.html
import trafilatura
from lxml import etree
from trafilatura.utils import load_html
from w3lib.encoding import html_body_declared_encoding, read_bom, resolve_encoding

from tasks.urls import url_key

EXTRACTOR = f"trafilatura {trafilatura.__version__}"
MAX_BYTES = 64_000_000  # of a file that nobody bounded before
MAX_LINKS = 5000
DETECT_BYTES = 20_000
# What pages without a word on it are really in (WHATWG's fallbacks by language); DOS code pages are not among them.
GUESSES = (
    *("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
DAMAGE = 0.001  # share of bytes that may be wrong in a declared encoding before another one is looked for
BLOCKS = ("p", "li", "td", "th", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "a")
SURROGATE = re.compile("[\ud800-\udfff]")


def read_article(body: bytes, url: str, charset: str | None, media_type: str) -> dict[str, Any]:
    """What `extract` needs to know of one page, as JSON values.

    Text by trafilatura 2 (Barbaresi 2021), comments left out, as it comes.
    """
    text = decode(body, charset)
    if media_type == "text/plain":
        return _result(text)
    tree = _parse(text)
    if tree is None:
        return _result("")
    robots = meta_robots(tree)
    stay = {"nofollow", "none"} & {directive.strip() for directive in robots.split(",")}
    links = [] if stay else page_links(tree, url)
    title, rights = page_title(tree), page_rights(tree, url)
    linked = _linked_blocks(tree)
    main = trafilatura.extract(tree, url=url, include_comments=False, deduplicate=False) or ""
    return _result(
        main,
        title=title,
        rights=rights,
        robots=robots,
        links=links,
        link_density=link_density(main, linked),
    )


def _parse(text: str) -> Any:
    """trafilatura's own tree; it gives None also where memory ran out, which must not pass for a page without text."""
    tree = load_html(text)
    if tree is not None:
        return tree
    try:
        return lxml.html.document_fromstring(text.encode("utf-8", "replace"), lxml.html.HTMLParser(encoding="utf-8"))
    except etree.ParserError:  # nothing but comments or spaces
        return None


def _result(text: str, **more: Any) -> dict[str, Any]:
    # A lone surrogate cannot be written as UTF-8; nothing else of the text is touched.
    nothing: dict[str, Any] = {"title": None, "rights": None, "robots": "", "links": [], "link_density": 0.0}
    return {**nothing, **more, "text": SURROGATE.sub("\ufffd", text), "extractor": EXTRACTOR}


def decode(body: bytes, charset: str | None) -> str:
    """As browsers do (WHATWG): the byte order mark, the HTTP header, the page's own word; then UTF-8; then a guess."""
    marked, mark = read_bom(body)
    if marked is not None and mark is not None:
        return body[len(mark) :].decode(marked, "replace")
    declared = [resolve_encoding(name) for name in (charset, html_body_declared_encoding(body)) if name]
    for name in [*declared, "utf-8"]:
        if name and (text := _decode_nearly(body, name)) is not None:
            return text
    guess = charset_normalizer.from_bytes(body[:DETECT_BYTES], cp_isolation=[*GUESSES]).best()
    return body.decode(guess.encoding if guess else "cp1252", "replace")


def _decode_nearly(body: bytes, name: str) -> str | None:
    """None where the encoding is unknown, or the bytes are plainly in another one."""
    try:
        text = codecs.decode(body, name, "replace")
    except (LookupError, ValueError):
        return None
    wrong = text.count("\ufffd")
    return text if wrong <= DAMAGE * len(body) else None


def page_links(tree: Any, url: str) -> list[str]:
    """Where the page leads: absolute, http and https, without fragments, in order, each once."""
    base = next(iter(tree.xpath("//base/@href")), "")
    root = _join(url, base.strip()) or url
    found: dict[str, str] = {}
    for href in tree.xpath("//a[not(contains(@rel, 'nofollow'))]/@href | //area/@href"):
        link = _join(root, href.strip())
        if link is not None and len(link) < 2000:
            found.setdefault(url_key(link), link)
        if len(found) == MAX_LINKS:
            break
    if urlsplit(url).scheme != "file":
        found.pop(url_key(url), None)
    return list(found.values())


def _join(base: str, href: str) -> str | None:
    try:
        link = urljoin(base, href).partition("#")[0]
        parts = urlsplit(link)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            url_key(link)  # raises where it cannot be compared
            return SURROGATE.sub("\ufffd", link)
    except ValueError:
        pass
    return None


def meta_robots(tree: Any) -> str:
    """All robots meta tags that concern us, as they are written."""
    names = ("robots", "miniature-memory")
    tags = ((tag.get("name") or "", tag.get("content") or "") for tag in tree.iter("meta"))
    return ", ".join(content.strip().lower() for name, content in tags if name.strip().lower() in names)


def page_title(tree: Any) -> str | None:
    for path in ("//meta[@property='og:title']/@content", "//title/text()", "//h1//text()"):
        for found in tree.xpath(path):
            if title := SURROGATE.sub("\ufffd", " ".join(found.split())):
                return title[:500]
    return None


def page_rights(tree: Any, url: str) -> str | None:
    """The licence that the page names by a link."""
    for href in tree.xpath("//*[self::a or self::link][contains(concat(' ', @rel, ' '), ' license ')]/@href"):
        return _join(url, href.strip())
    return None


def _linked_blocks(tree: Any) -> dict[str, float]:
    """Blocks that hold links: their text, and how much of it is links."""
    blocks: dict[str, float] = {}
    for block in tree.iter(*BLOCKS):
        text = _squeeze(block)
        links = 1.0 if block.tag == "a" else sum(len(_squeeze(a)) for a in block.iter("a")) / max(1, len(text))
        if text and links:
            blocks[text] = max(blocks.get(text, 0.0), min(1.0, links))
    return blocks


def link_density(text: str, linked: dict[str, float]) -> float:
    """Share of the extracted characters that were links on the page."""
    lines = [" ".join(line.strip("-| \t").split()) for line in text.splitlines()]
    total = sum(map(len, lines))
    return sum(len(line) * linked.get(line, 0.0) for line in lines) / total if total else 0.0


def _squeeze(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while len(head := requests.read(4)) == 4:
        request = json.loads(requests.read(struct.unpack(">I", head)[0]))
        try:
            answer = read_article(_body(request["path"]), request["url"], request["charset"], request["media_type"])
        except MemoryError:
            answer = {"error": "out of memory"}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        frame = json.dumps(answer).encode()
        answers.write(struct.pack(">I", len(frame)) + frame)
        answers.flush()


def _body(path: str) -> bytes:
    """A page of the cache is packed; a file of the user's is not."""
    if path.endswith(".gz"):
        with gzip.open(path) as file:
            return file.read(MAX_BYTES)
    with Path(path).open("rb") as file:
        return file.read(MAX_BYTES)


def main() -> None:
    """Arguments: the bound of the address space in megabytes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not fall between the frames
    logging.disable(logging.CRITICAL)
    limit = int(sys.argv[1]) * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
