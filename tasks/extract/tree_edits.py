"""Small edits of a parsed page that keep the text around an element in its place."""

from __future__ import annotations

import re
from typing import Any

# What lxml refuses as text.
UNWRITABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"
)  # no XML may hold them, nor lxml's text


def writable(text: str) -> str:
    return UNWRITABLE.sub("", text)


def removed(element: Any, text: str = "") -> None:
    """Removes an element; `text` and what followed the element stand in its place."""
    after = writable(text + (element.tail or ""))
    before, parent = element.getprevious(), element.getparent()
    if before is not None:
        before.tail = writable(before.tail or "") + after
    else:
        parent.text = writable(parent.text or "") + after
    parent.remove(element)
