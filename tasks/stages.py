"""The seven stages as the steps of a night call them: plain functions.

`tasks.prefect_tasks` has the same seven under its coat; which ones a run takes is settled where it begins, in `run.py`
and `flows/grow_and_train.py`. Plain, nothing is tried again and no answer is kept: a fault of the disk ends the run,
and the next one goes on; a search engine whose answer a kill took with it is asked once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from model.contracts.job import TrainJob
from tasks.contracts.records import Cleaned, Dropped, Extracted, Hit, Page
from tasks.derive.derivation import CleanedBatch
from tasks.extract.stage import extract
from tasks.extract.worker_pool import Extractor
from tasks.render.stage import Renderer, render
from tasks.run_context import RunContext
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher, search
from tasks.tokenize import stage as tokenize_stage
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.token_files import Manifest
from tasks.train_chunk import stage as train_chunk_stage
from tasks.train_chunk.stage import Event

__all__ = ["Stages", "clean", "dedup", "extract", "render", "search", "tokenize", "train_chunk"]

Verdicts = list[tuple[int, Cleaned | Dropped]]


class Stages(Protocol):
    """What this module and `tasks.prefect_tasks` both are."""

    def search(self, question: SourceQuery, searcher: Searcher) -> SourceResult: ...

    def render(self, hits: list[Hit], renderer: Renderer) -> list[Page | Dropped]: ...

    def extract(self, pages: list[Page | Dropped], extractor: Extractor) -> list[Extracted]: ...

    def clean(self, night: RunContext) -> CleanedBatch: ...

    def dedup(self, night: RunContext, cleaned: CleanedBatch) -> Verdicts: ...

    def tokenize(self, night: RunContext, meta: Manifest, encoder: Encoder) -> Manifest: ...

    def train_chunk(self, night: RunContext, job: TrainJob, hear: Callable[[Event], None]) -> Event: ...


def clean(night: RunContext) -> CleanedBatch:
    """The next batch in ledger order; empty at the end."""
    return night.derivation.clean_batch()


def dedup(night: RunContext, cleaned: CleanedBatch) -> Verdicts:
    """Settle that batch and commit it."""
    return night.derivation.dedup_batch(cleaned)


def tokenize(night: RunContext, meta: Manifest, encoder: Encoder) -> Manifest:
    """Append the next batch of what is kept, and commit it."""
    return tokenize_stage.tokenize(night.layout, night.corpus, meta, encoder, night.settings.tokenize.batch)


def train_chunk(night: RunContext, job: TrainJob, hear: Callable[[Event], None]) -> Event:
    """One chunk, in a child process."""
    return train_chunk_stage.train_chunk(job, night.layout, night.lock_handle, hear)
