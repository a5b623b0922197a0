"""What a model knows of what was forgotten is written on it, and `--retrain` goes back to before it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.forget import forget
from model.checkpoints.checkpoint import load_checkpoint
from model.checkpoints.resume import new_chunk, save_chunk
from model.contracts.erasure_marks import ErasedDocument, mark, may_have_seen
from model.contracts.job import pending_chunk
from model.publishing.hf_export import published
from model.train_chunk import train
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.records import Document
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import TrainSettings
from tasks.forget.erasure import nowhere_else
from tasks.forget.request import Request, Result
from tasks.raw.ledger import read_entries
from tasks.report.stats import as_text, collect_stats
from tasks.tokenize.token_files import read_manifest
from tasks.train_chunk.job import make_job
from tests.support.corpora import document
from tests.support.growth import grow, settings

CHOSEN = replace(
    settings(freeze_bytes=5_000),
    train=TrainSettings(
        n_layer=1,
        n_head=2,
        n_kv_head=2,
        n_embd=32,
        block_size=32,
        batch_size=2,
        steps=4,
        decay_fraction=0.0,
        dtype="float32",
        compile="off",
        threads=1,
        evaluate_tokens=1000,
    ),
)
STEPS = CHOSEN.train.steps


def pages(host: str, first: int, count: int) -> list[Document]:
    return [document(seed, url=f"https://{host}/{seed}.html") for seed in range(first, first + count)]


def night(layout: Layout, documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Grow, then train a chunk; what the trainer said."""
    grow(layout, documents, CHOSEN)
    meta = read_manifest(layout)
    assert meta is not None
    said: list[dict[str, Any]] = []
    train(make_job(layout, meta, False, CHOSEN.train)[0], said.append)
    return said


def ask(layout: Layout, **given: Any) -> Result:
    return forget(Request(**given), CHOSEN, layout, Silent(), nowhere_else)


def marks_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()).get("forgotten") or {}
    return found


def checkpoint_marks(layout: Layout) -> dict[int, list[int]]:
    folders = {int(path.name.removeprefix("step_")): path for path in layout.checkpoints.glob("step_*")}
    return {step: marks_of(folders[step] / "metadata.json").get("training", []) for step in sorted(folders)}


def model_marks(layout: Layout, split: str = "training") -> dict[int, list[int]]:
    folders = {int(path.name): path for path in layout.models.glob("*") if path.name.isdecimal()}
    return {step: marks_of(folders[step] / "miniature_memory.json").get(split, []) for step in sorted(folders)}


def learned(layout: Layout, host: str) -> list[int]:
    """The training documents of a host, by their numbers."""
    entries = (entry for entry, _ in read_entries(layout.ledger))
    return [entry.seq for entry in entries if entry.site == host and entry.split == "train"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights; the second brought what will go."""
    layout = find_data_directory(tmp_path_factory.mktemp("trained"))
    night(layout, pages("stays.example", 0, 30))
    night(layout, pages("gone.example", 100, 6))
    night(layout, pages("later.example", 200, 6))
    return layout.root


@pytest.fixture
def layout(trained: Path, tmp_path: Path) -> Layout:
    shutil.copytree(trained, tmp_path / "data", symlinks=True)
    return find_data_directory(tmp_path / "data")


def test_checkpoints_and_models_that_know_it_say_so_and_so_do_their_heirs(layout: Layout) -> None:
    gone = learned(layout, "gone.example")
    assert gone
    result = ask(layout, domain="gone.example")
    assert checkpoint_marks(layout) == {0: [], 4: [], 8: gone, 12: gone}
    assert {step: found for step, found in model_marks(layout).items() if found} == {8: gone, 12: gone}
    assert not (layout.models / "4" / "README.md").exists()
    assert f"trained on {len(gone)} document(s)" in (layout.models / "latest" / "README.md").read_text()
    assert any("checkpoints of step 8, 12" in message for message in result.messages)
    stats = collect_stats(layout)
    assert stats["model"]["forgotten"]["training"] == len(gone) and "--retrain" in as_text(stats)
    for folder in layout.checkpoints.glob("step_*"):
        load_checkpoint(folder)  # its digest is still right

    said = night(layout, pages("new.example", 300, 4))
    assert said[-1]["step"] == 16 and checkpoint_marks(layout)[16] == gone
    if said[-1]["published"]:
        assert model_marks(layout)[16] == gone and (layout.models / "16" / "README.md").exists()


def test_retrain_goes_back_to_before_it_and_drops_the_chunk_that_was_cut(layout: Layout) -> None:
    meta = read_manifest(layout)
    assert meta is not None
    job = make_job(layout, meta, False, CHOSEN.train)[0]
    save_chunk(job, new_chunk(job, 12, 1.0, False, 1))
    result = ask(layout, domain="gone.example", retrain=True)
    assert max(checkpoint_marks(layout)) == 4 and not any(checkpoint_marks(layout).values())
    assert list(model_marks(layout)) == [4]
    served = published(layout.models)
    assert served is not None and served["step"] == 4
    assert any("goes back to step 4" in message for message in result.messages)
    said = night(layout, [])
    assert [event for event in said if event["event"] == "dropped"] and pending_chunk(layout.checkpoints) is None
    assert said[-1]["step"] == 4 + STEPS and not any(checkpoint_marks(layout).values())


def test_retrain_starts_anew_where_no_checkpoint_is_older(layout: Layout) -> None:
    result = ask(layout, url="https://stays.example/2.html", retrain=True)
    assert checkpoint_marks(layout) == {} and model_marks(layout) == {} and published(layout.models) is None
    assert any("starts anew" in message for message in result.messages)
    said = night(layout, [])
    assert any(event["event"] == "lineage" for event in said) and said[-1]["step"] == STEPS


def test_retrain_may_be_decided_later(layout: Layout) -> None:
    ask(layout, domain="gone.example")
    night(layout, [])
    result = ask(layout, retrain=True)
    assert max(checkpoint_marks(layout)) == 4 and model_marks(layout) == {}, "the model of step 4 was pruned before"
    assert any("goes back to step 4" in message for message in result.messages)
    again = ask(layout, retrain=True)
    assert any("nothing to go back from" in message for message in again.messages)


def test_a_held_out_document_marks_what_was_scored_with_it_and_no_checkpoint(layout: Layout) -> None:
    seq = next(entry.seq for entry, _ in read_entries(layout.ledger) if entry.split == "validation")
    result = ask(layout, seq=seq, retrain=True)
    assert not any(checkpoint_marks(layout).values()) and max(checkpoint_marks(layout)) == 12
    assert set(map(tuple, model_marks(layout, "validation").values())) == {(seq,)}
    assert not any(model_marks(layout).values())
    assert "was not trained on" in (layout.models / "latest" / "README.md").read_text()
    assert any("nothing to go back from" in message for message in result.messages)


def test_a_damaged_checkpoint_is_not_made_whole_by_its_mark(layout: Layout) -> None:
    path = layout.checkpoints / "step_12" / "metadata.json"
    damaged = path.read_text().replace('"seconds_trained"', '"seconds_trained_"')
    path.write_text(damaged)
    ask(layout, domain="gone.example")
    assert path.read_text() == damaged
    said = night(layout, [])
    assert [event["name"] for event in said if event["event"] == "damaged"] == ["step_12"]


def test_what_a_checkpoint_knows() -> None:
    def made(documents: int, rules: str = "r", former: int = 0) -> dict[str, Any]:
        return {"documents": documents, "rules": rules, "former_documents": former}

    kept, dropped, unsettled = (
        ErasedDocument(5, "train", True),
        ErasedDocument(5, "train", False),
        ErasedDocument(5, "train", None),
    )
    assert may_have_seen(made(6), kept, "r") and not may_have_seen(made(5), kept, "r")
    assert may_have_seen({}, kept, "r"), "made before checkpoints said so: in doubt it knows"
    assert not may_have_seen(made(6), dropped, "r")
    assert may_have_seen(made(6, rules="older"), dropped, "r") and may_have_seen(made(6, former=6), dropped, "r")
    assert may_have_seen(made(6), unsettled, "r") and not may_have_seen(made(5), unsettled, "r")


def test_marking_twice_counts_once(layout: Layout) -> None:
    lost = [ErasedDocument(seq, "train", True) for seq in learned(layout, "gone.example")]
    first = mark(layout.checkpoints, layout.models, lost, "r", "2026-11-22")
    before = checkpoint_marks(layout)
    assert mark(layout.checkpoints, layout.models, lost, "r", "2026-11-22") == first
    assert checkpoint_marks(layout) == before
