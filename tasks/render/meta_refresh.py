"""A page that only sends on, as browsers do: `<meta http-equiv=refresh content="0; url=...">` and little else."""

from __future__ import annotations

import html
import re

from tasks.contracts.addresses import join_web_address
from tasks.render.javascript_pages import LITTLE_TEXT, visible_text_length

HEAD_BYTES = 20_000  # where it is looked for
LARGEST = 200_000  # bytes of a page that only sends on
PATIENCE_SECONDS = 10  # a longer one is a page that renews itself
META = re.compile(rb"<meta\b[^<>]{0,2000}>", re.IGNORECASE)
IS_REFRESH = re.compile(rb"http-equiv\s*=\s*[\"']?refresh\b", re.IGNORECASE)
CONTENT = re.compile(rb"content\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
TARGET = re.compile(r"\s*(\d{0,5})(?:\.\d*)?\s*[;,]\s*(?:url\s*=)?\s*[\"']?([^\"'>]+)", re.IGNORECASE)
NOSCRIPT = re.compile(rb"<noscript\b.*?(?:</noscript|\Z)", re.IGNORECASE | re.DOTALL)


def refresh_target(body: bytes, url: str) -> str | None:
    """The address that the page sends on to, where that is all it does."""
    if len(body) > LARGEST or not IS_REFRESH.search(body, 0, HEAD_BYTES):
        return None
    for tag in META.findall(NOSCRIPT.sub(b" ", body[:HEAD_BYTES])):
        content = CONTENT.search(tag)
        if not (content and IS_REFRESH.search(tag)):
            continue
        said = TARGET.match(html.unescape((content[1] or content[2] or b"").decode("utf-8", "replace")))
        if said and int(said[1] or 0) <= PATIENCE_SECONDS and visible_text_length(body.lower()) < LITTLE_TEXT:
            return join_web_address(url, said[2].strip())
    return None
