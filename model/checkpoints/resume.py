"""Where a run begins: which checkpoint, which chunk, which cohorts, and whether the lineage goes on at all."""

from __future__ import annotations

from dataclasses import asdict, replace

from model.checkpoints.checkpoint import Checkpoint, load_newest_whole, remove_checkpoints
from model.contracts.atomic_files import write_atomically
from model.contracts.job import MOST_STEPS, Chunk, TrainJob, chunk_path, pending_chunk
from model.contracts.report import Report
from model.data.batches import Plan
from model.data.cohorts import Cohort, moved, with_newest
from model.data.digests import record_text
from model.data.document_table import TRAIN, read_documents
from model.network.config import GPTConfig
from model.publishing.hf_export import published, remove_models


def find_checkpoint(job: TrainJob, digest: str, config: GPTConfig, report: Report) -> Checkpoint | None:
    """Returns the checkpoint to go on from; None where a lineage starts, which is reported with its reason.

    Raises ValueError where the checkpoints belong to another frozen tokenizer or another shape.
    """
    checkpoint, damaged = load_newest_whole(job.checkpoints_dir)
    for one in damaged:
        report({"event": "damaged", **asdict(one)})
    if checkpoint is None:
        reason = "no checkpoint is whole" if damaged else "there is no checkpoint yet"
        old = published(job.models_dir)
        if old and old.get("provisional") and old.get("tokenizer_digest") != digest:
            remove_models(job.models_dir)  # the rest of a lineage whose end was cut
        report({"event": "lineage", "reason": reason})
        return None
    theirs = checkpoint.metadata["tokenizer_digest"]
    if theirs != digest:
        if not checkpoint.metadata["provisional"]:
            raise ValueError(
                f"{job.tokenizer_path} is not the tokenizer of the checkpoints (sha256 {digest[:12]}, theirs "
                f"{theirs[:12]}), and theirs is frozen: restore it, or move {job.checkpoints_dir} and "
                f"{job.models_dir} aside to start a new lineage"
            )
        remove_models(job.models_dir)  # the checkpoints last: they are the evidence that this has to be done
        remove_checkpoints(job.checkpoints_dir)
        reason = f"the provisional tokenizer was replaced; its model of step {checkpoint.step} is removed"
        report({"event": "lineage", "reason": reason})
        return None
    for name, value in asdict(config).items():
        if (before := checkpoint.metadata["config"][name]) != value:
            raise ValueError(
                f"{name} is {value}, but the checkpoints have {before}: restore the setting, or move "
                f"{job.checkpoints_dir} aside to start a new lineage"
            )
    return checkpoint


def with_cohorts(job: TrainJob, checkpoint: Checkpoint) -> TrainJob:
    """Returns the job with its cohorts: those of the checkpoint, with what was read of them by now, and what came
    since.

    As long as nothing came, and no setting that decides the batches is another, the checkpoint's own plan of them goes
    on: so it does not matter how the steps are cut into chunks.
    """
    before, rows = checkpoint.metadata, read_documents(job.processed_dir, TRAIN, job.train_tokens)
    whole = {"name": "0", "documents": before.get("documents", 0), "end": before["train_tokens"]}
    batches = {name: before[name] for name in job.kept_in_checkpoint("batches") if name in before}
    cohorts = tuple(Cohort(**values) for values in before.get("cohorts", [whole]))
    plan = Plan(rows, job.block_size, **batches | {"cohorts": cohorts})
    cohorts = plan.cohorts_at(checkpoint.step)
    if before["generation"] != job.generation:
        cohorts = moved(cohorts, rows)
    cohorts = with_newest(cohorts, Cohort(str(checkpoint.step), job.documents, job.train_tokens), job.block_size)
    same = [cohort.end for cohort in cohorts] == [cohort.end for cohort in plan.cohorts]
    decisive = ("generation", "seed", "batch_size", "new_share")
    if same and all(before.get(name) == getattr(job, name) for name in decisive):
        return replace(job, cohorts=plan.cohorts, first_step=plan.first_step)
    return replace(job, cohorts=cohorts, first_step=checkpoint.step)


def find_chunk(job: TrainJob, step: int, report: Report) -> Chunk | None:
    """Returns the chunk that was cut, to be finished first; None where there is none, or where it had to be
    dropped."""
    chunk = pending_chunk(job.checkpoints_dir)
    if chunk is None:
        if chunk_path(job.checkpoints_dir).exists():
            report({"event": "dropped", "reason": "chunk.json is damaged", "step": step, "target_step": None})
            drop_chunk(job)
        return None
    if chunk.generation != job.generation:
        reason = "its documents have changed: it belongs to another generation"
    elif not chunk.start_step <= step <= chunk.target_step:  # its checkpoints were damaged: an older one was taken
        reason = f"it went from step {chunk.start_step} to {chunk.target_step}, and the checkpoint is at {step}"
    else:
        return chunk
    report({"event": "dropped", "reason": reason, "step": step, "target_step": chunk.target_step})
    drop_chunk(job)
    return None


def new_chunk(job: TrainJob, step: int, seconds_trained: float, compiled: bool, threads: int) -> Chunk:
    return Chunk(
        start_step=step,
        target_step=step + (job.steps or MOST_STEPS),
        generation=job.generation,
        start_seconds_trained=seconds_trained,
        compiled=compiled,
        recipe=job.recipe(),
        threads=threads,
    )


def save_chunk(job: TrainJob, chunk: Chunk) -> None:
    write_atomically(chunk_path(job.checkpoints_dir), record_text(asdict(chunk)))


def drop_chunk(job: TrainJob) -> None:
    chunk_path(job.checkpoints_dir).unlink(missing_ok=True)
