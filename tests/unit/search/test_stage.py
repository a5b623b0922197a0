from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.providers import PROVIDERS
from tasks.contracts.records import Hit
from tasks.contracts.settings import SearchSettings, Settings, Source
from tasks.search.frontier import Frontier
from tasks.search.queries import ANSWERED, BLOCKED, FAILED, UNAVAILABLE, Listing, SourceQuery, SourceResult, meaning
from tasks.search.source_schedule import SourceSchedule
from tasks.search.stage import Searcher, follow, search
from tasks.storage.state_db import open_state
from tasks.web.border import Border
from tasks.web.suppression_list import SuppressionList

SITE = Source("site", url="https://example.com/start", max_depth=2)
IMPOSSIBLE = ("https://a.example:99999/", "https://a.example:abc/", "http://[::1/", "http://[::1]x/", "http://a\\@b/")
START = Hit("https://example.com/start", "site", "https://example.com/start")


@pytest.fixture
def searcher(tmp_path: Path) -> Iterator[Searcher]:
    layout = Layout(tmp_path)
    db = open_state(layout.database)
    with Searcher(Settings(), layout, Frontier(db, SearchSettings())) as opened:
        yield opened
    db.close()


def hits(source: Source, searcher: Searcher) -> list[Hit]:
    return list(search(SourceQuery(source, "2026-11-22"), searcher).hits)


def test_every_provider_that_settings_allow_is_there() -> None:
    assert all(callable(resolve_name(provider.ask)) for provider in PROVIDERS.values())


def test_every_outcome_of_a_question_is_explained_once() -> None:
    kinds = (ANSWERED, BLOCKED, UNAVAILABLE, FAILED)
    assert len({name for kind in kinds for name in kind}) == sum(map(len, kinds))
    assert meaning("captcha") and meaning("timeout")
    text = (Path(__file__).parents[3] / "docs" / "search.md").read_text()
    assert all(f"`{name}`" in text for kind in (BLOCKED, UNAVAILABLE) for name in kind)


def test_an_answer_survives_json() -> None:
    answer = SourceResult("results", hits=(START,), listings=(Listing("https://a.example/", 3.0),), etag='"1"')
    assert SourceResult.from_json(answer.to_json()) == answer


def test_site_gives_its_start_page(searcher: Searcher) -> None:
    assert hits(SITE, searcher) == [START]


def test_urls_gives_list_and_file_each_once(tmp_path: Path, searcher: Searcher) -> None:
    listing = tmp_path / "pages.txt"
    listing.write_text("\ufeff# ours\nhttps://a.example/2  # two\n\nhttps://a.example/1#part\n", encoding="utf-8")
    source = Source("urls", urls=("https://a.example/1", "https://a.example/1?utm_source=x"), file=str(listing))
    found = hits(source, searcher)
    assert [hit.url for hit in found] == ["https://a.example/1", "https://a.example/2"]
    assert [hit.query for hit in found] == ["profile", "pages.txt"]
    assert {hit.depth for hit in found} == {0}


def test_a_missing_list_is_named_and_costs_no_other_address(tmp_path: Path, searcher: Searcher) -> None:
    source = Source("urls", urls=("https://a.example/",), file=str(tmp_path / "nowhere.txt"))
    result = search(SourceQuery(source, "2026-11-22"), searcher)
    assert result.outcome == "bad_list" and "nowhere.txt" in result.detail
    assert [hit.url for hit in result.hits] == ["https://a.example/"]


@pytest.mark.parametrize("line", ["ftp://a.example/", "a.example", "http://", *IMPOSSIBLE])
def test_a_line_that_is_no_address_is_named(tmp_path: Path, line: str, searcher: Searcher) -> None:
    (tmp_path / "list").write_text(f"https://a.example/\n{line}\nhttps://b.example/\n")
    query = SourceQuery(Source("urls", file=str(tmp_path / "list")), "2026-11-22")
    result = search(query, searcher)
    assert result.outcome == "bad_list" and "line 2" in result.detail
    assert [hit.url for hit in result.hits] == ["https://a.example/", "https://b.example/"]
    _, message = searcher.record_result(query, result)
    assert message is not None and "line 2" in message


def test_a_source_with_an_impossible_port_is_refused() -> None:
    with pytest.raises(SettingsError, match="99999"):
        Source("site", url="https://a.example:99999/")


@pytest.mark.parametrize("address", [*IMPOSSIBLE, "http://a.example/\ud800"])
def test_what_cannot_be_an_address_comes_from_no_provider(address: str, searcher: Searcher) -> None:
    """Once such an address reached the frontier, which cannot compare it: every night ended there."""
    source, good = Source("feed", url="https://a.example/feed"), "https://a.example/good"
    found = [Hit(url, "feed", source.url) for url in (address, good)]
    answer = SourceResult("results", hits=tuple(found), listings=(Listing(address), Listing(good)))
    searcher.providers["feed"] = lambda *_: answer
    result = search(SourceQuery(source, "2026-11-22"), searcher)
    assert [hit.url for hit in result.hits] == [one.url for one in result.listings] == [good]


def test_what_a_source_raises_is_its_outcome(tmp_path: Path, searcher: Searcher) -> None:
    def broken(query: SourceQuery, _: Searcher) -> SourceResult:
        raise RecursionError("a hundred thousand brackets\x1b[2J")

    searcher.border = Border(tmp_path / "tracebacks.txt")
    searcher.providers["urls"] = broken
    query = SourceQuery(Source("urls", urls=("https://a.example/",)), "2026-11-22")
    result = search(query, searcher)
    assert (result.outcome, result.hits) == ("unforeseen", ())
    assert result.detail == "RecursionError: a hundred thousand brackets\\u001b[2J"
    assert searcher.record_result(query, result)[1] is not None
    assert "in broken" in (tmp_path / "tracebacks.txt").read_text()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"provider": "searxng"}, "base_url"),
        ({"provider": "feed"}, "its address"),
        ({"provider": "google", "base_url": "ftp://x.example"}, "http"),
        ({"provider": "brave", "base_url": "http://api.example"}, "https://"),
    ],
)
def test_a_source_says_what_it_needs(values: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Source(**values)  # type: ignore[arg-type]


def test_a_search_engine_needs_topics() -> None:
    with pytest.raises(SettingsError, match=r"search\.topics"):
        SearchSettings(sources=(Source("google"),))


def test_a_source_has_a_name_for_reports() -> None:
    assert Source("google").name == "google" and Source("brave").name == "brave"
    assert Source("searxng", base_url="https://s.example/").name == "searxng https://s.example"
    assert Source("feed", url="https://f.example/").name == "feed https://f.example/"


def test_media_and_nonsense_among_the_hits_are_left_out(searcher: Searcher) -> None:
    urls = ("https://a.example/x.mp3", "https://a.example/x", "javascript:void(0)", "https://a.example:99999/", "")
    answer = SourceResult("results", hits=tuple(Hit(url, "feed", "q") for url in urls))
    searcher.providers = {"feed": lambda *_: answer}
    assert [hit.url for hit in hits(Source("feed", url="https://a.example/"), searcher)] == [urls[1]]


def test_an_answer_is_stored_without_what_was_forgotten(searcher: Searcher, tmp_path: Path) -> None:
    forgotten = searcher.frontier.suppressed = SuppressionList(tmp_path / "forgotten.jsonl")
    forgotten.remember(["https://a.example/page"], "gone.example", "2026-11-22")
    urls = ("https://a.example/page", "https://www.gone.example/new", "https://a.example/other")
    files = (Listing("https://gone.example/sitemap2.xml"), Listing("https://a.example/sitemap2.xml"))
    answer = SourceResult("results", hits=tuple(Hit(url, "sitemap", "s") for url in urls), listings=files)
    searcher.providers = {"sitemap": lambda *_: answer}
    found = search(SourceQuery(Source("sitemap", url="https://a.example/s.xml"), "2026-11-22"), searcher)
    assert "gone.example" not in repr(found) and "https://a.example/page" not in repr(found)
    assert len(found.hits) == 3 and found.listings == files[1:]
    assert searcher.frontier.add(found.hits, 1.0) == 1
    assert searcher.frontier.counts() == {"forgotten": 2, "waiting": 1}
    assert searcher.frontier.add(found.hits, 2.0) == 0 and searcher.frontier.take_exclusions() == {"forgotten": 2}
    assert searcher.frontier.unknown([Hit(url, "sitemap", "s") for url in urls]) == []


def test_a_source_that_was_forgotten_is_not_asked(searcher: Searcher, tmp_path: Path) -> None:
    searcher.frontier.suppressed = SuppressionList(tmp_path / "forgotten.jsonl")
    searcher.frontier.suppressed.remember([], "gone.example", "2026-11-22")
    sources = tuple(Source(provider, url="https://gone.example/x") for provider in ("site", "feed", "sitemap"))
    schedule = SourceSchedule(searcher.frontier, SearchSettings(sources=sources), 1.0)
    assert schedule.next(1.0) is None
    assert searcher.frontier.db.execute("SELECT count(*) FROM listings").fetchone()[0] == 0


def test_follow_stays_within_the_site() -> None:
    links = [
        "https://example.com/a",
        "https://www.example.com/b",
        "https://other.example/c",
        "https://example.com:8443/d",
        "https://example.com/e.PNG",
        "https://example.com/a#again",
        "mailto:x@example.com",
        "https://example.com/paper.pdf",
    ]
    found = follow(START, links, [SITE])
    assert [hit.url for hit in found] == [links[0], links[1], links[7]]
    assert {(hit.provider, hit.query, hit.depth) for hit in found} == {("site", SITE.url, 1)}


def test_follow_ends_at_the_depth() -> None:
    links = ["https://example.com/a"]
    assert len(follow(Hit("https://example.com/x", "site", SITE.url, depth=1), links, [SITE])) == 1
    assert follow(Hit("https://example.com/x", "site", SITE.url, depth=2), links, [SITE]) == []


def test_follow_leaves_lists_and_removed_sources_alone() -> None:
    links = ["https://example.com/a"]
    assert follow(Hit("https://example.com/x", "urls", "profile"), links, [SITE]) == []
    assert follow(START, links, []) == []
