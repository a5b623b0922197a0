"""Scheduled runs that all begin at once, because the machine slept with its worker: one goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running, Scheduled

from flows.prefect_server.housekeeping import BY_SCHEDULE, FLOW, is_caught_up_by_another

HOUR = timedelta(hours=1)


@flow(name=FLOW)
def night() -> None:
    """Stands for the flow that the deployments of this test belong to."""


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployments(client: SyncPrefectClient) -> Iterator[dict[str, UUID]]:
    flow_id = client.create_flow(night)
    made = {name: client.create_deployment(flow_id, name) for name in ("nightly", "weekly-check")}
    yield made
    for one in made.values():
        client.delete_deployment(one)


def scheduled(client: SyncPrefectClient, deployment: UUID, ago: timedelta) -> FlowRun:
    """A run as Prefect's scheduler makes it."""
    state: Any = Scheduled(scheduled_time=datetime.now(UTC) - ago)
    run = client.create_flow_run_from_deployment(deployment, state=state, tags=[BY_SCHEDULE])
    return client.read_flow_run(run.id).model_copy(update={"auto_scheduled": True})


def test_one_night_catches_up_for_all(client: SyncPrefectClient, deployments: dict[str, UUID]) -> None:
    nights = [scheduled(client, deployments["nightly"], days * 24 * HOUR + HOUR) for days in range(3)]
    check = scheduled(client, deployments["weekly-check"], HOUR / 2)
    assert [is_caught_up_by_another(run) for run in (*nights, check)] == [False, True, True, True]

    # Whoever asks late, when the newest is under way, or over already.
    client.set_flow_run_state(nights[0].id, Running(), force=True)
    assert [is_caught_up_by_another(run) for run in nights] == [False, True, True]
    for run in nights:
        client.set_flow_run_state(run.id, Completed(), force=True)
    assert [is_caught_up_by_another(run) for run in (*nights, check)] == [False, True, True, False]


def test_a_run_in_time_and_one_that_a_person_started_leave_nothing_to_others(
    client: SyncPrefectClient, deployments: dict[str, UUID]
) -> None:
    by_hand = scheduled(client, deployments["nightly"], 30 * HOUR).model_copy(update={"auto_scheduled": False})
    in_time = scheduled(client, deployments["weekly-check"], HOUR / 60)
    scheduled(client, deployments["nightly"], HOUR)
    coming = scheduled(client, deployments["nightly"], -HOUR)
    assert not any(map(is_caught_up_by_another, (by_hand, in_time, coming)))
    assert is_caught_up_by_another(by_hand.model_copy(update={"auto_scheduled": True}))


def test_a_night_that_a_person_started_later_catches_up_for_none(
    client: SyncPrefectClient, deployments: dict[str, UUID]
) -> None:
    missed = scheduled(client, deployments["nightly"], 30 * HOUR)
    state: Any = Scheduled(scheduled_time=datetime.now(UTC) - HOUR)
    client.create_flow_run_from_deployment(deployments["nightly"], state=state)
    assert not is_caught_up_by_another(missed)


def test_without_a_server_a_late_night_goes_on(client: SyncPrefectClient, deployments: dict[str, UUID]) -> None:
    old = scheduled(client, deployments["nightly"], 30 * HOUR)
    scheduled(client, deployments["nightly"], HOUR)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert not is_caught_up_by_another(old)
