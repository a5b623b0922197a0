from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.contracts.errors import SettingsError, TruthDamagedError
from tasks.contracts.outcomes import PageRejected
from tasks.web.suppression_list import NOTHING_SUPPRESSED, PSEUDONYM, SuppressionList, parse_domain

KEY = re.compile(r'{"key": "[0-9a-f]{64}"}')
LINE = re.compile(r'{"(page|domain)": "[0-9a-f]{32}", "at": "2026-11-2[23]"}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = SuppressionList(tmp_path / "forgotten.jsonl")
    found.remember(["https://Page.example:443/a?b=1&utm_source=x#part"], "gone.example", "2026-11-22")
    found.remember(["file:///home/me/diary.txt"], "127.0.0.1:8765", "2026-11-23")
    return tmp_path / "forgotten.jsonl"


@pytest.mark.parametrize(
    ("url", "covered"),
    [
        ("https://page.example/a?b=1", True),
        ("https://page.example/a?b=1#elsewhere", True),
        ("http://page.example/a?b=1", False),
        ("https://page.example/a", False),
        ("https://gone.example", True),
        ("http://a.b.GONE.example:8080/x", True),
        ("https://gone.example./x", True),
        ("https://notgone.example/", False),
        ("https://gone.example.org/", False),
        ("https://example/", False),
        ("http://127.0.0.1:8765/x", True),
        ("http://127.0.0.1:8766/x", False),
        ("http://127.0.0.1/x", False),
        ("file:///home/me/diary.txt", True),
        ("file:///home/me/other.txt", False),
        ("http://[broken", False),
        ("", False),
    ],
)
def test_what_stays_away(path: Path, url: str, covered: bool) -> None:
    assert SuppressionList(path).covers(url) is covered
    assert NOTHING_SUPPRESSED.covers(url) is False
    if covered:
        with pytest.raises(PageRejected, match=r"^forgotten$"):
            SuppressionList(path).reject(url)
        pseudonym = SuppressionList(path).pseudonym(url)
        assert pseudonym.startswith(PSEUDONYM) and SuppressionList(path).covers(pseudonym)
        assert SuppressionList(path).pseudonym(pseudonym) == pseudonym


def test_a_page_that_was_forgotten_under_its_former_key_stays_away(tmp_path: Path) -> None:
    forgotten = SuppressionList(tmp_path / "forgotten.jsonl")
    forgotten.remember(["https://page.example/?q=%EF%BF%BD%EF%BF%BD"], None, "2026-11-22")
    assert forgotten.covers("https://page.example/?q=%EC%E0")
    assert not forgotten.covers("https://page.example/?q=%EC")


def test_a_host_is_refused_where_all_of_it_stays_away(path: Path) -> None:
    forgotten = SuppressionList(path)
    with pytest.raises(PageRejected):
        forgotten.reject_host("http://www.gone.example/")
    forgotten.reject_host("https://page.example/a?b=1")
    NOTHING_SUPPRESSED.reject_host("http://www.gone.example/")


def test_the_file_tells_nothing_and_the_key_makes_the_hashes(path: Path, tmp_path: Path) -> None:
    key, *lines = path.read_text().splitlines()
    assert KEY.fullmatch(key) and len(lines) == 4 and all(map(LINE.fullmatch, lines)), "hashes and days, no name"
    assert path.stat().st_mode & 0o777 == 0o600
    other = SuppressionList(tmp_path / "other.jsonl")
    other.remember([], "gone.example", "2026-11-22")
    hashes = [line.split('"')[3] for line in path.read_text().splitlines()[1:]]
    assert not any(one in other.path.read_text() for one in hashes)
    before = path.read_bytes()
    SuppressionList(path).remember(["https://page.example/a?b=1"], "gone.example", "2027-01-01")
    assert path.read_bytes() == before, "known already"
    path.write_bytes(before[:-20])
    with pytest.raises(TruthDamagedError, match="Restore raw/"):
        SuppressionList(path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("Example.ORG.", "example.org"),
        (" sub.example.org ", "sub.example.org"),
        ("example.org:8080", "example.org:8080"),
        ("m\u00fcnchen.example", "xn--mnchen-3ya.example"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_domain_as_a_user_writes_it(given: str, meant: str) -> None:
    assert parse_domain(given) == meant


@pytest.mark.parametrize(
    "given", ["", "org", "local", "https://example.org", "example.org/x", "a b.org", "x..org", "x.org:0", "x.org:y"]
)
def test_what_is_no_domain(given: str) -> None:
    with pytest.raises(SettingsError):
        parse_domain(given)
