"""Nights over one page: read again in Chromium where the text is unsure, and stored once for each body."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import flows.grow
from flows.add import add_files
from flows.steps import run_steps
from tasks import stages
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.records import Dropped, Hit, Page
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import ExtractSettings, RenderSettings, SearchSettings, Settings, Source
from tasks.extract.extracted_page import ExtractedPage, PageFile
from tasks.extract.worker_pool import Extractor
from tasks.render.stage import Renderer, render, render_again
from tasks.report import stats, trace
from tasks.storage.state_db import open_state
from tests.support.loopback import PARAGRAPH, Loopback, article, repeated

DUE = "UPDATE frontier SET due_at = visited_at WHERE visited_at IS NOT NULL"
MORE = """<script>
addEventListener("DOMContentLoaded", () => {
  for (let number = 0; number < 12; number++) {
    const paragraph = document.createElement("p");
    paragraph.textContent = number + ". A script brought this. %s";
    document.querySelector("article").append(paragraph);
  }
});
</script>""" % (PARAGRAPH * 2)
SHORT = article(paragraphs=2)
WITH_SCRIPT = SHORT.replace(b"<article>", b"<article><script>1</script>")
BY_SCRIPT = article(paragraphs=2, extra=MORE)
NOINDEX_BY_SCRIPT = article(
    paragraphs=2,
    extra='<script>document.head.insertAdjacentHTML("beforeend", "<meta name=robots content=noindex>")</script>',
)


class LongerIsSurer(Extractor):
    """Real extraction; only how sure it is of a text is settled here, by its length."""

    def extract(self, page: PageFile) -> ExtractedPage:
        found = super().extract(page)
        return replace(found, confidence=min(1.0, round(len(found.text) / 4000, 2)))


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


@pytest.fixture
def unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.grow, "Extractor", LongerIsSurer)


# -- an unsure text ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unsure")
def test_an_unsure_text_is_read_once_more_in_chromium(house: House) -> None:
    house.site.answers = {"/grows": BY_SCRIPT, "/stays": WITH_SCRIPT, "/bare": SHORT, "/noindex": NOINDEX_BY_SCRIPT}
    night = house.night()
    assert [house.site.paths.count(path) for path in house.site.answers] == [2, 2, 1, 2]
    assert night["extract"] == {"read_again_better": 2, "read_again_no_better": 1}
    assert night["collect"] == {"stored": 3, "noindex": 1}
    told = {entry["url"].rpartition("/")[2]: (entry["rendered"], entry["confidence"]) for entry in house.entries()}
    assert set(told) == {"grows", "stays", "bare"}
    assert told["grows"][0] and told["grows"][1] > 0.5
    assert not told["stays"][0] and told["stays"] == told["bare"], "a tie: the first reading stays"
    assert "read        as a page, with confidence" in house.traced("/grows")
    assert "by Chromium" in house.traced("/grows") and "(low), by plain HTTP" in house.traced("/stays")
    assert stats.collect_stats(house.layout)["confidence"] == {"known": 3, "low": 2}
    # The body of what is stored needs no second look; that of a page whose text a script brings does.
    again = house.night()
    assert again["collect"] == {"unchanged": 3, "noindex": 1}
    assert [house.site.paths.count(path) for path in house.site.answers] == [4, 3, 2, 4]


@pytest.mark.usefixtures("unsure")
def test_where_chromium_is_not_wanted_the_first_reading_stays(house: House) -> None:
    house.site.answers = {"/grows": BY_SCRIPT}
    night = house.night(browser="never")
    assert house.site.paths.count("/grows") == 1 and night["extract"] == {} and night["collect"] == {"stored": 1}


@pytest.mark.usefixtures("unsure")
def test_a_run_that_was_cut_asks_for_nothing_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both readings are in the page cache, so that the same one is taken."""
    house.site.answers = {"/grows": BY_SCRIPT}

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(flows.grow, "hold_back_known_bodies", cut)
        house.night()
    asked = len(house.site.requests)
    with closing(sqlite3.connect(house.layout.database)) as db:
        assert db.execute("SELECT count(*) FROM pages").fetchone()[0] == 2
    house.night()
    assert len(house.site.requests) == asked
    [entry] = house.entries()
    assert entry["rendered"] and entry["confidence"] > 0.5


def test_chromium_asks_only_for_what_robots_txt_allows(house: House) -> None:
    leads_off = article(extra="<script>location = '/private'</script>")
    robots = b"User-agent: *\nDisallow: /private\n"
    house.site.answers = {"/page": leads_off, "/private": article("Private"), "/robots.txt": robots}
    search = SearchSettings(allow_loopback=(house.site.address,))
    settings = Settings(search=search, render=RenderSettings(delay_seconds=0.0))
    with Renderer(settings, house.layout, open_state(house.layout.database)) as renderer:
        [page] = render([Hit(house.site.url + "/page", "urls", "q")], renderer)
        assert isinstance(page, Page) and not page.rendered and renderer.may_show_more(page)
        [shown] = render_again([page], renderer)
        assert isinstance(shown, Dropped) and shown.reason == "robots_forbidden"
        assert not renderer.may_show_more(replace(page, rendered=True))


# -- the same body, read otherwise -------------------------------------------------------------------------------------


def test_another_extractor_stores_no_body_twice(house: House) -> None:
    house.site.answers = {"/": repeated(article(extra="<h2>More</h2>"))}
    assert house.night()["collect"] == {"stored": 1}
    before = house.layout.ledger.read_bytes()
    assert house.night(consensus=False)["collect"] == {"reextractable": 1}
    assert house.layout.ledger.read_bytes() == before
    assert stats.collect_stats(house.layout)["urls"] == {"reextractable": 1}
    assert "last visit  reextractable the same body as document 0, by blocks" in house.traced("/")
    house.site.answers["/"] += b"<!-- another body -->"
    assert house.night(consensus=False)["collect"] == {"stored": 1}
    assert house.night()["collect"] == {"unchanged": 1}, "the text of the first night"


def test_the_first_night_after_an_upgrade_stores_no_page_twice(house: House) -> None:
    """As a version that kept no digests left it: the ledger has none, but the page cache has the bodies."""
    house.site.answers = {"/": repeated(article())}
    house.night()
    [entry] = house.entries()
    for name in ("kind", "confidence", "rendered", "body_sha256"):
        del entry[name]
    house.layout.ledger.write_text(json.dumps(entry, ensure_ascii=False) + "\n")
    with closing(open_state(house.layout.database)) as db:
        db.execute("DROP TABLE grown_files")
        db.execute("DROP TABLE readings")
        db.execute("DELETE FROM upgrades")
        db.execute("UPDATE positions SET value = ? WHERE name = 'ledger_bytes'", (house.layout.ledger.stat().st_size,))
    house.layout.journal.unlink()
    assert house.night(consensus=False)["collect"] == {"reextractable": 1}
    assert len(house.entries()) == 1


def test_a_file_of_the_users_own_is_not_stored_twice_either(house: House, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(repeated(article()))
    for consensus, outcome in ((True, "stored"), (True, "unchanged"), (False, "reextractable")):
        settings = Settings(extract=ExtractSettings(consensus=consensus))
        assert add_files([page], settings, house.layout, Silent()) == {outcome: 1}
    assert house.entries()[0]["kind"] == "" and "rendered" not in house.entries()[0]
    assert "from a file" in trace.as_text(trace.trace(page.as_uri(), house.layout))
