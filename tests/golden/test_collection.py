"""Collecting a small site, at once again, and when all of it is due; and one whole night of it with Prefect."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.storage.state_db import open_state
from tests.golden.site import Site
from tests.golden.support import PROJECT, House, Json, check, masked_port, shape

BLOCKED = "127.0.0.1/blocked\n"
# As small as a model may be, so that the whole night takes seconds.
SMALL = """
[train]
n_layer = 1
n_head = 1
n_kv_head = 1
n_embd = 16
block_size = 32
batch_size = 2
steps = 6
dtype = "float32"
compile = "off"
threads = 1
evaluate_tokens = 2000
"""
FRONTIER = """
SELECT url_key, url, provider, query, depth, rank, host, status, stage, outcome, detail, failures, listing, final_url,
       etag, last_modified, round((due_at - visited_at) / 3600, 3) AS due_after_hours
FROM frontier ORDER BY rowid
"""


# As if a month had passed: what was visited is due again, later than it was fetched.
DUE = """
UPDATE frontier SET due_at = visited_at WHERE due_at IS NOT NULL;
UPDATE listings SET due_at = visited_at;
DELETE FROM site_files;
"""


@dataclass
class Collected:
    """What is there after each of three collections, and what each of them asked the site."""

    house: House
    site: Site
    reports: list[Json]
    requests: list[list[str]]
    frontiers: list[list[Json]]


def _house(folder: Path, site: Site, more: str = "") -> House:
    house = House(folder / "data", folder / "site.toml")
    (folder / "blocked.txt").write_text(BLOCKED)
    house.profile.write_text(site.profile() + more)
    return house


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Collected:
    """As the profile says; at once again; and again when everything is due."""
    house = _house(tmp_path_factory.mktemp("collected"), site)
    found = Collected(house, site, [], [], [])
    for changes in ("", "", DUE):
        before = len(site.requests)
        if changes:
            with closing(open_state(house.data / "state" / "state.sqlite")) as db:
                db.executescript(changes)
        found.reports.append(house.json("collect"))
        found.requests.append(site.requests[before:])
        found.frontiers.append(house.rows(FRONTIER))
    return found


def _masked(value: Any) -> Any:
    return json.loads(masked_port(json.dumps(value, ensure_ascii=False)))


def test_ledger_lines_of_pages(collected: Collected) -> None:
    """Each with its digest; what depends on the moment and the port is masked."""
    paths = collected.house.masked_paths()
    lines = []
    for line in collected.house.ledger():
        stamp = "".join(sign for sign in line["fetched_at"][:19] if sign.isdigit())
        path = paths[line["path"]].replace(f"{stamp[:8]}_{stamp[8:]}", "TIME")
        content = (collected.house.data / "raw" / line["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == line["sha256"] and len(content) == line["bytes"]
        lines.append(_masked(line | {"path": path, "fetched_at": "TIME"}))
    check("ledger_of_pages", lines)


@pytest.mark.parametrize("number", [0, 2])
def test_how_each_visit_ended(collected: Collected, number: int) -> None:
    rows = [
        {name: value for name, value in row.items() if value not in (None, "", 0)}
        for row in collected.frontiers[number]
    ]
    check(f"frontier_{number + 1}", _masked(rows))


def test_a_second_collection_at_once_asks_for_no_page_again(collected: Collected) -> None:
    assert collected.frontiers[1] == collected.frontiers[0]
    assert not collected.reports[1]["stages"].get("collect")


def test_requests(collected: Collected) -> None:
    headers = collected.site.headers["/article-3"] | {"Host": "127.0.0.1:PORT"}
    check("requests", {"headers": headers, "by collection": collected.requests})


def _counts(report: Json) -> Json:
    """Of each stage. The stages are sorted: when the memory of one is first looked at is a matter of time."""
    return {name: stage["counts"] for name, stage in sorted(report["stages"].items())}


def test_counts_in_the_report(collected: Collected) -> None:
    check("counts", {"by collection": [_counts(report) for report in collected.reports]})


def test_page_cache(collected: Collected) -> None:
    """`<xx>/<sha256>.gz`: named by what is in it, packed without a time."""
    folder = collected.house.data / "state" / "pages"
    rows = collected.house.rows("SELECT * FROM pages ORDER BY url_key")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for name in names:
        packed = (folder / name).read_bytes()
        digest = hashlib.sha256(gzip.decompress(packed)).hexdigest()
        assert name == f"{digest[:2]}/{digest}.gz" and packed[4:8] == bytes(4)
    assert set(names) == {f"{row['sha256'][:2]}/{row['sha256']}.gz" for row in rows}
    told = [f"{row['url_key']} {row['sha256'][:16]} {row['media_type']} {row['charset']}" for row in rows]
    check("page_cache", {"columns": shape(rows[0]), "pages": _masked(told)})


def test_tables_of_the_state_after_a_collection(collected: Collected) -> None:
    check("tables_of_pages", collected.house.tables())


@dataclass(frozen=True)
class Night:
    house: House
    record: Json
    prefect: Path


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Night:
    """One whole night by `run.py`, as a user without a Prefect server of his own has it."""
    folder = tmp_path_factory.mktemp("night")
    house = _house(folder, site, SMALL)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run.py", "--data-dir", str(house.data), "--profile", str(house.profile), "--json"]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return Night(house, json.loads(done.stdout), folder / "prefect")


def test_report_of_a_night(night: Night) -> None:
    (path,) = (night.house.data / "reports").glob("*/report.json")
    written = json.loads(path.read_text())
    written["stages"] = dict(sorted(written["stages"].items()))
    check(
        "report",
        {
            "report.json": shape(written),
            "printed": list(night.record),
            "counts": _counts(night.record),
            "files": sorted(one.name for one in path.parent.iterdir()),
        },
    )


def test_results_that_prefect_keeps(night: Night) -> None:
    """A night that was cut goes on from them, also after an update: the kinds of records, and what each holds."""
    kinds: dict[str, dict[str, list[Any]]] = {}
    for path in (night.prefect / "storage").iterdir():
        result = json.loads(json.loads(path.read_text())["result"])
        stage, _, digest = path.name.partition("-")
        assert len(digest) == 64
        values = result if isinstance(result, list) else [result]
        for value in values:
            kind = f"{stage}: {'each of a list' if isinstance(result, list) else 'alone'}, kind {value.get('kind')}"
            for name, one in value.items():
                known = kinds.setdefault(kind, {}).setdefault(name, [])
                if (found := shape(one)) not in known:
                    known.append(found)
    check("prefect_results", {kind: _sorted(kinds[kind]) for kind in sorted(kinds)})


def _sorted(shapes: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: sorted(found, key=str) for name, found in shapes.items()}


def test_a_night_makes_the_files_that_single_steps_make(night: Night) -> None:
    folders = {name.rpartition("/")[0] for name in night.house.files()}
    check("folders_of_a_night", sorted({masked_port(name) for name in folders if "state/pages" not in name}))
