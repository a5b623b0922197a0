from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.contracts.errors import TruthDamagedError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.urls import former_key
from tasks.raw.catalog import Catalog
from tasks.raw.ledger import Ledger, last_lines, read_entries, recover
from tasks.storage import atomic_files
from tasks.storage.state_db import open_state
from tests.support.corpora import document


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


def paths(layout: Layout) -> list[str]:
    return [entry.path for entry, _ in read_entries(layout.ledger)]


def raw_files(layout: Layout) -> list[str]:
    return sorted(str(path.relative_to(layout.raw)) for path in layout.raw.rglob("*.txt"))


def test_a_document_is_stored_once_as_it_was_and_cannot_be_written(layout: Layout) -> None:
    text = "Tabs\tand\r\nline ends,\u00a0kept as they came"
    entries = Ledger(layout, 0, 0).append([document(1, text)], 0.0)
    path = layout.raw / entries[0].path
    assert path.read_bytes() == text.encode()
    assert path.stat().st_mode & 0o777 == 0o444
    assert entries[0].path.startswith("source_site1.example/20261122_030000__SITE1.EXAMPLE__")
    assert [entry.seq for entry, _ in read_entries(layout.ledger)] == [0]


def test_a_page_that_is_stored_under_a_former_key_is_not_stored_again(layout: Layout) -> None:
    stored = replace(document(1), url="https://a.example/?q=%EC%E0%FF%EA")
    Ledger(layout, 0, 0).append([stored], 0.0)
    with closing(open_state(layout.database)) as db:
        Catalog(layout, db).index_new()
        db.execute("UPDATE documents SET url_key = ?", (former_key(stored.url),))
        db.execute("DELETE FROM upgrades")
        catalog = Catalog(layout, db)
        assert catalog.has(stored.url, stored.sha256) and len(catalog.trace(stored.url)) == 1
        assert not catalog.trace("https://a.example/?q=%EF%F0%E8%EB")


def test_lines_from_before_a_field_was_added_are_read(layout: Layout) -> None:
    Ledger(layout, 0, 0).append([document(1, "an old text")], 0.0)
    values = json.loads(layout.ledger.read_text())
    for name in ("published", "author", "language", "licence"):
        del values[name]
    layout.ledger.write_text(json.dumps(values) + "\n")
    entry = next(read_entries(layout.ledger))[0]
    assert (entry.published, entry.author, entry.language, entry.licence) == (None, None, None, None)


@pytest.mark.parametrize("cut", [1, 40, 200, "whole line", "whole batch"])
def test_a_torn_ledger_tail_is_restored_from_the_journal(layout: Layout, cut: int | str) -> None:
    ledger = Ledger(layout, 0, 0)
    ledger.append([document(i) for i in range(3)], 0.0)
    before = layout.ledger.read_bytes()
    ledger.append([document(i) for i in range(3, 6)], 0.0)
    whole = layout.ledger.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    size = {"whole line": len(whole) - last, "whole batch": len(before)}.get(str(cut)) or len(whole) - int(cut)
    layout.ledger.write_bytes(whole[:size])
    assert recover(layout)
    assert layout.ledger.read_bytes() == whole
    assert recover(layout) == []


def test_a_kill_between_raw_files_and_ledger_loses_and_doubles_nothing(layout: Layout) -> None:
    ledger = Ledger(layout, 0, 0)
    ledger.append([document(1)], 0.0)
    before = layout.ledger.read_bytes()
    entries = ledger.append([document(i) for i in (2, 3, 4)], 0.0)
    layout.ledger.write_bytes(before)
    (layout.raw / entries[1].path).unlink()  # a rename that the power cut undid
    recover(layout)
    assert paths(layout) == [paths(layout)[0], entries[0].path, entries[2].path]
    assert [entry.seq for entry, _ in read_entries(layout.ledger)] == [0, 1, 2]
    assert sorted(paths(layout)) == raw_files(layout)


def test_a_kill_before_the_first_raw_file_leaves_nothing(layout: Layout) -> None:
    ledger = Ledger(layout, 0, 0)
    entries = ledger.append([document(1)], 0.0)
    layout.ledger.unlink()
    temporary = (layout.raw / entries[0].path).with_name(f".{Path(entries[0].path).name}.tmp")
    (layout.raw / entries[0].path).rename(temporary)
    recover(layout)
    assert paths(layout) == [] and not temporary.exists()


def test_many_documents_are_written_with_one_flush_and_a_kill_leaves_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = atomic_files.FLUSHED_TOGETHER + 1
    documents = [document(i) for i in range(many)]

    def killed(folder: Path) -> None:
        assert len(list(layout.raw.rglob(".*.txt.tmp"))) == many
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(atomic_files, "sync_filesystem", killed)
        with pytest.raises(KeyboardInterrupt):
            Ledger(layout, 0, 0).append(documents, 0.0)
    assert recover(layout) == [] and raw_files(layout) == [] and not list(layout.raw.rglob(".*.txt.tmp"))
    entries = Ledger(layout, 0, 0).append(documents, 0.0)
    assert sorted(entry.path for entry in entries) == raw_files(layout)
    assert {(layout.raw / entry.path).stat().st_mode & 0o777 for entry in entries} == {0o444}
    assert [(layout.raw / entry.path).read_text() for entry in entries] == [one.text for one in documents]


def test_lines_missing_from_the_ledger_are_noticed(layout: Layout) -> None:
    db = open_state(layout.database)
    corpus = Catalog(layout, db)
    corpus.ledger().append([document(i) for i in range(4)], 0.0)
    corpus.index_new()
    lines = layout.ledger.read_bytes().splitlines(keepends=True)
    layout.ledger.write_bytes(b"".join(lines[:2]))
    with pytest.raises(TruthDamagedError, match=r"Restore raw/"):
        corpus.index_new()


def test_a_damaged_line_is_named(layout: Layout) -> None:
    Ledger(layout, 0, 0).append([document(1)], 0.0)
    with open(layout.ledger, "ab") as file:
        file.write(b'{"seq": 1, "nonsense": true}\n')
    with pytest.raises(TruthDamagedError, match="ends at byte"):
        list(read_entries(layout.ledger))


def test_the_first_documents_fill_the_validation_split(layout: Layout) -> None:
    entries = Ledger(layout, 0, 0).append([document(i) for i in range(30)], 0.0)
    held_out = [entry.seq for entry in entries if entry.split == "validation"]
    assert held_out == list(range(1, 16, 2))


def test_the_split_does_not_depend_on_the_batches(tmp_path: Path) -> None:
    splits = []
    for batches in ([list(range(30))], [list(range(7)), list(range(7, 8)), list(range(8, 30))]):
        layout = find_data_directory(tmp_path / str(len(batches)))
        db = open_state(layout.database)
        corpus = Catalog(layout, db)
        for batch in batches:
            corpus.ledger().append([document(i) for i in batch], 0.2)
            corpus.index_new()
        splits.append([json.loads(line)["split"] for line in layout.ledger.read_text().splitlines()])
        db.close()
        shutil.rmtree(layout.root)
    assert splits[0] == splits[1]
    assert splits[0].count("validation") > 8


def test_files_taken_in_by_a_scan_double_nothing_afterwards(layout: Layout) -> None:
    db = open_state(layout.database)
    corpus = Catalog(layout, db)
    corpus.ledger().append([document(i) for i in range(4)], 0.0)
    corpus.index_new()
    (layout.raw / "mine.txt").write_text("My own text.")
    corpus.ledger().adopt([("mine.txt", document(9, "My own text."))], 0.0)
    whole = layout.ledger.read_bytes()
    assert recover(layout) == [] and layout.ledger.read_bytes() == whole
    layout.ledger.write_bytes(whole[:-10])
    assert recover(layout) and layout.ledger.read_bytes() == whole


def test_a_read_only_leftover_is_no_obstacle(layout: Layout) -> None:
    leftover = layout.journal.with_name(f".{layout.journal.name}.tmp")
    leftover.write_bytes(b"half")
    leftover.chmod(0o444)
    Ledger(layout, 0, 0).append([document(1)], 0.0)
    assert len(paths(layout)) == 1 and not leftover.exists()


@pytest.mark.parametrize("length", [10, 70_000, 300_000])
def test_the_last_lines_are_whole_whatever_their_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lines"
    assert last_lines(path, 2) == []
    lines = [bytes([65 + i]) * length + b"\n" for i in range(4)]
    path.write_bytes(b"".join(lines) + b"torn")
    assert last_lines(path, 0) == []
    assert last_lines(path, 3) == [*lines[2:], b"torn"]
    assert last_lines(path, 9) == [*lines, b"torn"]
