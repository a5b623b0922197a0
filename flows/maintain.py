"""Maintain: once a week, compare everything on disk with its records, and prune what is old.

A deployment is called `<its flow>/<its name>`, so for `grow-and-train/weekly-check` this is a second entry point of
the flow `grow-and-train`: the UI then shows the nights and the checks of one household in one history.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import Annotated, Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from flows.prefect_server.housekeeping import (
    SKIPPED,
    delete_old_runs,
    end_dead_runs,
    is_caught_up_by_another,
    prefect_server,
)
from tasks.contracts.paths import Layout, find_data_directory
from tasks.maintain.prune import prune
from tasks.maintain.verify import verify
from tasks.raw.ledger import require_no_unfinished_erasure
from tasks.storage.run_lock import writer_lock
from tasks.storage.state_db import open_state_to_read

SHOWN = 50


def run_name() -> str:
    start = flow_run.scheduled_start_time or datetime.now()
    return f"{start.astimezone():%Y-%m-%d %H:%M} weekly-check"


@flow(name="grow-and-train", flow_run_name=run_name, persist_result=False)
def weekly_check(
    data_dir: str | None = None,
    keep_report_days: Annotated[int, Field(ge=1, le=36500)] = 90,
    keep_run_days: Annotated[int, Field(ge=1, le=36500)] = 30,
) -> State[dict[str, Any]]:
    """Verify, then prune: here and in Prefect's own database.

    Args:
        data_dir: the data directory; empty takes MINIATURE_MEMORY_DATA, else `data/`.
        keep_report_days: plots and Markdown of older reports go; their figures stay.
        keep_run_days: flow runs that ended longer ago leave Prefect, with their task runs, logs and artifacts.

    Returns:
        Completed, or Failed with the first problem as its message; what was found and removed as its data.
    """
    if (context := FlowRunContext.get()) and context.flow_run and is_caught_up_by_another(context.flow_run):
        return Cancelled(name="Skipped", message=SKIPPED)
    problems, removed = check_and_prune(find_data_directory(data_dir), keep_report_days)
    with prefect_server() as client:
        end_dead_runs(client)
        removed |= delete_old_runs(client, keep_run_days)
    create_markdown_artifact(as_markdown(problems, removed), key="weekly-check", description="Verified and pruned.")
    found = {"problems": problems, "removed": removed}
    if problems:
        return Failed(message=f"{len(problems)} problem(s): {problems[0]}", data=found)
    return Completed(message=f"all is as it was written; pruned: {_counts(removed)}", data=found)


def check_and_prune(layout: Layout, keep_report_days: int) -> tuple[list[str], dict[str, int]]:
    """Returns the problems found, and the number of files removed by kind."""
    with writer_lock(layout.lock, "weekly-check"):
        require_no_unfinished_erasure(layout)
        problems = [str(finding) for finding in verify(layout) if finding.is_damage]
        with closing(open_state_to_read(layout.database)) as db:
            return problems, prune(layout, db, keep_report_days)


def as_markdown(problems: list[str], removed: dict[str, int]) -> str:
    lines = [f"# {len(problems)} problem(s) found" if problems else "# All is as it was written", ""]
    lines += [f"- {problem}" for problem in problems[:SHOWN]]
    lines += [f"- and {len(problems) - SHOWN} more: `python run.py verify`"] if len(problems) > SHOWN else []
    return "\n".join([*lines, "", f"Pruned: {_counts(removed)}.", ""])


def _counts(removed: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in removed.items()) or "nothing"
