"""Which tokens a step reads: pure functions, whole epochs, a floor for the newest documents."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.batches import MOST_PASSES, Plan, open_tokens, read_batch, scramble
from model.documents import DOCUMENT, TABLE, read_documents, tokens_before
from model.job import TrainJob
from tests.unit.test_model_training import fresh, job, of, run

__all__ = ["fresh", "job"]  # fixtures

PINNED = [675, 399, 2389, 888]
PINNED_IN_EPOCHS = [417, 3357, 705, 17]


def table(*lengths: int) -> NDArray[np.void]:
    rows = np.zeros(len(lengths), DOCUMENT)
    rows["seq"] = np.arange(len(lengths)) * 3
    rows["length"] = lengths
    rows["offset"] = np.cumsum(lengths) - lengths
    return rows


def plan(*lengths: int, **more: Any) -> Plan:
    values: dict[str, Any] = {"generation": "g", "seed": 1, "batch_size": 4, "block_size": 16}
    return Plan(**(values | {"documents": table(*lengths), "committed": sum(lengths)} | more))


def firsts(one: Plan, step: int = 7, detour: int = 0) -> list[int]:
    places: list[int] = one.places(step, detour)[:, 0].tolist()
    return places


@pytest.mark.parametrize(("order", "pinned"), [("windows", PINNED), ("documents", PINNED_IN_EPOCHS)])
def test_a_batch_is_a_pure_function(order: str, pinned: list[int]) -> None:
    def make(**more: Any) -> Plan:
        return plan(2000, 700, 2300, order=order, **more)

    one = make()
    assert firsts(one) == firsts(make()) == firsts(one)
    for step in range(400):  # through more than one epoch, and back
        one.places(step)
    others = [firsts(make()), firsts(make(generation="h")), firsts(make(seed=2)), firsts(one, 8), firsts(one, 7, 1)]
    assert others[0] == firsts(one) and len(set(map(tuple, others))) == 5
    # Pinned: another generator would silently change every lineage on resume.
    assert firsts(one) == pinned


def test_windows_reach_both_ends_and_pass_none() -> None:
    many = np.concatenate([plan(100, batch_size=8).places(step)[:, 0] for step in range(500)])
    assert many.min() == 0 and many.max() == 83
    assert set(firsts(plan(17, batch_size=8))) == {0}  # exactly one window fits


@pytest.mark.parametrize("order", ["windows", "documents"])
def test_targets_are_the_inputs_moved_by_one_and_uncommitted_ids_are_never_read(tmp_path: Path, order: str) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "train.bin")
    tokens = open_tokens(tmp_path / "train.bin", 60)
    inputs, targets = read_batch(tokens, plan(60, batch_size=64, block_size=8, order=order).places(0))
    assert torch.equal((inputs + 1) % 60, targets) and inputs.shape == (64, 8) and int(targets.max()) < 60
    with pytest.raises(ValueError, match="rebuild"):
        open_tokens(tmp_path / "train.bin", 101)


# -- epochs ----------------------------------------------------------------------------------------------


def test_an_epoch_reads_every_token_once_and_the_next_in_another_order() -> None:
    lengths = (40, 1, 333, 17, 90, 5, 260, 54)  # 800 tokens: 50 windows of 16, 10 steps of 5
    one = plan(*lengths, order="documents", batch_size=5)
    epochs = [np.concatenate([one.places(step) for step in range(10 * e, 10 * e + 10)]) for e in range(3)]
    for places in epochs:
        assert sorted(places[:, :-1].ravel()) == list(range(800))
    assert len({tuple(places.ravel()) for places in epochs}) == 3


def test_documents_stay_whole_and_their_neighbours_change() -> None:
    one = plan(*[50] * 40, order="documents", batch_size=8)
    pairs = set()
    for step in range(60):
        for row in one.places(step):
            leaps = np.flatnonzero(np.diff(row) != 1)
            # A window leaves a document only at its end, and enters the next one at its beginning.
            assert all(row[leap] % 50 == 49 and row[leap + 1] % 50 == 0 for leap in leaps)
            pairs |= {(row[leap] // 50, row[leap + 1] // 50) for leap in leaps}
    assert len(pairs) > 60  # of 39 in ledger order


def test_a_tail_that_fills_no_window_is_another_one_each_epoch() -> None:
    one = plan(70, 39, order="documents", batch_size=6)  # 109 tokens: 6 windows, 13 tokens over
    left_out = [tuple(sorted(set(range(109)) - set(one.places(step)[:, :-1].ravel()))) for step in range(8)]
    assert {len(left) for left in left_out} == {13} and len(set(left_out)) > 4


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097])
def test_scramble_is_a_permutation(size: int) -> None:
    key = np.random.Philox(key=size).random_raw(4)
    scrambled = scramble(np.arange(size), size, key)
    assert sorted(scrambled) == list(range(size))
    if size > 100:
        neighbours = np.abs(np.diff(scrambled)) == 1
        assert neighbours.mean() < 0.02 and not np.array_equal(scrambled, scramble(np.arange(size), size, key + 1))


# -- the newest documents --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["windows", "documents"])
def test_the_newest_documents_get_their_floor(order: str) -> None:
    one = plan(9000, 500, 500, order=order, new_share=0.3, new_from=9000, first_step=50)
    before = np.concatenate([one.places(step) for step in range(20, 50)])
    assert (before >= 9000).mean() < 0.2  # a tenth: they were not there yet, or not the newest
    new = [(one.places(step)[:, 0] >= 9000).sum() for step in range(50, 200)]
    assert sum(new) / (150 * 4) == pytest.approx(0.3, abs=0.04)
    forced = 4 * 150 * (0.3 - 0.1) / 0.9
    assert sum(new) >= int(forced)  # exactly so many by the floor, and chance brings more


def test_a_share_that_chance_brings_anyway_changes_nothing() -> None:
    without, with_floor = plan(500, 500), plan(500, 500, new_share=0.4, new_from=500)
    assert all(np.array_equal(without.places(step), with_floor.places(step)) for step in range(50))


@pytest.mark.parametrize("order", ["windows", "documents"])
def test_a_few_new_documents_do_not_fill_a_night(order: str) -> None:
    one = plan(9900, 100, order=order, new_share=0.5, new_from=9900, first_step=10)
    new = np.array([(one.places(step)[:, :-1] >= 9900).sum() for step in range(10, 400)])
    assert new[:10].sum() > 0.4 * 10 * 4 * 16
    assert new[20:].mean() < 0.03 * 4 * 16  # their natural hundredth
    assert new[:20].sum() <= 1.2 * MOST_PASSES * 100


def test_new_windows_hold_new_text_alone() -> None:
    one = plan(900, 60, 40, order="documents", new_share=0.9, new_from=900, batch_size=64)
    rows = [row for row in one.places(0) if (row >= 900).all()]
    assert len(rows) >= MOST_PASSES * 6  # 100 tokens hold 6 windows
    assert sorted(np.concatenate([row[:-1] for row in rows[:6]]) % 1000)[0] >= 900


def test_in_another_generation_the_ledger_says_what_is_new(fresh: TrainJob, tmp_path: Path) -> None:
    run(replace(fresh, steps=2, documents=40))
    lengths = (fresh.train_tokens - 500, 300, 200)
    rows = table(*lengths)
    rows["seq"] = (5, 39, 40)
    for name in ("train.bin", "val.bin"):
        (tmp_path / name).write_bytes((fresh.processed_dir / name).read_bytes())
    rows.tofile(tmp_path / TABLE)
    assert tokens_before(rows, 40) == fresh.train_tokens - 200
    after = replace(fresh, processed_dir=tmp_path, generation="two", steps=2, documents=41)
    assert of(run(after), "start")[0]["new_tokens"] == 200


def test_without_a_table_all_tokens_are_one_document(tmp_path: Path) -> None:
    assert [tuple(row) for row in read_documents(tmp_path, 0, 60)] == [(0, 0, 60, 0)]
    assert len(read_documents(tmp_path, 0, 0)) == 0
    rows = table(40, 20, 10)
    rows["split"][1] = 1
    rows["offset"] = (0, 0, 40)
    rows.tofile(tmp_path / TABLE)
    assert [int(row["length"]) for row in read_documents(tmp_path, 0, 50)] == [40, 10]
    assert [int(row["length"]) for row in read_documents(tmp_path, 0, 40)] == [40]  # a cut chunk's own length
    assert [int(row["length"]) for row in read_documents(tmp_path, 0, 45)] == [45]  # of other data
    assert [int(row["length"]) for row in read_documents(tmp_path, 1, 20)] == [20]
