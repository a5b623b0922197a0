"""The door: the seven stages as the steps of a night call them. Plain functions: data in, data out.

What a stage needs besides its data (clock, network, child processes, index, writing) is an argument, made and closed
by whoever opened the run. `tasks.prefect_tasks` has the same seven as Prefect tasks; which ones a run takes is settled
where it begins, in `run.py` and `flows/grow_and_train.py`. Plain, nothing is tried again and no answer is kept: a fault
of the disk ends the run, and the next one goes on; a search engine whose answer a kill took with it is asked once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from model.contracts.job import TrainJob
from tasks.clean.boilerplate import SiteLines
from tasks.clean.stage import RawBatch, clean
from tasks.contracts.paths import Layout
from tasks.contracts.records import Cleaned, Dropped, Extracted, Hit, Page
from tasks.contracts.settings import CleanSettings
from tasks.dedup.signature_index import SignatureIndex
from tasks.dedup.stage import Distinct, dedup
from tasks.extract.stage import extract
from tasks.extract.worker_pool import Extractor
from tasks.processes.process_pool import ProcessPool
from tasks.render.stage import Renderer, render
from tasks.search.queries import SourceQuery, SourceResult
from tasks.search.stage import Searcher, search
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import Ids, KeptText, tokenize
from tasks.tokenize.token_files import Manifest
from tasks.train_chunk.stage import train_chunk

__all__ = ["Stages", "clean", "dedup", "extract", "render", "search", "tokenize", "train_chunk"]

Event = dict[str, Any]


class Stages(Protocol):
    """What this module and `tasks.prefect_tasks` both are."""

    def search(self, question: SourceQuery, searcher: Searcher) -> SourceResult: ...

    def render(self, hits: list[Hit], renderer: Renderer) -> list[Page | Dropped]: ...

    def extract(self, pages: list[Page | Dropped], extractor: Extractor) -> list[Extracted]: ...

    def clean(self, batch: RawBatch, rules: CleanSettings, site_lines: SiteLines) -> list[Cleaned | Dropped]: ...

    def dedup(
        self,
        cleaned: Sequence[Cleaned | Dropped],
        index: SignatureIndex,
        min_jaccard: float,
        pool: ProcessPool | None,
        commit: Callable[[list[Distinct | Dropped]], None],
    ) -> list[Distinct | Dropped]: ...

    def tokenize(
        self, documents: Sequence[KeptText], encoder: Encoder, append: Callable[[list[Ids]], Manifest]
    ) -> Manifest: ...

    def train_chunk(self, job: TrainJob, layout: Layout, lock_handle: int, hear: Callable[[Event], None]) -> Event: ...
