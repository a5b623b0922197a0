"""Carries out, step by step, what `request.py` has planned to forget; a kill at any moment is recovered from.

An intent, written durably before anything is touched, says how far it is (`layout.intent`; it holds no text):

scrub   nothing of the ledger is touched yet, so what has to go can be read from it again: addresses become hashes that
        stay away (`raw/forgotten.jsonl`), Prefect, state, caches and reports are cleared, the raw files removed
redact  the intent holds the new ledger lines and nothing that identifies a page: lines are put in place, checkpoints
        and models marked or removed, derived data and its indexes thrown away
derive  the rest is derived again with the same tokenizer, and the free pages of the state are wiped

Whoever takes the writer lock next finds the intent and goes on with the step that it names.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from model.contracts import erasure_marks
from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout
from tasks.contracts.records import LedgerEntry
from tasks.derive.derivation import remove_cleaned
from tasks.derive.rebuild import derive_all
from tasks.forget.ledger_redaction import Line, lines_of_others, overwrite, redacted
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.scrub import remove_raw, scrub_files, scrub_state, wipe_free_pages
from tasks.forget.scrub_frontier import scrub_frontier
from tasks.raw.ledger import read_entries, require_no_cut_forgetting
from tasks.run_context import RunContext
from tasks.storage.atomic_files import sync_folder, write_json
from tasks.storage.state_db import transaction
from tasks.tokenize import token_files

SCRUB, REDACT, DERIVE = "scrub", "redact", "derive"


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """A document on its way out."""

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
    url: str | None  # that was asked for; not known any more once lines are redacted
    domain: str | None
    keep_copies: bool
    retrain: bool
    rules: str  # digest of the rules that `kept` is due to
    phase: str = SCRUB
    lines: tuple[Line, ...] = ()
    unreached: tuple[str, ...] = ()  # what could not be cleared, in sentences

    def forgotten(self, document: PendingErasure) -> dict[str, str]:
        """What the document's ledger line says from now on."""
        return {"at": self.at, "why": document.why} | ({"copies": "kept"} if self.keep_copies else {})


@dataclass(slots=True)
class ErasureReport:
    """What was removed, by kind, and what could not be looked into, in sentences."""

    counts: Counter[str] = field(default_factory=Counter)
    unreached: list[str] = field(default_factory=list)


ExternalEraser = Callable[[ReferenceMatcher, str | None, bool], ErasureReport]
"""Clears what lies outside of the data directory, Prefect's memory. Arguments as of `scrub_files`."""


def nowhere_else(mentions: ReferenceMatcher, since: str | None, dry: bool) -> ErasureReport:
    """For a data directory that Prefect never heard of."""
    return ErasureReport()


def read_intent(layout: Layout) -> Intent | None:
    """None where no forgetting is under way.

    Raises:
        DataDirectoryError: it cannot be read.
    """
    if not layout.intent.exists():
        return None
    try:
        values = json.loads(layout.intent.read_text(encoding="utf-8"))
        values["documents"] = tuple(PendingErasure(**one) for one in values["documents"])
        values["lines"] = tuple((offset, line) for offset, line in values["lines"])
        return Intent(**values | {"unreached": tuple(values["unreached"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataDirectoryError(
            f"{layout.intent} cannot be read ({error}). Remove it and forget again what it was about."
        ) from error


def write_intent(layout: Layout, intent: Intent) -> None:
    write_json(layout.intent, asdict(intent))


def mend_lines(layout: Layout, elsewhere: ExternalEraser | None) -> None:
    """First of all: the ledger as it was meant, where a kill left one of its lines half-redacted.

    Raises:
        DataDirectoryError: only a run that can clear Prefect's memory, too, may finish it.
    """
    intent = read_intent(layout)
    if intent is not None and intent.phase == SCRUB and elsewhere is None:
        require_no_cut_forgetting(layout)
    if intent is not None and intent.phase == REDACT:
        overwrite(layout, intent.lines)


def finish(night: RunContext, elsewhere: ExternalEraser) -> list[str]:
    """Carry out the intent from the step that it names. Says what could not be cleared; safe to be killed and repeated.

    Nothing happens where there is no intent.
    """
    intent = read_intent(night.layout)
    if intent is None:
        return []
    night.derivation.db.execute("PRAGMA secure_delete = ON")
    with night.record.stage("forget"):
        if intent.phase == SCRUB:
            intent = _scrub(night, intent, elsewhere)
        if intent.phase == REDACT:
            intent = _redact(night, intent)
        if intent.documents:
            _derive(night)
        wipe_free_pages(night.derivation.db)
        night.layout.intent.unlink()
        sync_folder(night.layout.raw)
    if (night.layout.state / "snapshots.json").exists():
        night.record.say("snapshots of this data directory hold it still: it leaves them with the second new one")
    return list(intent.unreached)


def mentions_of(layout: Layout, intent: Intent) -> ReferenceMatcher:
    """Read from the ledger, so only before its lines are redacted."""
    entries = [entry for entry, _ in _lines(layout, intent)]
    return ReferenceMatcher(entries, [intent.url] if intent.url else [], intent.domain)


def first_seen(layout: Layout, intent: Intent) -> str | None:
    """When the first document came that training may have seen; None where it has seen none."""
    seen = {one.seq for one in intent.documents if one.split == "train" and one.kept is not False}
    return min((entry.fetched_at for entry, _ in _lines(layout, intent) if entry.seq in seen), default=None)


def lost(intent: Intent) -> list[erasure_marks.ErasedDocument]:
    return [erasure_marks.ErasedDocument(one.seq, one.split, one.kept) for one in intent.documents]


def _lines(layout: Layout, intent: Intent) -> list[tuple[LedgerEntry, int]]:
    """The documents' entries, each with the offset where its line ends."""
    return [next(read_entries(layout.ledger, one.offset)) for one in intent.documents]


def _scrub(night: RunContext, intent: Intent, elsewhere: ExternalEraser) -> Intent:
    layout, db, record = night.layout, night.derivation.db, night.record
    entries = _lines(layout, intent)
    mentions, since = mentions_of(layout, intent), first_seen(layout, intent)
    urls = [url for entry, _ in entries for url in (entry.url, entry.final_url)] + ([intent.url] if intent.url else [])
    night.corpus.forgotten.remember(urls, intent.domain, intent.at)

    cleared = elsewhere(mentions, since, False)
    cleared.counts["addresses"] = scrub_frontier(night.frontier, mentions, dry=False)
    cleared.counts += scrub_state(db, mentions, dry=False)
    counts, closed = scrub_files(layout, mentions, since, dry=False)
    cleared.counts += counts
    cleared.unreached += [f"{path} is compressed, and was not looked into" for path in closed]
    remove_raw(layout, [entry.path for entry, _ in entries])

    lines = [
        redacted(entry, intent.forgotten(document), document.offset, end)
        for document, (entry, end) in zip(intent.documents, entries, strict=True)
    ]
    lines += lines_of_others(layout.ledger, mentions, {one.seq for one in intent.documents})
    for kind, number in ({"documents": len(entries)} | cleared.counts).items():
        record.count("forget", kind, number)
    unreached = tuple(cleared.unreached)
    intent = dataclasses.replace(
        intent, phase=REDACT, url=None, domain=None, lines=tuple(sorted(lines)), unreached=unreached
    )
    write_intent(layout, intent)
    return intent


def _redact(night: RunContext, intent: Intent) -> Intent:
    layout, corpus = night.layout, night.corpus
    overwrite(layout, intent.lines)
    if intent.documents:
        _unlearn(night, intent)
        token_files.reset(layout)
        remove_cleaned(layout)
        with transaction(night.derivation.db):
            for document in intent.documents:
                corpus.forget(document.seq, intent.forgotten(document))
            night.derivation.begin_anew()
    intent = dataclasses.replace(intent, phase=DERIVE, lines=())
    write_intent(layout, intent)
    return intent


def _unlearn(night: RunContext, intent: Intent) -> None:
    """Checkpoints and models say what they know of it; or, as the user wishes, the lineage goes back to before it."""
    layout, record = night.layout, night.record
    known = erasure_marks.mark(layout.checkpoints, layout.models, lost(intent), intent.rules, intent.at)
    record.count("forget", "checkpoints that know it", len(known.checkpoints))
    record.count("forget", "models that know it", len(known.models))
    if intent.retrain:
        go_back(night, [one.seq for one in intent.documents])
    elif known:
        record.say(
            f"trained on it or scored with it, and marked: {known}. With --retrain, training goes back to before it"
        )


def go_back(night: RunContext, numbers: list[int] | None) -> None:
    """To the newest checkpoint from before these documents; where None, from before any that was ever forgotten."""
    removed, newest = erasure_marks.go_back(night.layout.checkpoints, night.layout.models, numbers)
    if not removed:
        night.record.say("there is no checkpoint and no model that learned from it: nothing to go back from")
        return
    where = "starts anew" if newest is None else f"goes back to step {newest}"
    night.record.say(f"the lineage {where}; removed: {removed}. The next training goes on from there")


def _derive(night: RunContext) -> None:
    """With the rules of this run; the tokenizer stays, frozen or not."""
    night.derivation.apply_rules()
    derive_all(night.derivation, lambda done, of: night.record.progress("derive again", done, of))
