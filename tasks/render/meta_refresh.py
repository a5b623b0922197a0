"""Redirects by `<meta http-equiv=refresh content="0; url=...">`, on pages that have little else.

Browsers also follow `content="5, new"` and `content=";url=new"`; `w3lib.html.get_meta_refresh` does not.
"""

from __future__ import annotations

import html
import re

from tasks.contracts.addresses import join_web_address
from tasks.render.javascript_pages import LITTLE_TEXT, visible_text_length

HEAD_BYTES = 20_000  # where the tag is searched
MAX_BYTES = 200_000  # a larger page has more than a redirect
MAX_SECONDS = 10  # a page with a longer delay reloads itself
META = re.compile(rb"<meta\b[^<>]{0,2000}>", re.IGNORECASE)
IS_REFRESH = re.compile(rb"http-equiv\s*=\s*[\"']?refresh\b", re.IGNORECASE)
CONTENT = re.compile(rb"content\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)
BASE = re.compile(rb"<base\b[^<>]{0,2000}?\shref\s*=\s*[\"']?([^\"'\s<>]+)", re.IGNORECASE)
TARGET = re.compile(r"\s*(\d{0,5})(?:\.\d*)?\s*[;,]\s*(?:url\s*=)?\s*[\"']?([^\"'>]+)", re.IGNORECASE)
NOSCRIPT = re.compile(rb"<noscript\b.*?(?:</noscript|\Z)", re.IGNORECASE | re.DOTALL)


def refresh_target(body: bytes, url: str) -> str | None:
    """Returns the address that a page redirects to, where it does nothing else."""
    if len(body) > MAX_BYTES or not IS_REFRESH.search(body, 0, HEAD_BYTES):
        return None
    for tag in META.findall(NOSCRIPT.sub(b" ", body[:HEAD_BYTES])):
        content = CONTENT.search(tag)
        if not (content and IS_REFRESH.search(tag)):
            continue
        refresh = TARGET.match(_text(next(filter(None, content.groups()), b"")))
        if refresh and int(refresh[1] or 0) <= MAX_SECONDS and visible_text_length(body.lower()) < LITTLE_TEXT:
            base = BASE.search(body, 0, HEAD_BYTES)
            return join_web_address((base and join_web_address(url, _text(base[1]))) or url, refresh[2])
    return None


def _text(attribute: bytes) -> str:
    return html.unescape(attribute.decode("utf-8", "replace"))
