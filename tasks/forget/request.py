"""Forget: a page, a domain or a document leaves the data directory and Prefect for good, and stays away.

Here it is settled what goes: the documents asked for and, unless they are to be kept, their copies under other
addresses. `tasks.forget.erasure` carries it out. No Prefect flow does this: a run's parameters would remember it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from model.contracts import erasure_marks
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.records import LedgerEntry
from tasks.contracts.run_record import Listener
from tasks.contracts.settings import Settings
from tasks.contracts.urls import url_key
from tasks.derive.derivation import compare_all
from tasks.forget.erasure import (
    ExternalEraser,
    Intent,
    PendingErasure,
    finish,
    first_seen,
    go_back,
    lost,
    mentions_of,
    write_intent,
)
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.scrub import scrub_files, scrub_state
from tasks.forget.scrub_frontier import scrub_frontier
from tasks.raw.ledger import read_entries, require_no_cut_forgetting
from tasks.report.report import write_report
from tasks.run_context import RunContext, open_run
from tasks.tokenize import token_files
from tasks.web.suppression_list import domains_of, parse_domain


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for: one of url, domain and seq, or none to finish what was cut or to retrain.

    Raises:
        SettingsError: more than one, or a value that is none.
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
        """Whether this document is asked for, by the address asked or the one that answered."""
        addresses = (entry.url, entry.final_url)
        if self.url is not None:
            return url_key(self.url) in map(url_key, addresses)
        if self.domain is not None:
            return any(self.domain in domains_of(url) for url in addresses)
        return entry.seq == self.seq


@dataclass(slots=True)
class Result:
    """What goes or went, for the user's own eyes: it names pages, and is written nowhere."""

    documents: list[dict[str, Any]] = field(default_factory=list)  # seq, why, url, title
    copies_kept: list[dict[str, Any]] = field(default_factory=list)
    versions_left: list[int] = field(default_factory=list)  # other texts of the same pages
    counts: dict[str, int] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)  # what could not be cleared
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forget(
    request: Request, settings: Settings, layout: Layout, listener: Listener, elsewhere: ExternalEraser
) -> Result:
    """Forget, or with `dry_run` say what would go. Finishes first what an earlier run was killed over.

    Raises:
        SettingsError: nothing is known of what was asked for.
        DataDirectoryError: a dry run, while a forgetting waits to be finished.
        LockHeldError: another run has the data directory.
    """
    pending = layout.intent.exists()
    if request.dry_run:
        require_no_cut_forgetting(layout)
    if not pending and not request.has_target and not request.retrain:
        raise SettingsError("forget what? Give --url, --domain or --seq; or --retrain, for what was forgotten before.")
    with open_run(settings, layout, "forget", listener, elsewhere) as night:
        if request.dry_run:
            return _look(night, request, elsewhere)
        # Outside of the report: that nothing is known of an address is said, and not written down.
        intent, result = _settle(night, request) if request.has_target else (None, Result())
        with write_report(night.record, layout, night.corpus.counts, lambda markdown: None, picture=True):
            _carry_out(night, request, intent, result, elsewhere)
        result.counts = dict(night.record.stages["forget"].counts) if "forget" in night.record.stages else {}
        result.messages = list(night.record.messages)
        return result


def _settle(night: RunContext, request: Request) -> tuple[Intent, Result]:
    """The plan, once what waits is compared, so that the copies of what goes are known."""
    # Where the rules changed, what the old ones found has to do: all is derived again anyway.
    if night.corpus.digest_of_rules() in (None, night.derivation.rules):
        night.derivation.apply_rules()
        compare_all(night.derivation, lambda done, of: night.record.progress("compare", done, of))
    return _plan(night, request)


def _carry_out(
    night: RunContext, request: Request, intent: Intent | None, result: Result, elsewhere: ExternalEraser
) -> None:
    if intent is not None:
        write_intent(night.layout, intent)
        result.unreached = finish(night, elsewhere)
        for sentence in result.unreached:
            night.record.say(f"not cleared: {sentence}")
    elif request.retrain:
        go_back(night, None)


def _look(night: RunContext, request: Request, elsewhere: ExternalEraser) -> Result:
    """The dry run: the same functions, told to change nothing."""
    if not request.has_target:
        raise SettingsError("--dry-run needs --url, --domain or --seq.")
    layout = night.layout
    intent, result = _plan(night, request)
    mentions, since = mentions_of(layout, intent), first_seen(layout, intent)
    cleared = elsewhere(mentions, since, True)
    cleared.counts["addresses"] = scrub_frontier(night.frontier, mentions, dry=True)
    cleared.counts += scrub_state(night.derivation.db, mentions, dry=True)
    counts, closed = scrub_files(layout, mentions, since, dry=True)
    known = erasure_marks.mark(layout.checkpoints, layout.models, lost(intent), intent.rules, intent.at, dry=True)
    result.counts = {"documents": len(intent.documents)} | dict(cleared.counts + counts)
    result.unreached = cleared.unreached + [f"{path} is compressed, and is not looked into" for path in closed]
    if known:
        result.messages.append(f"trained on it or scored with it: {known}")
    if waiting := night.corpus.counts()["waiting"]:
        result.messages.append(f"{waiting} document(s) wait to be compared: whether they are copies is not known yet")
    result.dry_run = True
    return result


# -- what goes -------------------------------------------------------------------------------------------


def _plan(night: RunContext, request: Request) -> tuple[Intent, Result]:
    corpus = night.corpus
    entries = _asked_for(night, request)
    copies = [corpus.entry(seq) for seq in corpus.copies(entry.seq for entry in entries)]
    going = [(entry, _why(request)) for entry in entries]
    going += [] if request.keep_copies else [(entry, "copy") for entry in copies]
    going.sort(key=lambda one: one[0].seq)
    meta = token_files.read_manifest(night.layout)
    in_tokens = set(token_files.read_table(night.layout, meta)["seq"].tolist()) if meta else set()

    def kept(seq: int) -> bool | None:
        return seq in in_tokens if meta and seq < meta.next_seq else None

    intent = Intent(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        documents=tuple(
            PendingErasure(one.seq, corpus.offset(one.seq), why, one.split, kept(one.seq)) for one, why in going
        ),
        url=request.url,
        domain=request.domain,
        keep_copies=request.keep_copies,
        retrain=request.retrain,
        rules=meta.rules if meta else "",
    )
    return intent, Result(
        documents=[_shown(entry, why) for entry, why in going],
        copies_kept=[_shown(entry, "copy") for entry in copies] if request.keep_copies else [],
        versions_left=_versions_left(night, [entry for entry, _ in going]),
    )


def _asked_for(night: RunContext, request: Request) -> list[LedgerEntry]:
    """Raises SettingsError where nothing is known of it."""
    if request.seq is not None:
        return [_numbered(night, request.seq)]
    entries = (entry for entry, _ in read_entries(night.layout.ledger) if not entry.forgotten)
    found = [entry for entry in entries if request.matches(entry)]
    if not found and not _was_heard_of(night, request):
        what = request.url or request.domain
        raise SettingsError(
            f"nothing is known of {what}: no document, and no address that was ever proposed. python run.py trace URL "
            "shows what is known of a page; addresses are compared whole."
        )
    return found


def _numbered(night: RunContext, seq: int) -> LedgerEntry:
    number = night.corpus.position("ledger_lines")
    if not 0 <= seq < number:
        known = f"they go from 0 to {number - 1}" if number else "there is none yet"
        raise SettingsError(f"there is no document {seq}: {known}.")
    entry = night.corpus.entry(seq)
    if entry.forgotten:
        raise SettingsError(f"document {seq} was forgotten on {entry.forgotten['at']}.")
    return entry


def _was_heard_of(night: RunContext, request: Request) -> bool:
    """Proposed without ever giving a document, or forgotten before: then what was missed is looked for again."""
    if request.url is not None and (night.frontier.lookup(request.url) or night.corpus.forgotten.covers(request.url)):
        return True
    if request.domain is not None and night.corpus.forgotten.covers_domain(request.domain):
        return True
    mentions = ReferenceMatcher([], [request.url] if request.url else [], request.domain)
    return scrub_frontier(night.frontier, mentions, dry=True) > 0


def _versions_left(night: RunContext, going: list[LedgerEntry]) -> list[int]:
    """Other texts of the pages that go: a single document was asked for, or a copy goes along."""
    seqs = {entry.seq for entry in going}
    return sorted({row["seq"] for entry in going for row in night.corpus.trace(entry.url)} - seqs)


def _why(request: Request) -> str:
    return "url" if request.url is not None else "domain" if request.domain is not None else "seq"


def _shown(entry: LedgerEntry, why: str) -> dict[str, Any]:
    return {"seq": entry.seq, "why": why, "url": entry.url, "title": entry.title, "bytes": entry.bytes}


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme == "file" or (parts.scheme in ("http", "https") and bool(parts.hostname))
    except ValueError:
        return False


# -- said ------------------------------------------------------------------------------------------------


def as_text(result: Result) -> str:
    """For a person: what goes or went, page by page."""
    lines = ["nothing is changed; this would go:"] if result.dry_run else []
    for one in result.documents:
        lines.append(f"document {one['seq']} ({one['why']}, {one['bytes']:,} bytes): {one['url']}")
    lines += [f"its copy stays: document {one['seq']}: {one['url']}" for one in result.copies_kept]
    if result.versions_left:
        lines.append(f"other texts of these pages stay: document(s) {', '.join(map(str, result.versions_left))}")
    counts = ", ".join(f"{number:,} {kind}" for kind, number in result.counts.items() if number)
    lines.append(f"{'would go' if result.dry_run else 'forgotten'}: {counts or 'nothing'}")
    lines += result.messages if result.dry_run else []
    lines += [f"NOT CLEARED: {sentence}" for sentence in result.unreached]
    return "\n".join(lines)
