"""The night as a Prefect flow: its parameters, and the stages as Prefect tasks. What it does is in `flows/steps.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from prefect import State, flow
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed
from pydantic import Field

from flows.prefect_server.configured import answers
from flows.prefect_server.housekeeping import SKIPPED, is_caught_up_by_another
from flows.steps import run_steps
from tasks import prefect_tasks
from tasks.contracts.paths import find_data_directory
from tasks.contracts.profiles import load_settings
from tasks.prefect_tasks import publish_report, tell


def run_name() -> str:
    """The night a run belongs to and its profile: `2026-11-22 03:00 nightly`."""
    start = flow_run.scheduled_start_time or datetime.now()
    return f"{start:%Y-%m-%d %H:%M} {flow_run.parameters.get('profile', 'nightly')}"


@flow(name="grow-and-train", flow_run_name=run_name, persist_result=False)
def grow_and_train(
    profile: str = "nightly",
    data_dir: str | None = None,
    overrides: dict[str, Any] | None = None,
    collection: bool = True,
    validation: bool = True,
    cleaning: bool = True,
    preparation: bool = True,
    training: bool = True,
    max_pages: Annotated[int, Field(ge=1, le=1_000_000)] | None = None,
    steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None,
    minutes: Annotated[float, Field(ge=0, le=1440)] | None = None,
) -> State[dict[str, Any]]:
    """One night. Every step goes on from where the last run stopped, however that ended.

    Args:
        profile: a name in `deployments/`, or the path of a TOML file.
        data_dir: the data directory; None takes MINIATURE_MEMORY_DATA, else `data/`.
        overrides: settings that win over the profile's, by dotted name, such as {"train.steps": 50}.
        collection: search, render and extract pages, and store their text.
        validation: read back what is new in `raw/`.
        cleaning: clean what is new and compare it with all that is kept.
        preparation: turn what is newly kept into tokens.
        training: train one chunk and publish the model.
        max_pages: pages to visit in this night; empty leaves it to the profile.
        steps: training steps of this night; empty leaves it to the profile.
        minutes: bound of this night's training in minutes, 0 for none; empty leaves it to the profile.

    Returns:
        Completed, with what happened as its message and the run's record (`reports/<run>/report.json`) as its data;
        Cancelled, where it begins late and a later night catches up for it.
    """
    if (context := FlowRunContext.get()) and context.flow_run and is_caught_up_by_another(context.flow_run):
        return Cancelled(name="Skipped", message=SKIPPED)
    bounds = {"search.max_pages": max_pages, "train.steps": steps, "train.minutes": minutes}
    given = {name: value for name, value in bounds.items() if value is not None}
    settings = load_settings(profile, (overrides or {}) | given)
    wanted = {
        "collection": collection,
        "validation": validation,
        "cleaning": cleaning,
        "preparation": preparation,
        "training": training,
    }
    tell.is_heard = lambda: answers(PREFECT_API_URL.value() or "")
    chosen = [step for step, is_wanted in wanted.items() if is_wanted]
    record = run_steps(settings, find_data_directory(data_dir), chosen, prefect_tasks, tell, publish_report)
    return Completed(message=record.summary, data=record.as_dict())
