"""What sites say about the use of their pages, beyond the rules of robots.txt, and which of it we obey.

- X-Robots-Tag and robots meta tags: `noindex`, `none` and `noai` forbid; `noimageai` is about pictures. Directives may
  be for one crawler by name (https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag).
- TDMRep, the TDM Reservation Protocol (https://www.w3.org/2022/tdmrep/), by file, header and meta tag; the later ones
  override the earlier ones. We are stricter: what the file reserves is not even requested.
- Content-Signal (https://contentsignals.org) and Content-Usage (draft-ietf-aipref-attach) in robots.txt and as headers:
  whether a model may be trained.

Each of them is asked, and one that forbids is enough. Where one says two things in the same place, the stricter counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tasks.contracts.outcomes import PageRejected
from tasks.web.robots_txt import Line, longest_matches, names_us
from tasks.web.url_patterns import matches_glob

FORBIDDING = ("noindex", "none", "noai")
# Directives with a value; any other word before a colon names a crawler.
VALUED = frozenset(("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"))
NAMED = re.compile(r"\s*([\w.*/-]{1,100})\s*:(.*)", re.DOTALL)
# What is about training: the labels of both vocabularies, those of the drafts before (draft-ietf-aipref-vocab), and how
# much of a page may be kept (`use`): nothing, an excerpt that links back, or all of it. Training takes all of it.
TRAINING = re.compile(
    r"(?<![\w-])(?:(?:ai-train|train-ai|train-genai|genai|ai|tdm|bots|all)\s*=\s*(yes|no|y|n)"
    r"|use\s*=\s*(immediate|reference|full))(?![\w-])",
    re.IGNORECASE,
)
ALLOWING = ("yes", "y", "full")
STATEMENTS = ("content-signal", "content-usage")
META = re.compile(rb"<meta\b[^<>]{0,1000}>", re.IGNORECASE)
TDM_NAME = re.compile(rb"\bname\s*=\s*[\"']?tdm-reservation\b", re.IGNORECASE)
TDM_CONTENT = re.compile(rb"\bcontent\s*=\s*[\"']?\s*([01])\b", re.IGNORECASE)
HEAD_BYTES = 300_000  # where meta tags are searched
MAX_RULES = 5000
ESCAPED = re.compile(r"%([0-9a-fA-F]{2})")


def check_response(headers: Mapping[str, str], lines: Iterable[str], body: bytes) -> str:
    """Returns the evidence that the ledger keeps: X-Robots-Tag as it came, and the TDM reservation with its place.

    Args:
        lines: of the header X-Robots-Tag, which may come several times.

    Raises:
        PageRejected: `noindex` or `reserved`.
    """
    lines = [line.strip() for line in lines]
    if forbids_use(*lines):
        raise PageRejected("noindex", f"X-Robots-Tag: {' | '.join(lines)}")
    for name in STATEMENTS:
        if may_train(headers.get(name, "")) is False:
            raise PageRejected("reserved", f"{name}: {headers[name]}")
    header, meta = _flag(headers.get("tdm-reservation")), _meta_reservation(body)
    value, where = (meta, "meta") if meta is not None else (header, "header")
    tdm = "" if value is None else f"{value} ({where})"
    if policy := headers.get("tdm-policy", "").strip():
        tdm = f"{tdm or '-'} policy {policy[:200]}"
    if value == 1:
        raise PageRejected("reserved", f"tdm-reservation: {tdm}")
    return f"x-robots-tag: {' | '.join(lines) or '-'}; tdm: {tdm or '-'}"


def forbids_use(*lines: str) -> bool:
    """Whether X-Robots-Tag or a robots meta tag forbids use. Each line is one header, or the content of one tag."""
    return any(word in FORBIDDING for line in lines for word in _directives(line))


def _directives(line: str) -> Iterable[str]:
    """Yields the directives for all crawlers, and those for us by name."""
    for_us = True
    for piece in line.lower().split(","):
        named = NAMED.fullmatch(piece)
        if named and named[1] not in VALUED:
            for_us = named[1] == "*" or names_us(named[1])
            piece = named[2]  # noqa: PLW2901  # what follows the crawler's name
        if for_us:
            yield piece.strip()


def may_train(text: str) -> bool | None:
    """Returns what Content-Signal or Content-Usage says about training; None where it says nothing."""
    found = ["".join(groups).lower() for groups in TRAINING.findall(text)]
    return None if not found else all(value in ALLOWING for value in found)


def said_of_training(group: Iterable[Line], url: str) -> Line | None:
    """Returns the line of our group in robots.txt that decides whether a page may be trained on.

    Lines with a path are compared as those of Disallow are: the longest that matches counts. A line without one is for
    all pages. Of those that count, one that forbids decides.
    """
    lines = [line for line in group if line.name in STATEMENTS and may_train(line.value) is not None]
    counting = [line for line in lines if not line.value.startswith(("/", "*"))]
    for name in STATEMENTS:
        paths = [(line.value.split()[0], line) for line in lines if line.name == name and line not in counting]
        counting += longest_matches(paths, url)
    return min(counting, key=lambda line: (bool(may_train(line.value)), line.number), default=None)


def file_reservation(tdmrep: str, url: str) -> int | None:
    """Returns what `/.well-known/tdmrep.json` says about a URL: the first rule that matches. None where none does."""
    try:
        rules: Any = json.loads(tdmrep)
    except (ValueError, RecursionError):
        return None
    parts = urlsplit(url)
    path = _unescaped((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    for rule in rules[:MAX_RULES] if isinstance(rules, list) else ():
        if isinstance(rule, dict) and _matches(str(rule.get("location", ""))[:2000], path):
            return _flag(str(rule.get("tdm-reservation")))
    return None


def _matches(pattern: str, path: str) -> bool:
    """As in robots.txt: a prefix, with `*` for anything and `$` at the end for the end. Linear in the path."""
    glob = _unescaped(pattern.removesuffix("$"))
    return bool(pattern) and matches_glob(path, (glob if pattern.endswith("$") else f"{glob}*").split("*"))


def _unescaped(path: str) -> str:
    """Decodes escapes of characters that need none (RFC 3986, unreserved); writes the others in upper case."""

    def plain(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character.isascii() and (character.isalnum() or character in "-._~") else found[0].upper()

    return ESCAPED.sub(plain, path)


def _meta_reservation(body: bytes) -> int | None:
    tags = [TDM_CONTENT.search(tag) for tag in META.findall(body[:HEAD_BYTES]) if TDM_NAME.search(tag)]
    return max((int(content[1]) for content in tags if content), default=None)


def _flag(value: str | None) -> int | None:
    """Returns 0 or 1; any other value counts as unset, as the protocol says."""
    return int(value) if value is not None and (value := value.strip()) in ("0", "1") else None
