"""What the user asks to forget, and the plan: the documents and, unless they are to be kept, their copies.

`tasks.forget.erasure` carries the plan out; `flows.forget` is the command.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tasks.contracts.errors import SettingsError
from tasks.contracts.records import LedgerEntry
from tasks.contracts.urls import url_key
from tasks.forget.erasure import Intent, PendingErasure
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.scrub_frontier import scrub_frontier
from tasks.raw.ledger import read_entries
from tasks.run_context import RunContext
from tasks.tokenize import token_files
from tasks.web.suppression_list import domains_of, parse_domain


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for: one of url, domain and seq; or none, to finish an interrupted erasure or to retrain.

    Raises:
        SettingsError: more than one is given, or a value is invalid.
    """

    url: str | None = None
    domain: str | None = None
    seq: int | None = None
    keep_copies: bool = False
    retrain: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        given = [name for name in ("url", "domain", "seq") if getattr(self, name) is not None]
        if len(given) > 1:
            raise SettingsError(f"forget takes one of --url, --domain and --seq, not {' and '.join(given)}.")
        if self.url is not None and not _is_address(self.url):
            raise SettingsError(f"{self.url!r} is no address: give it whole, such as https://example.org/page.")
        if self.domain is not None:
            object.__setattr__(self, "domain", parse_domain(self.domain))

    @property
    def has_target(self) -> bool:
        return self.url is not None or self.domain is not None or self.seq is not None

    def matches(self, entry: LedgerEntry) -> bool:
        """Whether this document is meant; a URL may be the one requested or the one after redirects."""
        addresses = (entry.url, entry.final_url)
        if self.url is not None:
            return url_key(self.url) in map(url_key, addresses)
        if self.domain is not None:
            return any(self.domain in domains_of(url) for url in addresses)
        return entry.seq == self.seq


@dataclass(slots=True)
class Result:
    """What is or would be forgotten, for the user alone: it names pages, so it is never written to a file."""

    documents: list[dict[str, Any]] = field(default_factory=list)  # seq, why, url, title
    copies_kept: list[dict[str, Any]] = field(default_factory=list)
    versions_left: list[int] = field(default_factory=list)  # other texts of the same pages
    counts: dict[str, int] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)  # what could not be cleared
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(run: RunContext, request: Request) -> tuple[Intent, Result]:
    """Raises SettingsError where nothing is known of what is asked for."""
    catalog = run.catalog
    why = next((name for name in ("url", "domain") if getattr(request, name) is not None), "seq")
    entries = _requested(run, request)
    copies = [catalog.entry(seq) for seq in catalog.copies(entry.seq for entry in entries)]
    pending = [(entry, why) for entry in entries]
    pending += [] if request.keep_copies else [(entry, "copy") for entry in copies]
    pending.sort(key=lambda one: one[0].seq)
    manifest = token_files.read_manifest(run.layout)
    in_tokens = set(token_files.read_table(run.layout, manifest)["seq"].tolist()) if manifest else set()

    def kept(seq: int) -> bool | None:
        return seq in in_tokens if manifest and seq < manifest.next_seq else None

    intent = Intent(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        documents=tuple(
            PendingErasure(entry.seq, catalog.offset(entry.seq), why, entry.split, kept(entry.seq))
            for entry, why in pending
        ),
        url=request.url,
        domain=request.domain,
        keep_copies=request.keep_copies,
        retrain=request.retrain,
        rules=manifest.rules if manifest else "",
    )
    # Other texts of the same pages: a single document was asked for, or a copy is forgotten, too.
    versions = {row["seq"] for entry, _ in pending for row in catalog.trace(entry.url)}
    return intent, Result(
        documents=[_shown(entry, why) for entry, why in pending],
        copies_kept=[_shown(entry, "copy") for entry in copies] if request.keep_copies else [],
        versions_left=sorted(versions - {entry.seq for entry, _ in pending}),
    )


def _requested(run: RunContext, request: Request) -> list[LedgerEntry]:
    """Raises SettingsError where nothing is known of it."""
    if request.seq is not None:
        return [_numbered(run, request.seq)]
    entries = (entry for entry, _ in read_entries(run.layout.ledger) if not entry.forgotten)
    found = [entry for entry in entries if request.matches(entry)]
    if not found and not _is_known(run, request):
        what = request.url or request.domain
        raise SettingsError(
            f"nothing is known of {what}: no document, and no address that was ever proposed. python run.py trace URL "
            "shows what is known of a page; addresses are compared whole."
        )
    return found


def _numbered(run: RunContext, seq: int) -> LedgerEntry:
    number = run.catalog.position("ledger_lines")
    if not 0 <= seq < number:
        known = f"they go from 0 to {number - 1}" if number else "there is none yet"
        raise SettingsError(f"there is no document {seq}: {known}.")
    entry = run.catalog.entry(seq)
    if entry.forgotten:
        raise SettingsError(f"document {seq} was forgotten on {entry.forgotten['at']}.")
    return entry


def _is_known(run: RunContext, request: Request) -> bool:
    """Whether it was proposed without giving a document, or forgotten before: then leftovers are cleared again."""
    forgotten = run.catalog.forgotten
    if request.url is not None and (run.frontier.lookup(request.url) or forgotten.covers(request.url)):
        return True
    if request.domain is not None and forgotten.covers_domain(request.domain):
        return True
    matcher = ReferenceMatcher([], [request.url] if request.url else [], request.domain)
    return scrub_frontier(run.frontier, matcher, dry=True) > 0


def _shown(entry: LedgerEntry, why: str) -> dict[str, Any]:
    return {"seq": entry.seq, "why": why, "url": entry.url, "title": entry.title, "bytes": entry.bytes}


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme == "file" or (parts.scheme in ("http", "https") and bool(parts.hostname))
    except ValueError:
        return False


def as_text(result: Result) -> str:
    """Returns the result for a person, page by page."""
    lines = ["nothing is changed; this would go:"] if result.dry_run else []
    lines += [f"document {one['seq']} ({one['why']}, {one['bytes']:,} bytes): {one['url']}" for one in result.documents]
    lines += [f"its copy stays: document {one['seq']}: {one['url']}" for one in result.copies_kept]
    if result.versions_left:
        lines.append(f"other texts of these pages stay: document(s) {', '.join(map(str, result.versions_left))}")
    counts = ", ".join(f"{number:,} {kind}" for kind, number in result.counts.items() if number)
    lines.append(f"{'would go' if result.dry_run else 'forgotten'}: {counts or 'nothing'}")
    lines += result.messages if result.dry_run else []
    lines += [f"NOT CLEARED: {sentence}" for sentence in result.unreached]
    return "\n".join(lines)
