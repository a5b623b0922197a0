"""One run of the real collection over a hostile web: each URL has one named outcome, the good pages all arrive."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from tasks.browser.chromium import MARKER, find_binaries
from tasks.contracts.outcomes import OUTCOMES
from tasks.contracts.paths import PROJECT, Layout
from tests.support.canary import Canary
from tests.support.hostile_site import BEHAVIOURS, SECONDS, HostileWeb

TABLE = PROJECT / "docs" / "hostile_site.md"
MOST_BYTES = 1_000_000_000
RUN_SECONDS = 400

PROFILE = """
[search]
allow_loopback = {opened}

[[search.sources]]
provider = "urls"
urls = {urls}

[render]
delay_seconds = 0
timeout_seconds = {seconds}
"""


@dataclass
class Watched:
    """The run's processes, as long as they live."""

    peak_bytes: int = 0
    peak: dict[str, int] = field(default_factory=dict)  # megabytes by process when it was highest
    seen: set[psutil.Process] = field(default_factory=set)

    def look(self, root: psutil.Process) -> None:
        total, sizes = 0, {}
        for process in {root, *_children(root)}:
            try:
                size = process.memory_full_info().pss
            except psutil.Error:
                continue
            self.seen.add(process)
            total += size
            sizes[f"{process.pid} {' '.join(_cmdline(process))[-60:]}"] = size // 1_000_000
        if total > self.peak_bytes:
            self.peak_bytes, self.peak = total, dict(sorted(sizes.items(), key=lambda one: -one[1]))


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


@dataclass
class Run:
    layout: Layout
    web: HostileWeb
    canary: Canary
    watched: Watched
    report: dict[str, Any]
    seconds: float

    def outcome(self, url: str) -> str:
        with sqlite3.connect(self.layout.database) as db:
            rows = db.execute("SELECT outcome FROM frontier WHERE url = ?", (url,)).fetchall()
        assert len(rows) == 1, url
        return str(rows[0][0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`run.py collect` as a user calls it."""
    folder = tmp_path_factory.mktemp("hostile")
    with HostileWeb(folder) as web, Canary() as canary:
        bad, good = list(web.urls.values()), web.good_urls
        urls = [url for pair in zip(bad, [*good, *[""] * len(bad)], strict=False) for url in pair if url]
        profile = folder / "hostile.toml"
        profile.write_text(PROFILE.format(opened=json.dumps(web.opened), urls=json.dumps(urls), seconds=SECONDS))
        env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        env |= {"PREFECT_HOME": str(folder / "prefect"), "HOME": str(folder)}
        started = time.monotonic()
        process = subprocess.Popen(
            [
                *(sys.executable, str(PROJECT / "run.py"), "--data-dir", str(folder / "data")),
                *("--profile", str(profile), "--json", "collect"),
            ],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watched, done = Watched(), threading.Event()

        def watch() -> None:
            root = psutil.Process(process.pid)
            while not done.wait(0.05):
                try:
                    watched.look(root)
                except psutil.Error:
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            out, errors = process.communicate(timeout=RUN_SECONDS)
        finally:
            process.kill()
            done.set()
            watcher.join()
        assert process.returncode == 0, errors
        report = json.loads(out)
        yield Run(Layout(folder / "data"), web, canary, watched, report, time.monotonic() - started)


pytestmark = pytest.mark.skipif(find_binaries().chromium is None, reason="no Chromium on this machine")


def table(outcomes: dict[str, str]) -> str:
    """The page in the docs."""
    rows = [f"| {one.does} | `{outcomes[one.name]}` | {OUTCOMES[outcomes[one.name]].meaning} |" for one in BEHAVIOURS]
    return "\n".join(
        [
            "# What a hostile web can do to a night",
            "",
            f"One run of the real collection, `run.py collect`, visits {len(BEHAVIOURS)} hosts of this machine; each",
            "does one of these things. Between them it visits the pages of good neighbours. Each URL has exactly one",
            "outcome; the neighbours' pages all arrive; the run's processes stay under 1 GB together; none is left",
            "behind. Written, and held against the run, by `tests/integration/test_hostile_site.py`.",
            "",
            "| the host | outcome | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def test_each_url_has_the_outcome_that_it_must_have(run: Run) -> None:
    outcomes = {name: run.outcome(url) for name, url in run.web.urls.items()}
    wrong = {one.name: (outcomes[one.name], one.outcome) for one in BEHAVIOURS if outcomes[one.name] != one.outcome}
    assert wrong == {}


def test_the_good_neighbours_pages_all_arrive(run: Run) -> None:
    assert {url: run.outcome(url) for url in run.web.good_urls} == dict.fromkeys(run.web.good_urls, "stored")


def test_the_counts_add_up(run: Run) -> None:
    counted = run.report["stages"]["collect"]["counts"]
    assert sum(counted.values()) == len(BEHAVIOURS) + len(run.web.good_urls)


def test_text_in_another_charset_is_readable(run: Run) -> None:
    lines = [json.loads(line) for line in run.layout.ledger.read_text(encoding="utf-8").splitlines()]
    for name in ("wrong-charset", "no-charset"):
        [entry] = [line for line in lines if line["url"] == run.web.urls[name]]
        assert "усталые псы" in (run.layout.raw / entry["path"]).read_text(encoding="utf-8")


def test_all_of_it_together_stays_small(run: Run) -> None:
    print(f"{run.watched.peak_bytes / 1e6:.0f} MB at the peak, {run.seconds:.0f} s: {run.watched.peak}")
    assert len(run.watched.seen) > 8, "Chromium was watched too"
    assert run.watched.peak_bytes < MOST_BYTES, run.watched.peak


def test_nothing_is_left_behind(run: Run) -> None:
    assert [one for one in run.watched.seen if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    for process in psutil.process_iter():
        try:
            assert process.environ().get(MARKER) != str(run.layout.state)
        except psutil.Error:
            continue
    assert list((run.layout.state / "browser").iterdir()) == []
    assert not list(run.layout.root.parent.rglob("evil*")), "a download arrived"


def test_this_machine_was_not_reached(run: Run) -> None:
    assert run.canary.seen == []


def test_the_table_in_the_docs_is_the_runs(run: Run) -> None:
    written = table({name: run.outcome(url) for name, url in run.web.urls.items()})
    if os.environ.get("WRITE_DOCS"):
        TABLE.write_text(written, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == written, "run this test with WRITE_DOCS=1"
