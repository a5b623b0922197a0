"""Derived data follows truth: the same few steps for a night's new documents and for a rebuild from zero."""

from __future__ import annotations

import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from tasks.clean.boilerplate import SiteLines
from tasks.clean.stage import Normalized, apply_quality_filters, clean
from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout, read_cleaned
from tasks.contracts.records import Cleaned, Dropped
from tasks.contracts.settings import Settings
from tasks.dedup.minhash import Signature
from tasks.dedup.signature_index import SignatureIndex
from tasks.dedup.stage import dedup
from tasks.derive.process_pool import Workers
from tasks.derive.rules_digest import rules_digest
from tasks.raw.catalog import Catalog
from tasks.storage.atomic_files import sync_filesystem
from tasks.storage.state_db import open_state, transaction
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import open_processed, read_tokenizer_record, tokenize

# A batch is cut at so many raw bytes, whatever its number of documents: it bounds the memory.
BATCH_BYTES = 4_000_000
# So many batches wait at the other processes, which must not wait for us: they are what takes longest.
AHEAD = 2
# From so many documents on other processes save more than their start costs.
WORTH_WORKERS = 2000


class CleanedBatch:
    """Documents on their way from clean to dedup. No dataclass: Prefect walks through those that tasks are given."""

    def __init__(self) -> None:
        self.dropped: list[tuple[int, Cleaned | Dropped]] = []
        self.good: list[tuple[Cleaned, Signature]] = []

    def __len__(self) -> int:
        return len(self.dropped) + len(self.good)


class Ahead(NamedTuple):
    """Documents of a later batch, and the ticket for their mended texts."""

    rows: list[sqlite3.Row]
    ticket: int


@dataclass(slots=True)
class Derivation:
    """What the data stages share: the corpus, what was seen before, and the rules of this run."""

    settings: Settings
    layout: Layout
    db: sqlite3.Connection
    corpus: Catalog = field(init=False)
    index: SignatureIndex = field(init=False)
    lines: SiteLines = field(init=False)
    rules: str = field(init=False)
    workers: Workers = field(init=False)
    _ahead: deque[Ahead] = field(init=False, default_factory=deque)  # the next batches, which are being mended

    def __post_init__(self) -> None:
        self.corpus = Catalog(self.layout, self.db)
        self.index = SignatureIndex(self.corpus, self.layout)
        self.lines = SiteLines(self.db)
        self.rules = rules_digest(self.settings)
        self.workers = Workers(self.settings.clean.workers)

    def apply_rules(self) -> str | None:
        """Begin the derived data anew where it was made under other rules. Says so, or None."""
        before = self.corpus.digest_of_rules()
        lost = self._lost()
        if before == self.rules and not lost:
            return None
        meta = token_files.read_manifest(self.layout)
        # A lost state with intact token files needs no reset: the same rules make the same bytes again.
        changed = before not in (None, self.rules) or (meta is not None and meta.rules != self.rules)
        if changed:
            token_files.reset(self.layout)
            remove_cleaned(self.layout)
        with transaction(self.db):
            self.begin_anew()
        if changed:
            return "the cleaning rules changed: cleaned/ and processed/ are derived again from raw/"
        return f"{lost} was gone: it is derived again from raw/" if lost else None

    def _lost(self) -> str | None:
        """What was removed or cut short although it belongs to committed documents."""
        if not self.index.is_whole():
            return "state/dedup/"
        return "cleaned/" if self.index.rows and not self.layout.cleaned.exists() else None

    def begin_anew(self) -> None:
        """Every document is to be cleaned and compared again. Called inside a transaction."""
        self.corpus.forget_derived(self.rules)
        self.index.clear()
        self.lines.clear()

    def rules_of_cleaned(self) -> str:
        """The rules that `cleaned/` was made with: not this run's, where cleaning is left out."""
        return self.corpus.digest_of_rules() or self.rules

    def anything_uncleaned(self) -> bool:
        return self.corpus.uncleaned_count() > 0

    def start_workers(self) -> None:
        """Start other processes if there is enough for them to do; they take half a second until they are there."""
        if self.settings.clean.workers > 1 or self.corpus.uncleaned_count() >= WORTH_WORKERS:
            self.workers.start()

    def clean_batch(self) -> CleanedBatch:
        """The next documents in ledger order, mended, without their sites' boilerplate, judged; empty at the end.

        Where there are other processes they are kept busy: while this batch is stripped, compared and committed they
        mend the next ones.
        """
        rows = self._rows_from(self.corpus.position("cleaned"))
        if not self._ahead or self._ahead[0].rows != rows:
            self._begin(rows)
        mended = self.workers.take(self._ahead.popleft().ticket)
        self.lines.begin()
        texts = [self._strip(row, one) for row, one in zip(rows, mended, strict=True)]
        rule = partial(apply_quality_filters, settings=self.settings.clean)
        judged = self.workers.give(rule, texts, [len(text) for text in texts], urgent=True)
        self._look_ahead(rows)
        batch = CleanedBatch()
        for row, text, verdict in zip(rows, texts, self.workers.take(judged), strict=True):
            if isinstance(verdict, Dropped):
                batch.dropped.append((row["seq"], verdict))
            else:
                batch.good.append((Cleaned(row["seq"], row["path"], text, verdict.language), verdict.signature))
        return batch

    def _rows_from(self, seq: int) -> list[sqlite3.Row]:
        rows = self.corpus.documents_from(seq, self.settings.clean.batch)
        fitting = sum(total <= BATCH_BYTES for total in accumulate(row["bytes"] for row in rows))
        return rows[: max(1, fitting)]

    def _begin(self, rows: list[sqlite3.Row]) -> None:
        if self._ahead:
            self.workers.close()  # what they have begun is for another place
            self._ahead.clear()
        self.start_workers()
        self._give(rows)
        self._look_ahead(rows)

    def _look_ahead(self, rows: list[sqlite3.Row]) -> None:
        """Let other processes mend the batches after these."""
        while self.workers.running and rows and len(self._ahead) < AHEAD:
            rows = self._rows_from((self._ahead[-1].rows if self._ahead else rows)[-1]["seq"] + 1)
            if rows:
                self._give(rows)

    def _give(self, rows: list[sqlite3.Row]) -> None:
        paths = [str(self.layout.raw / row["path"]) for row in rows]
        self._ahead.append(Ahead(rows, self.workers.give(clean, paths, [row["bytes"] for row in rows])))

    def _strip(self, row: sqlite3.Row, mended: Normalized) -> str:
        first = self.corpus.is_first_version(row["seq"], row["url_key"])
        return self.lines.see(row["site"], mended.text, mended.line_keys, first)

    def dedup_batch(self, batch: CleanedBatch) -> list[tuple[int, Cleaned | Dropped]]:
        """Settle a batch in ledger order and commit it: files, signatures, line counts and verdicts."""
        with transaction(self.db):
            verdicts = dict(batch.dropped)
            compared = dedup(batch.good, self.index, self._kept_text, self.settings.dedup.min_jaccard)
            for (document, _), verdict in zip(batch.good, compared, strict=True):
                verdicts[document.seq] = verdict
            settled = sorted(verdicts.items())
            self._write(verdict for _, verdict in settled if isinstance(verdict, Cleaned))
            self.lines.save()
            self.corpus.record_verdicts(settled)
            sync_filesystem(self.layout.state)
        return settled

    def _kept_text(self, seq: int) -> str:
        return read_cleaned(self.layout, self.corpus.path(seq))

    def _write(self, documents: Iterable[Cleaned]) -> None:
        folders: set[Path] = set()
        for document in documents:
            path = self.layout.cleaned / document.path
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            path.write_bytes(document.text.encode())


def remove_cleaned(layout: Layout) -> None:
    if layout.cleaned.exists():
        shutil.rmtree(layout.cleaned)


def rebuild(settings: Settings, truth: Layout, target: Path) -> token_files.Manifest | None:
    """Derive `cleaned/` and `processed/` from truth alone into an empty folder.

    Returns:
        The commit record of the new `processed/`, or None where there is no tokenizer or nothing was kept.

    Raises:
        DataDirectoryError: the folder is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise DataDirectoryError(f"{target} is not empty: give rebuild --to a new folder.")
    layout = Layout(target.resolve(), truth=truth.raw)
    layout.state.mkdir(parents=True)
    db = open_state(layout.database)
    derivation = Derivation(settings, layout, db)
    try:
        derivation.corpus.index_new()
        derivation.apply_rules()
        return derive_all(derivation)
    finally:
        derivation.workers.close()
        db.close()
        shutil.rmtree(layout.state)


def derive_all(
    derivation: Derivation, tell: Callable[[int, int], None] = lambda done, of: None
) -> token_files.Manifest | None:
    """Clean, compare and tokenize all that is not yet, with the tokenizer that is there; `tell` hears how far it is.

    Returns:
        The commit record of `processed/`, or None where there is no tokenizer.
    """
    compare_all(derivation, tell)
    return _tokenize_all(derivation)


def compare_all(derivation: Derivation, tell: Callable[[int, int], None] = lambda done, of: None) -> None:
    while batch := derivation.clean_batch():
        derivation.dedup_batch(batch)
        tell(derivation.corpus.position("cleaned"), derivation.corpus.position("ledger_lines"))


def _tokenize_all(derivation: Derivation) -> token_files.Manifest | None:
    layout = derivation.layout
    meta = open_processed(layout, derivation.rules, derivation.corpus.digest_of_forgotten())
    if meta is None or read_tokenizer_record(layout) is None:
        return None
    encoder = Encoder(layout.tokenizer)
    while (new := tokenize(layout, derivation.corpus, meta, encoder, derivation.settings.tokenize.batch)) != meta:
        meta = new
    return meta
