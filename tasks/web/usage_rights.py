"""What sites say about the use of their pages, beyond robots.txt's own rules, and what of it keeps us away.

- X-Robots-Tag and robots meta tags: `noindex`, `none` and `noai` forbid; `noimageai` is about pictures. Directives may
  be for one crawler by name (https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag).
- TDMRep, the TDM Reservation Protocol (https://www.w3.org/2022/tdmrep/), by file, header and meta tag, the later ones
  over the earlier ones. We are stricter: what the file reserves is not even asked for.
- Content-Signal (https://contentsignals.org) and Content-Usage (IETF aipref) in robots.txt and as headers: whether a
  model may be trained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tasks.contracts.outcomes import PageRejected

AGENT = "miniature-memory"
FORBIDDING = ("noindex", "none", "noai")
# Directives with a value; any other word before a colon names a crawler.
VALUED = frozenset(("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"))
NAMED = re.compile(r"\s*([\w.*-]{1,100})\s*:(.*)", re.DOTALL)
TRAINING = re.compile(r"\b(ai-train|train-ai)\s*=\s*(yes|no|y|n)\b", re.IGNORECASE)
META = re.compile(rb"<meta\b[^<>]{0,1000}>", re.IGNORECASE)
TDM_NAME = re.compile(rb"\bname\s*=\s*[\"']?tdm-reservation\b", re.IGNORECASE)
TDM_CONTENT = re.compile(rb"\bcontent\s*=\s*[\"']?\s*([01])\b", re.IGNORECASE)
HEAD_BYTES = 300_000  # where meta tags are looked for
MAX_RULES = 5000
ESCAPED = re.compile(r"%([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer said; `line` is the evidence that the ledger keeps."""

    robots: str  # X-Robots-Tag, as it came
    tdm: str  # the reservation, and where it stood

    @property
    def line(self) -> str:
        return f"x-robots-tag: {self.robots or '-'}; tdm: {self.tdm or '-'}"


def check_answer(headers: Mapping[str, str], lines: Iterable[str], body: bytes) -> Seen:
    """Of a page that was fetched: its headers, the lines of its X-Robots-Tag, and its HTML.

    Raises:
        Refused: `noindex` or `reserved`.
    """
    lines = [line.strip() for line in lines]
    if forbids_use(*lines):
        raise PageRejected("noindex", f"X-Robots-Tag: {' | '.join(lines)}")
    for name in ("content-signal", "content-usage"):
        if may_train(headers.get(name, "")) is False:
            raise PageRejected("reserved", f"{name}: {headers[name]}")
    header, meta = _flag(headers.get("tdm-reservation")), _meta_reservation(body)
    value, where = (meta, "meta") if meta is not None else (header, "header")
    tdm = "" if value is None else f"{value} ({where})"
    if policy := headers.get("tdm-policy", "").strip():
        tdm = f"{tdm or '-'} policy {policy[:200]}"
    if value == 1:
        raise PageRejected("reserved", f"tdm-reservation: {tdm}")
    return Seen(" | ".join(lines), tdm)


def forbids_use(*lines: str) -> bool:
    """Whether X-Robots-Tag or a robots meta tag asks us to keep away. Each line is one header, or one tag's content."""
    return any(word in FORBIDDING for line in lines for word in _directives(line))


def _directives(line: str) -> Iterable[str]:
    """Those for everybody, and those for us by name."""
    for_us = True
    for piece in line.lower().split(","):
        named = NAMED.fullmatch(piece)
        if named and named[1] not in VALUED:
            for_us = named[1] in (AGENT, "*")
            piece = named[2]  # noqa: PLW2901  # what follows the crawler's name
        if for_us:
            yield piece.strip()


def may_train(text: str) -> bool | None:
    """What Content-Signal or Content-Usage says of training; None where it says nothing."""
    found = TRAINING.findall(text)
    return None if not found else all(value.lower() in ("yes", "y") for _, value in found)


def training_line(robots_txt: str) -> str:
    """The line of robots.txt that speaks of training in the group that is ours: by our name, else for everybody."""
    lines: dict[str, str] = {}
    group: list[str] = []
    in_rules = False
    for line in robots_txt.splitlines():
        name, _, value = line.partition("#")[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "user-agent":
            group = [value.lower()] if in_rules else [*group, value.lower()]
            in_rules = False
        elif name:
            in_rules = True
            speaks = name in ("content-signal", "content-usage") and may_train(value) is not None and "/" not in value
            for agent in map(_product, group or ["*"]):
                lines[agent] = lines.get(agent) or (f"{name}: {value}" if speaks else "")
    return lines.get(AGENT if AGENT in lines else "*", "")


def _product(agent: str) -> str:
    return agent.partition("/")[0].strip()


def file_reservation(tdmrep: str, url: str) -> int | None:
    """What `/.well-known/tdmrep.json` says of an address: the first rule that matches. None where there is none."""
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
    if not pattern:
        return False
    whole = pattern.endswith("$")
    first, *others = _unescaped(pattern.removesuffix("$")).split("*")
    if not path.startswith(first):
        return False
    if not others:
        return not whole or path == first
    at = len(first)
    for piece in others[: -1 if whole else None]:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return not whole or (path.endswith(others[-1]) and len(path) - len(others[-1]) >= at)


def _unescaped(path: str) -> str:
    """Percent signs gone from characters that need none (RFC 3986, unreserved), and in capitals elsewhere."""

    def plain(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character.isascii() and (character.isalnum() or character in "-._~") else found[0].upper()

    return ESCAPED.sub(plain, path)


def _meta_reservation(body: bytes) -> int | None:
    for tag in META.findall(body[:HEAD_BYTES]):
        if TDM_NAME.search(tag) and (content := TDM_CONTENT.search(tag)):
            return int(content[1])
    return None


def _flag(value: str | None) -> int | None:
    """0 or 1; what else was written counts as unset, as the protocol has it."""
    return int(value) if value is not None and (value := value.strip()) in ("0", "1") else None
