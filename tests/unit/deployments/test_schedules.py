from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.schedules import schedule_of
from tasks.contracts.paths import PROJECT
from tasks.contracts.time_zone import ZONES, local_zone

BERLIN = ZONES / "Europe" / "Berlin"
needs_zones = pytest.mark.skipif(not BERLIN.is_file(), reason="no tzdata on this machine")


def test_a_variable_comes_first(tmp_path: Path) -> None:
    (tmp_path / "timezone").write_text("Asia/Tokyo\n")
    assert local_zone({"MINIATURE_MEMORY_TIMEZONE": "Europe/Rome", "TZ": "Asia/Tokyo"}, tmp_path).name == "Europe/Rome"
    for value in ("America/Lima", ":America/Lima", "/usr/share/zoneinfo/America/Lima"):
        assert str(local_zone({"TZ": value}, tmp_path)) == "America/Lima (TZ)"


@needs_zones
@pytest.mark.parametrize("kind", ["link", "copy"])
def test_the_clock_of_the_machine_counts_more_than_a_file_that_names_another(tmp_path: Path, kind: str) -> None:
    """/etc/timezone is Debian's alone, and stays behind where only the link was changed."""
    (tmp_path / "timezone").write_text("Etc/UTC\n")
    if kind == "link":
        (tmp_path / "localtime").symlink_to(BERLIN)
    else:
        shutil.copy(BERLIN, tmp_path / "localtime")
    zone = local_zone({}, tmp_path)
    assert (ZONES / zone.name).read_bytes() == BERLIN.read_bytes() and zone.source.endswith("/localtime")


def test_a_container_without_either_has_utc_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to(tmp_path / "nowhere")
    assert str(local_zone({}, tmp_path)).startswith("UTC (nothing here names another one")
    (tmp_path / "timezone").write_text("Asia/Tokyo\n")
    assert local_zone({}, tmp_path).name == "Asia/Tokyo"


@pytest.mark.parametrize("value", ["Mars/Olympus", "CET-1CEST", "../etc/passwd", "Europe"])
def test_a_bad_zone_is_named(value: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^TZ=.* is no name of a time zone"):
        local_zone({"TZ": value}, tmp_path)


def test_when_a_deployment_runs() -> None:
    found = schedule_of("nightly", {"TZ": "Europe/Berlin"})
    assert (found.cron, found.timezone) == ("0 3 * * *", "Europe/Berlin")
    assert schedule_of("weekly-check", {"TZ": "UTC", "MINIATURE_MEMORY_CHECK_CRON": "5 4 * * 1"}).cron == "5 4 * * 1"
    with pytest.raises(ValueError, match=r"^MINIATURE_MEMORY_CRON=at three is no schedule"):
        schedule_of("nightly", {"TZ": "UTC", "MINIATURE_MEMORY_CRON": "at three"})


@pytest.mark.parametrize("program", ["deployments.worker", "deployments.serve", "deployments.schedules"])
def test_a_bad_schedule_ends_each_program_in_one_line(program: str) -> None:
    env = os.environ | {"MINIATURE_MEMORY_CRON": "0 99 * * *"}
    command = [sys.executable, "-m", program]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: MINIATURE_MEMORY_CRON=0 99 * * * is no schedule")
    assert done.stderr.count("\n") == 1
