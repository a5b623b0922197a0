from __future__ import annotations

import pytest

from tasks.contracts.records import LedgerEntry
from tasks.forget.ledger_redaction import tombstone
from tasks.forget.matcher import ReferenceMatcher
from tasks.raw.ledger import entry_line, parse_line

ENTRY = LedgerEntry(
    seq=7,
    path="source_page.example/20261122_030000__PAGE.EXAMPLE__0123456789ab__0123456789abcdef.txt",
    sha256="f" * 64,
    bytes=10,
    split="train",
    site="page.example",
    url="https://page.example/caf\u00e9?a=1",
    final_url="https://final.example/x",
    title='A "long" title\u2026 of its own',
    provider="urls",
    query="list.txt",
    fetched_at="2026-11-22T03:00:00+00:00",
    extractor="x",
    robots="",
)
MATCHER = ReferenceMatcher([ENTRY], ["http://more.example/"], "gone.example")


@pytest.mark.parametrize(
    "text",
    [
        "see https://page.example/caf\u00e9?a=1.",
        "(https://page.example/caf%C3%A9?a=1)",
        '{"url": "https://page.example/caf\\u00e9?a=1"}',
        '"{\\"url\\": \\"https://page.example/caf\\\\u00e9?a=1\\"}"',
        "[x](https://final.example/x), and",
        "HTTPS://FINAL.EXAMPLE/x#part",
        "feed http://more.example: timeout",
        "no answer from www.gone.example: check",
        "GONE.EXAMPLE",
        "raw/source_gone.example/x is missing",
        "raw/source_a.gone.example_8080/x",
        "20261122_030000__PAGE.EXAMPLE__0123456789ab__0123456789abcdef.txt cannot be read",
        'called A "long" title\u2026 of its own there',
    ],
)
def test_what_a_reference_is(text: str) -> None:
    assert text in MATCHER
    cut = MATCHER.cut(text)
    assert cut not in MATCHER and "[forgotten]" in cut
    same = MATCHER.cut(text, keep_length=True)
    assert same not in MATCHER and len(same.encode()) == len(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "https://page.example/caf\u00e9?a=12",
        "https://page.example/",
        "https://final.example/x/y",
        "https://final.example/xy",
        "notgone.example",
        "gone.example.org",
        "gone.examples",
        "my-gone.example",
        "20261122_030000__PAGE.EXAMPLE__0123456789ab__0123456789abcdee.txt",
        "a long title of its own",
    ],
)
def test_what_none_is(text: str) -> None:
    assert text not in MATCHER and MATCHER.cut(text) == text


def test_references_in_a_hostile_text_cost_no_time() -> None:
    for text in ("http://" * 20_000, "a." * 50_000, "https://x/" + ")" * 50_000, "\\" * 100_000, "gone." * 20_000):
        assert text not in MATCHER


def test_a_tombstone_keeps_its_length_and_tells_nothing() -> None:
    line = entry_line(ENTRY)
    offset, new = tombstone(
        ENTRY, {"at": "2026-11-22T03:00:00+00:00", "why": "domain", "copies": "kept"}, 40, 40 + len(line)
    )
    assert offset == 40 and len(new.encode()) + 1 == len(line)
    entry = parse_line(new.encode())
    assert (entry.seq, entry.sha256, entry.bytes, entry.split) == (7, "f" * 64, 10, "train")
    assert entry.forgotten is not None and entry.forgotten["why"] == "domain"
    assert not any(word in new for word in ("page", "final", "title", "list.txt", "PAGE", "http"))
    assert entry.url == entry.path == entry.site == "" and entry_line(entry).rstrip() == new.rstrip().encode()
