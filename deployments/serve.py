"""`python -m deployments.serve`: both deployments on one machine, without a work pool and without a worker.

One process fewer than `deployments.worker`: it watches the schedule and starts the runs itself. The same variables
as in prefect.yaml say when.
"""

from __future__ import annotations

import os

from prefect import serve
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule

from deployments.schedules import require_schedules, schedule_of
from flows.grow_and_train import grow_and_train
from flows.maintain import weekly_check
from flows.prefect_server.housekeeping import end_dead_runs, prefect_server
from tasks.contracts.paths import PROJECT
from tasks.contracts.time_zone import local_zone


def main() -> None:
    os.chdir(PROJECT)  # entry points and profiles are relative to it
    require_schedules()
    print(f"time zone of the schedules: {local_zone()}", flush=True)
    with prefect_server() as client:
        end_dead_runs(client)
    nightly = RunnerDeployment.from_flow(
        grow_and_train,
        "nightly",
        schedule=_schedule("nightly"),
        parameters={"profile": os.environ.get("MINIATURE_MEMORY_PROFILE", "nightly")},
    )
    check = RunnerDeployment.from_flow(weekly_check, "weekly-check", schedule=_schedule("weekly-check"))
    # Stopping this process is no wish to stop the nights: the schedules stay active for its next start.
    serve(nightly, check, pause_on_shutdown=False)


def _schedule(deployment: str) -> Schedule:
    wanted = schedule_of(deployment)
    return Cron(wanted.cron, timezone=wanted.timezone)


if __name__ == "__main__":
    main()
