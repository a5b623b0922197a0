"""Training, as a child process: `python -m model.train_chunk JOB.json` prints one JSON event a line, trains one
chunk from the newest whole checkpoint, publishes what it is worth, and exits, so that its memory goes back.

Exit status: 0 done, 1 failed (the last event is "error"), 2 a bad job, 130 or 143 stopped by SIGINT or
SIGTERM with all work saved. A SIGKILL costs the steps since the last checkpoint, which the next run makes
again, bit for bit.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import model.training.malloc  # isort: skip  # noqa: F401  # before torch loads
from model.checkpoints.checkpoint import Checkpoint, checkpoint_steps
from model.checkpoints.divergence import Rollback, write_falls
from model.checkpoints.resume import drop_chunk, find_checkpoint, find_chunk, new_chunk, save_chunk
from model.contracts.job import Chunk, TrainJob, load_job, pending_chunk
from model.contracts.report import Report
from model.data.batches import Plan
from model.data.cohorts import Cohort, moved, with_newest
from model.data.document_table import TRAIN, read_documents
from model.data.tokenizer import load_tokenizer, token_bytes, tokenizer_digest
from model.network.gpt import GPTConfig, Weights
from model.publishing.evaluator import Evaluator
from model.publishing.publication import Outcome, settle
from model.publishing.sample import sample
from model.training.numerics import Numerics, choose
from model.training.trainer import NotFinite, Stop, Stopped, Trainer

PARENT = "MINIATURE_MEMORY_PARENT"
"""The environment variable by which whoever starts us says its process id."""

__all__ = ["NotFinite", "Stop", "Stopped", "TrainJob", "load_job", "main", "pending_chunk", "train"]


def train(job: TrainJob, report: Report, stop: Stop | None = None) -> dict[str, Any]:
    """Train and publish one chunk - a cut one first - and give the "done" event, which is reported too.

    Raises ValueError where the job cannot be done as it is, NotFinite, and Stopped.
    """
    began, stop = time.monotonic(), stop or Stop()
    tokenizer, digest = load_tokenizer(job.tokenizer_path), tokenizer_digest(job.tokenizer_path)
    config = GPTConfig(**job.shape(tokenizer.get_vocab_size()))
    job.checkpoints_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = find_checkpoint(job, digest, config, report)
    chunk = find_chunk(job, checkpoint.step if checkpoint else 0, report)
    resumed = chunk is not None
    if chunk:
        job = chunk.apply(job)
    elif checkpoint:
        job = with_cohorts(job, checkpoint)
    if job.train_tokens < config.block_size + 1:
        raise ValueError(
            f"nothing to train on yet: {job.train_tokens} tokens, {config.block_size + 1} needed; add documents"
        )

    recorded = Numerics(**checkpoint.metadata["numerics"]) if checkpoint else None
    numerics = choose(job, config, recorded, chunk.compiled if chunk else None)
    trainer = Trainer(job, config, numerics, digest, report)
    if checkpoint:
        trainer.restore(checkpoint)
        del checkpoint
    trainer.save(stop)  # a lineage starts with its step 0, so that what was chosen and measured holds
    if chunk is None:
        chunk = new_chunk(job, trainer.step, trainer.seconds_trained, numerics.compiled)
        save_chunk(job, chunk)
    report(
        {
            "event": "start",
            "step": trainer.step,
            "target_step": chunk.target_step,
            "resumed_chunk": resumed,
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "numerics": numerics.to_record(),
            "inexact": numerics.inexact(recorded) if recorded else [],
            "train_tokens": job.train_tokens,
            "val_tokens": job.val_tokens,
            "unread_tokens": trainer.plan.unread_tokens(trainer.step),
            "vocab_size": config.vocab_size,
        }
    )
    trainer.parts["start"] = time.monotonic() - began

    first, skipped_before = trainer.step, trainer.steps_skipped
    if numerics.compiled:
        trainer.compile()
    trunk_began = time.monotonic()
    try:
        chunk = trainer.run_trunk(chunk, stop)
    except NotFinite as error:
        raise NotFinite(fall_back(trainer, str(error))) from error
    trunk_seconds = time.monotonic() - trunk_began
    trainer.parts["trunk"] = trunk_seconds
    steps_done, steps_skipped = trainer.step - first, trainer.steps_skipped - skipped_before

    outcome = finish(trainer, chunk, token_bytes(tokenizer))
    drop_chunk(job)
    texts = [sample(outcome.model, tokenizer, prompt, job.sample_tokens, seed=job.seed) for prompt in job.prompts]
    done = {
        "event": "done",
        "step": trainer.step,
        "steps_done": steps_done,
        "steps_skipped": steps_skipped,
        "branch_steps": chunk.branch_steps,
        "tokens_per_second": round(steps_done * job.batch_size * config.block_size / max(trunk_seconds, 1e-9)),
        "train_loss": trainer.curve[-1][1] if trainer.curve else None,
        **{key: value for key, value in vars(outcome).items() if key not in ("model", "path", "published")},
        "published": outcome.published,
        "published_path": outcome.path,
        "checkpoints": checkpoint_steps(job.checkpoints_dir),
        "peak_rss_mb": peak_rss_mb(),
        "seconds": {name: round(value, 3) for name, value in trainer.parts.items()},
        "seconds_total": round(time.monotonic() - began, 3),
        "samples": [{"prompt": p, "text": text} for p, text in zip(job.prompts, texts, strict=True)],
    }
    report(done)
    return done


def with_cohorts(job: TrainJob, checkpoint: Checkpoint) -> TrainJob:
    """The job with its cohorts: those of the checkpoint, with what was read of them by now, and what came since.

    As long as nothing came, and no setting that decides the batches is another, the checkpoint's own plan of them goes
    on: so it does not matter how the steps are cut into chunks.
    """
    before, rows = checkpoint.metadata, read_documents(job.processed_dir, TRAIN, job.train_tokens)
    whole = {"name": "0", "documents": before.get("documents", 0), "end": before["train_tokens"]}
    plan = Plan(
        rows,
        tuple(Cohort(**values) for values in before.get("cohorts", [whole])),
        before["seed"],
        before["batch_size"],
        job.block_size,
        before.get("new_share", 0.0),
        before.get("first_step", 0),
    )
    cohorts = plan.cohorts_at(checkpoint.step)
    if before["generation"] != job.generation:
        cohorts = moved(cohorts, rows)
    cohorts = with_newest(cohorts, Cohort(str(checkpoint.step), job.documents, job.train_tokens), job.block_size)
    same = [cohort.end for cohort in cohorts] == [cohort.end for cohort in plan.cohorts]
    decisive = ("generation", "seed", "batch_size", "new_share")
    if same and all(before.get(name) == getattr(job, name) for name in decisive):
        return replace(job, cohorts=plan.cohorts, first_step=plan.first_step)
    return replace(job, cohorts=cohorts, first_step=checkpoint.step)


def fall_back(trainer: Trainer, reason: str) -> str:
    """End a chunk that stopped being numbers, so that the next one goes on from the last checkpoint with other
    batches; gives what to say."""
    job, falls, back_to = trainer.job, trainer.falls, trainer.saved_step
    before = sum(fall.back_to == back_to for fall in falls)
    write_falls(job.checkpoints_dir, [*falls, Rollback(back_to, trainer.step, reason)])
    drop_chunk(job)
    trainer.report({"event": "fell_back", "step": trainer.step, "back_to": back_to, "reason": reason})
    message = (
        f"{reason}; the chunk ends here, and the next run goes on from the checkpoint of step {back_to} "
        "with the text in another order"
    )
    if before:
        folder = job.checkpoints_dir / f"step_{back_to}"
        message += (
            f". It is fall {before + 1} from this checkpoint: lower train.muon_learning_rate and "
            f"train.adamw_learning_rate, or move {folder} aside to go on from an older one"
        )
    return message


def finish(trainer: Trainer, chunk: Chunk, sizes: NDArray[np.int64]) -> Outcome:
    """Everything after the trunk's checkpoint: repeated whole if it is killed."""
    job, config, numerics = trainer.job, trainer.config, trainer.numerics
    folder = job.checkpoints_dir / f"step_{trainer.step}" / "metadata.json"
    record = {
        "tokenizer_digest": trainer.digest,
        "provisional": job.tokenizer_provisional,
        "generation": job.generation,
        "train_tokens": job.train_tokens,
        "val_tokens": job.val_tokens,
        **trainer.origin(),
        "tokens_trained": trainer.tokens_trained,
        "checkpoint_digest": json.loads(folder.read_text(encoding="utf-8"))["digests"]["model.safetensors"],
        "numerics": numerics.to_record(),
    }
    candidates: dict[str, Callable[[], Weights | None]] = {
        f"average over {share:.3g}": partial(trainer.averages.by_share.__getitem__, share)
        for share in job.average_shares
    }
    if chunk.branch_steps:
        candidates["branch"] = lambda: trainer.branch(chunk.branch_steps)

    def make_judge() -> Evaluator:
        return Evaluator(job, config, trainer.step, sizes, numerics.torch_dtype, trainer.report)

    with trainer.timed("publication"):
        outcome = settle(job, config, trainer.step, candidates, make_judge, record, trainer.report)
    trainer.parts["publication"] -= trainer.parts.get("branch", 0.0)
    return outcome


def peak_rss_mb() -> float | None:
    """Most memory this process has held. From /proc: getrusage would count the parent's before exec."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError, ValueError):
        return None


def emit(event: dict[str, Any]) -> None:
    """One JSON line on standard output, in one write: a signal handler may come in between."""
    os.write(1, json.dumps(event).encode() + b"\n")


def leave(number: int) -> NoReturn:
    """End at once after a signal: everything worth keeping is on disk."""
    emit({"event": "stopped", "signal": signal.Signals(number).name})
    os._exit(128 + number)


def die_with_parent() -> None:
    """Ask the kernel for a SIGKILL when the process that started us dies: an orphan would keep its lock."""
    pr_set_pdeathsig = 1
    parent = int(os.environ.get(PARENT, "0"))
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(128 + signal.SIGKILL)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m model.train_chunk JOB.json", file=sys.stderr)
        return 2
    die_with_parent()
    stop = Stop(leave)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        job = load_job(Path(arguments[0]))
    except ValueError as error:
        emit({"event": "error", "kind": "job", "message": str(error)})
        return 2
    try:
        train(job, emit, stop)
        return 0
    except Stopped as stopped:
        leave(int(stopped.args[0]))
    except NotFinite as error:
        emit({"event": "error", "kind": "not_finite", "message": str(error)})
    except (ValueError, OSError) as error:
        emit({"event": "error", "kind": "refused", "message": str(error)})
    except Exception as error:
        traceback.print_exc()
        emit({"event": "error", "kind": "bug", "message": f"{type(error).__name__}: {error}"})
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
