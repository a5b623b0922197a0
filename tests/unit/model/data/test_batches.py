"""Which tokens a step reads: pure functions, cohorts whose streams go on, whole epochs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.contracts.job import TrainJob
from model.data.batches import ROWS, Plan, read_batch
from model.data.cohorts import Cohort, moved, with_newest
from model.data.document_table import DOCUMENT, TABLE, read_documents
from model.data.shuffle import feistel_permutation
from model.data.tokens import open_tokens
from tests.unit.model.test_train_chunk import fresh, job, of, run

__all__ = ["fresh", "job"]  # fixtures

PINNED = [417, 3357, 705, 17]
PINNED_WITH_COHORTS = [1714, 4043, 3787, 2927]


def table(*lengths: int) -> NDArray[np.void]:
    rows = np.zeros(len(lengths), DOCUMENT)
    rows["seq"] = np.arange(len(lengths)) * 3
    rows["length"] = lengths
    rows["offset"] = np.cumsum(lengths) - lengths
    return rows


def plan(*lengths: int, **more: Any) -> Plan:
    """Documents of these lengths, in one cohort unless told otherwise."""
    cohorts = (Cohort("0", len(lengths), sum(lengths)),)
    values: dict[str, Any] = {"seed": 1, "batch_size": 4, "block_size": 16, "cohorts": cohorts}
    return Plan(**(values | {"documents": table(*lengths)} | more))


def inputs_of(one: Plan, steps: range) -> NDArray[np.int64]:
    """All places that are inputs in these steps, in their order."""
    return np.concatenate([one.token_positions(step)[:, :-1].ravel() for step in steps])


def firsts(one: Plan, step: int = 7, detour: int = 0) -> list[int]:
    places: list[int] = one.token_positions(step, detour)[:, 0].tolist()
    return places


ONE = (Cohort("g:5000:0", 3, 5000),)
TWO = (Cohort("0", 2, 2700, 100), Cohort("7", 3, 5000))


@pytest.mark.parametrize(
    ("more", "pinned"), [({"cohorts": ONE}, PINNED), ({"cohorts": TWO, "new_share": 0.3}, PINNED_WITH_COHORTS)]
)
def test_a_batch_is_a_pure_function(more: dict[str, Any], pinned: list[int]) -> None:
    def make(**other: Any) -> Plan:
        return plan(2000, 700, 2300, **more | other)

    one = make()
    assert firsts(one) == firsts(make()) == firsts(one)
    for step in range(400):  # through more than one epoch, and back
        one.token_positions(step)
    others = [firsts(make()), firsts(make(seed=2)), firsts(one, 8), firsts(one, 7, 1)]
    assert others[0] == firsts(one) and len(set(map(tuple, others))) == 4
    # Pinned: another generator would silently change every lineage on resume.
    assert firsts(one) == pinned


def test_targets_are_the_inputs_moved_by_one_and_uncommitted_ids_are_never_read(tmp_path: Path) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "train.bin")
    tokens = open_tokens(tmp_path / "train.bin", 60)
    inputs, targets = read_batch(tokens, plan(60, batch_size=64, block_size=8).token_positions(0))
    assert torch.equal((inputs + 1) % 60, targets) and inputs.shape == (64, 8) and int(targets.max()) < 60
    with pytest.raises(ValueError, match="rebuild"):
        open_tokens(tmp_path / "train.bin", 101)


# -- epochs ----------------------------------------------------------------------------------------------


def test_an_epoch_reads_every_token_once_and_the_next_in_another_order() -> None:
    lengths = (40, 1, 333, 17, 90, 5, 260, 54)  # 800 tokens: 50 windows of 16, 10 steps of 5
    one = plan(*lengths, batch_size=5)
    epochs = [np.concatenate([one.token_positions(step) for step in range(10 * e, 10 * e + 10)]) for e in range(3)]
    for places in epochs:
        assert sorted(places[:, :-1].ravel()) == list(range(800))
    assert len({tuple(places.ravel()) for places in epochs}) == 3


def test_documents_stay_whole_and_their_neighbours_change() -> None:
    one = plan(*[50] * 40, batch_size=8)
    pairs = set()
    for step in range(60):
        for row in one.token_positions(step):
            leaps = np.flatnonzero(np.diff(row) != 1)
            # A window leaves a document only at its end, and enters the next one at its beginning.
            assert all(row[leap] % 50 == 49 and row[leap + 1] % 50 == 0 for leap in leaps)
            pairs |= {(row[leap] // 50, row[leap + 1] // 50) for leap in leaps}
    assert len(pairs) > 60  # of 39 in ledger order


def test_a_tail_that_fills_no_window_is_another_one_each_epoch() -> None:
    one = plan(70, 39, batch_size=6)  # 109 tokens: 6 windows, 13 tokens over
    left_out = [tuple(sorted(set(range(109)) - set(one.token_positions(step)[:, :-1].ravel()))) for step in range(8)]
    assert {len(left) for left in left_out} == {13} and len(set(left_out)) > 4


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097])
def test_scramble_is_a_permutation(size: int) -> None:
    key = np.random.Philox(key=size).random_raw(4)
    scrambled = feistel_permutation(np.arange(size), size, key)
    assert sorted(scrambled) == list(range(size))
    if size > 100:
        neighbours = np.abs(np.diff(scrambled)) == 1
        assert neighbours.mean() < 0.02 and not np.array_equal(
            scrambled, feistel_permutation(np.arange(size), size, key + 1)
        )


# -- cohorts -------------------------------------------------------------------------------------------------


def grown(read: int = 0, **more: Any) -> Plan:
    """Three quarters of the text are old: 300 windows, of which so many were read, and 100 windows are new."""
    cohorts = (Cohort("0", 30, 4800, read), Cohort("50", 40, 6400))
    return plan(*[160] * 40, cohorts=cohorts, first_step=50, **more)


def test_windows_are_kept_for_the_newest_cohort_until_it_was_read_once() -> None:
    one = grown(new_share=0.5)
    places = inputs_of(one, range(50, 100))  # 200 windows, of which 100 are kept
    new = places[places >= 4800]
    assert len(new) / len(places) == pytest.approx(0.5 + 0.5 * 0.25, abs=0.05)
    assert len(set(new.tolist())) == 1600
    after = inputs_of(one, range(100, 200))
    assert (after >= 4800).mean() == pytest.approx(0.25, abs=0.06)
    without = inputs_of(grown(), range(50, 100))
    assert (without >= 4800).mean() == pytest.approx(0.25, abs=0.06)


def test_a_cohort_goes_on_where_it_stopped() -> None:
    """Two nights read each window of the old text once, in the order in which one night would have."""
    first = plan(*[160] * 30)
    known = inputs_of(first, range(50))
    (old,) = first.cohorts_at(50)
    assert old.read == 200 and first.unread_tokens(50) == 1600
    one = grown(read=200)
    places = inputs_of(one, range(50, 80))
    again = places[places < 4800]
    assert len(again) <= 1600 and not set(known.tolist()) & set(again.tolist())
    alone = inputs_of(first, range(50, 80))
    assert again.tolist() == alone[: len(again)].tolist()
    counts = {cohort.name: cohort.read for cohort in one.cohorts_at(80)}
    assert counts == {"0": 200 + len(again) // 16, "50": (len(places) - len(again)) // 16}


def test_rows_are_counted_over_blocks_of_them() -> None:
    one = grown(new_share=0.5, batch_size=1000)
    steps = 2 * ROWS // 1000 + 5
    counted = np.zeros(2, dtype=np.int64)
    for step in range(50, 50 + steps):
        counted += np.bincount(one.token_positions(step)[:, 0] >= 4800, minlength=2)
    assert [cohort.read for cohort in one.cohorts_at(50 + steps)] == counted.tolist()
    assert np.array_equal(
        one.token_positions(60), grown(new_share=0.5, batch_size=1000).token_positions(60)
    )  # and back
    assert all(len(begun) <= 2 for begun in one._streams.values())  # epochs, after hundreds


def test_windows_are_kept_through_blocks_of_rows() -> None:
    cohorts = (Cohort("0", 1, 1_600_000), Cohort("9", 4, 2_240_000))  # 40,000 of 140,000 windows
    one = plan(1_600_000, 640_000, cohorts=cohorts, batch_size=1000, new_share=0.5)
    new = np.array([(one.token_positions(step)[:, 0] >= 1_600_000).mean() for step in range(2 * ROWS // 1000)])
    assert new[:80].mean() == pytest.approx(0.5 + 0.5 * 40 / 140, abs=0.01)  # 40,000 of 80,000 rows are kept
    assert new[80:].mean() == pytest.approx(40 / 140, abs=0.01)


def test_cohorts_of_a_single_document_are_parts_of_it() -> None:
    cohorts = (Cohort("0", 1, 3000), Cohort("9", 1, 3200), Cohort("12", 1, 4000))
    one = plan(5000, cohorts=cohorts, batch_size=1000, new_share=0.5)
    cohort_of = np.searchsorted([3000, 3200, 4000], one.token_positions(0), side="right")
    assert set(cohort_of.ravel()) == {0, 1, 2} and (cohort_of == cohort_of[:, :1]).all()


def test_few_new_documents_wait_for_a_window_and_lost_ones_leave_one_cohort() -> None:
    old = (Cohort("0", 30, 4800, 7),)
    assert with_newest(old, Cohort("9", 31, 4815), 16) == old
    assert with_newest(old, Cohort("9", 31, 4816), 16) == (*old, Cohort("9", 31, 4816))
    assert with_newest((), Cohort("9", 31, 4816), 16) == (Cohort("9", 31, 4816),)
    assert with_newest((Cohort("0", 3, 15), Cohort("1", 4, 20)), Cohort("9", 4, 20), 16) == (Cohort("9", 4, 20),)
    less = with_newest((*old, Cohort("9", 31, 4900)), Cohort("11", 31, 4850), 16)  # an older copy of the data
    assert [cohort.end for cohort in less] == [4800, 4850]
    rows = table(100, 200, 300)  # numbers 0, 3, 6
    assert [cohort.end for cohort in moved((Cohort("0", 1, 5000), Cohort("1", 6, 7000)), rows)] == [100, 300]
    assert moved((Cohort("0", 0, 5000),), rows) == ()


def test_in_another_generation_the_ledger_says_what_was_read(fresh: TrainJob, tmp_path: Path) -> None:
    """A rebuild moves the documents in the file, and takes some away."""
    rows = table(fresh.train_tokens - 900, 400, 500)
    rows["seq"] = (5, 39, 41)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, kept in ((one, slice(0, 1)), (two, slice(1, 3))):
        folder.mkdir()
        for name in ("train.bin", "val.bin"):
            (folder / name).write_bytes((fresh.processed_dir / name).read_bytes())
        rows[kept].tofile(folder / TABLE)
    run(replace(fresh, processed_dir=one, train_tokens=fresh.train_tokens - 900, steps=2, documents=40))
    rows["offset"] = (0, 0, 400)
    rows[1:].tofile(two / TABLE)
    after = replace(fresh, processed_dir=two, train_tokens=900, generation="two", steps=2, documents=42)
    events = run(after)
    assert of(events, "start")[0]["unread_tokens"] == 32 * (400 // 32 - 8 + 500 // 32)
    metadata = json.loads((fresh.checkpoints_dir / "step_4" / "metadata.json").read_text())
    assert [(c["name"], c["end"], c["read"]) for c in metadata["cohorts"]] == [("0", 400, 8), ("2", 900, 0)]


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
