"""When the nights begin. `python -m deployments.schedules` prints in which time zone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from tasks.contracts.time_zone import local_zone

# The variable of each deployment's schedule, and what counts where it is not set.
CRONS = {
    "nightly": ("MINIATURE_MEMORY_CRON", "0 3 * * *"),
    "weekly-check": ("MINIATURE_MEMORY_CHECK_CRON", "0 12 * * 0"),
}


def schedule_of(deployment: str, environ: Mapping[str, str] = os.environ) -> CronSchedule:
    """Returns when a deployment runs. Raises ValueError where a variable cannot be used."""
    variable, default = CRONS[deployment]
    cron = environ.get(variable) or default
    zone = local_zone(environ)
    try:
        return CronSchedule(cron=cron, timezone=zone.name)
    except ValidationError as error:
        raise ValueError(
            f"{variable}={cron} is no schedule: five fields are needed, such as '0 3 * * *' for 03:00"
        ) from error


def require_schedules() -> None:
    """Ends the program with one line where the schedules cannot be made of what the environment says."""
    try:
        for deployment in CRONS:
            schedule_of(deployment)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    require_schedules()
    print(local_zone().name)
