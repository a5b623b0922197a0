from __future__ import annotations

import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.data.tokenizer import END_OF_TEXT_ID, load_tokenizer
from tasks.contracts.errors import DataDirectoryError, TruthDamagedError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.settings import DedupSettings
from tasks.derive.derivation import Derivation
from tasks.storage.state_db import open_state
from tasks.tokenize import token_files
from tasks.tokenize.stage import KeptText, open_processed
from tasks.tokenize.tokenizer_record import read_tokenizer_record
from tests.support.corpora import mixed
from tests.support.growth import derived_bytes, grow, rebuilt_bytes, settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_increments_cut_anywhere_equal_the_rebuild(layout: Layout, tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    next_one = 0
    while next_one < 60:
        count = generator.choice([0, 1, 2, 9, 25])
        documents = [mixed(i) for i in range(next_one, next_one + count)]
        next_one += count
        stop_after = generator.choice([None, 0, 1, 2, 3, 5])
        grow(layout, documents, settings(batch=generator.choice([1, 3, 50])), stop_after)
    grow(layout, [], settings())
    incremental = derived_bytes(layout.root)
    assert incremental == rebuilt_bytes(layout, tmp_path / "rebuilt", settings(batch=11))
    assert {"processed/train.bin", "processed/val.bin", "processed/documents.bin"} < set(incremental)


def test_a_changed_rule_begins_the_derived_data_anew_and_says_so(layout: Layout, tmp_path: Path) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    tokenizer = layout.tokenizer.read_bytes()
    before = derived_bytes(layout.root)
    changed = replace(settings(min_words=250), dedup=DedupSettings(min_jaccard=0.4))
    said = grow(layout, [mixed(i) for i in range(30, 40)], changed)
    assert any("rules changed" in message for message in said)
    assert derived_bytes(layout.root) == rebuilt_bytes(layout, tmp_path / "rebuilt", changed) != before
    assert layout.tokenizer.read_bytes() == tokenizer


def test_a_lost_state_loses_nothing(layout: Layout, tmp_path: Path) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    before = derived_bytes(layout.root)
    layout.database.unlink()
    grow(layout, [], settings())
    assert derived_bytes(layout.root) == before
    grow(layout, [mixed(i) for i in range(30, 50)], settings())
    assert derived_bytes(layout.root) == rebuilt_bytes(layout, tmp_path / "rebuilt", settings())


def test_a_damaged_state_is_set_aside_and_said(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(12)], settings())
    before = derived_bytes(layout.root)
    for suffix in ("-wal", "-shm"):
        layout.database.with_name(layout.database.name + suffix).unlink(missing_ok=True)
    layout.database.write_bytes(b"no database at all" * 300)
    said = grow(layout, [], settings())
    assert any("cannot be used" in message for message in said)
    assert derived_bytes(layout.root) == before


def test_a_state_of_an_earlier_version_is_set_aside_and_said(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(12)], settings())
    before = derived_bytes(layout.root)
    with sqlite3.connect(layout.database) as db:
        db.execute("PRAGMA user_version=1")
    said = grow(layout, [], settings())
    assert any("of version 1" in message for message in said)
    assert derived_bytes(layout.root) == before


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "documents.bin"])
@pytest.mark.parametrize("change", [-3, 5])
def test_a_torn_token_file_is_noticed_and_mended(layout: Layout, name: str, change: int) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    before = derived_bytes(layout.root)
    path = layout.processed / name
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"x" * change)
    said = grow(layout, [], settings())
    assert any(name in message for message in said)
    assert derived_bytes(layout.root) == before


def test_a_lost_commit_record_is_made_anew(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    before = derived_bytes(layout.root)
    (layout.processed / "meta.json").write_text('{"generation": "ab')
    assert grow(layout, [], settings())
    assert derived_bytes(layout.root) == before


def test_nothing_new_writes_nothing(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    files = [p for f in (layout.raw, layout.cleaned, layout.processed) for p in f.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in files}
    grow(layout, [], settings())
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_the_tokenizer_is_provisional_then_frozen_for_ever(layout: Layout, tmp_path: Path) -> None:
    chosen = settings(freeze_bytes=30_000)
    assert any("provisional" in message for message in grow(layout, [mixed(i) for i in range(10)], chosen))
    provisional = layout.tokenizer.read_bytes()
    grow(layout, [mixed(i) for i in range(10, 14)], chosen)
    assert layout.tokenizer.read_bytes() == provisional
    assert any("frozen for ever" in message for message in grow(layout, [mixed(i) for i in range(14, 40)], chosen))
    frozen = layout.tokenizer.read_bytes()
    assert frozen != provisional
    grow(layout, [mixed(i) for i in range(40, 80)], chosen)
    assert layout.tokenizer.read_bytes() == frozen
    assert derived_bytes(layout.root) == rebuilt_bytes(layout, tmp_path / "rebuilt", chosen)


def test_the_frozen_tokenizer_does_not_depend_on_how_the_nights_were_cut(tmp_path: Path) -> None:
    frozen = []
    for cuts in ([60], [10, 3, 20, 27]):
        layout = find_data_directory(tmp_path / str(len(cuts)))
        first = 0
        for count in cuts:
            grow(layout, [mixed(i) for i in range(first, first + count)], settings(freeze_bytes=40_000))
            first += count
        frozen.append(layout.tokenizer.read_bytes())
    assert frozen[0] == frozen[1]


def test_another_tokenizer_in_the_place_of_the_frozen_one_is_refused(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(60)], settings())
    layout.tokenizer.chmod(0o644)
    layout.tokenizer.write_bytes(layout.tokenizer.read_bytes() + b" ")
    with pytest.raises(TruthDamagedError, match="frozen tokenizer"):
        grow(layout, [], settings())


def test_token_files_give_back_each_text_and_no_text_injects_the_separator(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(40)], settings())
    tokenizer = load_tokenizer(layout.tokenizer)
    meta = token_files.read_manifest(layout)
    assert meta is not None
    files = {split: np.fromfile(layout.processed / name, "<u2") for split, name in token_files.FILES.items()}
    texts = {path: (layout.cleaned / path).read_text() for path in map(str, _relative(layout.cleaned))}
    given_back = set()
    for row in token_files.read_table(layout, meta):
        ids = files[token_files.SPLITS[row["split"]]][row["offset"] : row["offset"] + row["length"]]
        assert ids[-1] == END_OF_TEXT_ID and END_OF_TEXT_ID not in ids[:-1]
        given_back.add(tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False))
    assert given_back == set(texts.values())
    assert any("<|endoftext|>" in text for text in texts.values())
    record = read_tokenizer_record(layout)
    assert record and record.vocab_size == meta.vocab_size == tokenizer.get_vocab_size()


def _relative(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*.txt")]


def test_rebuild_refuses_a_folder_that_is_not_empty(layout: Layout, tmp_path: Path) -> None:
    grow(layout, [mixed(i) for i in range(12)], settings())
    target = tmp_path / "full"
    target.mkdir()
    (target / "mine.txt").write_text("precious")
    with pytest.raises(DataDirectoryError, match="not empty"):
        rebuilt_bytes(layout, target, settings())
    assert (target / "mine.txt").read_text() == "precious"


def test_a_batch_that_failed_halfway_and_is_tried_again_is_in_once(layout: Layout) -> None:
    meta = token_files.Manifest("g", "r", "t", 300, 0, 0, 0, 0)
    first, second = np.arange(5, dtype=np.uint16), np.arange(7, dtype=np.uint16)
    meta = token_files.append(layout, meta, [KeptText(0, "train", "")], [first])
    with open(layout.processed / "train.bin", "ab") as file:
        file.write(second.tobytes())  # then the disk was full
    meta = token_files.append(layout, meta, [KeptText(1, "train", "")], [second])
    assert np.fromfile(layout.processed / "train.bin", "<u2").tolist() == [*range(5), *range(7)]
    assert meta.train_tokens == 12


def test_a_lost_cleaned_folder_is_derived_again_and_said(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    before = derived_bytes(layout.root)
    shutil.rmtree(layout.cleaned)
    assert any("cleaned/ was gone" in message for message in grow(layout, [], settings()))
    assert derived_bytes(layout.root) == before


def test_where_cleaning_is_left_out_the_tokens_belong_to_the_rules_that_cleaned(layout: Layout) -> None:
    grow(layout, [mixed(i) for i in range(30)], settings())
    before = token_files.read_manifest(layout)
    db = open_state(layout.database)
    derivation = Derivation(settings(min_words=290), layout, db)
    assert derivation.rules != before.rules if before else False
    assert open_processed(layout, derivation.rules_of_cleaned(), "") == before
    db.close()
