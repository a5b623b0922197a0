"""Nights over one page: stored once for each body."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.add import add_files
from flows.steps import run_steps
from tasks import stages
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import ExtractSettings, RenderSettings, SearchSettings, Settings, Source
from tasks.report import stats, trace
from tasks.storage.state_db import open_state
from tests.support.loopback import Loopback, article

DUE = "UPDATE frontier SET due_at = visited_at WHERE visited_at IS NOT NULL"


@dataclass
class House:
    layout: Layout
    site: Loopback

    def night(self, *, browser: str = "auto", consensus: bool = True, chosen: Any = stages) -> dict[str, Any]:
        """Collects; all that was visited before is due again. Returns the counts by stage."""
        with closing(open_state(self.layout.database)) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'frontier'").fetchone():
                db.execute(DUE)
        pages = tuple(self.site.url + path for path in self.site.answers if not path.startswith("/robots"))
        search = SearchSettings(sources=(Source("urls", urls=pages),), allow_loopback=(self.site.address,))
        settings = Settings(
            search=search,
            render=RenderSettings(delay_seconds=0.0, browser=browser),
            extract=ExtractSettings(consensus=consensus),
        )
        record = run_steps(settings, self.layout, ["collection"], chosen, Silent(), lambda _: None)
        return {name: dict(stage.counts) for name, stage in record.stages.items()}

    def entries(self) -> list[dict[str, Any]]:
        ledger = self.layout.ledger
        return [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []

    def traced(self, path: str) -> str:
        return trace.as_text(trace.trace(self.site.url + path, self.layout))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with Loopback() as site:
        yield House(find_data_directory(tmp_path / "data"), site)


# -- the same body, read otherwise -------------------------------------------------------------------------------------


def test_another_extractor_stores_no_body_twice(house: House) -> None:
    house.site.answers = {"/": article(extra="<h2>More</h2>").replace(b"<article>", b"<article><h1>The harbour</h1>")}
    assert house.night()["collect"] == {"stored": 1}
    before = house.layout.ledger.read_bytes()
    assert house.night(consensus=False)["collect"] == {"reextractable": 1}
    assert house.layout.ledger.read_bytes() == before
    assert stats.collect_stats(house.layout)["urls"] == {"reextractable": 1}
    assert "last visit  reextractable the same body as document 0, by consensus" in house.traced("/")
    house.site.answers["/"] += b"<!-- another body -->"
    assert house.night(consensus=False)["collect"] == {"stored": 1}
    assert house.night()["collect"] == {"unchanged": 1}, "the text of the first night"


def test_the_first_night_after_an_upgrade_stores_no_page_twice(house: House) -> None:
    """As a version that kept no digests left it: the ledger has none, but the page cache has the bodies."""
    house.site.answers = {"/": article().replace(b"<article>", b"<article><h1>The harbour</h1>")}
    house.night()
    [entry] = house.entries()
    for name in ("kind", "confidence", "rendered", "body_sha256"):
        del entry[name]
    house.layout.ledger.write_text(json.dumps(entry, ensure_ascii=False) + "\n")
    with closing(sqlite3.connect(house.layout.database, isolation_level=None)) as db:
        db.execute("DROP TABLE readings")
        db.execute("DELETE FROM positions WHERE name = 'bodies learned'")
        db.execute("UPDATE positions SET value = ? WHERE name = 'ledger_bytes'", (house.layout.ledger.stat().st_size,))
    house.layout.journal.unlink()
    assert house.night(consensus=False)["collect"] == {"reextractable": 1}
    assert len(house.entries()) == 1


def test_a_file_of_the_users_own_is_not_stored_twice_either(house: House, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(article().replace(b"<article>", b"<article><h1>The harbour</h1>"))
    for consensus, outcome in ((True, "stored"), (True, "unchanged"), (False, "reextractable")):
        settings = Settings(extract=ExtractSettings(consensus=consensus))
        assert add_files([page], settings, house.layout, Silent()) == {outcome: 1}
    assert house.entries()[0]["kind"] == "" and "rendered" not in house.entries()[0]
    assert "from a file" in trace.as_text(trace.trace(page.as_uri(), house.layout))
