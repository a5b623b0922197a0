"""The `meta` tags of a page, found in its bytes as a browser finds them, without parsing the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Comments and tags. One that does not end hides what follows it.
COMMENT = rb"<!--(?:-?>|.*?(?:-->|\Z))"
ATTRIBUTES = rb"(?:[^>=]|=\s*(?:\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z))?)*+"  # a quote opens a value behind "=" alone
# What a parser takes for no markup: comments, and what stands in these elements.
NO_MARKUP = re.compile(
    COMMENT + rb"|<(script|style|title|textarea|noscript|noframes|iframe)(?=[\s/>]).*?(?:</\1(?=[\s/>])|\Z)",
    re.IGNORECASE | re.DOTALL,
)
META = re.compile(rb"<meta[\s/](" + ATTRIBUTES + rb")(>|\Z)", re.IGNORECASE)
ATTRIBUTE = re.compile(rb"([^\s/>=]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"'][^\s>]*)))?")


def meta_tags(head: bytes) -> Iterator[dict[bytes, bytes]]:
    """Yields the attributes of each tag. A tag that does not end is none."""
    for attributes, end in META.findall(NO_MARKUP.sub(b" ", head)):
        if end:
            yield attributes_of(attributes)


def attributes_of(tag: bytes) -> dict[bytes, bytes]:
    """Returns the values by name, in lower case. Where one comes twice, the first counts."""
    values: dict[bytes, bytes] = {}
    for name, *quoted in ATTRIBUTE.findall(tag):
        values.setdefault(name.lower(), b"".join(quoted))
    return values
