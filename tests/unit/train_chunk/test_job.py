"""The one list of what decides a training run: `TrainJob`."""

from dataclasses import fields
from pathlib import Path

from model.contracts.job import TrainJob
from tasks.contracts.paths import find_data_directory
from tasks.contracts.settings import TrainSettings
from tasks.tokenize.token_files import Manifest
from tasks.train_chunk.job import make_job

RENAMED = {"checkpoint_seconds": "checkpoint_every_seconds"}


def test_each_setting_reaches_the_job(tmp_path: Path) -> None:
    """Incident: a setting had to be written into five lists, and one that was forgotten changed nothing."""
    meta = Manifest("g", "r", "t", 300, 5, 5, 1000, 100)
    settings = TrainSettings(batch_size=3, minutes=2.0, weight_decay=0.5, average_shares=(0.3,), prompts=("a", "b"))
    job, messages = make_job(find_data_directory(tmp_path), meta, True, settings)
    for one in fields(TrainSettings):
        assert getattr(job, RENAMED.get(one.name, one.name)) == getattr(settings, one.name), one.name
    assert (job.train_tokens, job.val_tokens, job.documents, job.rules) == (1000, 100, 5, "r") and messages == []


def test_what_a_chunk_keeps_is_written_in_the_order_of_the_fields() -> None:
    kept = [one.name for one in fields(TrainJob) if "recipe" in one.metadata]
    assert kept[:2] == ["steps", "minutes"] and kept[-1] == "compile" and len(kept) == 18
    assert all("recipe" in one.metadata for one in fields(TrainJob) if "checkpoint" in one.metadata)
