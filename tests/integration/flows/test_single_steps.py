"""`run.py collect` and the like where no Prefect server is configured: without Prefect, and as safe as with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.forget import forget
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.profiles import load_settings
from tasks.contracts.run_record import Silent
from tasks.forget.erasure import ErasureReport
from tasks.forget.request import Request
from tests.support.loopback import Handler, Loopback, article

PAGES = 60
PROFILE = """
[search]
allow_loopback = ["{address}"]

[[search.sources]]
provider = "urls"
urls = {urls}

[render]
delay_seconds = 0
batch = 5
"""


@dataclass
class House:
    """A data directory, a site of articles, and an environment in which nothing names a Prefect server."""

    data: Path
    profile: Path
    site: Loopback
    env: dict[str, str]

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(self.data)]
        return subprocess.Popen(
            [*command, "--profile", str(self.profile), *arguments],
            env=self.env | env,
            cwd=self.data.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **env)
        out, errors = process.communicate(timeout=120)
        return process.returncode, out, errors

    def entries(self) -> list[dict[str, Any]]:
        ledger = self.data / "raw" / "ledger.jsonl"
        return [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []

    def asked(self) -> Counter[str]:
        """How often each page was sent."""
        return Counter(path for path in self.site.paths if path != "/robots.txt")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with Loopback({f"/{number}": article(f"Harbour number {number}") for number in range(PAGES)}) as site:
        profile = tmp_path / "profile.toml"
        urls = [f"{site.url}/{number}" for number in range(PAGES)]
        profile.write_text(PROFILE.format(address=site.address, urls=json.dumps(urls)))
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        env |= {"HOME": str(tmp_path / "home"), "PREFECT_HOME": str(tmp_path / "prefect")}
        yield House(tmp_path / "data", profile, site, env)


def wait_for_documents(house: House, process: subprocess.Popen[str], number: int) -> None:
    deadline = time.monotonic() + 60
    ledger = house.data / "raw" / "ledger.jsonl"
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") >= number):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.005)


def require_whole(house: House) -> None:
    """Every page is a document, once."""
    entries = house.entries()
    on_disk = {str(path.relative_to(house.data / "raw")) for path in (house.data / "raw").rglob("*.txt")}
    assert [entry["seq"] for entry in entries] == list(range(PAGES))
    assert {entry["url"] for entry in entries} == {f"{house.site.url}/{number}" for number in range(PAGES)}
    assert {entry["path"] for entry in entries} == on_disk and len(on_disk) == PAGES


def test_no_prefect_is_imported_and_no_server_starts(house: House) -> None:
    for command in ("collect", "validate", "clean", "prepare"):
        status, out, errors = house.run("--json", command, PYTHONPROFILEIMPORTTIME="1")
        imported = [line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")]
        assert status == 0 and "flows.steps" in imported, errors
        assert not [name for name in imported if name.partition(".")[0] in ("prefect", "torch")]
        assert "flows.prefect_server.ephemeral" not in imported
        record = json.loads(out)
        written = json.loads((house.data / "reports" / record["run"] / "report.json").read_text())
        assert written["outcome"] == record["outcome"] == "done" and written["stages"].keys() == record["stages"].keys()
        if command == "collect":
            assert record["stages"]["collect"]["counts"] == {"stored": PAGES}
    require_whole(house)
    assert (house.data / "processed" / "train.bin").stat().st_size > 0
    assert not (house.data.parent / "prefect").exists(), "Prefect made itself a home"
    status, out, _ = house.run("report")
    assert status == 0 and "| tokenize |" in out


def test_a_server_that_does_not_answer_is_said_once(house: House) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}/api"
    status, out, errors = house.run("collect", PREFECT_API_URL=dead)
    assert status == 0 and errors.count(dead) == 1 and "does not answer" in errors
    assert f"{PAGES} pages, {PAGES} with a new text" in out
    assert not (house.data.parent / "prefect").exists()


def test_killed_it_goes_on(house: House) -> None:
    for number in (5, 20):
        process = house.start("collect")
        wait_for_documents(house, process, number)
        process.kill()
        process.communicate()
        assert len(house.entries()) < PAGES, "it was over before it was killed"
    status, out, errors = house.run("collect")
    assert status == 0, errors
    require_whole(house)
    # A page that was on its way is asked for again; one that was there is not.
    assert house.asked().total() <= PAGES + 2 * 5 and max(house.asked().values()) <= 3
    status, out, _ = house.run("verify")
    assert status == 0 and "all is as it was written" in out and "DAMAGED" not in out


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_end_it_ends_at_once_and_says_so(house: House, sent: signal.Signals, status: int) -> None:
    def slow(handler: Handler) -> bytes:
        time.sleep(60 if handler.path == "/30" else 0)
        return article(f"Harbour number {handler.path}")

    house.site.answers = dict.fromkeys(house.site.answers, slow)
    process = house.start("collect")
    wait_for_documents(house, process, 25)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=45)
    assert process.returncode == status and "Traceback" not in errors, errors
    assert errors.endswith("stopped; the next run goes on from here\n")
    (report,) = (house.data / "reports").glob("*/report.json")
    assert json.loads(report.read_text())["outcome"] == "stopped"
    house.site.answers = {path: article(f"Harbour number {path}") for path in house.site.answers}
    assert house.run("collect")[0] == 0
    require_whole(house)


def test_a_forgetting_that_was_cut_is_finished_with_what_prefect_knows_of_it(house: House) -> None:
    assert house.run("collect")[0] == 0
    results = house.data.parent / "prefect" / "storage"
    results.mkdir(parents=True)
    url = house.entries()[7]["url"]
    (results / "render-of-a-night").write_text(json.dumps({"url": url}))

    def cut(*_: object) -> ErasureReport:
        raise KeyboardInterrupt

    layout = Layout(house.data)
    with pytest.raises(KeyboardInterrupt):
        forget(Request(seq=7, keep_copies=True), load_settings(str(house.profile)), layout, Silent(), cut)
    assert layout.intent.exists() and list(results.iterdir())
    status, _, errors = house.run("validate")
    assert status == 0 and "a forgetting was cut: finishing it first" in errors
    assert not layout.intent.exists() and not list(results.iterdir())
    assert "forgotten" in house.entries()[7] and url not in layout.ledger.read_text()
    assert len(list(layout.raw.rglob("*.txt"))) == PAGES - 1


ASK = """
from flows.prefect_server.configured import configured_url
ours = configured_url()
from prefect.settings import PREFECT_API_URL
print([ours, PREFECT_API_URL.value() or ""])
"""
URL = "http://prefect.invalid:4200/api"


@pytest.mark.parametrize(
    ("env", "file", "content", "found"),
    [
        ({}, "", "", ""),
        ({"PREFECT_API_URL": URL}, "", "", URL),
        ({"PREFECT_API_URL": ""}, "prefect.toml", f'[api]\nurl = "{URL}"\n', ""),
        ({"PREFECT_PROFILE": "local"}, "", "", "http://127.0.0.1:4200/api"),
        ({}, "home/.prefect/profiles.toml", f'active = "a"\n[profiles.a]\nPREFECT_API_URL = "{URL}"\n', URL),
        ({}, "home/.prefect/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_LOGGING_LEVEL = "INFO"\n', ""),
        ({}, "prefect.toml", f'[api]\nurl = "{URL}"\n', URL),
        ({}, "pyproject.toml", f'[tool.prefect.api]\nurl = "{URL}"\n', URL),
        ({}, "pyproject.toml", '[project]\ndependencies = ["prefect"]\n', ""),
        ({}, ".env", f"PREFECT_API_URL={URL}\n", URL),
    ],
)
def test_the_configured_server_is_the_one_that_prefect_would_take(
    tmp_path: Path, env: dict[str, str], file: str, content: str, found: str
) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    (tmp_path / "home").mkdir()
    if file:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    places = {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, env=bare | places | env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([found, found])
