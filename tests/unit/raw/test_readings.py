"""One body, one raw text: what only the extractor reads otherwise is counted, and not stored a second time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.records import Document, Extracted
from tasks.contracts.settings import SearchSettings
from tasks.forget.ledger_redaction import tombstone
from tasks.raw.catalog import Catalog
from tasks.raw.ledger import entry_line, parse_line, read_entries
from tasks.raw.stage import hold_back_known_bodies, store
from tasks.render.page_cache import PageCache
from tasks.search.frontier import Frontier
from tasks.storage.state_db import open_state, transaction
from tests.support.corpora import document, prose


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


@pytest.fixture
def catalog(layout: Layout) -> Iterator[Catalog]:
    with closing(open_state(layout.database)) as db:
        yield Catalog(layout, db)


def read(text: int, body: str | None, extractor: str = "test 1") -> Document:
    """The page as it was read from a body: each number is another text."""
    one = replace(document(0, prose(text)), extractor=extractor, body_sha256=body)
    return one if body is None else replace(one, kind="article", confidence=0.9, rendered=False)


def keep(catalog: Catalog, *documents: Document) -> list[str]:
    """The outcome of each visit, one after the other."""
    outcomes = []
    for one in documents:
        outcomes += store(hold_back_known_bodies([Extracted(one, None)], catalog), catalog, 0.0)
    return outcomes


def test_the_same_body_read_otherwise_is_not_stored_again(catalog: Catalog) -> None:
    assert keep(catalog, read(1, "B"), read(2, "B"), read(1, "B")) == ["stored", "reextractable", "unchanged"]
    [held] = hold_back_known_bodies([Extracted(read(2, "B", "test 2"), None, ("https://a.example/",))], catalog)
    assert held.dropped is not None and held.links == ("https://a.example/",)
    assert held.dropped.detail == "the same body as document 0, by test 1; test 2 reads it otherwise"
    assert catalog.position("ledger_lines") == 1


def test_another_body_is_another_version(catalog: Catalog) -> None:
    assert keep(catalog, read(1, "B"), read(2, "C"), read(3, "C")) == ["stored", "stored", "reextractable"]


def test_another_page_with_the_same_body_is_a_document_of_its_own(catalog: Catalog) -> None:
    elsewhere = replace(read(2, "B"), url="https://elsewhere.example/")
    assert keep(catalog, read(1, "B"), elsewhere) == ["stored", "stored"]


def test_what_has_no_digest_is_as_it_was(catalog: Catalog) -> None:
    assert keep(catalog, read(1, None), read(2, None), read(2, None)) == ["stored", "stored", "unchanged"]
    assert catalog.readings.counts() == {"kinds": {}, "confidence": {"known": 0, "low": 0}}


def test_a_later_body_with_the_same_text_counts_too(catalog: Catalog) -> None:
    """A page has a new nonce in each answer: the body that gave the stored text last is a known one."""
    assert keep(catalog, read(1, "B"), read(1, "C"), read(2, "C")) == ["stored", "unchanged", "reextractable"]
    assert keep(catalog, read(2, "B")) == ["reextractable"], "the ledger's own digest stays"


def test_a_lost_state_is_read_from_the_ledger_again(layout: Layout, catalog: Catalog) -> None:
    keep(catalog, read(1, "B"))
    with closing(open_state(layout.root / "another.sqlite")) as db:
        again = Catalog(layout, db)
        again.index_new()
        assert keep(again, read(2, "B")) == ["reextractable"]
        assert again.readings.counts() == catalog.readings.counts()


def test_documents_by_kind_and_confidence(catalog: Catalog) -> None:
    for number, (kind, confidence) in enumerate([("forum", 0.49), ("article", 0.5), ("article", 1.0), ("", 0.0)]):
        keep(catalog, replace(document(number), kind=kind, confidence=confidence, body_sha256=str(number)))
    counts = catalog.readings.counts()
    assert counts == {"kinds": {"article": 2, "forum": 1}, "confidence": {"known": 4, "low": 2}}


def test_what_is_forgotten_leaves_no_reading(layout: Layout, catalog: Catalog) -> None:
    keep(catalog, read(1, "B"))
    gone = {"why": "asked", "at": "2026-11-29"}
    with transaction(catalog.db):
        catalog.forget(0, gone)
    assert catalog.db.execute("SELECT count(*) FROM readings").fetchone()[0] == 0
    _, line = tombstone(catalog.entry(0), gone, 0, layout.ledger.stat().st_size)
    assert "body_sha256" not in line and "kind" not in line


# -- lines from before -------------------------------------------------------------------------------------------------


def test_an_older_line_keeps_its_length_when_it_is_written_again(layout: Layout, catalog: Catalog) -> None:
    keep(catalog, read(1, "B"))
    values = json.loads(layout.ledger.read_text())
    assert list(values)[-4:] == ["kind", "confidence", "rendered", "body_sha256"]
    for name in ("kind", "confidence", "rendered", "body_sha256"):
        del values[name]
    line = (json.dumps(values, ensure_ascii=False) + "\n").encode()
    entry = parse_line(line)
    assert (entry.kind, entry.confidence, entry.rendered, entry.body_sha256) == (None, None, None, None)
    assert entry_line(entry) == line


@pytest.mark.parametrize(
    ("outcome", "fetched_at", "expected"),
    [
        ("stored", 90.0, "reextractable"),
        ("unchanged", 90.0, "reextractable"),
        ("too_short", 90.0, "stored"),  # this body gave no document: the stored text is of an earlier one
        ("stored", 110.0, "stored"),  # fetched by a run that was cut before it used the page
    ],
)
def test_the_first_night_after_an_upgrade_asks_the_page_cache(
    layout: Layout, catalog: Catalog, outcome: str, fetched_at: float, expected: str
) -> None:
    """Else each page that an older version stored would be stored again as soon as it is read otherwise."""
    old = read(1, None)
    PageCache(catalog.db, layout.pages, 10**6)
    Frontier(catalog.db, SearchSettings())
    columns = "url_key, sha256, final_url, status, media_type, rendered, robots, fetched_at, bytes"
    catalog.ledger().append([old], 0.0)
    catalog.index_new()
    key = catalog.db.execute("SELECT url_key FROM documents").fetchone()[0]
    page = (key, "B", old.url, 200, "text/html", 0, "", fetched_at, 1)
    catalog.db.execute(f"INSERT INTO pages ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", page)
    columns = "url_key, url, provider, query, depth, rank, host, first_seen, visited_at, outcome"
    visited = (key, old.url, "urls", "", 0, 0, "", 1.0, 100.0, outcome)
    catalog.db.execute(f"INSERT INTO frontier ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?)", visited)
    catalog.readings.learn_from_page_cache()
    assert keep(catalog, read(2, "B")) == [expected]
    assert keep(catalog, read(3, "C")) == ["stored"]


def test_the_page_cache_is_asked_once(layout: Layout, catalog: Catalog) -> None:
    PageCache(catalog.db, layout.pages, 10**6)
    Frontier(catalog.db, SearchSettings())
    catalog.readings.learn_from_page_cache()
    catalog.db.execute("DROP TABLE pages")
    catalog.readings.learn_from_page_cache()
    assert [entry for entry, _ in read_entries(layout.ledger)] == []
