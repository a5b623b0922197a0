"""Several nights over a site that grows between them, and what must hold after each."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

import httpx
import pytest

from tasks.demo_site import COOKIE_NOTICE, DemoSite
from tests.end_to_end.conftest import Household
from tests.support.growth import derived_bytes


def pages_asked(site: DemoSite, since: int) -> list[str]:
    """Paths that were sent in full since a moment; a 304 sends nothing."""
    return [
        request.path for request in site.requests[since:] if request.status == 200 and request.path != "/robots.txt"
    ]


def test_three_nights_over_a_growing_site(household: Household, site: DemoSite, tmp_path: Path) -> None:
    first = household.night()
    stats = household.stats()
    documents = stats["documents"]
    assert documents["raw"] == documents["kept"] + sum(documents["dropped"].values()) > 40
    assert documents["validation"] >= 5
    assert stats["model"]["step"] == 20 and stats["model"]["bits_per_byte"] < stats["model"]["uniform_bits_per_byte"]
    counts = first["stages"]["collect"]["counts"]
    assert sum(counts.values()) == sum(stats["urls"].values()), "every hit has exactly one outcome"
    assert not any(request.path.startswith("/private") and request.status == 200 for request in site.requests)

    # Again at once: nothing is asked in full, nothing is written, training goes on.
    asked, files = len(site.requests), household.files("raw", "cleaned", "processed")
    household.night()
    assert pages_asked(site, asked) == []
    assert household.files("raw", "cleaned", "processed") == files
    assert household.stats()["model"]["step"] == 40

    # The site grows twice; only what is new is asked for.
    for count in (80, 100):
        known = {request.path for request in site.requests if request.status == 200}
        site.publish(count)
        asked = len(site.requests)
        household.night()
        articles = {path for path in pages_asked(site, asked) if not path.endswith("/") and "/page/" not in path}
        assert articles and not articles & known, "an article that was had is sent again"
    stats = household.stats()
    assert stats["documents"]["raw"] > documents["raw"] + 30 and stats["model"]["step"] == 80

    done = household.run("--profile", str(household.profile), "rebuild", "--to", str(tmp_path / "rebuilt"))
    assert done.returncode == 0, done.stderr
    assert derived_bytes(tmp_path / "rebuilt") == derived_bytes(household.data)
    verified = household.run("verify")
    assert verified.returncode == 0, verified.stdout
    texts = [path.read_text() for path in (household.data / "cleaned").rglob("*.txt")]
    assert texts and not any(COOKIE_NOTICE in text for text in texts)


def test_what_a_night_leaves_can_be_read_by_a_person_and_by_the_tools(household: Household, site: DemoSite) -> None:
    site.publish(40)
    household.night()
    (picture,) = (household.data / "reports").glob("*/nights.png")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 100_000
    report = household.run("report")
    for part in ("| render |", "| train-chunk |", "bits/byte", "A sample:"):
        assert part in report.stdout
    stored = json.loads((household.data / "raw" / "ledger.jsonl").read_text().splitlines()[0])
    traced = household.run("trace", stored["url"])
    assert traced.returncode == 0 and stored["path"] in traced.stdout and "tokens" in traced.stdout
    (place,) = [
        one["tokens"] for one in json.loads(household.run("trace", stored["url"], "--json").stdout)["documents"]
    ]
    last = f"{place['file']}:{place['offset'] + place['length'] - 1}"
    assert household.run("trace", last).stdout == traced.stdout
    beyond = household.run("trace", "train.bin:999999999")
    assert beyond.returncode == 2 and "tokens" in beyond.stderr
    assert household.run("trace", "https://never.example/").returncode == 1
    sample = household.run("sample", "--prompt", "The ", "--tokens", "20", "--seed", "3")
    assert sample.stdout.startswith("The ") and len(sample.stdout) > 10
    exported = household.data.parent / "exported"
    assert household.run("export", "hf", "--to", str(exported)).returncode == 0
    assert not filecmp.dircmp(household.data / "models" / "latest", exported).diff_files
    done = household.run("export", "gguf")
    assert done.returncode == 0 and "miniature-memory-20-f32.gguf" in done.stdout
    assert (household.profile.parent / "miniature-memory-20-f32.gguf").read_bytes()[:4] == b"GGUF"
    assert household.run("export", "hf").returncode == 2


def test_one_step_at_a_time_makes_the_same_night(
    household: Household, site: DemoSite, prefect_server: str, tmp_path: Path
) -> None:
    """Through the configured server, where each step is a flow run; and without Prefect, with the same outcome."""
    site.publish(40)

    def flow_runs() -> int:
        return int(httpx.post(f"{prefect_server}/flow_runs/count", json={}).json())

    def steps() -> list[dict[str, object]]:
        """What each step counted; then the ledger, without what differs between any two visits."""
        records = [household.night(command) for command in ("collect", "validate", "clean", "prepare", "train")]
        stats = household.stats()
        assert stats["documents"]["waiting"] == 0 and stats["tokens"]["train"] > 0 and stats["model"]["step"] == 20
        done = [{name: stage["counts"] for name, stage in record["stages"].items()} for record in records]
        ledger = (household.data / "raw" / "ledger.jsonl").read_text().splitlines()
        own = ("fetched_at", "path")
        return done + [{k: v for k, v in json.loads(line).items() if k not in own} for line in ledger]

    before = flow_runs()
    shown = steps()
    assert flow_runs() == before + 5
    household.data, household.env["PREFECT_API_URL"] = tmp_path / "plain", ""
    assert steps() == shown
    assert flow_runs() == before + 5


@pytest.mark.parametrize("scan", [False, True])
def test_the_users_own_text_comes_in(household: Household, site: DemoSite, scan: bool) -> None:
    folder = household.data / "raw" / "mine" if scan else household.data.parent / "mine"
    folder.mkdir(parents=True)
    text = "A diary entry of my own, with a line for each day of the week that went by. " * 8
    (folder / "diary.txt").write_text(text)
    profile = ("--profile", str(household.profile))
    done = household.run(*profile, *(("validate", "--scan") if scan else ("add", str(folder))))
    assert done.returncode == 0, done.stderr
    assert household.run(*profile, "clean").returncode == 0
    documents = household.stats()["documents"]
    assert documents["raw"] == 1 and documents["waiting"] == 0
    assert (folder / "diary.txt").read_text() == text
