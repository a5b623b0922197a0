"""Each bad input gets one clear line that names the thing, the right exit status, and loses nothing."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tasks.demo_site import DemoSite
from tasks.storage.run_lock import writer_lock
from tests.end_to_end.conftest import Household, free_port, profile_of

# Writes down every address that any Python process of the run connects to.
WATCH = """
import os, sys
def watch(event, arguments):
    if event == "socket.connect":
        with open(os.environ["CONNECTIONS"], "a") as log:
            print(repr(arguments[1]), file=log)
sys.addaudithook(watch)
"""


def one_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in errors, errors
    return lines[0]


def test_a_broken_profile(household: Household) -> None:
    household.profile.write_text("[train]\nstepps = 3\n")
    done = household.run("--profile", str(household.profile))
    assert done.returncode == 2
    assert "train.stepps" in one_line(done.stderr) and str(household.profile) in done.stderr


def test_a_data_directory_that_cannot_be_written(household: Household) -> None:
    blocked = household.data.parent / "file"
    blocked.write_text("in the way")
    household.data = blocked / "data"
    done = household.run("stats")
    assert done.returncode == 1 and "--data-dir" in one_line(done.stderr)


def test_a_second_run_at_the_same_time(household: Household, site: DemoSite) -> None:
    household.data.mkdir()
    with writer_lock(household.data / "lock", "grow-and-train"):
        done = household.run("--profile", str(household.profile))
    assert done.returncode == 75 and "grow-and-train, process" in one_line(done.stderr)


def test_nothing_at_all_to_train_on(household: Household) -> None:
    household.profile.write_text(profile_of(f"http://127.0.0.1:{free_port()}"))
    done = household.run("--profile", str(household.profile))
    assert done.returncode == 1
    assert "nothing to train on yet" in one_line(done.stderr) and "run.py add" in done.stderr


def test_without_network_and_without_a_prefect_server_the_night_still_trains(
    household: Household, site: DemoSite, tmp_path: Path
) -> None:
    site.publish(40)
    household.night("--skip-training")
    site.close()
    dead = f"http://127.0.0.1:{free_port()}/api"
    done = household.run("--profile", str(household.profile), PREFECT_API_URL=dead, PREFECT_HOME=str(tmp_path / "own"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(dead) == 1 and "does not answer" in done.stderr
    assert household.stats()["model"]["step"] == 20


def test_where_a_setting_keeps_a_night_from_collecting_it_still_trains(household: Household, site: DemoSite) -> None:
    site.publish(40)
    household.night("--skip-training")
    text = household.profile.read_text()
    household.profile.write_text(text.replace("[search]", '[search]\nblocklists = ["nowhere"]', 1))
    done = household.run("--profile", str(household.profile))
    assert done.returncode == 2 and "nowhere" in one_line(done.stderr)
    assert household.stats()["model"]["published_step"] == 20


def test_the_seeds_commands_open_no_outside_connection(household: Household, site: DemoSite, tmp_path: Path) -> None:
    """`--skip-validation --skip-cleaning`, and with `--skip-preparation` too: on what is there, offline."""
    site.publish(40)
    household.night()
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "connections"
    log.touch()
    asked = len(site.requests)
    profile = ("--profile", str(household.profile))
    for number, extra in enumerate(((), ("--skip-preparation",)), 2):
        done = household.run(
            *profile,
            "--skip-validation",
            "--skip-cleaning",
            *extra,
            PYTHONPATH=str(tmp_path / "watch"),
            CONNECTIONS=str(log),
        )
        assert done.returncode == 0, done.stderr
        assert household.stats()["model"]["step"] == 20 * number
    connections = log.read_text().splitlines()
    assert connections, "the watcher saw nothing: it does not work"
    outside = [line for line in connections if "'127.0.0.1'" not in line and "'::1'" not in line]
    assert outside == [] and len(site.requests) == asked


def test_a_missing_chromium_costs_only_the_pages_that_need_it(household: Household, site: DemoSite) -> None:
    household.profile.write_text(household.profile.read_text() + "\n[extract]\nmin_characters = 100\n")
    path = str(Path(sys.executable).parent)
    record = household.night("--skip-training", PATH=path, SE_OFFLINE="true")
    counts = record["stages"]["collect"]["counts"]
    assert counts["stored"] > 40 and counts.get("browser_missing", 0) >= 1


def test_a_taken_demo_port_is_named(household: Household) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = household.run("--profile", "demo", "--set", f"demo.port={port}", "--skip-training")
    assert done.returncode == 1 and str(port) in one_line(done.stderr)
