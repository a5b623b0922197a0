"""Carries out, phase by phase, what `request.py` has planned to forget; recovers after a kill at any moment.

An intent, written durably before any change, says how far the erasure is (`layout.intent`; it holds no text):

scrub   The ledger is unchanged, so it still tells what to forget. Addresses become keyed hashes on the suppression
        list (`raw/forgotten.jsonl`). Prefect, state, caches and reports are cleared, the raw files removed.
redact  The intent holds the new ledger lines and nothing that identifies a page. Lines become tombstones, checkpoints
        and models are marked or removed, derived data and its indexes removed.
derive  The rest is derived again with the same tokenizer. The free pages of the state are wiped.

The next run that takes the writer lock finds the intent and continues with the phase that it names.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from model.contracts import erasure_marks
from tasks.clean.cleaned_files import remove_cleaned
from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout
from tasks.contracts.records import LedgerEntry
from tasks.derive.rebuild import derive_all
from tasks.forget.ledger_redaction import Line, lines_of_others, overwrite, tombstone
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.scrub import remove_raw, scrub_files
from tasks.forget.scrub_frontier import scrub_frontier
from tasks.forget.scrub_state import scrub_state, wipe_free_pages
from tasks.raw.ledger import read_entries, require_no_unfinished_erasure
from tasks.run_context import RunContext
from tasks.storage.atomic_files import sync_folder, write_json
from tasks.storage.state_db import transaction
from tasks.tokenize import token_files

SCRUB, REDACT, DERIVE = "scrub", "redact", "derive"


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """A document that is to be forgotten."""

    seq: int
    offset: int  # of its line in the ledger
    why: str  # url, domain, seq or copy
    split: str
    kept: bool | None  # whether it is in the token files; None where they are not that far


@dataclass(frozen=True, slots=True)
class Intent:
    """`raw/.forget.json`."""

    at: str  # ISO 8601
    documents: tuple[PendingErasure, ...]
    url: str | None  # as requested; None once the lines are tombstones
    domain: str | None
    keep_copies: bool
    retrain: bool
    rules: str  # digest of the rules that decided `kept`
    phase: str = SCRUB
    lines: tuple[Line, ...] = ()
    unreached: tuple[str, ...] = ()  # what could not be cleared, in sentences

    def tombstone_of(self, document: PendingErasure) -> dict[str, str]:
        """Returns what the document's ledger line says from now on."""
        return {"at": self.at, "why": document.why} | ({"copies": "kept"} if self.keep_copies else {})


@dataclass(slots=True)
class ErasureReport:
    """What was removed, by kind, and what could not be cleared, in sentences."""

    counts: Counter[str] = field(default_factory=Counter)
    unreached: list[str] = field(default_factory=list)


ExternalEraser = Callable[[ReferenceMatcher, str | None, bool], ErasureReport]
"""Clears what lies outside of the data directory: Prefect's memory. Takes the arguments of `scrub_files`."""


def nowhere_else(matcher: ReferenceMatcher, since: str | None, dry: bool) -> ErasureReport:
    """An eraser for a data directory that Prefect has no memory of."""
    return ErasureReport()


def read_intent(layout: Layout) -> Intent | None:
    """Returns None where no erasure is under way.

    Raises:
        DataDirectoryError: it cannot be read.
    """
    if not layout.intent.exists():
        return None
    try:
        values = json.loads(layout.intent.read_text(encoding="utf-8"))
        documents = tuple(PendingErasure(**one) for one in values.pop("documents"))
        lines = tuple((offset, line) for offset, line in values.pop("lines"))
        return Intent(documents=documents, lines=lines, unreached=tuple(values.pop("unreached")), **values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataDirectoryError(
            f"{layout.intent} cannot be read ({error}). Remove it and forget again what it was about."
        ) from error


def write_intent(layout: Layout, intent: Intent) -> None:
    write_json(layout.intent, asdict(intent))


def recover_lines(layout: Layout, external_eraser: ExternalEraser | None) -> None:
    """Complete the ledger's lines where a kill left one half-written. Called before anything reads them.

    Raises:
        DataDirectoryError: only a run that can clear Prefect's memory, too, may finish this erasure.
    """
    intent = read_intent(layout)
    if intent is not None and intent.phase == SCRUB and external_eraser is None:
        require_no_unfinished_erasure(layout)
    if intent is not None and intent.phase == REDACT:
        overwrite(layout, intent.lines)


def finish(run: RunContext, external_eraser: ExternalEraser) -> list[str]:
    """Carry out the intent, where there is one, from the phase that it names. A kill is safe: call it again.

    Returns:
        What could not be cleared, in sentences.
    """
    intent = read_intent(run.layout)
    if intent is None:
        return []
    run.derivation.db.execute("PRAGMA secure_delete = ON")
    with run.record.stage("forget"):
        if intent.phase == SCRUB:
            intent = _scrub(run, intent, external_eraser)
        if intent.phase == REDACT:
            intent = _redact(run, intent)
        if intent.documents:
            run.derivation.apply_rules()  # of this run; the tokenizer stays, frozen or not
            derive_all(run.derivation, lambda done, of: run.record.progress("derive again", done, of))
        wipe_free_pages(run.derivation.db)
        run.layout.intent.unlink()
        sync_folder(run.layout.raw)
    if (run.layout.state / "snapshots.json").exists():
        run.record.say("snapshots of this data directory hold it still: it leaves them with the second new one")
    return list(intent.unreached)


def matcher_of(layout: Layout, intent: Intent) -> ReferenceMatcher:
    """Reads the ledger, so call it before its lines become tombstones."""
    entries = [entry for entry, _ in _lines(layout, intent)]
    return ReferenceMatcher(entries, [intent.url] if intent.url else [], intent.domain)


def first_seen(layout: Layout, intent: Intent) -> str | None:
    """Returns when the first document that training may have seen was fetched; None where it has seen none."""
    seen = {one.seq for one in intent.documents if one.split == "train" and one.kept is not False}
    return min((entry.fetched_at for entry, _ in _lines(layout, intent) if entry.seq in seen), default=None)


def erased(intent: Intent) -> list[erasure_marks.ErasedDocument]:
    return [erasure_marks.ErasedDocument(one.seq, one.split, one.kept) for one in intent.documents]


def _lines(layout: Layout, intent: Intent) -> list[tuple[LedgerEntry, int]]:
    """Returns the documents' ledger entries, each with the offset where its line ends."""
    return [next(read_entries(layout.ledger, one.offset)) for one in intent.documents]


def _scrub(run: RunContext, intent: Intent, external_eraser: ExternalEraser) -> Intent:
    layout = run.layout
    entries, matcher = _lines(layout, intent), matcher_of(layout, intent)
    urls = [url for entry, _ in entries for url in (entry.url, entry.final_url)] + ([intent.url] if intent.url else [])
    run.catalog.forgotten.remember(urls, intent.domain, intent.at)
    report = scrub(run, intent, external_eraser, dry=False)
    remove_raw(layout, [entry.path for entry, _ in entries])

    lines = [
        tombstone(entry, intent.tombstone_of(document), document.offset, end)
        for document, (entry, end) in zip(intent.documents, entries, strict=True)
    ]
    lines += lines_of_others(layout.ledger, matcher, {one.seq for one in intent.documents})
    for kind, number in ({"documents": len(entries)} | report.counts).items():
        run.record.count("forget", kind, number)
    unreached = tuple(report.unreached)
    return _enter(layout, intent, phase=REDACT, url=None, domain=None, lines=tuple(sorted(lines)), unreached=unreached)


def scrub(run: RunContext, intent: Intent, external_eraser: ExternalEraser, dry: bool) -> ErasureReport:
    """Clear all that is neither raw text nor derived from it. A dry run only counts."""
    matcher, since = matcher_of(run.layout, intent), first_seen(run.layout, intent)
    report = external_eraser(matcher, since, dry)
    report.counts["addresses"] = scrub_frontier(run.frontier, matcher, dry)
    report.counts += scrub_state(run.derivation.db, matcher, dry)
    counts, closed = scrub_files(run.layout, matcher, since, dry)
    report.counts += counts
    report.unreached += [f"{path} is compressed, and {'is' if dry else 'was'} not looked into" for path in closed]
    return report


def _redact(run: RunContext, intent: Intent) -> Intent:
    layout = run.layout
    overwrite(layout, intent.lines)
    with transaction(run.derivation.db):
        run.catalog.renew_ledger_digests()
    if intent.documents:
        _mark_models(run, intent)
        token_files.reset(layout)
        remove_cleaned(layout)
        with transaction(run.derivation.db):
            for document in intent.documents:
                run.catalog.forget(document.seq, intent.tombstone_of(document))
            run.derivation.begin_anew()
    return _enter(layout, intent, phase=DERIVE, lines=())


def _enter(layout: Layout, intent: Intent, **changes: Any) -> Intent:
    intent = dataclasses.replace(intent, **changes)
    write_intent(layout, intent)
    return intent


def _mark_models(run: RunContext, intent: Intent) -> None:
    """Mark checkpoints and models that may have seen it; with `retrain`, roll training back to before it."""
    layout, record = run.layout, run.record
    known = erasure_marks.mark(layout.checkpoints, layout.models, erased(intent), intent.rules, intent.at)
    record.count("forget", "checkpoints that know it", len(known.checkpoints))
    record.count("forget", "models that know it", len(known.models))
    if intent.retrain:
        roll_back(run, [one.seq for one in intent.documents])
    elif known:
        record.say(
            f"trained on it or scored with it, and marked: {known}. With --retrain, training goes back to before it"
        )


def roll_back(run: RunContext, numbers: list[int] | None) -> None:
    """Return to the newest checkpoint that has not seen these documents; None: that has seen no forgotten one."""
    removed, newest = erasure_marks.go_back(run.layout.checkpoints, run.layout.models, numbers)
    if not removed:
        run.record.say("there is no checkpoint and no model that learned from it: nothing to go back from")
        return
    where = "starts anew" if newest is None else f"goes back to step {newest}"
    run.record.say(f"the lineage {where}; removed: {removed}. The next training goes on from there")
