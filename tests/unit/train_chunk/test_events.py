"""What the night hears of training, and what it keeps of it: report, run state, stats."""

from tasks.contracts.run_record import RunRecord, Silent
from tasks.train_chunk.events import describe
from tests.unit.model.test_train_chunk import job

__all__ = ["job"]  # a fixture


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


def test_a_night_says_how_much_of_the_text_was_not_read_yet() -> None:
    numerics = {"dtype": "float32", "threads": 2, "compiled": False}
    start = {"event": "start", "parameters": 4.3e6, "train_tokens": 750_000, "numerics": numerics, "inexact": []}
    record = RunRecord("test", Silent())
    for step in (0, 1000):  # of a new lineage it goes without saying
        describe(start | {"step": step, "target_step": step + 1000, "unread_tokens": 230_016}, record)
    assert record.messages == [
        "training 4.3M parameters on 750,000 tokens, steps 0 to 1000 (float32, 2 threads, not compiled)",
        "training 4.3M parameters on 750,000 tokens (230,016 of them not read yet), steps 1000 to 2000 "
        "(float32, 2 threads, not compiled)",
    ]
    by_time = {"step": 0, "target_step": None, "minutes": 3.5}
    describe(start | by_time, record)
    assert "from step 0 on for 3.5 minutes (float32" in record.messages[-1]


def test_spikes_are_counted_and_the_first_few_are_said() -> None:
    record = RunRecord("test", Silent())
    for step in range(9):
        describe({"event": "spike", "step": step, "loss": 9.1, "what": "loss", "value": 9.1, "limit": 4.25}, record)
    assert record.as_dict()["stages"]["train-chunk"]["counts"] == {"steps_skipped": 9}
    assert record.messages[0] == "step 0 is left out: its loss of 9.1 nats/token is a spike, above 4.25"
    assert len(record.messages) == 3
