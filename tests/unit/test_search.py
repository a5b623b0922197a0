from pathlib import Path

import pytest

from tasks.errors import SettingsError
from tasks.records import Hit
from tasks.search import PROVIDERS as SEARCHED
from tasks.search import follow, search
from tasks.settings import PROVIDERS, Source

SITE = Source("site", url="https://example.com/start", max_depth=2)
START = Hit("https://example.com/start", "site", "https://example.com/start")


def test_every_provider_that_settings_allow_is_there() -> None:
    assert set(SEARCHED) == set(PROVIDERS)


def test_site_gives_its_start_page() -> None:
    assert search(SITE) == [START]


def test_urls_gives_list_and_file_each_once(tmp_path: Path) -> None:
    listing = tmp_path / "pages.txt"
    listing.write_text("\ufeff# ours\nhttps://a.example/2  # two\n\nhttps://a.example/1#part\n", encoding="utf-8")
    source = Source("urls", urls=("https://a.example/1", "https://a.example/1?utm_source=x"), file=str(listing))
    hits = search(source)
    assert [hit.url for hit in hits] == ["https://a.example/1", "https://a.example/2"]
    assert [hit.query for hit in hits] == ["profile", "pages.txt"]
    assert {hit.depth for hit in hits} == {0}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.txt"):
        search(Source("urls", file=str(tmp_path / "nowhere.txt")))


@pytest.mark.parametrize("line", ["ftp://a.example/", "a.example", "http://", "https://a.example:99999/"])
def test_a_line_that_is_no_address_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "list").write_text(f"https://a.example/\n{line}\n")
    with pytest.raises(SettingsError, match="line 2"):
        search(Source("urls", file=str(tmp_path / "list")))


def test_a_source_with_an_impossible_port_is_refused() -> None:
    with pytest.raises(SettingsError, match="99999"):
        search(Source("site", url="https://a.example:99999/"))


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
    hits = follow(START, links, [SITE])
    assert [hit.url for hit in hits] == [links[0], links[1], links[7]]
    assert {(hit.provider, hit.query, hit.depth) for hit in hits} == {("site", SITE.url, 1)}


def test_follow_ends_at_the_depth() -> None:
    links = ["https://example.com/a"]
    assert len(follow(Hit("https://example.com/x", "site", SITE.url, depth=1), links, [SITE])) == 1
    assert follow(Hit("https://example.com/x", "site", SITE.url, depth=2), links, [SITE]) == []


def test_follow_leaves_lists_and_removed_sources_alone() -> None:
    links = ["https://example.com/a"]
    assert follow(Hit("https://example.com/x", "urls", "profile"), links, [SITE]) == []
    assert follow(START, links, []) == []
