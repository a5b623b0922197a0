from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.contracts.errors import SettingsError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import Layout
from tasks.contracts.records import Hit
from tasks.contracts.settings import SearchSettings, Source
from tasks.search.frontier import Frontier
from tasks.storage.state_db import open_state
from tasks.web import blocklists
from tasks.web.blocklists import Blocklists, open_blocklists
from tasks.web.url_patterns import Address, parse_pattern

FOUND = [
    ("example.org", ["http://example.org", "https://www.example.org:8443/a?b#c", "https://EXAMPLE.org./x"]),
    ("https://Example.ORG:8080/", ["http://example.org/", "http://a.b.example.org/x"]),
    ("*.example.org", ["http://example.org/", "http://a.example.org/"]),
    (".onion", ["http://abc.onion/x"]),
    ("bücher.example", ["https://xn--bcher-kva.example/", "https://bücher.example/x", "http://www.BÜCHER.example/"]),
    ("192.0.2.7", ["http://192.0.2.7/x"]),
    ("[2001:db8::1]:80", ["http://[2001:db8::1]/x"]),
    ("2001:db8::1", ["http://[2001:db8::1]:81/x"]),
    ("localhost:8000", ["http://localhost:8000/"]),
    ("example.org/dir/", ["http://example.org/dir", "http://www.example.org/dir/a/b", "http://example.org/DIR?x=1"]),
    ("example.org/a%20b", ["http://example.org/a b/c", "http://example.org/A%20B"]),
    ("example.org/p?id=5", ["http://example.org/p?id=5", "http://example.org/p?id=5&x=1"]),
    ("ads*.example.org", ["http://ads.example.org/", "http://x.ads7.example.org/y"]),
    ("*casino*", ["http://www.casinos.example/", "http://casino/"]),
    ("*/login", ["http://a.example/login", "http://b.example/x/login"]),
    ("example.org/*.pdf", ["http://example.org/a/b.PDF", "http://m.example.org/.pdf"]),
    ("a*b*c.example", ["http://a1b2b3c.example/"]),
    ('"sex video"', ["http://x.example/sex-video", "http://sexvideo.example/", "http://x.example/?q=SEX%20video"]),
    ('"win mon*"', ["http://x.example/win_money/now", "http://winmoney.example/"]),
    ('"slots"', ["http://x.example/a.b-slots?c", "http://slots.example/"]),
]
PASSED = [
    ("example.org", ["http://example.com/", "http://myexample.org/", "http://a.example/example.org", "not a url"]),
    ("192.0.2.7", ["http://10.192.0.2.7.example/", "http://1192.0.2.7/"]),
    ("example.org/dir", ["http://example.org/", "http://example.org/directory", "http://example.org/a/dir"]),
    ("example.org/p?id=5", ["http://example.org/p?id=55", "http://example.org/p?x=1&id=5"]),
    ("ads*.example.org", ["http://loads.example.org/", "http://example.org/ads"]),
    ("*casino*", ["http://a.example/casino"]),
    ("*/login", ["http://a.example/login/help"]),
    ("aab*baa.example", ["http://aabaa.example/"]),
    ('"sex video"', ["http://essex.example/video", "http://x.example/essex-videos", "http://x.example/sex/video"]),
    ('"slots"', ["http://x.example/timeslots", "http://x.example/slots1"]),
]
MALFORMED = [
    ("just words", "a space"),
    ("casino", "'casino' is no domain"),
    ("ftp://example.org/", "ftp://"),
    ("user@example.org", "is no domain"),
    ("exa_mple..org", "is no domain"),
    ("*", "every URL"),
    ("*/*", "every URL"),
    ("!", "behind its '!'"),
    ("!!example.org", "behind its '!'"),
    ('"open', "written"),
    ('"a b c d e"', "4 at most"),
    ('"a.b"', "letters and digits"),
    ('"ab"', "short words"),
    ("http://", "is no domain"),
    ("e" * 600 + ".org", "500 characters"),
]


def write(folder: Path, *lines: str, name: str = "list.txt") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def opened(folder: Path, *paths: str, adult: bool = False, said: list[str] | None = None) -> Blocklists:
    settings = SearchSettings(blocklists=paths, block_adult=adult)
    return open_blocklists(settings, Layout(folder / "data"), (said if said is not None else []).append)


@pytest.mark.parametrize(("pattern", "urls"), FOUND)
def test_a_pattern_finds(tmp_path: Path, pattern: str, urls: list[str]) -> None:
    lists = opened(tmp_path, write(tmp_path, "# mine", "", f"{pattern}  # why"))
    assert [lists.find(url) is not None for url in urls] == [True] * len(urls)
    exception = opened(tmp_path, write(tmp_path, pattern, f"!{pattern}"))
    assert [exception.find(url) for url in urls] == [None] * len(urls)


@pytest.mark.parametrize(("pattern", "urls"), PASSED)
def test_and_no_more_than_that(tmp_path: Path, pattern: str, urls: list[str]) -> None:
    lists = opened(tmp_path, write(tmp_path, pattern))
    assert [lists.find(url) for url in urls] == [None] * len(urls)


@pytest.mark.parametrize(("line", "said"), MALFORMED)
def test_a_malformed_line_is_named_with_its_file(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path, "example.org", "# comment", line)
    with pytest.raises(SettingsError) as caught:
        opened(tmp_path, path)
    assert f"{path}, line 3, " in str(caught.value) and said in str(caught.value)


def test_what_stopped_a_url_is_named_and_an_exception_wins_over_all_lists(tmp_path: Path) -> None:
    mine = write(tmp_path, '"slots"', "!good.example.org")
    write(tmp_path, "example.org", "other.example", name="ut1/adult/domains")
    write(tmp_path, "example.net/~joe", "1.2.3.4/x", name="ut1/adult/urls")
    lists = opened(tmp_path, mine, str(tmp_path / "ut1" / "adult"))
    assert lists.find("https://www.example.org/x") == "adult/domains: example.org"
    assert lists.find("https://example.net/~joe/a.html") == "adult/urls: example.net/~joe"
    assert lists.find("https://x.example.com/slots") == 'list.txt: "slots"'
    assert lists.find("https://good.example.org/slots") is None
    with pytest.raises(PageRejected, match=r"blocklisted: adult/urls: 1\.2\.3\.4/x, at http://1\.2\.3\.4/x"):
        lists.reject("http://1.2.3.4/x")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.txt is not there"):
        opened(tmp_path, str(tmp_path / "none.txt"))
    write(tmp_path, "example.org", name="ut1/adult/domains")
    with pytest.raises(SettingsError, match=r"name the categories you do not want, such as .*ut1/adult"):
        opened(tmp_path, str(tmp_path / "ut1"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="holds neither"):
        opened(tmp_path, str(tmp_path / "empty"))


def test_odd_lines_of_a_public_list_are_left_out_and_said_but_not_a_file_full_of_them(tmp_path: Path) -> None:
    said: list[str] = []
    good = [f"site{number}.example" for number in range(50)]
    write(tmp_path, *good[:20], "a b c", "*.wild*", *good[20:], "UPPER.example", name="ut1/ads/domains")
    lists = opened(tmp_path, str(tmp_path / "ut1" / "ads"), said=said)
    assert said[0].startswith("blocklist ads/domains: 51 entries (2 lines left out, the first: line 21, 'a b c': a sp")
    assert lists.find("http://upper.example/") and lists.find("http://site49.example/")
    write(tmp_path, *["<html> page not found"] * 50, *good, name="ut1/ads/domains")
    with pytest.raises(SettingsError, match="is no list of UT1: line 1"):
        opened(tmp_path, str(tmp_path / "ut1" / "ads"))


def test_a_list_is_compiled_once_and_again_when_it_changes(tmp_path: Path) -> None:
    said: list[str] = []
    path = write(tmp_path, "a.example", "b.example")
    first = opened(tmp_path, path, said=said)
    again = opened(tmp_path, path, said=said)
    os.utime(path, ns=(1, 1))  # touched, and the same
    touched = opened(tmp_path, path, said=said)
    assert len(said) == 1 and first.digest == again.digest == touched.digest
    write(tmp_path, "a.example", "c.example")
    changed = opened(tmp_path, path, said=said)
    assert len(said) == 2 and changed.digest != first.digest
    assert changed.find("http://c.example/") and not changed.find("http://b.example/")
    assert first.find("http://b.example/"), "a mapped list outlives its file's name"
    folder = Layout(tmp_path / "data").blocklists
    assert len(list(folder.glob("*.hashes"))) == 1, "what no profile names any more is removed"
    opened(tmp_path)
    assert [one.name for one in folder.iterdir()] == ["files.json"]


@pytest.mark.parametrize("damage", ["*.hashes", "*.json", "files.json"])
def test_a_damaged_or_half_written_compilation_is_made_again(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path, *(f"site{number}.example" for number in range(100)))
    opened(tmp_path, path)
    folder = Layout(tmp_path / "data").blocklists
    for found in folder.glob(damage):
        found.write_bytes(found.read_bytes()[:13])
    (folder / "litter.tmp").write_bytes(b"cut")
    assert opened(tmp_path, path).find("http://site99.example/")
    assert not (folder / "litter.tmp").exists()


def test_lines_come_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.example\r\n\r\n  b.example\t# x\r\nc.example")
    lists = opened(tmp_path, str(path))
    assert all(lists.find(f"http://{name}.example/") for name in "abc")
    path.write_bytes(b"a.example\nb\xff.example\n")
    with pytest.raises(SettingsError, match=r"line 2, .*: not UTF-8"):
        opened(tmp_path, str(path))


def test_a_hundred_thousand_domains_are_found_and_nothing_else(tmp_path: Path) -> None:
    names = [f"site-{number * 7919 % 1_000_003}.example.net" for number in range(100_000)]
    lists = opened(tmp_path, write(tmp_path, *names))
    assert all(lists.find(f"https://www.{name}/x") for name in names[::97])
    assert not any(lists.find(f"https://x{name}/x") for name in names[::97])


def test_too_many_wildcards_for_one_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocklists, "MAX_IN_MEMORY", 10)
    with pytest.raises(SettingsError, match="more than 10 wildcards"):
        opened(tmp_path, write(tmp_path, *(f"*a{number}*" for number in range(11))))


HOSTILE = [
    "http://" + "a." * 120 + "example/" + "a/" * 900,
    "http://x.example/" + "sex-" * 480,
    "http://x.example/?" + "a=b&" * 480,
    "http://" + "a" * 1900 + ".example/",
    "http://x.example/" + "%41" * 60_000,
    "http://[::1",
    "http://x.example:99999999/\x00\n",
]


@pytest.mark.parametrize("url", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_urls_take_no_time(tmp_path: Path, url: str) -> None:
    stars = "*".join("a" * 10)
    lists = opened(tmp_path, write(tmp_path, f"*{stars}*b", f"x.example/*{stars}*b", '"sex sex sex no"'), adult=True)
    start = time.process_time()
    for _ in range(20):
        lists.find(url)
    # Not a speed test: a pattern that backtracks would take minutes.
    assert time.process_time() - start < 10


ADULT = [
    "https://www.pornhub.com/view?x=1",
    "http://freepornvideos.example/",
    "https://www.porno.example/",
    "https://xvideos.com/",
    "http://xnxx.com/a",
    "https://pt.xhamster2.com/",
    "https://site.xxx/",
    "https://foo.bar.porn/x",
    "https://hot-sex-videos.example/",
    "https://hotsexvideos.example/",
    "https://nude-girls.example/",
    "https://x.example/porn/1",
    "https://x.example/a/123-amateur-porn.html",
    "https://x.example/free-xxx-movies",
    "https://x.example/watch/Free%20Porn/1",
    "https://x.example/%70%6Frn",
    "https://x.example/sex_videos/",
    "https://x.example/live-sex-cams",
    "https://x.example/adult-webcams",
    "https://x.example/search?q=hentai",
]
LOOKALIKES = [
    "https://www.essex.ac.uk/courses",
    "https://www.essexcampus.example/",
    "https://www.middlesex.example/videos",
    "https://essexvideos.example/",
    "https://sussexcamping.example/sites",
    "https://x.example/essex-dating",
    "https://scunthorpe.example/news",
    "https://x.example/adult-education",
    "https://www.adulteducation.example/",
    "https://x.example/young-adult/books",
    "https://x.example/adult-learning/videos",
    "https://x.example/wiki/Sextant",
    "https://x.example/wiki/Sex_education",
    "https://x.example/wiki/Pornography",
    "https://x.example/wiki/Revenge_porn",
    "https://x.example/health/free-sex-education",
    "https://x.example/same-sex-marriage",
    "https://x.example/same-sex-film-festival",
    "https://x.example/sex-ratio-of-bees",
    "https://x.example/sex-discrimination-act",
    "https://x.example/safe-sex-campaign",
    "https://x.example/age-sex-tuberculosis",
    "https://xxx.lanl.gov/abs/hep-th/9711200",
    "https://www.xxxlutz.de/moebel",
    "https://x.example/super-bowl-xxx",
    "https://pornic.fr/",
    "https://www.ville-pornic.fr/",
    "https://www.pornichet.fr/",
    "https://x.example/analysis/analytics",
    "https://therapist.example/the-rapist",
    "https://expertsexchange.com/questions",
    "https://penisland.example/",
    "https://x.example/moby-dick",
    "https://x.example/birds/great-tits",
    "https://x.example/pussy-willow",
    "https://x.example/cocktails/cockpit",
    "https://museum.example/nude-descending-a-staircase",
    "https://x.example/webcam/harbour",
    "https://linuxvideos.example/",
    "https://hotel-jerome.com/",
    "https://techclips.com/",
    "https://olivesextra.example/",
    "https://x.example/escort-service-police",
    "https://assets.example/classic/bass",
    "https://x.example/popcorn",
    "https://x.example/deep-throat-watergate",
]


@pytest.mark.parametrize("url", ADULT)
def test_adult_content_is_stopped_by_default(tmp_path: Path, url: str) -> None:
    stopped = open_blocklists(SearchSettings(), Layout(tmp_path), lambda _: None).find(url)
    assert stopped is not None and stopped.startswith("own adult list: ")
    assert open_blocklists(SearchSettings(block_adult=False), Layout(tmp_path), lambda _: None).find(url) is None


@pytest.mark.parametrize("url", LOOKALIKES)
def test_look_alikes_of_adult_content_pass(tmp_path: Path, url: str) -> None:
    assert opened(tmp_path, adult=True).find(url) is None


def test_every_line_of_the_own_list_stands_once_and_in_its_canonical_form() -> None:
    lines = [line for line in blocklists.ADULT.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(set(lines)) > 100
    assert all(parse_pattern(line) for line in lines)


def test_an_address_is_cut_where_paths_and_queries_part() -> None:
    assert Address("https://u:p@WWW.example.org:8/A/b?c=1&d=2#e").keys[:6] == [
        "www.example.org",
        "www.example.org/a",
        "www.example.org/a/b",
        "www.example.org/a/b?c=1",
        "www.example.org/a/b?c=1&d=2",
        "example.org",
    ]


# -- in the frontier -------------------------------------------------------------------------------------

START = "https://a.example/"


def frontier(folder: Path, lists: Blocklists, now: float = 0.0, **settings: object) -> Frontier:
    made = Frontier(open_state(folder / "state.sqlite"), SearchSettings(**settings))  # type: ignore[arg-type]
    made.apply_blocklists(lists, now)
    return made


def hits(*urls: str) -> list[Hit]:
    return [Hit(url, "urls", "q") for url in urls]


def test_what_a_list_stops_is_remembered_with_its_outcome_and_never_due(tmp_path: Path) -> None:
    found = frontier(tmp_path, opened(tmp_path, write(tmp_path, "bad.example")))
    assert found.add(hits(START, "https://www.bad.example/1", "https://www.bad.example/1#x"), now=1) == 1
    assert [hit.url for hit in found.due(9, 2, 2)] == [START]
    assert found.counts() == {"blocklisted": 1, "waiting": 1} and found.take_exclusions()["blocklisted"] == 1
    row = found.lookup("https://www.bad.example/1")
    assert row is not None and (row["stage"], row["detail"]) == ("search", "list.txt: bad.example")
    assert found.due(9, 1e12, 1e12) == hits_due(START) and found.take_exclusions()["blocklisted"] == 0


def hits_due(*urls: str) -> list[Hit]:
    return [Hit(url, "urls", "q", due_at=1.0) for url in urls]


def test_a_list_that_grew_stops_what_waited_and_costs_the_night_no_page(tmp_path: Path) -> None:
    first = frontier(tmp_path, opened(tmp_path))
    first.add(hits(*(f"https://bad.example/{number}" for number in range(30)), START), now=0)
    first.db.close()
    grown = frontier(tmp_path, opened(tmp_path, write(tmp_path, "bad.example")))
    assert [hit.url for hit in grown.due(5, 1, 1)] == [START]
    while grown.due(5, 1, 1) != grown.due(5, 1, 1):
        pass
    assert grown.due(99, 1, 1) == [Hit(START, "urls", "q", due_at=0.0)]
    assert grown.counts() == {"blocklisted": 30, "waiting": 1} and grown.take_exclusions()["blocklisted"] == 30


def test_what_only_an_earlier_list_stopped_waits_again(tmp_path: Path) -> None:
    both = opened(tmp_path, write(tmp_path, "bad.example", "worse.example"))
    first = frontier(tmp_path, both)
    first.add(hits("https://bad.example/", "https://worse.example/", START), now=0)
    first.db.close()
    shrunk = frontier(tmp_path, opened(tmp_path, write(tmp_path, "worse.example")), now=50.0)
    assert shrunk.counts() == {"blocklisted": 1, "waiting": 2}
    assert {hit.url for hit in shrunk.due(9, 50, 50)} == {START, "https://bad.example/"}
    row = shrunk.lookup("https://bad.example/")
    assert row is not None and row["outcome"] is None and row["due_at"] == 50.0


def test_stopped_links_take_no_room_of_their_site(tmp_path: Path) -> None:
    site = Source("site", url=START, max_urls=2)
    found = frontier(tmp_path, opened(tmp_path, write(tmp_path, "a.example/bad")), sources=(site,))
    links = [Hit(f"{START}{name}", "site", START, 1) for name in ("bad/1", "bad/2", "1", "2", "bad/3")]
    assert found.add([Hit(START, "site", START)], now=0) == 1
    assert found.add(links, now=0) == 1
    assert found.counts() == {"blocklisted": 3, "waiting": 2}
