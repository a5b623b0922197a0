"""One run over one data directory: locked, recovered, open. Everything that the flow's steps share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from model.contracts.published_folder import seal_models
from tasks.browser.browser import sweep_orphans
from tasks.contracts.paths import Layout
from tasks.contracts.run_record import Listener, RunRecord
from tasks.contracts.settings import Settings
from tasks.derive.derivation import Derivation
from tasks.raw import ledger
from tasks.raw.catalog import Catalog
from tasks.search.frontier import Frontier
from tasks.storage.run_lock import writer_lock
from tasks.storage.state_db import open_state_or_set_aside, seal_state
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
        self.frontier = Frontier(db, settings.search, self.catalog.forgotten)
        self.began = time.time()  # no page is visited twice after it

    @property
    def catalog(self) -> Catalog:
        return self.derivation.catalog


class Recovery(Protocol):
    """What finishes a forgetting that was cut; `tasks.forget` has it, above us."""

    def before_opening(self, layout: Layout) -> None:
        """Put the ledger in order. Raises DataDirectoryError where this run may not go on."""

    def finish(self, run: RunContext) -> None:
        """Carry out what is left, once the run is open."""


@contextmanager
def open_run(
    settings: Settings, layout: Layout, purpose: str, listen: Listener, recovery: Recovery
) -> Iterator[RunContext]:
    """Take the lock, recover from a kill, open the state, and finish a forgetting that was cut.

    Raises:
        DataDirectoryError: a forgetting was cut, and this is no run that may finish it.
        LockHeldError: another run has the data directory.
        TruthDamagedError: raw text or ledger are not what was written.
    """
    with writer_lock(layout.lock, purpose) as handle:
        record = RunRecord(settings.name, listen)
        with record.watching_memory():
            recovery.before_opening(layout)
            for message in recover(layout):
                record.say(f"mended: {message}")
            with sealed_state(layout.database, record.say) as db:
                run = RunContext(settings, layout, handle, db, record)
                run.catalog.index_new()
                run.derivation.add_digests()
                with closing(run.derivation):
                    recovery.finish(run)
                    yield run


@contextmanager
def sealed_state(database: Path, say: Callable[[str], None]) -> Iterator[sqlite3.Connection]:
    """The state, open inside the block; sealed at its end, unless it turned out to be damaged or cannot be written."""
    db, damaged = open_state_or_set_aside(database)
    if damaged:
        say(f"mended: {damaged}")
    try:
        yield db
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError:
        db.close()
        raise
    except BaseException:
        db.close()
        seal_state(database)
        raise
    db.close()
    seal_state(database)


def recover(layout: Layout) -> list[str]:
    """Bring the files back to their last commit. Says what it found; costs one batch, not the corpus."""
    orphans = sweep_orphans(layout)
    said = [f"{orphans} browser process(es) of a killed run ended"] if orphans else []
    seal_models(layout.models)
    return said + ledger.recover(layout) + token_files.recover(layout)
