"""What the night hears of training, and what it keeps of it: report, run state, stats."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.job import TrainJob
from tasks.errors import TrainingError
from tasks.layout import Layout, find_data_directory
from tasks.lock import writer_lock
from tasks.run_record import RunRecord, Silent
from tasks.stats import as_text, collect_stats, model_numbers
from tasks.train_chunk import describe, train_chunk
from tests.unit.test_model_spikes import too_hot
from tests.unit.test_model_training import job

__all__ = ["job"]  # a fixture


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


def night(job: TrainJob, layout: Layout) -> RunRecord:
    """One chunk as the flow runs it; its record, even where it fails."""
    here = replace(job, checkpoints_dir=layout.checkpoints, models_dir=layout.models)
    record = RunRecord("test", Silent())
    with writer_lock(layout.lock, "test") as handle, record.stage("train-chunk"):
        try:
            record.training = train_chunk(here, layout, handle, lambda event: describe(event, record))
        except TrainingError as error:
            record.outcome = f"failed: {error}"
    return record


def test_a_fall_fails_the_night_is_counted_and_kept(job: TrainJob, layout: Layout) -> None:
    record = night(too_hot(job), layout)
    assert record.outcome.startswith("failed: the loss became") or "norm became" in record.outcome
    assert "goes on from the checkpoint of step 0 with the text in another order" in record.outcome
    assert record.as_dict()["stages"]["train-chunk"]["counts"] == {"fell_back": 1}
    assert night(job, layout).training["step"] == 20
    assert model_numbers(layout)["falls"] == 1 and model_numbers(layout)["steps_skipped"] == 0
    assert "0 steps left out as spikes, 1 falls back to an earlier checkpoint" in as_text(collect_stats(layout))


def test_spikes_are_counted_and_the_first_few_are_said() -> None:
    record = RunRecord("test", Silent())
    for step in range(9):
        describe({"event": "spike", "step": step, "loss": 9.1, "what": "loss", "value": 9.1, "limit": 4.25}, record)
    assert record.as_dict()["stages"]["train-chunk"]["counts"] == {"steps_skipped": 9}
    assert record.messages[0] == "step 0 is left out: its loss of 9.1 nats/token is a spike, above 4.25"
    assert len(record.messages) == 3
