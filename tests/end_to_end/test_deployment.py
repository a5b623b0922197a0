"""The night as Prefect runs it: the README's four commands in a fresh clone and home, then all that can go wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tasks.browser.chromium import find_binaries
from tasks.demo_site import DemoSite
from tasks.processes.process_tree import kill, with_environment
from tasks.storage.run_lock import writer_lock
from tests.end_to_end.conftest import PROJECT, free_port, profile_of

NIGHT_SECONDS = 150.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# Where pictures for the documentation go, when somebody asks for new ones.
PICTURES = "MINIATURE_MEMORY_SCREENSHOTS"

Found = TypeVar("Found")
Json = dict[str, Any]


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = NIGHT_SECONDS) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)
    return found


@dataclass
class Stand:
    """A fresh clone and home, with its own Prefect server and worker; spoken to through Prefect's API."""

    folder: Path
    site: DemoSite
    port: int = field(default_factory=free_port)
    pictures: Path = field(init=False)

    def __post_init__(self) -> None:
        for folder in (self.home, self.data):
            folder.mkdir()
        self.pictures = Path(os.environ.get(PICTURES, self.folder))
        _clone(self.clone)
        # setup.sh has its own test; what it installs is what this test runs with.
        (self.clone / "setup.sh").write_text("#!/bin/sh\n")
        (self.clone / ".venv").symlink_to(sys.prefix)
        (self.clone / "site.toml").write_text(profile_of(self.site.url))
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MINIATURE_"))}
        self.env = bare | {
            "HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "MINIATURE_MEMORY_DATA": str(self.data),
            "MINIATURE_MEMORY_PROFILE": "site.toml",
            "MINIATURE_MEMORY_TIMEZONE": "Europe/Berlin",
            "http_proxy": "http://127.0.0.1:9",  # nobody is there: all that is asked here is on this machine
            "OMP_NUM_THREADS": "1",
        }

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    def shell(self, script: str) -> str:
        """What a user types, in one terminal. Background jobs live on."""
        log = self.folder / "shell.log"
        with open(log, "wb") as output:
            done = subprocess.run(
                ["bash", "-ec", script],
                cwd=self.clone,
                env=self.env,
                stdout=output,
                stderr=output,
                timeout=300,
                check=False,
            )
        assert done.returncode == 0, log.read_text()
        return log.read_text()

    def prefect(self, *words: str) -> str:
        arguments = " ".join(f"'{word}'" for word in words)
        return self.shell(f". deployments/environment.sh; prefect {arguments}")

    def ask(self, method: str, path: str, body: Json | list[Json] | None = None) -> Any:
        for _ in range(5):
            answer = httpx.request(method, f"{self.api}{path}", json=body, timeout=30)
            if answer.status_code != 503:  # its database is busy; Prefect's own client asks again, too
                break
            time.sleep(1)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def runs(self, **wanted: Any) -> list[Json]:
        runs: list[Json] = self.ask("POST", "/flow_runs/filter", {"flow_runs": wanted, "sort": "START_TIME_DESC"})
        return runs

    def run(self, run_id: str) -> Json:
        run: Json = self.ask("GET", f"/flow_runs/{run_id}")
        return run

    def start_night(self, deployment: str = "nightly", **parameters: Any) -> str:
        deployed = self.ask("GET", f"/deployments/name/grow-and-train/{deployment}")
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"/deployments/{deployed['id']}/create_flow_run", body)["id"])

    def ended(self, run_id: str, seconds: float = NIGHT_SECONDS) -> Json:
        """The state the run came to."""

        def look() -> Json | None:
            state: Json = self.run(run_id)["state"]
            return state if state["type"] in ENDED else None

        return wait_for("the run ends", look, seconds)

    def night(self, **parameters: Any) -> Json:
        """A whole night that must succeed."""
        state = self.ended(self.start_night(**parameters))
        assert state["type"] == "COMPLETED", state
        return state

    def artifacts(self, run_id: str) -> dict[str, Json]:
        body = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        return {one["key"]: one for one in self.ask("POST", "/artifacts/filter", body)}

    def processes(self, words: str) -> list[psutil.Process]:
        """Of this stand, whose command line has these words."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.home) and words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, words: str) -> None:
        for process in self.processes(words):
            process.kill()

    def checkpoints(self) -> list[int]:
        folders = (self.data / "checkpoints").glob("step_*/metadata.json")
        return sorted(int(path.parent.name.removeprefix("step_")) for path in folders)

    def start_training(self, **parameters: Any) -> str:
        """A night without collection that is in the middle of its training now."""
        run_id = self.start_night(collection=False, **parameters)

        def trains() -> bool:
            assert self.run(run_id)["state"]["type"] not in ENDED, self.run(run_id)["state"]
            return "progress-train" in self.artifacts(run_id)

        wait_for("it trains", trains)
        return run_id

    def photograph(self, path: str, name: str, *texts: str, height: int = 1000) -> Path:
        """The UI's page in real Chromium, once it shows these texts."""
        target = self.pictures / f"{name}.png"
        binaries, options = find_binaries(), Options()
        for flag in ("--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size=1400,{height}"):
            options.add_argument(flag)
        options.binary_location = binaries.chromium or ""
        scratch = self.folder / "browser"
        scratch.mkdir(exist_ok=True)
        driver = webdriver.Chrome(options, Service(binaries.driver, env=os.environ | {"TMPDIR": str(scratch)}))
        try:
            driver.get(f"http://127.0.0.1:{self.port}{path}")

            def shows() -> bool:
                text = driver.find_element(By.TAG_NAME, "body").text
                return all(part in text for part in texts)

            wait_for(f"{path} shows {texts}", shows, 60)
            time.sleep(1.5)  # pictures and charts fade in
            driver.save_screenshot(str(target))
        finally:
            driver.quit()
            # Debian's headless shell is started by a script, so the driver ends the script alone.
            kill(with_environment("TMPDIR", str(scratch)))
        assert target.stat().st_size > 10_000
        return target


def _clone(target: Path) -> None:
    """The project as a clone would have it, with what is not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target / name)


def four_commands() -> str:
    """As the documentation has them."""
    for name in ("README.md", "docs/prefect.md"):
        for block in re.findall(r"```sh\n(.*?)```", (PROJECT / name).read_text(encoding="utf-8"), re.DOTALL):
            if "./setup.sh &&" in block and "prefect deployment run 'grow-and-train/nightly'" in block:
                return str(block)
    raise AssertionError("the four commands are not in the documentation")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The four commands have been typed in."""
    with DemoSite(port=0, night=1) as site:
        site.publish(60)
        place = Stand(tmp_path_factory.mktemp("deployed"), site)
        try:
            commands = [line for line in four_commands().splitlines() if line.strip()]
            assert len(commands) == 4
            place.shell("\n".join(commands))
            yield place
        finally:
            for words in ("deployments.worker", "prefect worker", "prefect.engine", ""):
                place.kill(words)


@pytest.fixture(scope="module")
def first_night(stand: Stand) -> Json:
    """The night that the fourth command began."""
    runs = wait_for("a run exists", lambda: [run for run in stand.runs() if not run["auto_scheduled"]])
    stand.ended(runs[0]["id"])
    return stand.run(runs[0]["id"])


def test_the_four_commands_bring_a_night_and_a_schedule(stand: Stand, first_night: Json) -> None:
    assert first_night["state"]["type"] == "COMPLETED", first_night["state"]
    assert "new" in first_night["state"]["message"] and "bits/byte" in first_night["state"]["message"]
    assert stand.checkpoints()[-1] == 20

    artifacts = stand.artifacts(first_night["id"])
    assert "bits/byte" in artifacts["report"]["data"] and "progress-train" in artifacts
    tasks = stand.ask("POST", "/task_runs/count", {"flow_runs": {"id": {"any_": [first_night["id"]]}}})
    assert 0 < tasks < 200

    coming = wait_for("a scheduled night", lambda: stand.runs(state={"type": {"any_": ["SCHEDULED"]}}))
    starts = [
        datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Europe/Berlin")) for run in coming
    ]
    nights = sorted(start for start in starts if (start.hour, start.minute) == (3, 0))
    assert nights and datetime.now(UTC) < nights[0] <= datetime.now(UTC) + timedelta(hours=25)
    assert any(start.hour == 12 and start.isoweekday() == 7 for start in starts), "the weekly check"


def test_the_run_form_describes_and_bounds_every_parameter(stand: Stand) -> None:
    schema = stand.ask("GET", "/deployments/name/grow-and-train/nightly")["parameter_openapi_schema"]
    assert all(one.get("description") for one in schema["properties"].values())
    deployed = stand.ask("GET", "/deployments/name/grow-and-train/nightly")
    answer = httpx.post(
        f"{stand.api}/deployments/{deployed['id']}/create_flow_run", json={"parameters": {"steps": 0}}, timeout=30
    )
    assert answer.status_code == 409 and "steps" in answer.text


def test_the_pages_that_a_person_looks_at(stand: Stand, first_night: Json) -> None:
    deployed = stand.ask("GET", "/deployments/name/grow-and-train/nightly")
    stand.photograph(f"/deployments/deployment/{deployed['id']}", "deployment", "nightly", "grow-and-train")
    report = stand.artifacts(first_night["id"])["report"]
    stand.photograph(f"/artifacts/artifact/{report['id']}", "report", "bits/byte", height=2600)


def test_a_scheduled_run_really_runs(stand: Stand, first_night: Json) -> None:
    deployed = stand.ask("GET", "/deployments/name/grow-and-train/nightly")
    often = {"interval": 30, "anchor_date": datetime.now(UTC).isoformat()}
    added = stand.ask("POST", f"/deployments/{deployed['id']}/schedules", [{"active": True, "schedule": often}])

    def fired() -> list[Json]:
        return [run for run in stand.runs(start_time={"is_null_": False}) if run["auto_scheduled"]]

    run = wait_for("the schedule fires", fired)[0]
    stand.ask("DELETE", f"/deployments/{deployed['id']}/schedules/{added[0]['id']}")
    state = stand.ended(run["id"])
    assert state["type"] == "COMPLETED" and run["parameters"] == {"profile": "site.toml"}, state


def test_a_cancelled_run_saves_its_checkpoint_and_ends(stand: Stand, first_night: Json) -> None:
    before = stand.checkpoints()[-1]
    # No checkpoint on the way: only the cancellation can save one.
    run_id = stand.start_training(steps=200_000, overrides={"train.checkpoint_seconds": 1000})
    stand.photograph(f"/runs/flow-run/{run_id}", "running", "Running")
    began, crowd = time.monotonic(), os.getloadavg()[0]
    stand.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    state = stand.ended(run_id)
    seconds = time.monotonic() - began
    # The chunk that was cut would be finished first; this drops it, to save the test its 200,000 steps.
    (stand.data / "checkpoints" / "chunk.json").unlink()
    assert state["type"] == "CANCELLED", state
    assert stand.checkpoints()[-1] > before, "the steps it had done are lost"
    assert not stand.processes("model.train_chunk")
    # 10 s on a machine of its own; others may be using the cores.
    assert seconds < 10 * max(1.0, crowd / (os.cpu_count() or 1)), f"it took {seconds:.1f} s"
    stand.night(collection=False)


def test_a_second_run_says_who_has_the_lock(stand: Stand, first_night: Json) -> None:
    with writer_lock(stand.data / "lock", "grow-and-train"):
        state = stand.ended(stand.start_night())
    assert state["type"] == "FAILED", state
    assert f"grow-and-train, process {os.getpid()}, since" in state["message"], state


def test_the_weekly_check_verifies_and_prunes(stand: Stand, first_night: Json) -> None:
    state = stand.ended(stand.start_night("weekly-check"))
    assert state["type"] == "COMPLETED" and "as it was written" in state["message"], state
    victim = next((stand.data / "raw").glob("source_*/*.txt"))
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content + b"x")
    run_id = stand.start_night("weekly-check")
    state = stand.ended(run_id)
    victim.write_bytes(content)
    victim.chmod(0o444)
    assert state["type"] == "FAILED" and victim.name in state["message"], state
    assert victim.name in stand.artifacts(run_id)["weekly-check"]["data"]


def test_the_server_goes_away_in_the_middle_of_a_night(stand: Stand, first_night: Json) -> None:
    run_id = stand.start_training(steps=600)
    stand.kill("prefect server start")
    time.sleep(5)
    stand.shell(". deployments/environment.sh; prefect server start >> data/server.log 2>&1 &")
    wait_for("the server is back", lambda: _answers(stand))
    state = stand.ended(run_id)
    assert state["type"] == "COMPLETED" or state["message"], state
    stand.night(collection=False)


def _answers(stand: Stand) -> bool:
    try:
        return httpx.get(f"{stand.api}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def test_worker_and_flow_killed_together(stand: Stand, first_night: Json) -> None:
    run_id = stand.start_training(steps=400)
    began = time.monotonic()
    for process in (*stand.processes("prefect worker"), *stand.processes("prefect.engine")):
        process.send_signal(signal.SIGKILL)
    state = stand.ended(run_id, 300)
    assert state["type"] == "CRASHED" and "sign of life" in state["message"], state
    print(f"marked crashed after {time.monotonic() - began:.0f} s")
    # A night that nobody began, as while the machine is off: it runs when there is a worker again.
    missed = stand.start_night(collection=False)
    stand.shell(". deployments/environment.sh; python -m deployments.worker --background")
    assert stand.ended(missed)["type"] == "COMPLETED"


def test_old_runs_are_forgotten_and_the_coming_ones_stay(stand: Stand, first_night: Json) -> None:
    coming = len(stand.runs(state={"type": {"any_": ["SCHEDULED"]}}))
    said = stand.shell(". deployments/environment.sh; python -m deployments.watch --prune 0")
    assert "flow runs" in said and "artifacts" in said
    assert not stand.runs(end_time={"is_null_": False})
    assert stand.artifacts(first_night["id"]) == {}
    assert stand.ask("POST", "/task_runs/count", {}) == 0
    assert len(stand.runs(state={"type": {"any_": ["SCHEDULED"]}})) == coming > 0


def test_a_worker_that_was_away_catches_up_with_one_night(stand: Stand, first_night: Json) -> None:
    for words in ("deployments.worker", "prefect worker"):
        stand.kill(words)
    coming = stand.runs(state={"type": {"any_": ["SCHEDULED"]}})
    assert len(coming) > 4  # nights and weekly checks
    with closing(sqlite3.connect(stand.home / ".prefect" / "prefect.db", timeout=60)) as db, db:  # days go by
        for number, run in enumerate(coming, 1):
            past = datetime.now(UTC) - timedelta(days=number)
            then, run_id = past.strftime("%Y-%m-%d %H:%M:%S.%f"), UUID(run["id"]).hex
            change = "UPDATE flow_run SET expected_start_time = ?, next_scheduled_start_time = ?"
            assert db.execute(f"{change} WHERE replace(id, '-', '') = ?", (then, then, run_id)).rowcount == 1
            # A run that begins waits for the time that its state names.
            change = "UPDATE flow_run_state SET state_details = json_set(state_details, '$.scheduled_time', ?)"
            values = (past.isoformat(), run_id)
            assert db.execute(f"{change} WHERE replace(flow_run_id, '-', '') = ?", values).rowcount == 1
    said = stand.shell(". deployments/environment.sh; python -m deployments.worker --background")
    assert f"{len(coming) - 1} run(s) were missed" in said
    ids = [run["id"] for run in coming]
    states = [stand.ended(run_id)["name"] for run_id in ids]
    assert sorted(states) == ["Completed", *["Skipped"] * (len(coming) - 1)], states
    nightly = stand.ask("GET", "/deployments/name/grow-and-train/nightly")["id"]
    newest = next(run["id"] for run in coming if run["deployment_id"] == nightly)
    assert ids[states.index("Completed")] == newest
