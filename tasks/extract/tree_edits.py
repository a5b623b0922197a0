"""Edits of a parsed page. They leave an element in its place, since lxml copies all text before it on each removal."""

from __future__ import annotations

import re
from typing import Any

UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # lxml refuses them


def writable(text: str) -> str:
    return UNWRITABLE.sub("", text)


def become_text(element: Any, text: str = "") -> None:
    """Puts a text, or nothing, in the place of an element and of all that it holds."""
    element.clear(keep_tail=True)
    element.tag = "span"
    element.text = writable(text) or None
