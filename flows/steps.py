"""The steps of a night, in order: grow the dataset, then train the model on it.

search -> render -> extract -> | raw | -> clean -> dedup -> tokenize -> | train.bin | -> train-chunk -> publish
"""

from __future__ import annotations

from collections.abc import Collection

from flows.grow import clean_new, collect_pages, tokenize_new, validate_new
from flows.train import finish_cut_chunk, train_and_publish
from tasks.contracts.paths import Layout
from tasks.contracts.run_record import Listener, RunRecord
from tasks.contracts.settings import Settings
from tasks.forget.erasure import ErasureReport
from tasks.forget.matcher import ReferenceMatcher
from tasks.report.report import Publish, write_report
from tasks.run_context import open_run
from tasks.stages import Stages


def run_steps(
    settings: Settings, layout: Layout, steps: Collection[str], stages: Stages, listen: Listener, publish: Publish
) -> RunRecord:
    """Each step goes on from where the last run stopped, however that ended. No Prefect but for what is handed in.

    Args:
        steps: collection, validation, cleaning, preparation, training, or some of them.
        stages: `tasks.stages`, or `tasks.prefect_tasks` within a flow run.
        listen: is told what happens, while it does.
        publish: gets the report; it lies in `reports/<run>/` besides.
    """
    with open_run(settings, layout, "grow-and-train", listen, _forget_in_prefect) as night:
        # The picture of all nights takes longer than a small step of the data.
        picture = len(steps) > 1 or "training" in steps
        with write_report(night.record, layout, night.corpus.counts, publish, picture=picture):
            if "training" in steps:
                finish_cut_chunk(night, stages)
            if "collection" in steps:
                collect_pages(night, stages)
            if "validation" in steps:
                validate_new(night)
            if "cleaning" in steps:
                clean_new(night, stages)
            if "preparation" in steps:
                tokenize_new(night, stages)
            if "training" in steps:
                train_and_publish(night, stages)
        return night.record


def _forget_in_prefect(mentions: ReferenceMatcher, since: str | None, dry: bool) -> ErasureReport:
    """Prefect's memory of what is forgotten. Imported where a forgetting was cut, and only there: it takes a second."""
    from flows.prefect_server.erase import forget_in_prefect

    return forget_in_prefect(mentions, since, dry)
