"""Which questions a night asks: rotation, depth, cool-downs and revisits, under a clock that only the test moves."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts.paths import Layout
from tasks.contracts.records import Hit
from tasks.contracts.settings import SearchSettings, Settings, Source
from tasks.search.frontier import HOUR, Frontier
from tasks.search.queries import Listing, SourceQuery, SourceResult, troubles
from tasks.search.source_schedule import MAX_FILES, night_of
from tasks.search.stage import Searcher, search
from tasks.storage.state_db import open_state

GOOGLE = Source("google", pause_seconds=30.0, max_result_pages=3)
SEARXNG = Source("searxng", base_url="https://s.example", pause_seconds=1.0)
EVENING = 1_800_000_000.0  # some evening; nights are counted from noon to noon


class World:
    """A clock, fake sources, and one schedule a night over one state database."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = EVENING
        self.layout = Layout(folder)
        self.settings = Settings(search=SearchSettings(**settings))
        self.asked: list[tuple[float, str, str, int]] = []
        self.said: list[str] = []
        self.answers: dict[str, Any] = {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def provider(self, question: SourceQuery, _: Searcher) -> SourceResult:
        name = question.source.provider
        self.asked.append((self.now, name, question.query, question.page))
        self.now += 2.0  # an answer takes its time
        answer = self.answers.get(name, fresh)
        given: SourceResult = answer(question) if callable(answer) else answer
        return given

    def run(self) -> Counter[str]:
        """One run of the search stage, as the flow makes it."""
        counts: Counter[str] = Counter()
        db = open_state(self.layout.database)
        providers = dict.fromkeys(("google", "searxng", "brave", "feed", "sitemap", "site", "urls"), self.provider)
        frontier = Frontier(db, self.settings.search)
        clock = {"clock": lambda: self.now, "sleep": self.sleep, "providers": providers}
        with Searcher(self.settings, self.layout, frontier, **clock) as searcher:  # type: ignore[arg-type]
            self.said = searcher.schedule.cooling_messages(self.now)
            while question := searcher.next():
                answer = search(question, searcher)
                new, said = searcher.record_result(question, answer)
                counts["new"] += new
                counts[f"{question.source.provider} {answer.outcome}"] += 1
                self.said += [said] if said else []
        db.close()
        return counts

    def take(self) -> list[tuple[str, str, int]]:
        """What was asked since the last call."""
        asked, self.asked = self.asked, []
        return [(name, query, page) for _, name, query, page in asked]

    def later(self, hours: float) -> None:
        self.now += hours * HOUR


def fresh(question: SourceQuery) -> SourceResult:
    """Ten new URLs for every page of every topic."""
    urls = (f"https://{question.query}.example/{question.page}/{number}" for number in range(10))
    return SourceResult("results", hits=tuple(Hit(url, question.source.provider, question.query) for url in urls))


def stale(question: SourceQuery) -> SourceResult:
    return SourceResult("results", hits=(Hit("https://known.example/", question.source.provider, question.query),))


def test_topics_take_turns_over_the_nights(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=tuple("abcde"), queries_per_night=2)
    seen = []
    for _ in range(5):
        world.run()
        seen.append([(topic, page) for _, topic, page in world.take()])
        world.later(24)
    assert seen[:3] == [[("a", 0), ("b", 0)], [("c", 0), ("d", 0)], [("e", 0), ("a", 1)]]
    assert Counter(topic for night in seen for topic, _ in night) == dict.fromkeys("abcde", 2)


def test_one_topic_goes_deeper_while_pages_bring_something_new(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a",), queries_per_night=9)
    world.run()
    assert world.take() == [("google", "a", page) for page in range(3)]  # max_result_pages
    world.later(24)
    # The next night begins again at the first page; nothing is new there, so that is all.
    assert world.run()["new"] == 0 and world.take() == [("google", "a", 0)]


def test_a_page_without_anything_new_is_the_last_of_its_topic(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a",), queries_per_night=9)
    world.answers["google"] = lambda question: fresh(question) if question.page == 0 else SourceResult("results")
    world.run()
    assert world.take() == [("google", "a", 0), ("google", "a", 1)]
    world.later(24)
    world.answers["google"] = stale
    world.run()
    assert world.take() == [("google", "a", 0), ("google", "a", 1)], "one new URL is worth another page"


@pytest.mark.parametrize(
    "answer",
    [SourceResult("no_results"), SourceResult("results", hits=(Hit("https://x.example/", "", ""),), last=True)],
)
def test_a_topic_that_is_at_its_end_rests_until_the_next_night(tmp_path: Path, answer: SourceResult) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a", "b"))
    world.answers["google"] = answer
    world.run()
    assert world.take() == [("google", "a", 0), ("google", "b", 0)]


def test_a_second_run_in_the_same_night_does_not_spend_again(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a", "b", "c"), queries_per_night=3)
    world.run()
    assert len(world.take()) == 3
    world.later(1)
    world.run()
    assert world.take() == []


def test_questions_keep_a_human_pace_across_runs(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a", "b"), queries_per_night=4)
    world.settings = Settings(search=SearchSettings(sources=(GOOGLE,), topics=("a", "b"), queries_per_night=2))
    world.run()
    world.settings = Settings(search=SearchSettings(sources=(GOOGLE,), topics=("a", "b"), queries_per_night=4))
    world.run()
    times = [at for at, *_ in world.asked]
    assert len(times) == 4
    assert all(30 <= later - earlier <= 50 for earlier, later in pairwise(times))


@pytest.mark.parametrize("face", ["captcha", "consent", "javascript_gate", "strange_page", "rate_limited"])
def test_a_block_cools_the_engine_down_and_the_next_one_answers(tmp_path: Path, face: str) -> None:
    world = World(tmp_path, sources=(GOOGLE, SEARXNG), topics=("a", "b"), queries_per_night=3)
    world.answers["google"] = SourceResult(face, "HTTP 429")
    counts = world.run()
    assert world.take() == [("google", "a", 0), ("searxng", "a", 0), ("searxng", "b", 0)]
    assert counts[f"google {face}"] == 1 and troubles(counts) == [f"google {face}"]
    assert len(world.said) == 1 and "left alone until" in world.said[0] and "going on with searxng" in world.said[0]


def test_cool_downs_double_hold_across_runs_and_end_with_an_answer(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a",), block_hours=12.0, queries_per_night=50)
    world.answers["google"] = SourceResult("captcha")
    asked_at = []
    for _ in range(8 * 23):
        world.run()
        asked_at += [at for at, *_ in world.asked]
        world.take()
        world.later(3)
    pauses = [(later - earlier) / HOUR for earlier, later in pairwise(asked_at)]
    # Runs come every three hours, so a cool-down is seen to last up to that much longer.
    bounds = [12, 24, 48, 96, 168]
    assert all(least <= pause <= least + 3.1 for pause, least in zip(pauses[:5], bounds, strict=True))
    assert max(pauses) <= 171.1
    world.answers.clear()
    world.later(168)
    assert world.run()["google results"] == 3
    world.answers["google"] = SourceResult("captcha")
    world.later(24)
    world.run()
    world.later(13)
    world.take()
    world.run()
    assert world.take(), "an answer in between makes the next block a first one"


def test_a_run_begins_by_saying_who_is_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a",))
    world.answers["google"] = SourceResult("consent")
    world.run()
    assert "no other search engine is left tonight" in world.said[0]
    world.run()
    [said] = world.said
    assert said.startswith("google is left alone until") and "cookies" in said


def test_retry_after_is_obeyed_where_it_is_longer(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE,), topics=("a",))
    world.answers["google"] = SourceResult("rate_limited", retry_after=30 * HOUR)
    world.run()
    world.later(29)
    world.run()
    assert len(world.take()) == 1
    world.later(2)
    world.run()
    assert len(world.take()) == 1


def test_what_a_person_must_mend_is_tried_again_in_the_next_run(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(GOOGLE, SEARXNG), topics=("a",), queries_per_night=2)
    world.answers["google"] = SourceResult("not_installed")
    world.run()
    assert "undetected-chromedriver" in world.said[0]
    assert [name for name, *_ in world.take()] == ["google", "searxng", "searxng"], "no request, nothing spent"
    world.answers.clear()
    world.later(24)
    world.run()
    assert world.take()[0][0] == "google"


def test_without_an_engine_all_others_are_still_asked(tmp_path: Path) -> None:
    feed, site = Source("feed", url="https://f.example/"), Source("site", url="https://s.example/")
    world = World(tmp_path, sources=(GOOGLE, feed, site), topics=("a",))
    world.answers["google"] = SourceResult("captcha")
    world.run()
    assert [name for name, *_ in world.take()] == ["google", "feed", "site"]


def test_a_feed_is_asked_again_after_its_hours_with_what_it_said_last(tmp_path: Path) -> None:
    feed = Source("feed", url="https://f.example/")
    world = World(tmp_path, sources=(feed,), revisit_listing_hours=20.0, retry_hours=6.0)
    conditions: list[tuple[str | None, str | None]] = []

    def answer(question: SourceQuery) -> SourceResult:
        conditions.append((question.etag, question.last_modified))
        return (
            SourceResult("unchanged") if question.etag else SourceResult("results", etag='"1"', last_modified="Monday")
        )

    world.answers["feed"] = answer
    for hours in (1, 18, 2, 21):
        world.run()
        world.later(hours)
    world.run()
    assert conditions == [(None, None), ('"1"', "Monday"), ('"1"', "Monday")]


def test_a_feed_that_fails_backs_off_and_keeps_its_validators(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(Source("feed", url="https://f.example/"),), retry_hours=6.0, revisit_days=2.0)
    at: list[float] = []
    for hour in range(0, 24 * 9, 2):
        world.answers["feed"] = SourceResult("results", etag='"1"') if hour == 0 else SourceResult("timeout")
        world.run()
        at += [one[0] / HOUR for one in world.asked]
        world.take()
        world.later(2)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    bounds = [20, 6, 12, 24, 48, 48]  # revisit_days is the longest pause
    assert len(pauses) >= 6
    assert all(least <= pause <= least + 2.1 for pause, least in zip(pauses[:6], bounds, strict=True))
    seen = []

    def answer(question: SourceQuery) -> SourceResult:
        seen.append(question.etag)
        return SourceResult("unchanged")

    world.answers["feed"] = answer
    world.later(50)
    world.run()
    assert seen == ['"1"']


def test_an_index_is_walked_in_bounds_and_files_without_news_are_spared(tmp_path: Path) -> None:
    source = Source("sitemap", url="https://m.example/index.xml")
    world = World(tmp_path, sources=(source,), revisit_listing_hours=20.0)
    news = EVENING - 100 * HOUR
    listings = [Listing(f"https://m.example/{number}.xml", news) for number in range(30)]

    def answer(question: SourceQuery) -> SourceResult:
        return SourceResult("results", listings=tuple(listings) if question.query.endswith("index.xml") else ())

    world.answers["sitemap"] = answer
    world.run()
    assert len(world.take()) == MAX_FILES
    world.later(24)
    world.run()
    second = [query for _, query, _ in world.take()]
    assert len(second) == 1 + 11, "the index, then the files that the first night did not come to"
    listings[3] = Listing(listings[3].url, world.now - HOUR)
    world.later(24)
    world.run()
    assert [query for _, query, _ in world.take()] == [source.url, listings[3].url]


def test_a_sitemap_that_was_cut_is_asked_whole_again(tmp_path: Path) -> None:
    world = World(tmp_path, sources=(Source("sitemap", url="https://m.example/"),))
    seen = []

    def answer(question: SourceQuery) -> SourceResult:
        seen.append(question.etag)
        return SourceResult("results", etag='"1"', cut=len(seen) == 1)

    world.answers["sitemap"] = answer
    for _ in range(3):
        world.run()
        world.later(24)
    assert seen == [None, None, '"1"']


def test_a_night_is_one_from_noon_to_noon() -> None:
    def at(text: str) -> str:
        return night_of(datetime.fromisoformat(text).timestamp())

    assert at("2026-11-22 23:50") == at("2026-11-23 00:10") == at("2026-11-23 11:59") == "2026-11-22"
    assert at("2026-11-23 12:01") == "2026-11-23"


def test_48_hours_of_runs_every_half_hour_keep_every_bound(tmp_path: Path) -> None:
    sources = (GOOGLE, SEARXNG, *(Source("feed", url=f"https://f{n}.example/") for n in range(3)))
    world = World(tmp_path, sources=sources, topics=tuple("abcdefg"), queries_per_night=6, block_hours=12.0)
    world.answers["google"] = lambda question: (
        SourceResult("captcha") if world.now < EVENING + 20 * HOUR else fresh(question)
    )
    while world.now < EVENING + 48 * HOUR:
        world.run()
        world.now += 1800
    google = [at for at, name, *_ in world.asked if name == "google"]
    engines = [at for at, name, *_ in world.asked if name in ("google", "searxng")]
    assert google[1] - google[0] >= 12 * HOUR
    assert max(Counter(night_of(at) for at in engines).values()) <= 6
    assert len(engines) >= 12
    feeds = [at for at, _, query, _ in world.asked if query == "https://f0.example/"]
    assert len(feeds) == 3 and all(later - earlier >= 20 * HOUR for earlier, later in pairwise(feeds))


def test_a_password_that_was_stored_before_is_taken_out(tmp_path: Path) -> None:
    """Profiles are read without passwords now; older directories still have them, and go on all the same."""
    world = World(tmp_path)
    world.settings = Settings(search=SearchSettings(sources=(Source("site", url="https://a.example/"),)))
    raw = "https://me:s3cret@a.example/"
    db = open_state(world.layout.database)
    Frontier(db, world.settings.search).add([Hit(raw, "site", raw), Hit(f"{raw}2", "site", raw, depth=1)], world.now)
    world.settings = Settings(search=SearchSettings(sources=(Source("site", url=raw),)))
    world.run()
    assert not [row for row in db.iterdump() if "s3cret" in row]
    rows = db.execute("SELECT url FROM frontier WHERE query = 'https://a.example/' ORDER BY depth").fetchall()
    assert [row["url"] for row in rows] == ["https://a.example/", "https://a.example/2"]
