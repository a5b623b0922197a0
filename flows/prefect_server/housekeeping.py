"""Keeps Prefect itself in order: ends runs that died, skips those that were missed, deletes old ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Cancelled

from flows.prefect_server.configured import answers
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import PROJECT
from tasks.web.user_proxy import keep_loopback_direct

FLOW = "grow-and-train"
AUTOMATION = f"{FLOW}: end runs that died"
# Four heartbeats: a server that is restarted misses a few, and the living run must not be ended for that.
SILENCE = timedelta(seconds=120)
CRASHED = (
    f"No sign of life for {SILENCE.seconds} s: killed, or the power failed. Nothing is lost; the next run goes on from "
    "there."
)
SKIPPED = "No worker was there at its time. One night catches up for all that were missed."
START_SECONDS = 120.0
BY_SCHEDULE = "auto-scheduled"  # tag that Prefect gives to the runs of a schedule
LATE = timedelta(minutes=15)  # a worker that is busy or starts again is not so late
UNDER_WAY = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]
PAGE = 200
OURS = filters.FlowFilter(name=filters.FlowFilterName(any_=[FLOW]))
RESULTS = ("search-*", "render-*")  # the cache keys of tasks/prefect_tasks.py
LOG = PROJECT / "data" / "worker.log"
RESULT_DAYS = 2  # they expire after 12 hours, but Prefect leaves the files


@contextmanager
def prefect_server() -> Iterator[SyncPrefectClient]:
    """Gives a client of the server that PREFECT_API_URL names, as soon as that answers."""
    try:
        keep_loopback_direct()
    except SettingsError as error:
        sys.exit(f"error: {error}")
    url = PREFECT_API_URL.value()
    if not url:
        sys.exit("error: PREFECT_API_URL is not set: source deployments/environment.sh first")
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if time.monotonic() > deadline:
            sys.exit(f"error: no Prefect server answers at {url}: start one with `prefect server start`")
        time.sleep(0.5)
    with get_client(sync_client=True) as client:
        yield client


def end_dead_runs(client: SyncPrefectClient) -> None:
    """Make or update the automation that marks a flow run Crashed whose heartbeat stops before it has ended."""
    heartbeat = "prefect.flow-run.heartbeat"
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    wanted = AutomationCore(
        name=AUTOMATION,
        description="Worker and flow were killed together, or the power failed. The next night goes on from there.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": FLOW}),
            for_each={"prefect.resource.id"},
            after={heartbeat},
            expect={heartbeat} | ends,
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, force=False, message=CRASHED)],
    )
    found = client.read_automations_by_name(AUTOMATION)
    settable = {"description", "trigger", "actions", "enabled"}
    if not found:
        client.create_automation(wanted)
    elif found[0].model_dump(include=settable) != wanted.model_dump(include=settable):
        client.update_automation(found[0].id, wanted)


def skip_missed_runs(client: SyncPrefectClient) -> int:
    """Leaves one of the scheduled runs whose time passed while no worker was there; marks the others Skipped.

    Prefect would start all of them at once, and the lock on the data directory would let one through and fail the
    others. The newest night stays; where no night was missed, the newest check. What a person started stays, too.

    Returns:
        The number of runs skipped.
    """
    nightly = client.read_deployment_by_name(f"{FLOW}/nightly").id
    scheduled = filters.FlowRunFilterState.model_validate({"type": {"any_": [StateType.SCHEDULED]}})
    past = filters.FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)})
    wanted = filters.FlowRunFilter(state=scheduled, expected_start_time=past)
    newest_first = FlowRunSort.EXPECTED_START_TIME_DESC
    found: list[FlowRun] = []
    while page := client.read_flow_runs(
        flow_filter=OURS, flow_run_filter=wanted, sort=newest_first, limit=PAGE, offset=len(found)
    ):
        found += page
    missed = [run for run in found if run.auto_scheduled]
    left = next((run for run in missed if run.deployment_id == nightly), missed[0] if missed else None)
    for run in missed:
        if run is not left:
            client.set_flow_run_state(run.id, Cancelled(name="Skipped", message=SKIPPED))
    return max(0, len(missed) - 1)


def is_caught_up_by_another(run: FlowRun) -> bool:
    """Whether a scheduled run that begins late leaves its work to another: a night to a later one, a check to a night.

    A machine that slept with its worker wakes to all that were missed, and the worker starts them at once. Each asks
    for itself, and one goes on. A night that a person started catches up for none. False where the server cannot be
    asked.
    """
    now, due = datetime.now(UTC), run.expected_start_time
    if not run.auto_scheduled or due is None or now - due < LATE:
        return False
    with suppress(httpx.HTTPError, ObjectNotFound), get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name(f"{FLOW}/nightly").id
        is_night = run.deployment_id == nightly
        wanted = filters.FlowRunFilter(
            deployment_id=filters.FlowRunFilterDeploymentId(any_=[nightly]),
            expected_start_time=filters.FlowRunFilterExpectedStartTime.model_validate(
                {"before_": now} | ({"after_": due} if is_night else {})
            ),
            state=None if is_night else filters.FlowRunFilterState.model_validate({"type": {"any_": UNDER_WAY}}),
        )
        others = [other for other in client.read_flow_runs(flow_run_filter=wanted) if other.id != run.id]
        return any(BY_SCHEDULE in other.tags or not is_night for other in others)
    return False


def delete_old_runs(client: SyncPrefectClient, keep_days: int) -> dict[str, int]:
    """Delete our flow runs that ended longer ago, with task runs, logs and artifacts, and expired cached results.

    Events have no API for it: the server drops them itself, after PREFECT_SERVER_EVENTS_RETENTION_PERIOD.

    Returns:
        What was deleted, by kind.
    """
    removed = {"flow runs": 0, "artifacts": 0, "cached results": _delete_expired_results()}
    before = datetime.now(UTC) - timedelta(days=keep_days)
    ended = filters.FlowRunFilterEndTime.model_validate({"before_": before, "is_null_": False})
    old = filters.FlowRunFilter(end_time=ended)
    while runs := client.read_flow_runs(flow_filter=OURS, flow_run_filter=old, limit=PAGE):
        for run in runs:
            removed["artifacts"] += delete_artifacts(client, run)
            client.delete_flow_run(run.id)
        removed["flow runs"] += len(runs)
    return {kind: number for kind, number in removed.items() if number}


def artifacts_of(run: FlowRun) -> filters.ArtifactFilter:
    return filters.ArtifactFilter(flow_run_id=filters.ArtifactFilterFlowRunId(any_=[run.id]))


def delete_artifacts(client: SyncPrefectClient, run: FlowRun) -> int:
    """Returns their number."""
    number = 0
    while artifacts := client.read_artifacts(artifact_filter=artifacts_of(run), limit=PAGE):
        for artifact in artifacts:
            client.delete_artifact(artifact.id)
        number += len(artifacts)
    return number


def _delete_expired_results() -> int:
    folder, before = PREFECT_LOCAL_STORAGE_PATH.value(), time.time() - timedelta(days=RESULT_DAYS).total_seconds()
    old = [path for name in RESULTS for path in folder.glob(name) if path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
