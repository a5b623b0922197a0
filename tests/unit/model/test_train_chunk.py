"""The trainer as the night uses it: a child process that is killed, resumed, refused and judged."""

import contextlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.contracts.job import TrainJob, load_job, pending_chunk
from model.data.tokenizer import encode_documents, train_tokenizer

Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """A tiny job over real text; nothing is trained yet."""
    directory = tmp_path_factory.mktemp("data")
    text = inspect.getsource(subprocess) + inspect.getsource(inspect)
    tokenizer = train_tokenizer([text], 400)
    tokenizer.save(str(directory / "tokenizer.json"))
    (ids,) = encode_documents(tokenizer, [text])
    ids[2000:4000].astype("<u2").tofile(directory / "val.bin")
    np.concatenate([ids[4000:], ids[:2000]]).astype("<u2").tofile(directory / "train.bin")
    return TrainJob(
        processed_dir=directory,
        checkpoints_dir=directory / "checkpoints",
        models_dir=directory / "models",
        tokenizer_path=directory / "tokenizer.json",
        tokenizer_provisional=True,
        generation="one",
        train_tokens=len(ids) - 2000,
        val_tokens=2000,
        block_size=32,
        batch_size=4,
        n_layer=2,
        n_head=2,
        n_embd=32,
        steps=20,
        decay_fraction=0.2,
        hold_steps=30,
        warmup_steps=3,
        dtype="float32",
        compile="off",
        threads=1,
        sample_tokens=5,
        prompts=("import",),
    )


@pytest.fixture
def fresh(job: TrainJob, tmp_path: Path) -> TrainJob:
    return placed(job, tmp_path / "fresh")


def placed(job: TrainJob, directory: Path) -> TrainJob:
    return replace(job, checkpoints_dir=directory / "checkpoints", models_dir=directory / "models")


def run(job: TrainJob, events: Events | None = None) -> Events:
    """Train in this process, where importing torch has been paid for; `events` keeps those before a failure."""
    from model.train_chunk import train

    events = [] if events is None else events
    train(job, events.append)
    return events


def of(events: Events, kind: str) -> Events:
    return [event for event in events if event["event"] == kind]


@contextlib.contextmanager
def child(job: TrainJob) -> Iterator[subprocess.Popen[str]]:
    path = job.checkpoints_dir.parent / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(job.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "model.train_chunk", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if wanted(event):
            return event
    raise AssertionError("the child ended first")


def saved_bytes(job: TrainJob, step: int) -> dict[str, bytes]:
    """All that must not depend on kills: the checkpoint's tensors, the curve and the published weights."""
    folder = job.checkpoints_dir / f"step_{step}"
    return {
        **{path.name: path.read_bytes() for path in folder.glob("*.safetensors")},
        "curve": (job.checkpoints_dir / "curve.jsonl").read_bytes(),
        "published": (job.models_dir / "latest" / "model.safetensors").read_bytes(),
    }


def test_two_chunks_equal_one_on_the_trunk(job: TrainJob, tmp_path: Path) -> None:
    """The decay branch, the evaluation and the sample leave no trace in the trunk."""
    twice, once = placed(job, tmp_path / "twice"), replace(placed(job, tmp_path / "once"), steps=40)
    run(twice)
    events = run(twice)
    run(once)
    two, one = saved_bytes(twice, 40), saved_bytes(once, 40)
    del two["published"], one["published"]  # a branch of another length
    assert two == one
    done = of(events, "done")[0]
    assert done["step"] == 40 and done["steps_done"] == 20
    assert done["bits_per_byte"] < done["bits_per_byte_before"] < done["uniform_bits_per_byte"]
    assert done["samples"][0]["text"].startswith("import") and done["peak_rss_mb"] > 10


def test_a_kill_in_the_branch_redoes_the_publication_alone(fresh: TrainJob, tmp_path: Path) -> None:
    from model.training.trainer import Trainer

    class Killed(BaseException):
        pass

    def killed(self: object, steps: int) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "cooldown", killed)
        run(fresh)
    assert not (fresh.models_dir / "latest").exists()
    chunk = (fresh.checkpoints_dir / "chunk.json").read_text()
    events = run(fresh)
    assert of(events, "done")[0]["steps_done"] == 0 and len(of(events, "published")) == 1
    # Killed once more after the swap, before the chunk was struck off: nothing is published twice.
    before = saved_bytes(fresh, 20)
    (fresh.checkpoints_dir / "chunk.json").write_text(chunk)
    events = run(fresh)
    assert not of(events, "published") and of(events, "done")[0]["published"] and saved_bytes(fresh, 20) == before
    undisturbed = placed(fresh, tmp_path / "undisturbed")
    run(undisturbed)
    assert saved_bytes(undisturbed, 20) == before


def test_a_worse_model_is_not_published(fresh: TrainJob) -> None:
    """P9. A rate that ruins the weights must not reach whoever reads `latest`."""
    run(fresh)
    served = os.readlink(fresh.models_dir / "latest")
    events = run(replace(fresh, muon_learning_rate=5.0, adamw_learning_rate=2.0, warmup_steps=0, steps=5))
    kept, done = of(events, "kept")[0], of(events, "done")[0]
    assert kept["rejected_anchor_bits_per_byte"] > kept["anchor_bits_per_byte"] + kept["tolerance"]
    assert os.readlink(fresh.models_dir / "latest") == served and not done["published"]
    assert done["bits_per_byte"] == done["bits_per_byte_before"]
    assert done["oldest_bits_per_byte"] == done["oldest_bits_per_byte_best"]
    anchor = json.loads((fresh.models_dir / "anchor.json").read_text())
    assert len(anchor["now"]["scores"]) == 2 and anchor["now"]["best_step"] == 20 and anchor["now"]["version"] == 1
    assert pending_chunk(fresh.checkpoints_dir) is None


def test_a_damaged_checkpoint_costs_its_steps_and_is_said(fresh: TrainJob) -> None:
    run(fresh)
    path = fresh.checkpoints_dir / "step_20" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    events = run(fresh)
    assert of(events, "damaged")[0]["name"] == "step_20" and of(events, "start")[0]["step"] == 0
    assert of(events, "done")[0]["step"] == 20
    rows = [json.loads(row)["step"] for row in (fresh.checkpoints_dir / "curve.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 21))


def test_a_provisional_tokenizer_may_be_replaced_and_a_frozen_one_may_not(fresh: TrainJob, tmp_path: Path) -> None:
    run(fresh)
    other = tmp_path / "other.json"
    train_tokenizer(["other text " * 9], 400).save(str(other))
    after = replace(fresh, tokenizer_path=other, tokenizer_provisional=False, generation="two")
    # The ids of the bins mean nothing to it, but it reads them: all are below its vocabulary's size.
    ids = np.minimum(np.fromfile(fresh.processed_dir / "train.bin", dtype="<u2"), 200)
    ids.tofile(tmp_path / "train.bin")
    ids[:2000].tofile(tmp_path / "val.bin")
    after = replace(after, processed_dir=tmp_path)
    events = run(after)
    assert "provisional" in of(events, "lineage")[0]["reason"] and of(events, "done")[0]["step"] == 20
    assert of(events, "done")[0]["bits_per_byte_before"] is None
    shutil.copyfile(fresh.tokenizer_path, other)
    with pytest.raises(ValueError, match="frozen"):
        run(after)
    assert (after.checkpoints_dir / "step_20").is_dir()


def test_a_chunk_of_another_generation_is_dropped(fresh: TrainJob) -> None:
    run(fresh)
    from model.checkpoints.resume import new_chunk, save_chunk

    save_chunk(fresh, new_chunk(fresh, 20, 0.0, False, 1))
    events = run(replace(fresh, generation="after forget", steps=3))
    assert "generation" in of(events, "dropped")[0]["reason"]
    assert of(events, "start")[0]["resumed_chunk"] is False and of(events, "done")[0]["step"] == 23


def test_another_shape_is_refused_by_name(fresh: TrainJob) -> None:
    run(replace(fresh, steps=1))
    with pytest.raises(ValueError, match=r"n_embd is 64, but the checkpoints have 32: restore the setting"):
        run(replace(fresh, n_embd=64))


@pytest.mark.parametrize("steps", [10**6, 0])
def test_minutes_end_a_chunk_early(fresh: TrainJob, steps: int) -> None:
    events = run(replace(fresh, steps=steps, minutes=0.01))
    done = of(events, "done")[0]
    assert of(events, "start")[0]["target_step"] == (steps or None)
    assert 0 < of(events, "step")[0]["target_step"] < 10**5  # what the minutes are likely to allow
    assert 0 < done["steps_done"] < 10**5 and done["published"]
    assert done["branch_steps"] == round(0.2 * done["steps_done"])


def test_without_validation_text_it_publishes_and_says_so(fresh: TrainJob) -> None:
    events = run(replace(fresh, val_tokens=0, steps=2))
    assert "unjudged" in of(events, "published")[0]["note"]
    assert of(events, "done")[0]["bits_per_byte"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("decay_fraction", 0.5), ("dtype", "fp8"), ("compile", "on"), ("generation", ""),
        ("minutes", -1), ("batch_size", 1.5), ("n_head", 3), ("surprise", 1),
        ("muon_learning_rate", float("nan")),
    ],
)  # fmt: skip
def test_a_bad_job_names_the_file_and_the_field(job: TrainJob, tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(json.loads(job.to_json()) | {field: value}))
    with pytest.raises(ValueError, match=rf"job\.json.*{field}"):
        load_job(path)


def test_a_job_survives_its_file(job: TrainJob, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(job.to_json())
    assert load_job(tmp_path / "job.json") == job


def test_a_chunk_whose_first_checkpoint_is_lost_is_not_stretched(fresh: TrainJob) -> None:
    """Finishing it from an older step would train the whole lineage again in one night."""
    from model.checkpoints.resume import new_chunk, save_chunk

    run(fresh)
    save_chunk(fresh, new_chunk(fresh, 20, 0.0, False, 1))
    (fresh.checkpoints_dir / "step_20" / "metadata.json").unlink()
    events = run(replace(fresh, steps=2))
    assert "from step 20 to 40" in of(events, "dropped")[0]["reason"]
    assert of(events, "done")[0]["step"] == 2
