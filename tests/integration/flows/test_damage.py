"""Real bytes of a real directory are damaged; the night then heals them or does not use them (P11)."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.damage import DAMAGES, DOCUMENTS, KINDS, delete, derived, flip, judge, night, run_case, verified
from model.data.digests import as_json
from tasks.contracts.errors import TruthDamagedError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.raw.ledger import recover as ledger_recover

Tree = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A directory after two nights, and what is derived in it after a third one."""
    root = tmp_path_factory.mktemp("damage")
    for first in (0, DOCUMENTS // 2):
        night(find_data_directory(root / "whole"), first, DOCUMENTS // 2)
    shutil.copytree(root / "whole", root / "third", symlinks=True)
    night(find_data_directory(root / "third"), DOCUMENTS, 3)
    return root / "whole", derived(root / "third")


@pytest.fixture
def data(tree: Tree, tmp_path: Path) -> Layout:
    shutil.copytree(tree[0], tmp_path / "data", symlinks=True)
    return find_data_directory(tmp_path / "data")


def one_of(layout: Layout, kind: str) -> Path:
    return random.Random(kind).choice(sorted(layout.root.glob(KINDS[kind])))


def test_nothing_is_said_of_an_untouched_directory(data: Layout, tree: Tree) -> None:
    status, said = verified(data.root)
    assert status == 0 and "all is as it was written" in said and "MB/s" in said
    assert judge(data.root, tree[1], lambda: None)["healed"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_is_named_and_healed_or_refused(tree: Tree, kind: str) -> None:
    result = run_case(*tree, kind, flip, random.Random(kind))
    assert result["named"] and result["unchanged"] and not result["silently"], result


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damage_is_named_and_healed_or_refused(tree: Tree, kind: str, damage: Callable[..., None]) -> None:
    for seed in range(3):
        result = run_case(*tree, kind, damage, random.Random(seed))
        assert (result["named"] or result["noted"]) and result["unchanged"] and not result["silently"], result


@pytest.mark.parametrize("kind", ["cleaned text", "train.bin", "val.bin", "documents.bin", "meta.json", "dedup index"])
@pytest.mark.parametrize("damage", [flip, delete])
def test_what_is_derived_is_healed_by_the_next_night(
    data: Layout, tree: Tree, kind: str, damage: Callable[..., None]
) -> None:
    damage(one_of(data, kind), random.Random(kind))
    record = night(data, DOCUMENTS, 3)
    assert record.outcome == "done" and record.messages and derived(data.root) == tree[1]
    assert verified(data.root)[0] == 0


def test_a_damaged_raw_text_is_never_derived_from(data: Layout) -> None:
    path = one_of(data, "raw text")
    flip(path, random.Random(1))
    shutil.rmtree(data.cleaned)
    with pytest.raises(TruthDamagedError, match=path.name):
        night(data, DOCUMENTS, 0, ("cleaning",))


def test_what_an_earlier_version_left_is_no_damage_and_gets_its_digests_the_next_night(data: Layout) -> None:
    """Everything that this version adds is taken away again."""
    for path in [
        data.processed / "meta.json",
        data.models / "anchor.json",
        *data.models.glob("*/miniature_memory.json"),
    ]:
        values = json.loads(path.read_text())
        path.write_text(as_json({name: values[name] for name in values if name not in ("digests", "metadata_digest")}))
    (data.state / "state.sqlite.seal").unlink()
    with closing(sqlite3.connect(data.database)) as db:
        db.execute("ALTER TABLE documents RENAME COLUMN cleaned_sha256 TO of_no_version")
        db.execute("DROP TABLE grown_files")
        db.execute("DELETE FROM upgrades WHERE name = 'digests'")
        db.commit()
    status, said = verified(data.root)
    assert status == 0 and said.count("digest") > 5, said
    before = derived(data.root)
    night(data, DOCUMENTS, 0, ("cleaning", "preparation"))
    after = derived(data.root)
    assert before.pop("processed/meta.json") != after.pop("processed/meta.json") and before == after
    for kind in ("cleaned text", "train.bin", "dedup index", "ledger", "published model"):
        assert verified(data.root)[0] == 0
        path = one_of(data, kind)
        whole = path.read_bytes()
        flip(path, random.Random(kind))
        assert verified(data.root)[0] == 1, kind
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("processed/meta.json", '{"format": 1, "dtype": 2, "separator": [], "train_tokens": "many"}'),
        ("models/anchor.json", '{"format": 1, "step": "x", "now": {"windows": 1}, "before": []}'),
        ("checkpoints/chunk.json", '{"start_step": "x", "recipe": 3}'),
        ("raw/.journal.jsonl", '{"seq": {}}\n'),
    ],
)
def test_wrong_types_end_in_no_traceback_and_in_no_lasting_trouble(data: Layout, name: str, content: str) -> None:
    path = data.root / name
    path.write_text(content)
    assert verified(data.root)[0] == 1
    assert night(data, DOCUMENTS, 1).outcome == "done"
    assert verified(data.root)[0] == 0


def test_a_journal_that_lost_its_end_doubles_nothing(data: Layout) -> None:
    journal = data.root / "raw" / ".journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-700])
    ledger = data.ledger.read_bytes()
    ledger_recover(data)
    assert data.ledger.read_bytes() == ledger


def test_an_impossible_ledger_line_is_named(data: Layout) -> None:
    lines = data.ledger.read_text().splitlines(keepends=True)
    data.ledger.write_text("".join([*lines[:-1], lines[-1].replace('"bytes": ', '"bytes": -')]))
    status, said = verified(data.root)
    assert status == 1 and "ledger.jsonl has a line that is none" in said
