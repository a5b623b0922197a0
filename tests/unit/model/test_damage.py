"""Nothing damaged is trained on, published, or sampled from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoints.resume import new_chunk, save_chunk
from model.contracts.job import TrainJob, pending_chunk
from model.data.commit_record import TokensDamagedError
from model.data.digests import digests_from, record_text
from model.publishing.hf_export import load_published
from model.publishing.sample import load_decoder
from tests.unit.model.data.test_digests import flip
from tests.unit.model.test_train_chunk import fresh, job, of, run

__all__ = ["fresh", "job"]  # fixtures


def committed(job: TrainJob, directory: Path) -> TrainJob:
    """The same job over its own copy of the token files, which have a commit record with digests."""
    directory.mkdir(parents=True)
    digests = {}
    for name in ("train.bin", "val.bin"):
        shutil.copy(job.processed_dir / name, directory / name)
        digests[name] = digests_from(directory / name, 0, (directory / name).stat().st_size)
    record = {"train_tokens": job.train_tokens, "val_tokens": job.val_tokens, "digests": digests}
    (directory / "meta.json").write_text(record_text(record))
    return replace(job, processed_dir=directory)


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "meta.json"])
def test_damaged_token_files_are_neither_trained_on_nor_published_from(
    fresh: TrainJob, tmp_path: Path, name: str
) -> None:
    job = committed(fresh, tmp_path / "processed")
    flip(job.processed_dir / name, 60)
    with pytest.raises(TokensDamagedError, match=name):
        run(job)
    assert not (job.models_dir / "latest").exists()
    shutil.copy(committed(fresh, tmp_path / "again").processed_dir / name, job.processed_dir / name)
    assert of(run(job), "done")[0]["step"] == 20


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json", "miniature_memory.json"]
)
def test_a_damaged_published_model_is_not_opened_and_the_next_one_takes_its_place(fresh: TrainJob, name: str) -> None:
    run(fresh)
    latest = fresh.models_dir / "latest"
    flip(latest / name)
    for load in (load_decoder, load_published):
        with pytest.raises(ValueError, match="not a whole published model"):
            load(latest)
    events = run(fresh)
    assert of(events, "damaged") and of(events, "done")[0]["published"] and latest.resolve().name == "40"
    load_decoder(latest)


@pytest.mark.parametrize("damage", [lambda text: text.replace("20", "21", 1), lambda text: '{"start_step": "x"}'])
def test_a_damaged_chunk_is_dropped_and_said(fresh: TrainJob, damage: Callable[[str], str]) -> None:
    run(fresh)
    save_chunk(fresh, new_chunk(fresh, 20, 0.0, False, 1))
    path = fresh.checkpoints_dir / "chunk.json"
    path.write_text(damage(path.read_text()))
    assert pending_chunk(fresh.checkpoints_dir) is None
    assert of(run(fresh), "dropped")[0]["reason"] == "chunk.json is damaged"
