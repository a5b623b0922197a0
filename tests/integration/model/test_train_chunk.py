"""The trainer as a child process: killed and resumed bit for bit (P5), falling, refused, and heard by the night."""

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.checkpoints.divergence import data_order, read_rollbacks
from model.contracts.job import TrainJob, pending_chunk
from model.data.digests import record_text
from model.train_chunk import train
from model.training import numerics
from model.training.compiler import has_compiler
from tasks.contracts.errors import TrainingError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.run_record import RunRecord, Silent
from tasks.report.night_plots import draw_nights
from tasks.report.report import as_markdown
from tasks.report.stats import as_text, collect_stats, model_numbers
from tasks.storage.atomic_files import write_json
from tasks.storage.run_lock import writer_lock
from tasks.train_chunk.events import describe
from tasks.train_chunk.stage import train_chunk
from tests.unit.model.test_train_chunk import child, fresh, job, of, placed, run, saved_bytes, wait_for
from tests.unit.model.training.test_loss_spikes import spiky, steps_into_the_noise, too_hot

__all__ = ["fresh", "job", "spiky"]  # fixtures


def test_killed_and_resumed_equals_undisturbed_bit_for_bit(job: TrainJob, tmp_path: Path) -> None:
    """P5. A SIGKILL in mid-chunk, then a SIGTERM, then to the end, against one run without either."""
    steady = replace(placed(job, tmp_path / "steady"), steps=200, checkpoint_every_seconds=3600.0)
    cut = replace(placed(job, tmp_path / "cut"), steps=200, checkpoint_every_seconds=0.2)
    with child(cut) as process:
        wait_for(process, lambda event: event["event"] == "checkpoint" and event["step"] > 0)
        time.sleep(0.05)  # so that steps after the checkpoint are lost, and their rows of the curve too
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert pending_chunk(cut.checkpoints_dir) is not None
    with child(cut) as process:
        start = wait_for(process, lambda event: event["event"] == "start")
        assert start["resumed_chunk"] and 0 < start["step"] < 200 and start["inexact"] == []
        wait_for(process, lambda event: event["event"] == "step")
        process.send_signal(signal.SIGTERM)
        stopped = wait_for(process, lambda event: event["event"] == "stopped")
        assert stopped["signal"] == "SIGTERM" and process.wait() == 128 + signal.SIGTERM
    # The rest of the cut chunk uses its own recipe and lengths, whatever the job says by now.
    finished = of(run(replace(cut, steps=7, seed=9, batch_size=2, train_tokens=100, val_tokens=50)), "done")[0]
    assert finished["step"] == 200 and 0 < finished["steps_done"] < 200
    assert pending_chunk(cut.checkpoints_dir) is None
    run(steady)
    assert saved_bytes(cut, 200) == saved_bytes(steady, 200)


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_compiled_training_goes_on_bit_for_bit(job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5 with the compiled network and, where the processor has AMX, with our own kernels, on two threads."""

    class Killed(BaseException):
        pass

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "checkpoint" and event["step"] >= 15:
            raise Killed

    monkeypatch.setattr(numerics, "WORTH_COMPILING_SECONDS", 0.0)
    compiled = replace(job, steps=40, n_embd=64, dtype="bfloat16", compile="auto", threads=2)
    steady = replace(placed(compiled, tmp_path / "steady"), checkpoint_every_seconds=3600.0)
    cut = replace(placed(compiled, tmp_path / "cut"), checkpoint_every_seconds=0.001)
    with pytest.raises(Killed):
        train(cut, kill)
    events = run(cut)
    start = of(events, "start")[0]
    assert start["resumed_chunk"] and 0 < start["step"] < 40 and start["inexact"] == []
    assert of(events, "compile")[0]["ok"] and of(events, "done")[0]["step"] == 40
    run(steady)
    assert saved_bytes(cut, 40) == saved_bytes(steady, 40)


def test_nothing_to_train_on_is_one_clear_event(fresh: TrainJob) -> None:
    with child(replace(fresh, train_tokens=32)) as process:
        error = wait_for(process, lambda event: event["event"] == "error")
        assert "nothing to train on yet: 32 tokens, 33 needed" in error["message"] and process.wait() == 1


def test_what_was_read_of_each_cohort_outlasts_a_kill(job: TrainJob, tmp_path: Path) -> None:
    grown = replace(job, new_share=0.5)
    steady, cut = placed(grown, tmp_path / "steady"), placed(grown, tmp_path / "cut")
    first = job.train_tokens - 3000
    for one in (steady, cut):
        run(replace(one, train_tokens=first))
    events = run(replace(steady, steps=150, checkpoint_every_seconds=3600.0))
    left = 32 * (first // 32 - 80 + 3000 // 32)
    assert of(events, "start")[0]["unread_tokens"] == left
    with child(replace(cut, steps=150, checkpoint_every_seconds=0.1)) as process:
        wait_for(process, lambda event: event["event"] == "checkpoint" and event["step"] > 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    start = of(run(replace(cut, new_share=0.0)), "start")[0]
    assert 20 < start["step"] < 170 and start["unread_tokens"] < left
    assert saved_bytes(cut, 170) == saved_bytes(steady, 170)
    run(replace(cut, steps=1))
    for step in (170, 171):  # the plan goes on as long as nothing is new
        metadata = json.loads((cut.checkpoints_dir / f"step_{step}" / "metadata.json").read_text())
        cohorts = [(cohort["end"], cohort["read"]) for cohort in metadata["cohorts"]]
        assert metadata["first_step"] == 20 and cohorts == [(first, 80), (job.train_tokens, 0)]
    start = of(run(replace(cut, steps=1, batch_size=8)), "start")[0]
    metadata = json.loads((cut.checkpoints_dir / "step_172" / "metadata.json").read_text())
    assert metadata["first_step"] == 171 and sum(cohort["read"] for cohort in metadata["cohorts"]) == 171 * 4


def test_a_lineage_that_knew_no_cohorts_goes_on(fresh: TrainJob) -> None:
    run(fresh)
    path = fresh.checkpoints_dir / "step_20" / "metadata.json"
    metadata = json.loads(path.read_text())
    for name in ("cohorts", "new_share", "first_step"):
        del metadata[name]
    path.write_text(record_text(metadata))
    events = run(fresh)
    assert of(events, "damaged") == [] and of(events, "done")[0]["step"] == 40


def test_a_spike_is_left_out_counted_and_told_and_resumption_stays_exact(spiky: TrainJob, tmp_path: Path) -> None:
    steady = replace(placed(spiky, tmp_path / "steady"), checkpoint_every_seconds=3600.0)
    events = run(steady)
    spikes = {event["step"] for event in of(events, "spike")}
    assert spikes and spikes <= steps_into_the_noise(spiky)
    rows = [json.loads(row) for row in (steady.checkpoints_dir / "curve.jsonl").read_text().splitlines()]
    metadata = json.loads((steady.checkpoints_dir / "step_150" / "metadata.json").read_text())
    trunk = {step for step in spikes if step < 150}  # the branch met some of its own
    assert {row["step"] - 1 for row in rows if row.get("skipped")} == trunk and len(rows) == 150
    assert of(events, "done")[0]["steps_skipped"] == len(trunk)
    assert metadata["steps_skipped"] == len(trunk)
    assert metadata["tokens_trained"] == (150 - len(trunk)) * 4 * 32

    cut = replace(placed(spiky, tmp_path / "cut"), checkpoint_every_seconds=0.1)
    with child(cut) as process:
        wait_for(process, lambda event: event["event"] == "checkpoint" and event["step"] > 30)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 30 < of(run(cut), "start")[0]["step"] < 150
    assert saved_bytes(cut, 150) == saved_bytes(steady, 150)
    resumed = json.loads((cut.checkpoints_dir / "step_150" / "metadata.json").read_text())
    assert resumed["spikes"] == metadata["spikes"] and resumed["steps_skipped"] == metadata["steps_skipped"]


def test_a_fall_ends_the_chunk_and_the_next_goes_on_with_other_batches(fresh: TrainJob, tmp_path: Path) -> None:
    """Incident: without new documents the next night met the same batch, and failed the same way, every night."""
    from model.training.trainer import NotFinite

    run(fresh)
    served = (fresh.models_dir / "latest" / "model.safetensors").read_bytes()
    events: list[dict[str, Any]] = []
    with pytest.raises(NotFinite, match="next run goes on from the checkpoint of step 20"):
        run(too_hot(fresh), events)
    (fell,) = of(events, "fell_back")
    assert fell["back_to"] == 20 and fell["step"] > 20 and pending_chunk(fresh.checkpoints_dir) is None
    assert (fresh.models_dir / "latest" / "model.safetensors").read_bytes() == served
    falls = read_rollbacks(fresh.checkpoints_dir, [])
    assert [fall.back_to for fall in falls] == [20] and data_order(falls, 19) == 0 and data_order(falls, 20) == 1

    # From here a kill changes nothing, and the batches are others than without the fall.
    undisturbed, without = placed(fresh, tmp_path / "undisturbed"), placed(fresh, tmp_path / "without")
    for other in (undisturbed, without):
        shutil.copytree(fresh.checkpoints_dir.parent, other.checkpoints_dir.parent, symlinks=True)
    (without.checkpoints_dir / "falls.json").unlink()
    with child(replace(fresh, steps=200, checkpoint_every_seconds=0.1)) as process:
        wait_for(process, lambda event: event["event"] == "checkpoint" and event["step"] > 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (fresh.checkpoints_dir / "falls.json").unlink()  # the checkpoints know of it as well
    assert of(run(fresh), "start")[0]["step"] > 20
    run(replace(undisturbed, steps=200))
    run(replace(without, steps=200))
    assert saved_bytes(fresh, 220) == saved_bytes(undisturbed, 220)
    assert saved_bytes(fresh, 220)["model.safetensors"] != saved_bytes(without, 220)["model.safetensors"]


def test_fp16_trains_with_a_loss_scale_and_resumes_exactly(fresh: TrainJob, tmp_path: Path) -> None:
    """The code of a GPU without bf16, on the processor, which knows fp16 too."""
    half = replace(fresh, dtype="float16", steps=60)
    steady = replace(placed(half, tmp_path / "steady"), checkpoint_every_seconds=3600.0)
    done = of(run(steady), "done")[0]
    assert done["bits_per_byte"] < 0.95 * done["uniform_bits_per_byte"]
    cut = replace(half, checkpoint_every_seconds=0.01)
    with child(cut) as process:
        wait_for(process, lambda event: event["event"] == "checkpoint" and event["step"] > 0)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(cut)
    assert saved_bytes(cut, 60) == saved_bytes(steady, 60)
    metadata = json.loads((cut.checkpoints_dir / "step_60" / "metadata.json").read_text())
    assert metadata["loss_scale"]["value"] >= 1 and metadata["numerics"]["dtype"] == "float16"


def test_the_child_says_it_in_one_line(fresh: TrainJob) -> None:
    with child(too_hot(fresh)) as process:
        error = wait_for(process, lambda event: event["event"] == "error")
        assert error["kind"] == "not_finite" and process.wait() == 1
        assert "at step 1; the chunk ends here" in error["message"] and "step 0" in error["message"]


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
