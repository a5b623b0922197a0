"""Derived data follows truth: the same few steps for a night's new documents and for a rebuild from zero.

`next_batch` -> the stages `clean` and `dedup` -> `commit`; then `next_kept` -> the stage
`tokenize` -> `token_files.append`. All in ledger order.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from tasks.clean.boilerplate import SiteLines
from tasks.clean.cleaned_files import remove_cleaned, write_cleaned
from tasks.clean.stage import RawBatch, RawDocument
from tasks.contracts.paths import Layout, read_cleaned
from tasks.contracts.records import Dropped
from tasks.contracts.settings import Settings
from tasks.dedup.signature_index import SignatureIndex
from tasks.dedup.stage import Distinct
from tasks.derive.rules_digest import rules_digest
from tasks.processes.process_pool import ProcessPool
from tasks.raw.catalog import Catalog
from tasks.storage.atomic_files import sync_filesystem
from tasks.storage.state_db import transaction
from tasks.tokenize import token_files
from tasks.tokenize.stage import KeptText

# A batch is cut at so many bytes, whatever its number of documents: it bounds the memory.
BATCH_BYTES = 4_000_000
# Batches that the other processes normalize ahead, so that they never wait for us: they have most of the work.
PREFETCHED = 2
# From so many documents on other processes save more than their start costs.
WORTH_A_POOL = 2000


class Derivation:
    """What the data stages share: the catalog of documents, what was seen before, and the rules of this run."""

    def __init__(self, settings: Settings, layout: Layout, db: sqlite3.Connection) -> None:
        self.settings, self.layout, self.db = settings, layout, db
        self.catalog = Catalog(layout, db)
        self.index = SignatureIndex(self.catalog, layout)
        self.site_lines = SiteLines(db)
        self.rules = rules_digest(settings)
        self.pool: ProcessPool | None = None  # where there is much to do
        self._prefetched: deque[RawBatch] = deque()  # the next batches, which other processes normalize
        self._prefetched_to: int | None = None  # the ledger number after the last of them

    def close(self) -> None:
        """End the other processes; they hold nothing worth saving."""
        self._prefetched.clear()
        self._prefetched_to = None
        if self.pool:
            self.pool.close()
        self.pool = None

    # -- the rules -----------------------------------------------------------------------------------

    def apply_rules(self) -> str | None:
        """Begin the derived data anew where it was made under other rules. Says so, or None."""
        before = self.catalog.digest_of_rules()
        lost = self._lost()
        if before == self.rules and not lost:
            return None
        manifest = token_files.read_manifest(self.layout)
        # A lost state with intact token files needs no reset: the same rules make the same bytes again.
        changed = before not in (None, self.rules) or (manifest is not None and manifest.rules != self.rules)
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
        """Every document is to be cleaned and compared again. Must be called inside a transaction."""
        self.catalog.forget_derived(self.rules)
        self.index.clear()
        self.site_lines.clear()

    def discard(self) -> None:
        """Something derived is damaged: all is to be cleaned and compared again, from raw text."""
        self.close()
        with transaction(self.db):
            self.begin_anew()

    def add_digests(self) -> None:
        """Of what an earlier version wrote: once, reading all of it."""
        self.catalog.add_digests()
        self.index.add_digests()

    def rules_of_cleaned(self) -> str:
        """The rules that `cleaned/` was made with: not this run's, where cleaning is left out."""
        return self.catalog.digest_of_rules() or self.rules

    # -- clean and dedup -----------------------------------------------------------------------------

    def next_batch(self) -> RawBatch | None:
        """The next documents to clean; None at the end. Other processes already normalize the batches after it."""
        start = self.catalog.position("cleaned")
        if self._prefetched and self._prefetched[0].documents[0].seq != start:
            self.close()  # what was begun is for another place
        self.prefetch()
        batch = self._prefetched.popleft() if self._prefetched else RawBatch(self._documents_from(start))
        self.prefetch()
        return batch if batch.documents else None

    def prefetch(self) -> None:
        """Let other processes normalize the next batches, where there is much to do and more than one core."""
        size = self.settings.clean.workers
        if self.pool is None and (size > 1 or (size == 0 and self.catalog.uncleaned_count() >= WORTH_A_POOL)):
            self.pool = ProcessPool(size)
        while self.pool and self.pool.size > 1 and len(self._prefetched) < PREFETCHED:
            start = self.catalog.position("cleaned") if self._prefetched_to is None else self._prefetched_to
            documents = self._documents_from(start)
            if not documents:
                return
            self._prefetched_to = documents[-1].seq + 1
            self._prefetched.append(RawBatch(documents, self.pool))

    def _documents_from(self, seq: int) -> list[RawDocument]:
        rows = self.catalog.documents_from(seq, self.settings.clean.batch)
        fitting = sum(total <= BATCH_BYTES for total in accumulate(row["bytes"] for row in rows))
        return [
            RawDocument(
                seq=row["seq"],
                path=row["path"],
                sha256=row["sha256"],
                file=str(self.layout.raw / row["path"]),
                bytes=row["bytes"],
                site=row["site"],
                counts=self.catalog.is_first_version(row["seq"], row["url_key"]),
            )
            for row in rows[: max(1, fitting)]
        ]

    def commit(self, batch: RawBatch, verdicts: Sequence[Distinct | Dropped]) -> None:
        """Write the cleaned texts, what is remembered of them, and where each document ended; all or nothing."""
        kept = [verdict for verdict in verdicts if isinstance(verdict, Distinct)]
        with transaction(self.db):
            write_cleaned(self.layout, (one.document for one in kept))
            self.site_lines.save()
            self.index.append([one.document.seq for one in kept], [one.signature for one in kept])
            ends = [verdict.document if isinstance(verdict, Distinct) else verdict for verdict in verdicts]
            self.catalog.record_verdicts(
                [(document.seq, end) for document, end in zip(batch.documents, ends, strict=True)]
            )
            sync_filesystem(self.layout.state)

    # -- tokenize ------------------------------------------------------------------------------------

    def next_kept(self, seq: int) -> list[KeptText]:
        """The next kept documents from a ledger number on, with their cleaned texts; empty at the end."""
        rows = self.catalog.kept(seq, self.settings.tokenize.batch)
        fitting = sum(total <= BATCH_BYTES for total in accumulate(row["kept_bytes"] for row in rows))
        return [
            KeptText(row["seq"], row["split"], read_cleaned(self.layout, row["path"], row["cleaned_sha256"]))
            for row in rows[: max(1, fitting)]
        ]
