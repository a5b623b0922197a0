"""One page's text, metadata and links, worked out in a child process that may be killed.

Nothing is kept between pages but addresses and class names, in caches that are bounded.
"""

from __future__ import annotations

import ctypes
import gzip
import logging
import os
import re
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lxml.html
import trafilatura
from lxml import etree
from trafilatura.utils import load_html

from tasks.content import main_text
from tasks.content.page_kind import page_claims
from tasks.content.text_blocks import Block, page_blocks
from tasks.contracts.urls import url_key
from tasks.extract.encoding import decode, query_codec
from tasks.extract.extracted_page import ExtractedPage, PageFile
from tasks.extract.metadata import SURROGATE, link_address, read_metadata
from tasks.extract.prepared_tree import prepare
from tasks.extract.written_text import written

WITNESS = f"trafilatura {trafilatura.__version__}"
BLOCKS = f"blocks {main_text.VERSION} ({WITNESS})"
UNTOUCHED = "as it is"
MAX_BYTES = 64_000_000  # of a file that nobody bounded before
MAX_LINKS = 5000
END_OF_PAGE = re.compile(r"</(?:body|html)\s*>", re.IGNORECASE)  # browsers go on behind it, the parser does not
LIST_MARKER = re.compile(r"^\s*(?:-|\d+\.) ")
LEAN_BYTES = 80_000_000  # of memory; with more, what the last page took is given back to the system
# What a body is that begins like this, whatever its label says.
MAGIC = (
    *((b"%PDF-", "PDF"), (b"\x89PNG\r\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF")),
    *((b"PK\x03\x04", "ZIP"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"Rar!\x1a", "RAR"), (b"OggS\0", "Ogg")),
    *((b"\x7fELF", "a program"), (b"\xd0\xcf\x11\xe0", "an old Office file"), (b"{\\rtf1", "RTF")),
)


def read_page(
    body: bytes, url: str, charset: str | None, media_type: str, *, consensus: bool = True, links: bool = True
) -> ExtractedPage:
    """Everything that `extract` needs to know of one page.

    Args:
        consensus: whether the page's own blocks are weighed (`tasks/content/main_text.py`); else the text of
            trafilatura's fast run is taken as it comes (of its whole cascade where that finds nothing).
        links: whether the page's links are wanted.
    """
    if kind := next((name for magic, name in MAGIC if body.startswith(magic)), None):
        return ExtractedPage("", WITNESS, media=kind)
    is_html = media_type != "text/plain"
    text = decode(body, charset, is_html=is_html)
    if not is_html:
        return ExtractedPage(_writable(text), UNTOUCHED)
    tree = parse_page(text)
    if tree is None:
        return ExtractedPage("", WITNESS)
    metadata = read_metadata(tree, url)
    stay = {"nofollow", "none"} & {directive.strip() for directive in metadata.robots.split(",")}
    found = page_links(tree, url, query_codec(body, charset)) if links and not stay else []
    if consensus:
        seen = see(tree, text, url, metadata.titles)
        main = main_text.main_text(seen)
        written_text, blocks, extractor = written(main.blocks), seen.blocks, BLOCKS
    else:
        prepare(tree)
        main = main_text.MainText([], "", 1.0)
        written_text, blocks, extractor = "", page_blocks(tree), f"{WITNESS} fast"
    if not written_text:
        written_text = witness_text(tree, url, fast=True)
    if not written_text:
        written_text, extractor = witness_text(tree, url, fast=False), WITNESS
    return ExtractedPage(
        _writable(written_text),
        extractor,
        links=tuple(found),
        link_density=link_density(written_text, blocks, tree),
        metadata=metadata,
        kind=main.kind,
        confidence=main.confidence,
    )


def see(tree: Any, source: str, url: str, titles: Sequence[str]) -> main_text.Seen:
    """Prepares the tree; returns what the choice of the page's text rests on. `source`: the page as decoded."""
    claims = page_claims(tree, source, url)
    prepare(tree)
    return main_text.look_at(tree, page_blocks(tree), titles, claims, lambda fast: witness_text(tree, url, fast=fast))


def witness_text(tree: Any, url: str, *, fast: bool) -> str:
    """Returns trafilatura's text of a page, of its fast run or of its whole cascade."""
    return trafilatura.extract(tree, url=url, include_comments=False, deduplicate=False, fast=fast) or ""


def _writable(text: str) -> str:
    """A lone surrogate cannot be written as UTF-8; nothing else of the text is touched."""
    return SURROGATE.sub("\ufffd", text)


def parse_page(text: str) -> Any:
    """trafilatura's own tree; it gives None also where memory ran out, which must not pass for a page without text."""
    text = END_OF_PAGE.sub("", text)
    tree = load_html(text)
    if tree is not None:
        return tree
    try:
        return lxml.html.document_fromstring(text.encode("utf-8", "replace"), lxml.html.HTMLParser(encoding="utf-8"))
    except etree.ParserError:  # nothing but comments or spaces
        return None


def page_links(tree: Any, url: str, codec: str = "utf-8") -> list[str]:
    """Where the page leads: absolute, http and https, without fragments, in order, each once. `codec` is the page's."""
    base = next(iter(tree.xpath("//base/@href")), "")
    root = link_address(url, base) or url
    found: dict[str, str] = {}
    # Pages repeat their links; a set of them as written spares most of the work of comparing.
    for href in dict.fromkeys(tree.xpath("//a[not(contains(@rel, 'nofollow'))]/@href | //area/@href")):
        link = link_address(root, href, codec)
        with suppress(ValueError):  # one that cannot be compared
            if link is not None:
                found.setdefault(url_key(link), link)
        if len(found) == MAX_LINKS:
            break
    if urlsplit(url).scheme != "file":
        found.pop(url_key(url), None)
    return list(found.values())


def link_density(text: str, blocks: Sequence[Block], tree: Any) -> float:
    """Share of the extracted characters that were links on the page."""
    texts = ("".join(anchor.itertext()) if len(anchor) else anchor.text or "" for anchor in tree.iter("a"))
    linked = {" ".join(text.split()): 1.0 for text in texts}
    for block in blocks:
        for line in block.text.split("\n"):
            linked[line] = max(linked.get(line, 0.0), min(1.0, block.link_share))
    lines = [" ".join(LIST_MARKER.sub("", line).strip("-| \t").split()) for line in text.splitlines()]
    total = sum(map(len, lines))
    return sum(len(line) * linked.get(line, 0.0) for line in lines) / total if total else 0.0


def extract_file(page: PageFile) -> ExtractedPage:
    """What is on the page that lies in a file. Gives the memory of a large page back to the system."""
    try:
        return read_page(
            _body(page.path), page.url, page.charset, page.media_type, consensus=page.consensus, links=page.links
        )
    finally:
        if resident_bytes() > LEAN_BYTES:
            with suppress(AttributeError):  # a C library other than glibc
                ctypes.CDLL(None).malloc_trim(0)


def bound_process(megabytes: int) -> None:
    """Bound this process's address space, write no core, keep the libraries quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # parsers complain of pages in C
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 1_000_000, megabytes * 1_000_000))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _body(path: str) -> bytes:
    """A page of the cache is packed; a file of the user's is not."""
    if path.endswith(".gz"):
        with gzip.open(path) as file:
            return file.read(MAX_BYTES)
    with Path(path).open("rb") as file:
        return file.read(MAX_BYTES)
