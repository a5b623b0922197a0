"""What the night hears of training, and what it keeps of it: report, run state, stats."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.job import TrainJob
from tasks.durable import write_json
from tasks.errors import TrainingError
from tasks.layout import Layout, find_data_directory
from tasks.lock import writer_lock
from tasks.plots import draw_nights
from tasks.report import as_markdown
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


def test_what_is_said_of_the_anchor_set_and_of_the_gate() -> None:
    record = RunRecord("test", Silent())
    drawn = {"event": "anchor", "version": 2, "reason": "the held-out text has doubled", "windows": 128}
    describe(drawn | {"tokens": 32768, "val_tokens": 450000}, record)
    kept = {"event": "kept", "step": 20, "difference": 0.0213, "tolerance": 0.008}
    describe(kept | {"against": "served"}, record)
    describe(kept | {"against": "best"}, record)
    assert record.messages == [
        "the anchor set is drawn (version 2, 32,768 of 450,000 held-out tokens): the held-out text has doubled",
        "the published model of step 20 stays: on the anchor set the new one costs 0.0213 bits/byte more than it, "
        "above the noise of 0.0080",
        "the published model of step 20 stays: on the anchor set the new one costs 0.0213 bits/byte more than the best "
        "one served so far, above the noise of 0.0080",
    ]


def test_forgetting_is_in_the_record_the_report_and_the_picture(job: TrainJob, layout: Layout) -> None:
    """A second night of other text: what the first night's held-out text costs is measured on the same text."""
    first = replace(job, val_tokens=1000, decay_fraction=0.0)
    one, two = night(first, layout), night(replace(first, val_tokens=2000), layout)
    scores = [record.training["oldest_bits_per_byte"] for record in (one, two)]
    assert one.training["bits_per_byte"] == scores[0]  # on the first night it is all there is
    assert two.training["bits_per_byte"] != scores[1]
    assert two.training["oldest_bits_per_byte_best"] == min(scores)
    assert model_numbers(layout)["oldest_bits_per_byte"] == scores[1]
    worse = two.training | {"oldest_bits_per_byte": 1.01 * min(scores)}
    for training, said in ((worse, f"1.0% above its best ({min(scores):.3f})"), (one.training, "as low as ever")):
        two.training = training
        text = as_markdown(two.as_dict())
        assert "held-out text of the first night" in text and said in text and "anchor set (version" in text
    for record, when in ((one, "1"), (two, "2")):
        folder = layout.reports / when
        folder.mkdir()
        write_json(folder / "report.json", record.as_dict() | {"documents": {"kept": 3}})
    assert draw_nights(layout, layout.reports / "nights.png")


def test_spikes_are_counted_and_the_first_few_are_said() -> None:
    record = RunRecord("test", Silent())
    for step in range(9):
        describe({"event": "spike", "step": step, "loss": 9.1, "what": "loss", "value": 9.1, "limit": 4.25}, record)
    assert record.as_dict()["stages"]["train-chunk"]["counts"] == {"steps_skipped": 9}
    assert record.messages[0] == "step 0 is left out: its loss of 9.1 nats/token is a spike, above 4.25"
    assert len(record.messages) == 3
