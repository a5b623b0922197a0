from collections import Counter
from pathlib import Path

import pytest

from tasks.contracts.records import Dropped, Extracted, Hit
from tasks.contracts.settings import SearchSettings, Source
from tasks.contracts.urls import former_key
from tasks.search.frontier import HOUR, Frontier, VisitResult
from tasks.storage.state_db import open_state

START = "https://a.example/"


def hit(url: str, depth: int = 0, provider: str = "urls") -> Hit:
    return Hit(url, provider, "q", depth)


def make(tmp_path: Path, **settings: float | int) -> Frontier:
    return Frontier(open_state(tmp_path / "state.sqlite"), SearchSettings(**settings))  # type: ignore[arg-type]


def urls(hits: list[Hit]) -> list[str]:
    return [h.url for h in hits]


def test_a_known_url_is_never_added_again(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    assert frontier.add([hit(START + "x?b=1&a=2"), hit(START + "x?a=2&b=1#top")], now=1) == 1
    assert frontier.add([hit(START + "x?a=2&b=1&utm_source=z", depth=7)], now=2) == 0
    row = frontier.lookup(START + "x?a=2&b=1")
    assert row is not None and row["url"] == START + "x?b=1&a=2" and row["depth"] == 0 and row["first_seen"] == 1


def test_what_was_known_under_a_former_key_is_still_known(tmp_path: Path) -> None:
    lamp, tide = hit(START + "?q=%EC%E0%FF%EA"), hit(START + "?q=%EF%F0%E8%EB")
    frontier = make(tmp_path)
    frontier.add([lamp], now=1)
    frontier.record_visits([VisitResult(lamp, "stored")], now=2)
    frontier.db.execute("UPDATE frontier SET url_key = ?", (former_key(lamp.url),))
    frontier.db.execute("DELETE FROM upgrades")
    frontier = make(tmp_path)
    assert frontier.add([lamp, tide], now=3) == 1
    assert urls(frontier.due(10, now=4, night=3)) == [tide.url]
    row = frontier.lookup(lamp.url)
    assert row is not None and row["outcome"] == "stored"


def test_hosts_take_turns_breadth_first(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add(
        [hit(START + "deep", 2), hit(START + "1", 1), hit(START + "2", 1), hit("https://b.example/1", 1)], now=1
    )
    expected = [START + "1", "https://b.example/1", START + "2", START + "deep"]
    assert urls(frontier.due(10, now=2, night=2)) == expected
    assert urls(frontier.due(3, now=2, night=2)) == expected[:3]
    assert [frontier.count_due(limit, now=2, night=2) for limit in (10, 3)] == [4, 3]
    frontier.record_visits([VisitResult(hit(START + "1"), "stored")], now=2)
    assert frontier.count_due(10, now=2, night=2) == 3


def test_of_many_hosts_the_one_that_waited_longest_is_next(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add([hit(f"https://{name}.example/{page}") for name in "abcdef" for page in range(3)], now=1)
    asked = []
    for now in range(10, 19):
        hits = frontier.due(2, now=now, night=5)
        frontier.record_visits([VisitResult(one, "stored") for one in hits], now=now)
        asked += [one.url[8] for one in hits]
    assert asked == list("abcdef" * 3)


def test_a_second_run_right_after_the_first_has_nothing_to_do(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add([hit(START + str(n)) for n in range(4)], now=100)
    outcomes = ["stored", "listing", "not_found", "robots_forbidden"]
    visits = [VisitResult(h, outcome) for h, outcome in zip(frontier.due(9, 100, 100), outcomes, strict=True)]
    frontier.record_visits(visits, now=110)
    assert frontier.due(9, now=120, night=120) == []
    assert len(frontier.due(9, now=110 + 30 * 24 * HOUR, night=1e9)) == 4
    assert frontier.counts() == Counter(outcomes)


def test_a_start_page_comes_back_each_night_but_never_twice_in_one(tmp_path: Path) -> None:
    frontier = make(tmp_path, revisit_listing_hours=0.0)
    frontier.add([hit(START, provider="site")], now=100)
    frontier.record_visits([VisitResult(frontier.due(9, 100, 100)[0], "listing", final_url=START, etag='"1"')], now=110)
    assert frontier.due(9, now=120, night=100) == []
    [again] = frontier.due(9, now=120, night=120)
    assert (again.etag, again.due_at) == ('"1"', 110)
    # Nothing new: the old validators stay, and it is still a listing.
    frontier.record_visits([VisitResult(again, "unchanged", "render")], now=130)
    assert [h.etag for h in frontier.due(9, now=140, night=140)] == ['"1"']


def test_a_page_without_text_that_gave_three_new_links_is_a_listing_for_good(tmp_path: Path) -> None:
    frontier = make(tmp_path, revisit_listing_hours=5.0)
    frontier.add([hit(START + "index"), hit(START + "article")], now=0)
    index, article = frontier.due(9, 0, 0)
    links = tuple(hit(START + name, 1) for name in "abc")
    related = tuple(hit(START + name, 1) for name in "defg")  # articles link to each other, and stay articles
    visits = [VisitResult(index, "listing", links=links), VisitResult(article, "stored", links=(*links, *related))]
    assert frontier.record_visits(visits, now=10) == 7
    late = 10 + 5 * HOUR
    assert START + "index" in urls(frontier.due(99, late, late))
    assert START + "article" not in urls(frontier.due(99, late, late))
    frontier.record_visits([VisitResult(index, "unchanged", "render")], now=late)
    assert START + "index" in urls(frontier.due(99, late + 5 * HOUR, late + 5 * HOUR))


def test_a_listing_that_is_gone_is_not_asked_every_night(tmp_path: Path) -> None:
    frontier = make(tmp_path, revisit_listing_hours=0.0)
    frontier.add([hit(START, provider="site")], now=0)
    frontier.record_visits([VisitResult(frontier.due(1, 0, 0)[0], "not_found", "render")], now=1)
    assert frontier.due(1, 24 * HOUR, 24 * HOUR) == []


def test_failures_back_off_and_are_given_up(tmp_path: Path) -> None:
    frontier = make(tmp_path, retry_hours=6.0, max_failures=3)
    frontier.add([hit(START)], now=0)
    now, waits = 0.0, []
    while found := frontier.due(1, now, now):
        frontier.record_visits([VisitResult(found[0], "timeout", "render", retry=True)], now)
        row = frontier.lookup(START)
        assert row is not None
        if row["due_at"] is None:
            break
        waits.append((row["due_at"] - now) / HOUR)
        assert frontier.due(1, row["due_at"] - 1, row["due_at"] - 1) == []
        now = row["due_at"]
    assert waits == [6.0, 12.0]
    assert row is not None and row["status"] == "given_up" and row["outcome"] == "timeout"
    assert frontier.due(1, 1e12, 1e12) == []


def test_a_success_forgets_the_failures(tmp_path: Path) -> None:
    frontier = make(tmp_path, retry_hours=1.0, revisit_days=0.0)
    frontier.add([hit(START)], now=0)
    for now, outcome, retry in [(0, "timeout", True), (1e4, "stored", False), (2e4, "timeout", True)]:
        frontier.record_visits([VisitResult(frontier.due(1, now, now)[0], outcome, retry=retry)], now)
    row = frontier.lookup(START)
    assert row is not None and row["failures"] == 1


def test_a_failure_does_not_touch_what_describes_the_last_page(tmp_path: Path) -> None:
    frontier = make(tmp_path, revisit_days=0.0)
    frontier.add([hit(START)], now=0)
    [first] = frontier.due(1, 0, 0)
    frontier.record_visits([VisitResult(first, "stored", final_url=START, etag='"old"')], now=1)
    frontier.record_visits([VisitResult(first, "extract_failed", retry=True, final_url=START, etag='"new"')], now=2)
    row = frontier.lookup(START)
    assert row is not None and row["etag"] == '"old"'


def test_a_host_that_asked_for_a_pause_is_left_out(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add([hit(START), hit("https://b.example/")], now=0)
    frontier.db.execute("UPDATE hosts SET next_at = 3600 WHERE host = 'a.example'")
    assert urls(frontier.due(9, 10, 10)) == ["https://b.example/"]
    assert len(frontier.due(9, 3600, 3600)) == 2


def test_finish_is_all_or_nothing(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add([hit(START)], now=0)
    [known] = frontier.due(1, 0, 0)
    with pytest.raises(ValueError, match="not in the frontier"):
        frontier.record_visits(
            [VisitResult(known, "stored", links=(hit(START + "new"),)), VisitResult(hit(START + "x"), "stored")], now=1
        )
    assert frontier.counts() == {"waiting": 1}
    with pytest.raises(ValueError, match="two outcomes"):
        frontier.record_visits([VisitResult(known, "stored"), VisitResult(known, "timeout")], now=1)


def test_the_frontier_survives_its_process(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add([hit(START), hit(START + "x")], now=0)
    frontier.record_visits([VisitResult(frontier.due(1, 0, 0)[0], "stored")], now=1)
    frontier.db.close()
    assert make(tmp_path).counts() == {"stored": 1, "waiting": 1}


def test_visit_of_a_dropped_page_keeps_stage_reason_and_retry() -> None:
    dropped = Dropped("render", "timeout", "30 s", retry=True)
    visit = VisitResult.of(hit(START), dropped, Extracted(None, dropped))
    assert (visit.stage, visit.outcome, visit.detail, visit.retry) == ("render", "timeout", "30 s", True)


def test_a_site_gets_no_more_pages_than_its_source_allows(tmp_path: Path) -> None:
    site = Source("site", url=START, max_urls=3)
    frontier = Frontier(open_state(tmp_path / "state.sqlite"), SearchSettings(sources=(site,)))
    found = [Hit(f"{START}{number}", "site", START, 1) for number in range(9)]
    assert frontier.add([Hit(START, "site", START)], now=0) == 1
    assert frontier.add(found[:1] + found, now=0) == 2
    assert frontier.add(found, now=1) == 0
    assert frontier.add([hit("https://b.example/")], now=1) == 1, "others have no such bound"


def test_unknown_leaves_out_what_was_ever_proposed(tmp_path: Path) -> None:
    frontier = make(tmp_path)
    frontier.add([hit(START)], now=0)
    assert urls(frontier.unknown([hit(START + "#x"), hit(START + "1"), hit(START + "1?utm_source=z")])) == [START + "1"]
