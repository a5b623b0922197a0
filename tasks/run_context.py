"""One run over one data directory: locked, mended, open. Everything the flow's steps share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.browser.browser import sweep_orphans
from tasks.contracts.paths import Layout
from tasks.contracts.run_record import Listener, RunRecord
from tasks.contracts.settings import Settings
from tasks.derive.derivation import Derivation
from tasks.forget import erasure
from tasks.raw import ledger
from tasks.raw.catalog import Catalog
from tasks.search.frontier import Frontier
from tasks.storage.run_lock import writer_lock
from tasks.storage.state_db import open_state_or_set_aside
from tasks.tokenize import token_files


class RunContext:
    """No dataclass on purpose: Prefect walks through dataclasses that tasks are given."""

    def __init__(
        self, settings: Settings, layout: Layout, lock_handle: int, db: sqlite3.Connection, record: RunRecord
    ) -> None:
        self.settings = settings
        self.layout = layout
        self.lock_handle = lock_handle  # for the training child to inherit
        self.record = record
        self.derivation = Derivation(settings, layout, db)
        self.frontier = Frontier(db, settings.search, self.corpus.forgotten)
        self.began = time.time()  # no page is visited twice after it

    @property
    def corpus(self) -> Catalog:
        return self.derivation.corpus


@contextmanager
def open_run(
    settings: Settings,
    layout: Layout,
    purpose: str,
    listen: Listener,
    elsewhere: erasure.ExternalEraser | None = None,
) -> Iterator[RunContext]:
    """Take the lock, mend what a kill left, open the state, and finish a forgetting that was cut.

    Args:
        elsewhere: clears Prefect's memory of what is forgotten; without it, a forgetting that needs it is refused.

    Raises:
        DataDirectoryError: a forgetting was cut, and this is no run that may finish it.
        LockHeldError: another run has the data directory.
        TruthDamagedError: raw text or ledger are not what was written.
    """
    with writer_lock(layout.lock, purpose) as handle:
        record = RunRecord(settings.name, listen)
        with record.watching_memory():
            erasure.recover_lines(layout, elsewhere)
            for message in mend(layout):
                record.say(f"mended: {message}")
            db, damaged = open_state_or_set_aside(layout.database)
            try:
                if damaged:
                    record.say(f"mended: {damaged}")
                night = RunContext(settings, layout, handle, db, record)
                night.corpus.index_new()
                try:
                    _finish_forgetting(night, elsewhere or erasure.nowhere_else)
                    yield night
                finally:
                    night.derivation.workers.close()
            finally:
                db.close()


def _finish_forgetting(night: RunContext, elsewhere: erasure.ExternalEraser) -> None:
    if night.layout.intent.exists():
        night.record.say("a forgetting was cut: finishing it first")
        for sentence in erasure.finish(night, elsewhere):
            night.record.say(f"not cleared: {sentence}")


def mend(layout: Layout) -> list[str]:
    """Bring the files back to their last commit. Says what it found; costs one batch, not the corpus."""
    orphans = sweep_orphans(layout)
    said = [f"{orphans} browser process(es) of a killed run ended"] if orphans else []
    return said + ledger.recover(layout) + token_files.mend(layout)
