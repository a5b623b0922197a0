"""One page's text, facts and links, worked out in a process that may be killed: `python -m tasks.extract.worker`.

It speaks frames over its standard streams (four bytes of length, then JSON) and ends when its input does, so that
it never outlives who started it. Nothing is kept between pages.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gzip
import json
import logging
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import lxml.html
import trafilatura
from lxml import etree
from trafilatura.utils import load_html

from tasks.contracts.urls import url_key
from tasks.extract import main_content
from tasks.extract.encoding import decode
from tasks.extract.metadata import SURROGATE, PageMetadata, read_metadata, web_address
from tasks.extract.text_blocks import Block, page_blocks

WITNESS = f"trafilatura {trafilatura.__version__}"
CONSENSUS = f"consensus {main_content.VERSION} ({WITNESS})"
UNTOUCHED = "as it is"
MAX_BYTES = 64_000_000  # of a file that nobody bounded before
MAX_LINKS = 5000
PR_SET_PDEATHSIG = 1
LEAN_BYTES = 80_000_000  # of memory; with more, what the last page took is given back to the system
# What a body is that begins like this, whatever its label says.
MAGIC = (
    *((b"%PDF-", "PDF"), (b"\x89PNG\r\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF")),
    *((b"PK\x03\x04", "ZIP"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"Rar!\x1a", "RAR"), (b"OggS\0", "Ogg")),
    *((b"\x7fELF", "a program"), (b"\xd0\xcf\x11\xe0", "an old Office file"), (b"{\\rtf1", "RTF")),
)


def read_article(
    body: bytes, url: str, charset: str | None, media_type: str, *, consensus: bool = True, links: bool = True
) -> dict[str, Any]:
    """What `extract` needs to know of one page, as JSON values.

    Args:
        consensus: whether the page's structure completes and trims what trafilatura finds (`main_content.py`); else
            the text of its fast run is taken as it comes (of its whole cascade where that finds nothing).
        links: whether the page's links are wanted.
    """
    if kind := next((name for magic, name in MAGIC if body.startswith(magic)), None):
        return _result("", media=kind)
    is_html = media_type != "text/plain"
    text = decode(body, charset, is_html=is_html)
    if not is_html:
        return _result(text, extractor=UNTOUCHED)
    tree = _parse(text)
    if tree is None:
        return _result("")
    facts = read_metadata(tree, url)
    stay = {"nofollow", "none"} & {directive.strip() for directive in facts.robots.split(",")}
    found = page_links(tree, url) if links and not stay else []
    blocks = page_blocks(tree)

    @cache
    def witness(fast: bool) -> str:
        return trafilatura.extract(tree, url=url, include_comments=False, deduplicate=False, fast=fast) or ""

    article = main_content.main_blocks(blocks, facts.titles, witness) if consensus else []
    seen = witness(True) if article or not consensus else ""
    fast, seen = bool(seen), seen or witness(False)
    return _result(
        main_content.as_text(article) or seen,
        extractor=CONSENSUS if article else f"{WITNESS} fast" if fast else WITNESS,
        links=found,
        link_density=link_density(seen, blocks, tree),
        facts=facts,
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


def _result(text: str, *, facts: PageMetadata | None = None, **more: Any) -> dict[str, Any]:
    known = dataclasses.asdict(facts or PageMetadata())
    del known["titles"]
    nothing: dict[str, Any] = {"links": [], "link_density": 0.0, "extractor": WITNESS, "media": None}
    # A lone surrogate cannot be written as UTF-8; nothing else of the text is touched.
    return {**nothing, **known, **more, "text": SURROGATE.sub("\ufffd", text)}


def page_links(tree: Any, url: str) -> list[str]:
    """Where the page leads: absolute, http and https, without fragments, in order, each once."""
    base = next(iter(tree.xpath("//base/@href")), "")
    root = web_address(url, base) or url
    found: dict[str, str] = {}
    # Pages repeat their links; a set of them as written spares most of the work of comparing.
    for href in dict.fromkeys(tree.xpath("//a[not(contains(@rel, 'nofollow'))]/@href | //area/@href")):
        link = web_address(root, href)
        with suppress(ValueError):  # one that cannot be compared
            if link is not None:
                found.setdefault(url_key(link), link)
        if len(found) == MAX_LINKS:
            break
    if urlsplit(url).scheme != "file":
        found.pop(url_key(url), None)
    return list(found.values())


def link_density(text: str, blocks: list[Block], tree: Any) -> float:
    """Share of the extracted characters that were links on the page."""
    linked = {" ".join("".join(anchor.itertext()).split()): 1.0 for anchor in tree.iter("a")}
    for block in blocks:
        for line in block.text.split("\n"):
            linked[line] = max(linked.get(line, 0.0), min(1.0, block.link_share))
    lines = [" ".join(line.strip("-| \t").split()) for line in text.splitlines()]
    total = sum(map(len, lines))
    return sum(len(line) * linked.get(line, 0.0) for line in lines) / total if total else 0.0


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while len(head := requests.read(4)) == 4:
        request = json.loads(requests.read(struct.unpack(">I", head)[0]))
        try:
            answer = read_article(
                _body(request["path"]),
                request["url"],
                request["charset"],
                request["media_type"],
                consensus=request["consensus"],
                links=request["links"],
            )
        except MemoryError:
            answer = {"error": "out of memory"}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        frame = json.dumps(answer).encode()
        answers.write(struct.pack(">I", len(frame)) + frame)
        answers.flush()
        if resident_bytes() > LEAN_BYTES:
            with suppress(AttributeError):  # a C library other than glibc
                ctypes.CDLL(None).malloc_trim(0)


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


def main() -> None:
    """Arguments: the bound of the address space in megabytes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not fall between the frames
    logging.disable(logging.CRITICAL)
    # Our input ends when whoever started us is killed, but a page may keep us from seeing that.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    limit = int(sys.argv[1]) * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(struct.pack(">I", 0))  # ready: the imports were no page's fault
    answers.flush()
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
