"""Redirects by `<meta http-equiv=refresh content="0; url=...">`, on pages that have little else.

Browsers also follow `content="5, new"` and `content=";url=new"`; `w3lib.html.get_meta_refresh` does not.
"""

from __future__ import annotations

import html
import re

from tasks.contracts.addresses import join_web_address
from tasks.render.javascript_pages import LITTLE_TEXT, visible_text_length
from tasks.web.meta_tags import NO_MARKUP, meta_tags

HEAD_BYTES = 20_000  # where the tag is searched
MAX_BYTES = 200_000  # a larger page has more than a redirect
MAX_SECONDS = 10  # a page with a longer delay reloads itself
BASE = re.compile(rb"<base\b[^<>]{0,2000}?\shref\s*=\s*[\"']?([^\"'\s<>]+)", re.IGNORECASE)
TARGET = re.compile(r"\s*([0-9]{0,5})(?:\.[0-9]*)?\s*[;,]\s*(?:url\s*=)?\s*[\"']?([^\"']+)", re.IGNORECASE)


def refresh_target(body: bytes, url: str) -> str | None:
    """Returns the address that a page redirects to, where it does nothing else."""
    head = body[:HEAD_BYTES]
    if len(body) > MAX_BYTES or b"refresh" not in head.lower():
        return None
    for tag in meta_tags(head):
        if tag.get(b"http-equiv", b"").lower() != b"refresh":
            continue
        refresh = TARGET.match(_text(tag.get(b"content", b"")))
        if refresh and int(refresh[1] or 0) <= MAX_SECONDS and visible_text_length(body.lower()) < LITTLE_TEXT:
            base = BASE.search(NO_MARKUP.sub(b" ", head))
            return join_web_address((base and join_web_address(url, _text(base[1]))) or url, refresh[2])
    return None


def _text(attribute: bytes) -> str:
    return html.unescape(attribute.decode("utf-8", "replace"))
