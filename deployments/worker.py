"""`python -m deployments.worker`: make what a worker needs, where it is not there yet; then be the worker.

With `--background` the worker is a process of its own, and the command returns when all is in place. The same by
hand: `prefect work-pool create miniature-memory --type process`, `prefect --no-prompt deploy --all`,
`python -m deployments.watch`, `prefect worker start --pool miniature-memory`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from deployments.schedules import require_schedules
from flows.prefect_server.housekeeping import FLOW, LOG, end_dead_runs, prefect_server, skip_missed_runs
from tasks.contracts.paths import PROJECT
from tasks.contracts.time_zone import local_zone

POOL = "miniature-memory"
DEPLOYMENTS = (f"{FLOW}/nightly", f"{FLOW}/weekly-check")
PREFECT = (sys.executable, "-m", "prefect")


def prepare(client: SyncPrefectClient) -> None:
    """Make the work pool (without a limit: the file lock guards the data), the deployments and the automation."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        _prefect("work-pool", "create", POOL, "--type", "process")
    # What is there may have been changed in the UI: only `prefect deploy` by hand writes over it.
    if not all(_is_deployed(client, name) for name in DEPLOYMENTS):
        _prefect("--no-prompt", "deploy", "--all", MINIATURE_MEMORY_TIMEZONE=local_zone().name)
        print(f"deployed in the time zone {local_zone()}", flush=True)
    end_dead_runs(client)
    if skipped := skip_missed_runs(client):
        print(f"{skipped} run(s) were missed and are skipped: one catches up for all", flush=True)
    for name in DEPLOYMENTS:
        for one in client.read_deployment_by_name(name).schedules:
            print(f"{name}: {_in_words(one.schedule)}{'' if one.active else ', paused'}", flush=True)


def _is_deployed(client: SyncPrefectClient, name: str) -> bool:
    """To our pool, and from here: not by `deployments.serve`, nor from a clone that lay elsewhere."""
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return False
    places = [options.get("directory", "") for step in found.pull_steps or [] for options in step.values()]
    return found.work_pool_name == POOL and PROJECT in [Path(place).resolve() for place in places]


def _in_words(schedule: Any) -> str:
    """What a schedule of Prefect's says, of which there are several kinds."""
    return f"{getattr(schedule, 'cron', '') or type(schedule).__name__} in {schedule.timezone or 'UTC'}"


def _prefect(*arguments: str, **environ: str) -> None:
    subprocess.run([*PREFECT, *arguments], cwd=PROJECT, env=os.environ | environ, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deployments.worker", description="Run the nights.")
    parser.add_argument("--background", action="store_true", help=f"go on without this terminal; log in {LOG}")
    options = parser.parse_args()
    require_schedules()
    with prefect_server() as client:
        prepare(client)
    # A fixed name: a worker that is started again is the same one to Prefect.
    command = [*PREFECT, "worker", "start", "--pool", POOL, "--name", f"{socket.gethostname()}-{POOL}"]
    if not options.background:
        os.execv(command[0], command)
    with open(LOG, "ab") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    print(f"the worker runs as process {worker.pid} and writes to {LOG}; `kill {worker.pid}` stops it")


if __name__ == "__main__":
    main()
