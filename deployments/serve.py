"""`python -m deployments.serve`: both deployments on one machine, without a work pool and without a worker.

One process fewer than `deployments.worker`: it watches the schedule and starts the runs itself. The same variables
as in prefect.yaml say when.
"""

from __future__ import annotations

import os
from pathlib import Path

from prefect import serve
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule

from flows.grow_and_train import grow_and_train
from flows.maintain import weekly_check
from flows.prefect_server.housekeeping import end_dead_runs, prefect_server
from tasks.contracts.paths import PROJECT


def main() -> None:
    os.chdir(PROJECT)  # entry points and profiles are relative to it
    with prefect_server() as client:
        end_dead_runs(client)
    nightly = RunnerDeployment.from_flow(
        grow_and_train,
        "nightly",
        schedule=_schedule("MINIATURE_MEMORY_CRON", "0 3 * * *"),
        parameters={"profile": os.environ.get("MINIATURE_MEMORY_PROFILE", "nightly")},
    )
    weekly = _schedule("MINIATURE_MEMORY_CHECK_CRON", "0 12 * * 0")
    check = RunnerDeployment.from_flow(weekly_check, "weekly-check", schedule=weekly)
    # Stopping this process is no wish to stop the nights: the schedules stay active for its next start.
    serve(nightly, check, pause_on_shutdown=False)


def _schedule(variable: str, default: str) -> Schedule:
    named = Path("/etc/timezone")
    here = named.read_text().strip() if named.is_file() else "UTC"
    timezone = os.environ.get("MINIATURE_MEMORY_TIMEZONE", here)
    return Cron(os.environ.get(variable, default), timezone=timezone)


if __name__ == "__main__":
    main()
