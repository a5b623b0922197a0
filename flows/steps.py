"""A night: grow the dataset, then train the model on it. What each verb does is in `grow.py` and `train.py`.

search -> render -> extract -> | raw | -> clean -> dedup -> tokenize -> | train.bin | -> train-chunk -> publish
"""

from __future__ import annotations

from collections.abc import Collection

from flows.grow import clean_new, collect_pages, tokenize_new, validate_new
from flows.train import finish_cut_chunk, train_and_publish
from tasks.contracts.errors import DataDirectoryError, MiniatureMemoryError
from tasks.contracts.paths import Layout
from tasks.contracts.run_record import Listener, RunRecord
from tasks.contracts.settings import Settings
from tasks.forget.erasure import ErasureReport
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.recovery import ForgettingRecovery
from tasks.report.report import Publish, write_report
from tasks.run_context import RunContext, open_run
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
    # The picture of all nights takes longer than a small step of the data.
    picture = len(steps) > 1 or "training" in steps
    with open_run(settings, layout, "grow-and-train", listen, ForgettingRecovery(_forget_in_prefect)) as run:
        with write_report(run.record, layout, run.catalog.counts, publish, picture=picture):
            if "training" in steps:
                finish_cut_chunk(run, stages)
            stopped = _collect(run, stages) if "collection" in steps else None
            if "validation" in steps:
                validate_new(run)
            if "cleaning" in steps:
                clean_new(run, stages)
            if "preparation" in steps:
                tokenize_new(run, stages)
            if "training" in steps:
                train_and_publish(run, stages)
            if stopped:
                raise stopped
        return run.record


def _collect(run: RunContext, stages: Stages) -> MiniatureMemoryError | None:
    """Returns what kept us from collecting, told once the night is over: what is there is still cleaned and trained on.

    Trouble with our own data is raised at once, and so is what nobody thought of.
    """
    try:
        collect_pages(run, stages)
    except DataDirectoryError:
        raise
    except MiniatureMemoryError as error:
        run.record.say(f"nothing more is collected: {error}")
        return error
    return None


def _forget_in_prefect(matcher: ReferenceMatcher, since: str | None, dry: bool) -> ErasureReport:
    """Prefect's memory of what is forgotten. Imported where a forgetting was cut, and only there: it takes a second."""
    from flows.prefect_server.erase import forget_in_prefect

    return forget_in_prefect(matcher, since, dry)
