"""Forget: nothing is left below the data directory, the rest is as if it had never been there, and it stays away."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.add import add_files, add_unregistered
from flows.forget import forget
from tasks.contracts.errors import DataDirectoryError, SettingsError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.records import Document, Hit
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import SearchSettings
from tasks.derive.derivation import Derivation
from tasks.export.dataset import export_dataset
from tasks.forget.erasure import ErasureReport, nowhere_else
from tasks.forget.request import Request, Result
from tasks.maintain.verify import verify
from tasks.raw import ledger
from tasks.raw.catalog import Catalog
from tasks.raw.ledger import read_entries
from tasks.render.page_cache import TABLES, PageCache
from tasks.report.stats import collect_stats, refused
from tasks.report.trace import trace
from tasks.search.frontier import Frontier, VisitResult
from tasks.storage.state_db import open_state
from tasks.tokenize.token_files import read_manifest
from tasks.web.http_client import Response
from tasks.web.suppression_list import SuppressionList
from tests.support.corpora import document, mixed, prose
from tests.support.growth import derived_bytes, grow, rebuilt_bytes, settings
from tests.support.remains import places, secrets_of, sentences, tokens_left

CHOSEN = settings()
NEAR = "A closing line of its own, and nothing more."


def page(seed: int, host: str, text: str | None = None, **changes: Any) -> Document:
    url = f"https://{host}/story/{seed}.html"
    return replace(document(seed, text, url), title=f"The long story of number {seed}, told by {host}", **changes)


HOSTS = ("gone.example", "www.gone.example", "a.b.gone.example:8080")
GOING = [page(seed, HOSTS[seed % 3]) for seed in range(12)]
REDIRECTED = page(50, "short.example", final_url="https://gone.example/story/50.html")
COPIES = [
    page(60, "mirror.example", prose(0)),  # of a page that goes
    page(61, "mirror.example", prose(1) + NEAR),
    page(62, "early.example", prose(2)),  # stored before the page that goes, which is the copy
]
STAYING = [page(seed, "stays.example") for seed in range(100, 120)]
LOOKALIKES = [page(200, "notgone.example"), page(201, "gone.example.org")]
LISTED = page(70, "listed.example", provider="feed", query="https://gone.example/feed.xml")
CORPUS = [COPIES[2], *GOING[:6], *STAYING[:10], *COPIES[:2], *LOOKALIKES, LISTED, REDIRECTED, *GOING[6:], *STAYING[10:]]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = find_data_directory(tmp_path_factory.mktemp("grown"))
    for first in range(0, len(CORPUS), 7):
        grow(layout, CORPUS[first : first + 7], CHOSEN)
    return layout.root


@pytest.fixture
def layout(grown: Path, tmp_path: Path) -> Layout:
    shutil.copytree(grown, tmp_path / "data")
    return find_data_directory(tmp_path / "data")


def ask(layout: Layout, chosen: Request, elsewhere: object = nowhere_else) -> Result:
    return forget(chosen, CHOSEN, layout, Silent(), elsewhere)  # type: ignore[arg-type]


def stored(layout: Layout) -> dict[str, dict[str, object]]:
    return {str(entry.url): entry.as_dict() for entry, _ in read_entries(layout.ledger)}


def require_gone(layout: Layout, gone: Sequence[Document]) -> None:
    assert places(layout.root, secrets_of(gone)) == []
    assert tokens_left(layout, [one.text for one in gone]) == []


def require_derived_from_truth(layout: Layout, target: Path) -> None:
    assert derived_bytes(layout.root) == rebuilt_bytes(layout, target, CHOSEN)
    assert [one for one in verify(layout) if one.is_damage] == []


def litter(layout: Layout) -> None:
    """What nights, kills and users leave behind."""
    db = open_state(layout.database)
    frontier = Frontier(db, SearchSettings())
    hits = [Hit(one.url, "urls", "list.txt") for one in CORPUS]
    hits += [
        Hit("https://gone.example/never-visited", "urls", "list.txt"),
        Hit("https://x.example/", "feed", LISTED.query),
    ]
    frontier.add(hits, 1.0)
    frontier.record_visits([VisitResult(hits[0], "http_error", detail="at https://gone.example/story/0.html")], 2.0)
    db.executescript(TABLES)
    cache = PageCache(db, layout.pages, 10**9)
    for one in (GOING[0], STAYING[0]):
        body = f"<a href='{GOING[1].url}'>{one.text}</a>".encode()
        cache.put(Hit(one.url, "urls", ""), Response(one.final_url, 200, httpx.Headers(), body), 1.0)
    db.close()
    shutil.copy(layout.database, layout.database.with_name("state.sqlite.damaged-20261121_000000"))
    shutil.copytree(layout.root / "raw", layout.root / "my copy" / "raw")
    report = layout.reports / "20261122_040000_nightly"
    report.mkdir()
    values = {
        "started": "2026-11-22T04:00:00+00:00",
        "seconds": 60.0,
        "training": {"samples": [{"prompt": "The ", "text": GOING[3].text}]},
        "messages": [f"feed {GOING[0].url}: timeout", "no answer from www.gone.example: check the network"],
    }
    (report / "report.json").write_text(json.dumps(values))
    torn, other = (layout.reports / f"20261122_050000_{name}" for name in ("torn", "other"))
    torn.mkdir()
    (torn / "report.json").write_text(json.dumps(values)[:-30])
    other.mkdir()
    (other / "report.json").write_text(json.dumps({"messages": values["messages"]}))  # it does not say when it began
    sample = "\n".join(f"    {line}" for line in GOING[3].text.splitlines())
    (report / "report.md").write_text(
        f"# A night\n\nA sample:\n\n{sample}\n\n## What was said\n\n- feed {GOING[0].url}: x\n"
    )
    (layout.root / "server.log").write_text(f"03:00 | see {GOING[2].url}, and {STAYING[0].url}.\nnothing\n")
    (layout.raw / "source_gone.example" / ".20261122.txt.tmp").write_text(GOING[0].text[:100])
    (layout.reports / "corpus").mkdir()
    (layout.reports / "corpus" / "sites.png").write_bytes(b"a picture of www.gone.example")
    export_dataset(layout, layout.root / "exports" / "mine.parquet")
    rebuilt_bytes(layout, layout.root / "again", CHOSEN)


def test_a_domain_leaves_nothing_behind(layout: Layout, tmp_path: Path) -> None:
    litter(layout)
    gone = [*GOING, REDIRECTED, *COPIES]
    assert len(places(layout.root, secrets_of(gone))) > 100
    sizes = [len(line) for line in layout.ledger.read_bytes().splitlines()]
    before = read_manifest(layout)
    result = ask(layout, Request(domain="gone.example"))

    assert {one["url"] for one in result.documents} == {one.url for one in gone} and result.unreached == []
    require_gone(layout, gone)
    assert not [path for host in HOSTS for path in layout.root.rglob(f"source_{host}")]
    assert places(layout.root, ["/gone.example/", "www.gone.example", "source_gone.example/", "_GONE.EXAMPLE__"]) == []
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    assert [len(line) for line in layout.ledger.read_bytes().splitlines()] == sizes
    entries = [entry for entry, _ in read_entries(layout.ledger)]
    assert [entry.seq for entry in entries] == list(range(len(CORPUS)))
    assert [entry.sha256 for entry in entries] == [one.sha256 for one in CORPUS]
    assert sum(entry.forgotten is not None for entry in entries) == len(gone)
    assert {entry.forgotten["why"] for entry in entries if entry.forgotten} == {"domain", "copy"}
    after = read_manifest(layout)
    assert before and after and before.generation != after.generation and before.tokenizer == after.tokenizer
    assert not layout.intent.exists()

    # The others are all there.
    kept = [*STAYING, *LOOKALIKES, LISTED]
    assert {url for url in stored(layout) if url} == {one.url for one in kept}
    assert all((layout.raw / str(stored(layout)[one.url]["path"])).read_text() == one.text for one in kept)
    log = (layout.root / "server.log").read_text()
    assert STAYING[0].url in log and log.endswith("nothing\n")
    report = layout.reports / "20261122_040000_nightly"
    assert json.loads((report / "report.json").read_text())["training"]["samples"] == []
    assert "## What was said" in (report / "report.md").read_text()
    documents = collect_stats(layout)["documents"]
    assert documents["dropped"]["forgotten"] == len(gone) and documents["waiting"] == 0
    assert documents["raw"] == len(CORPUS)
    assert export_dataset(layout, tmp_path / "after.parquet") == documents["kept"] == len(kept)
    listed = refused(layout, "forgotten")
    assert len(listed) == len(gone) and {one["path"] + one["url"] for one in listed} == {""}


def test_it_stays_away_whoever_proposes_it(layout: Layout) -> None:
    litter(layout)
    ask(layout, Request(domain="gone.example"))
    db = open_state(layout.database)
    corpus = Catalog(layout, db)
    frontier = Frontier(db, SearchSettings(), corpus.forgotten)
    counts = frontier.counts()
    assert counts["forgotten"] == len(GOING) + len(COPIES) + 2
    new = [Hit("https://deep.www.gone.example/new?utm_source=x", "site", "s"), Hit(COPIES[0].url, "urls", "l")]
    assert frontier.add([*new, Hit("https://notgone.example/new", "urls", "l")], 9.0) == 1
    assert frontier.counts()["forgotten"] == counts["forgotten"] + 1
    assert frontier.take_exclusions() == {"forgotten": 1}
    assert not any(
        "gone.example" in hit.url.replace("notgone", "")
        for hit in frontier.due(1000, 1e12, 1e12)
        if "org" not in hit.url
    )
    # Neither in a redirect, nor as a file of the user's own, nor as the same text elsewhere.
    assert corpus.is_forgotten(["https://other.example/", "https://gone.example/x"], "0" * 64)
    assert corpus.is_forgotten(["https://other.example/"], GOING[0].sha256)
    assert not corpus.is_forgotten([STAYING[0].url], STAYING[0].sha256)
    db.close()
    assert trace("https://gone.example/story/0.html", layout)["forgotten"]
    # All of that survives the loss of the state.
    shutil.rmtree(layout.state)
    grow(layout, [], CHOSEN)
    db = open_state(layout.database)
    corpus = Catalog(layout, db)
    assert corpus.is_forgotten(["https://gone.example/"], "0" * 64) and corpus.is_forgotten([], GOING[0].sha256)
    assert corpus.counts()["dropped"]["forgotten"] == len(GOING) + 1 + len(COPIES)
    db.close()


def test_a_page_with_all_its_versions_and_copies(layout: Layout, tmp_path: Path) -> None:
    version = page(0, "gone.example", prose(1000))
    grow(layout, [version], CHOSEN)
    result = ask(layout, Request(url="HTTPS://gone.example:443/story/0.html#part"))
    assert [one["why"] for one in result.documents] == ["url", "copy", "url"]
    require_gone(
        layout, [replace(GOING[0], title="The long story of number 0, told by gone.example"), COPIES[0], version]
    )
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    assert GOING[3].url in stored(layout) and SuppressionList(layout.forgotten).covers(GOING[0].url)
    assert not SuppressionList(layout.forgotten).covers(GOING[3].url)


def test_copies_come_back_where_they_are_kept(layout: Layout, tmp_path: Path) -> None:
    result = ask(layout, Request(domain="gone.example", keep_copies=True))
    assert [one["url"] for one in result.copies_kept] == [COPIES[2].url, COPIES[0].url, COPIES[1].url]
    entries = stored(layout)
    for copy in COPIES:
        assert (layout.cleaned / str(entries[copy.url]["path"])).exists()
    alone = [one for one in GOING if one.text not in {copy.text.replace(NEAR, "") for copy in COPIES}]
    require_gone(layout, [*alone, REDIRECTED])
    assert places(layout.root, [one.url for one in GOING]) == []
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    db = open_state(layout.database)
    assert not Catalog(layout, db).is_forgotten(["https://another.example/"], GOING[0].sha256)
    db.close()


def test_one_document_and_what_it_was_a_copy_of(layout: Layout, tmp_path: Path) -> None:
    seq = next(entry.seq for entry, _ in read_entries(layout.ledger) if entry.url == COPIES[1].url)
    result = ask(layout, Request(seq=seq))
    assert {one["url"] for one in result.documents} == {COPIES[1].url, GOING[1].url}
    require_gone(layout, [COPIES[1], GOING[1]])
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    with pytest.raises(SettingsError, match="was forgotten on"):
        ask(layout, Request(seq=seq))


def test_a_night_after_it_pays_for_the_new_and_equals_the_rebuild(layout: Layout, tmp_path: Path) -> None:
    ask(layout, Request(domain="gone.example"))
    db = open_state(layout.database)
    assert Derivation(CHOSEN, layout, db).catalog.uncleaned_count() == 0
    db.close()
    before = {path: path.stat().st_mtime_ns for path in (layout.root / "processed").iterdir()}
    assert grow(layout, [], CHOSEN) == []
    assert {path: path.stat().st_mtime_ns for path in (layout.root / "processed").iterdir()} == before
    grow(layout, [page(seed, "stays.example") for seed in range(300, 320)], CHOSEN)
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    ask(layout, Request(url=STAYING[4].url))
    grow(layout, [page(seed, "stays.example") for seed in range(320, 330)], CHOSEN)
    require_derived_from_truth(layout, tmp_path / "rebuilt2")


def test_a_dry_run_lists_and_changes_nothing(layout: Layout) -> None:
    litter(layout)
    before = {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file() and path != layout.lock}
    result = ask(layout, Request(domain="gone.example", dry_run=True))
    after = {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file() and path != layout.lock}
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if layout.state not in path.parents} == set()
    assert len(result.documents) == len(GOING) + 1 + len(COPIES)
    assert (
        result.counts["reports"] == 3 and result.counts["addresses"] > len(GOING) and result.counts["other files"] >= 3
    )


def test_the_torn_end_of_a_redacted_ledger_comes_back_from_the_journal(layout: Layout) -> None:
    grow(layout, [page(400, "gone.example"), page(401, "stays.example"), page(402, "gone.example")], CHOSEN)
    ask(layout, Request(domain="gone.example"))
    whole = layout.ledger.read_bytes()
    for cut in (5, 300, 900):
        layout.ledger.write_bytes(whole[:-cut])
        assert ledger.recover(layout) and layout.ledger.read_bytes() == whole
    assert ledger.recover(layout) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "https://never.example/"}, "nothing is known of https://never.example/"),
        ({"domain": "never.example"}, "nothing is known of never.example"),
        ({"domain": "https://gone.example/"}, "is no domain"),
        ({"domain": "example"}, "every site below it"),
        ({"url": "gone.example/story"}, "give it whole"),
        ({"seq": 10_000}, "there is no document 10000: they go from 0 to"),
        ({"seq": -1}, "there is no document -1"),
        ({"seq": 1, "url": "https://gone.example/"}, "one of --url, --domain and --seq"),
        ({}, "forget what"),
    ],
)
def test_bad_input_is_said_clearly_and_written_nowhere(layout: Layout, given: dict[str, object], message: str) -> None:
    before = layout.ledger.read_bytes()
    with pytest.raises(SettingsError, match=message):
        ask(layout, Request(**given))  # type: ignore[arg-type]
    assert layout.ledger.read_bytes() == before and places(layout.reports, ["never.example"]) == []


def test_what_could_not_be_cleared_is_said_and_can_be_asked_for_again(layout: Layout) -> None:
    def unreachable(*_: object) -> ErasureReport:
        return ErasureReport(unreached=["no Prefect server answers"])

    assert ask(layout, Request(domain="gone.example"), unreachable).unreached == ["no Prefect server answers"]
    require_gone(layout, GOING)
    asked = []

    def reachable(mentions: object, *_: object) -> ErasureReport:
        asked.append("see www.gone.example now" in mentions)  # type: ignore[operator]
        return ErasureReport()

    again = ask(layout, Request(domain="gone.example"), reachable)
    assert again.documents == [] and again.unreached == [] and asked == [True]


def test_nothing_else_runs_over_a_forgetting_that_was_cut(layout: Layout) -> None:
    layout.intent.write_text("{}")
    with pytest.raises(DataDirectoryError, match="forgetting was cut"):
        ledger.require_no_unfinished_erasure(layout)
    with pytest.raises(DataDirectoryError, match="cannot be read"):
        ask(layout, Request(url=GOING[0].url))


def test_everything_can_be_forgotten(layout: Layout, tmp_path: Path) -> None:
    for domain in ("gone.example", "stays.example", "notgone.example", "gone.example.org", "listed.example"):
        ask(layout, Request(domain=domain))
    require_gone(layout, CORPUS)
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    db = open_state(layout.database)
    assert Derivation(CHOSEN, layout, db).catalog.uncleaned_count() == 0
    db.close()
    grow(layout, [page(500, "new.example")], CHOSEN)
    require_derived_from_truth(layout, tmp_path / "rebuilt2")


def test_a_file_of_the_users_own_is_not_taken_in_again(layout: Layout, tmp_path: Path) -> None:
    diary, other = tmp_path / "my diary.txt", tmp_path / "other.txt"
    diary.write_text(prose(700))
    other.write_text(prose(701))
    dropped = layout.raw / "mine" / "notes of mine.txt"
    dropped.parent.mkdir()
    dropped.write_text(prose(702))
    assert add_files([diary, other], CHOSEN, layout, Silent()) == {"stored": 2}
    assert add_unregistered(CHOSEN, layout, Silent()) == 1
    grow(layout, [], CHOSEN)
    for path in (diary, dropped):
        ask(layout, Request(url=path.as_uri()))
        assert places(layout.root, [*sentences(prose(700 if path == diary else 702)), str(path), path.as_uri()]) == []
    assert diary.exists() and not dropped.exists(), "what lies elsewhere is not ours to remove"
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    assert add_files([diary, other], CHOSEN, layout, Silent()) == {"forgotten": 1, "unchanged": 1}
    dropped.parent.mkdir(exist_ok=True)
    dropped.write_text(prose(702))
    assert add_unregistered(CHOSEN, layout, Silent()) == 0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_increments_cut_anywhere_with_forgetting_in_between_equal_the_rebuild(tmp_path: Path, seed: int) -> None:
    layout, generator, gone = find_data_directory(tmp_path / "data"), random.Random(seed), set()
    for first in range(0, 80, 16):
        documents = [mixed(number) for number in range(first, first + 16)]
        batch = generator.choice([1, 3, 50])
        grow(layout, documents, settings(batch=batch), generator.choice([None, 0, 1, 3]))
        for _ in range(generator.randrange(3)):
            left = [entry.seq for entry, _ in read_entries(layout.ledger) if not entry.forgotten]
            result = ask(layout, Request(seq=generator.choice(left), keep_copies=generator.random() < 0.5))
            gone |= {one["seq"] for one in result.documents}
    grow(layout, [], CHOSEN)
    require_derived_from_truth(layout, tmp_path / "rebuilt")
    assert gone == {entry.seq for entry, _ in read_entries(layout.ledger) if entry.forgotten} != set()
