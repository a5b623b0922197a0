"""Derived data follows truth: the same few steps for a night's new documents and for a rebuild from zero."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from model.tokenizer import load_tokenizer
from tasks import processed
from tasks.boilerplate import SiteLines
from tasks.clean import clean, judge
from tasks.corpus import Corpus
from tasks.dedup import DedupIndex, dedup
from tasks.durable import sync_filesystem
from tasks.errors import DataDirectoryError
from tasks.layout import Layout
from tasks.records import Cleaned, Dropped
from tasks.rules import rules_digest
from tasks.settings import Settings
from tasks.state import open_state, transaction
from tasks.tokenize import open_processed, read_tokenizer_record, tokenize


@dataclass(slots=True)
class Derivation:
    """What the data stages share: the corpus, what was seen before, and the rules of this run."""

    settings: Settings
    layout: Layout
    db: sqlite3.Connection
    corpus: Corpus = field(init=False)
    index: DedupIndex = field(init=False)
    lines: SiteLines = field(init=False)
    rules: str = field(init=False)

    def __post_init__(self) -> None:
        self.corpus = Corpus(self.layout, self.db)
        self.index = DedupIndex(self.db, self.layout)
        self.lines = SiteLines(self.db)
        self.rules = rules_digest(self.settings)

    def apply_rules(self) -> str | None:
        """Begin the derived data anew where it was made under other rules. Says so, or None."""
        before = self.corpus.digest_of_rules()
        lost = not self.layout.cleaned.exists() and self.corpus.kept_bytes() > 0
        if before == self.rules and not lost:
            return None
        meta = processed.read_meta(self.layout)
        # A lost state with intact token files needs no reset: the same rules make the same bytes again.
        changed = before not in (None, self.rules) or (meta is not None and meta.rules != self.rules)
        if changed:
            processed.reset(self.layout)
            remove_cleaned(self.layout)
        with transaction(self.db):
            self.corpus.forget_derived(self.rules)
            self.index.clear()
            self.lines.clear()
        if changed:
            return "the cleaning rules changed: cleaned/ and processed/ are derived again from raw/"
        return "cleaned/ was gone: it is derived again from raw/" if lost else None

    def rules_of_cleaned(self) -> str:
        """The rules that `cleaned/` was made with: not this run's, where cleaning is left out."""
        return self.corpus.digest_of_rules() or self.rules

    def anything_uncleaned(self) -> bool:
        return bool(self.corpus.uncleaned(1))

    def clean_batch(self) -> list[Cleaned]:
        """The mended texts of the next documents in ledger order; empty when all are done."""
        rows = self.corpus.uncleaned(self.settings.clean.batch)
        return clean([(row["seq"], row["path"], row["site"]) for row in rows], self.layout.raw)

    def dedup_batch(self, cleaned: list[Cleaned]) -> list[tuple[int, Cleaned | Dropped]]:
        """Settle a batch in ledger order and commit it: files, signatures, line counts and verdicts."""
        self.layout.cleaned.mkdir(parents=True, exist_ok=True)
        with transaction(self.db):
            verdicts = [(document.seq, self._settle(document)) for document in cleaned]
            self.corpus.settle(verdicts)
            sync_filesystem(self.layout.cleaned)
        return verdicts

    def _settle(self, document: Cleaned) -> Cleaned | Dropped:
        """Without its site's boilerplate: is it good, and is it new? Each kept document weighs in on the next."""
        stripped = dataclasses.replace(document, text=self.lines.strip(document.site, document.text))
        verdict = judge(stripped, self.settings.clean)
        if isinstance(verdict, Cleaned):
            verdict = dedup(verdict, self.index, self.settings.dedup.min_jaccard)
        if isinstance(verdict, Cleaned):
            self.lines.count(document.site, document.text)
        return verdict


def remove_cleaned(layout: Layout) -> None:
    if layout.cleaned.exists():
        shutil.rmtree(layout.cleaned)


def rebuild(settings: Settings, truth: Layout, target: Path) -> processed.Meta | None:
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
    try:
        derivation = Derivation(settings, layout, db)
        derivation.corpus.index_new()
        derivation.apply_rules()
        while batch := derivation.clean_batch():
            derivation.dedup_batch(batch)
        return _tokenize_all(derivation)
    finally:
        db.close()
        shutil.rmtree(layout.state)


def _tokenize_all(derivation: Derivation) -> processed.Meta | None:
    layout = derivation.layout
    meta = open_processed(layout, derivation.rules)
    if meta is None or read_tokenizer_record(layout) is None:
        return None
    tokenizer = load_tokenizer(layout.tokenizer)
    while (new := tokenize(layout, derivation.corpus, meta, tokenizer, derivation.settings.tokenize.batch)) != meta:
        meta = new
    return meta
