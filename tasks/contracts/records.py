"""What the stages hand to each other: frozen records. A stage takes some and returns new ones.

Hit -> Page -> Document -> LedgerEntry -> Cleaned, and at any step a `Dropped` with its reason instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, TypeVar

R = TypeVar("R")

# Below it the extractor is not sure of a text: Chromium shows the page once more, and `stats` counts it.
LOW_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Hit:
    """A URL worth a visit, and who proposed it."""

    url: str
    provider: str  # "site", "urls", "local", ...
    query: str  # the question, start page or list that led here
    depth: int = 0  # links followed since the start page
    rank: int = 0  # place in the provider's answer
    due_at: float | None = None  # epoch seconds; a page cached since then is taken without a request
    etag: str | None = None  # of the last visit: the request is made conditional
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A fetched page. The body lies in the page cache, so that a record stays small."""

    hit: Hit
    final_url: str
    status: int
    media_type: str
    charset: str | None  # as the HTTP header says, None where it is silent
    body_path: str  # file in the page cache
    body_sha256: str
    rendered: bool  # by Chromium, not by the plain HTTP client
    fetched_at: str  # ISO 8601, UTC
    robots: str  # the evidence: what robots.txt, the headers and meta tags said
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one page or file, exactly as extracted, on its way into `raw/`."""

    text: str
    url: str  # as asked
    final_url: str
    title: str | None
    provider: str
    query: str
    fetched_at: str
    extractor: str
    robots: str
    rights: str | None = None
    published: str | None = None
    author: str | None = None
    language: str | None = None
    licence: str | None = None
    kind: str | None = None  # of page; empty where the extractor does not tell
    confidence: float | None = None  # 0 to 1: how sure the extractor is of the text
    rendered: bool | None = None  # by Chromium; None for a file
    body_sha256: str | None = None  # of the bytes that were read: the page's, after content decoding, or the file's

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one page contains: a document or the reason why there is none, and in both cases the links found in it."""

    document: Document | None
    dropped: Dropped | None
    links: tuple[str, ...] = ()  # of a page of a site: absolute, http and https, no fragments, in order, each once
    confidence: float = 1.0  # in the page's text, also where it is no document


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of `raw/ledger.jsonl`: where a raw document came from."""

    seq: int  # place in the ledger, from 0; every stage keeps this order
    path: str  # below raw/
    sha256: str  # of the file's bytes
    bytes: int
    split: str  # "train" or "validation", decided once, when the document is stored
    site: str
    url: str
    final_url: str
    title: str | None
    provider: str
    query: str
    fetched_at: str
    extractor: str
    robots: str
    rights: str | None = None
    # What the page says of itself; lines from before it was asked lack them, and have the licence in `rights`.
    published: str | None = None  # ISO 8601
    author: str | None = None
    language: str | None = None  # BCP 47, as claimed
    licence: str | None = None  # an address; `rights` is what it says in words
    # How it was read (see `Document`); lines from before it was kept lack them.
    kind: str | None = None
    confidence: float | None = None
    rendered: bool | None = None
    body_sha256: str | None = None
    # When and why its text was forgotten: then everything that tells whose page it was is empty.
    forgotten: dict[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the values of its ledger line."""
        values = dataclasses.asdict(self)
        if self.forgotten is None:
            values.pop("forgotten")
            return {name: value for name, value in values.items() if value is not None or name not in HOW_IT_WAS_READ}
        return {name: values[name] for name in (*OUTLASTS, "forgotten")}

    @classmethod
    def of(cls, values: dict[str, Any]) -> LedgerEntry:
        """Returns the entry for a ledger line's values. Raises TypeError or ValueError for what no entry has."""
        entry = cls(**(NOTHING_TOLD | values if "forgotten" in values else values))
        numbers = (entry.seq, entry.bytes)
        texts = (entry.sha256, entry.split, entry.fetched_at, *(getattr(entry, name) for name in EMPTIED))
        if not all(type(one) is int and 0 <= one < 2**63 for one in numbers):
            raise ValueError("a number is none that a ledger line has")
        if not all(type(one) is str for one in texts):
            raise ValueError("a text is none")
        if entry.split not in ("train", "validation") or entry.path.startswith("/") or ".." in entry.path.split("/"):
            raise ValueError("a value is none that a ledger line has")
        return entry


# Left out of a line where unknown, so that an older line keeps its length when it is written again.
HOW_IT_WAS_READ = ("kind", "confidence", "rendered", "body_sha256")
# What a ledger line keeps when its document is forgotten; the rest is empty.
OUTLASTS = ("seq", "sha256", "bytes", "split", "fetched_at")
EMPTIED = ("path", "site", "url", "final_url", "provider", "query", "extractor", "robots")
NOTHING_TOLD: dict[str, Any] = {"title": None} | dict.fromkeys(EMPTIED, "")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A document's text after the cleaning rules."""

    seq: int
    path: str
    text: str
    language: str = ""  # ISO 639, once it has been judged


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a hit or a document did not get further: the stage and the reason, both counted and kept."""

    stage: str
    reason: str
    detail: str = ""
    retry: bool = False  # it may succeed another night (a timeout, a 503)


def as_text(name: str) -> str:
    """Returns a file name as text: bytes that are not UTF-8, which Linux allows in names, become question marks."""
    return name.encode("utf-8", "replace").decode()


def to_json(record: Any) -> dict[str, Any]:
    """Returns a record as plain JSON values, with its kind, for Prefect's stored results."""
    return {"kind": type(record).__name__, **dataclasses.asdict(record)}


def from_json(values: dict[str, Any], kind: type[R]) -> R:
    """Returns the record that `to_json` was given."""
    values = {name: value for name, value in values.items() if name != "kind"}
    if isinstance(values.get("hit"), dict):
        values["hit"] = Hit(**values["hit"])
    return kind(**values)
