"""SIGKILL in the middle, then a run: nothing lost, nothing twice, and the next night goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from tasks.demo_site import DemoSite
from tests.end_to_end.conftest import Household
from tests.support.growth import derived_bytes

MARKER = "MINIATURE_MEMORY_BROWSER"

# Every write to the token file fails, as on a full or broken disk.
FAULT = """
import os, sys
def fault(event, arguments):
    if event == "open" and str(arguments[0]).endswith("train.bin") and "a" in str(arguments[1]):
        with open(os.environ["ATTEMPTS"], "a") as log:
            print(arguments[0], file=log)
        raise OSError(28, "No space left on device (injected)")
sys.addaudithook(fault)
"""


def browsers(household: Household) -> list[psutil.Process]:
    """Chromium and driver processes that belong to this data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(household.data) in process.environ().get(MARKER, "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def ledger_lines(household: Household) -> int:
    ledger = household.data / "raw" / "ledger.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def start_night(household: Household, *arguments: str) -> subprocess.Popen[str]:
    return household.start("--profile", str(household.profile), *arguments)


def checkpoints(household: Household) -> list[int]:
    folder = household.data / "checkpoints"
    return sorted(int(path.parent.name.removeprefix("step_")) for path in folder.glob("step_*/metadata.json"))


def test_killed_in_collection_and_again_in_training(household: Household, site: DemoSite, tmp_path: Path) -> None:
    household.kill_when(start_night(household), lambda: ledger_lines(household) >= 10)
    household.kill_when(start_night(household), lambda: any(step > 0 for step in checkpoints(household)))
    reached = checkpoints(household)[-1]
    assert 0 < reached < 20 and (household.data / "checkpoints" / "chunk.json").exists()

    record = household.night()
    assert any("a chunk was cut" in message for message in record["messages"])
    stats = household.stats()
    assert stats["model"]["step"] == 40, "the cut chunk was finished, then the night trained its own"

    entries = [json.loads(line) for line in (household.data / "raw" / "ledger.jsonl").read_text().splitlines()]
    paths = [entry["path"] for entry in entries]
    on_disk = {str(path.relative_to(household.data / "raw")) for path in (household.data / "raw").rglob("*.txt")}
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))
    assert len(set(paths)) == len(paths) and set(paths) == on_disk
    assert len({(entry["url"], entry["sha256"]) for entry in entries}) == len(entries), "a document is twice"
    done = household.run("--profile", str(household.profile), "rebuild", "--to", str(tmp_path / "rebuilt"))
    assert done.returncode == 0, done.stderr
    assert derived_bytes(tmp_path / "rebuilt") == derived_bytes(household.data)
    assert browsers(household) == []


def test_a_browser_left_behind_is_ended_by_the_next_run(household: Household, site: DemoSite) -> None:
    site.publish(len(site.articles) * 10)
    household.kill_when(start_night(household), lambda: len(browsers(household)) > 2)
    site.publish(40)
    household.night("--skip-training")
    assert browsers(household) == []


def test_a_run_that_is_asked_to_end_takes_its_browser_along(household: Household, site: DemoSite) -> None:
    site.publish(len(site.articles) * 10)
    process = start_night(household)
    deadline = time.monotonic() + 200
    while len(browsers(household)) <= 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    tree = psutil.Process(process.pid).children(recursive=True)
    process.terminate()  # SIGTERM, to it alone
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in errors, errors
    assert browsers(household) == [] and not any(one.is_running() for one in tree)


def test_a_killed_run_takes_its_training_child_along(household: Household, site: DemoSite) -> None:
    site.publish(40)
    process = start_night(household, "--steps", "400")
    household.kill_when(process, lambda: any(step > 0 for step in checkpoints(household)))
    done = household.run("--profile", str(household.profile), "train", "--steps", "5")
    assert done.returncode == 0, done.stderr
    assert household.stats()["model"]["step"] == 405


def test_a_failure_in_tokenize_is_retried_and_costs_no_page(
    household: Household, site: DemoSite, tmp_path: Path
) -> None:
    site.publish(40)
    site.fail_next("/")  # and a 503 at the very start, retried at once
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(FAULT)
    attempts = tmp_path / "attempts"
    done = household.run(
        "--profile", str(household.profile), PYTHONPATH=str(tmp_path / "fault"), ATTEMPTS=str(attempts)
    )
    assert done.returncode == 1 and "injected" in done.stderr and "Traceback" not in done.stderr
    assert len(attempts.read_text().splitlines()) == 3, "the task was tried once and retried twice"
    stored, asked = ledger_lines(household), len(site.requests)
    assert stored > 20

    household.night()
    assert ledger_lines(household) == stored
    assert not [request for request in site.requests[asked:] if request.status == 200 and request.path != "/robots.txt"]
    assert household.stats()["model"]["step"] == 20


def test_torn_files_are_mended_and_named(household: Household, site: DemoSite) -> None:
    site.publish(40)
    household.night()
    before = derived_bytes(household.data)
    raw = household.files("raw")
    ledger = household.data / "raw" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-25])
    train = household.data / "processed" / "train.bin"
    train.write_bytes(train.read_bytes()[:-7])
    newest = household.data / "checkpoints" / "step_20" / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)

    said = " ".join(household.night()["messages"])
    for name in ("ledger.jsonl", "train.bin", "step_20"):
        assert name in said, said
    assert derived_bytes(household.data) == before
    assert set(household.files("raw")) == set(raw)
    assert household.stats()["documents"]["waiting"] == 0


def own_servers(household: Household) -> list[psutil.Process]:
    """The short-lived Prefect servers of this household."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                "flows.prefect_server.ephemeral" in process.cmdline()
                and process.environ().get("HOME") == household.env["HOME"]
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def begin_training_without_a_server(household: Household, site: DemoSite) -> subprocess.Popen[str]:
    """A night with a Prefect server of its own, up to its first checkpoint."""
    site.publish(40)
    household.env["PREFECT_API_URL"] = ""
    household.env["PREFECT_HOME"] = household.env["HOME"] + "/prefect"
    process = start_night(household, "--steps", "3000")
    deadline = time.monotonic() + 120
    while not any(step > 0 for step in checkpoints(household)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    assert len(own_servers(household)) == 1
    return process


def test_a_killed_night_leaves_no_server_and_no_open_pipe(household: Household, site: DemoSite) -> None:
    process = begin_training_without_a_server(household, site)
    process.kill()
    process.communicate(timeout=20)  # whoever reads our output sees its end
    psutil.wait_procs(own_servers(household), timeout=5)
    assert own_servers(household) == []


def test_ctrl_c_saves_and_leaves_at_once(household: Household, site: DemoSite) -> None:
    process = begin_training_without_a_server(household, site)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert own_servers(household) == []
