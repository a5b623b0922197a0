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
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

import model.training.malloc  # isort: skip  # noqa: F401  # before torch loads
from model.checkpoints.divergence import Rollback, write_rollbacks
from model.checkpoints.resume import drop_chunk, find_checkpoint, find_chunk, new_chunk, save_chunk, with_cohorts
from model.contracts.erasure_marks import read_metadata
from model.contracts.job import Chunk, TrainJob, load_job
from model.contracts.report import Event, Report
from model.contracts.step_folders import checkpoint_folder, checkpoint_folders
from model.data.commit_record import TokensDamagedError
from model.data.tokenizer import load_tokenizer, token_bytes, tokenizer_digest
from model.network.config import GPTConfig
from model.network.decoder import Decoder
from model.publishing.evaluator import Evaluator
from model.publishing.publication import Candidates, Outcome, choose_and_publish
from model.publishing.sample import Sampling, sample
from model.training.numerics import Numerics, choose
from model.training.trainer import NotFinite, Stop, Stopped, Trainer

PARENT = "MINIATURE_MEMORY_PARENT"
"""The environment variable by which whoever starts us says its process id."""


def train(job: TrainJob, report: Report, stop: Stop | None = None) -> Event:
    """Trains and publishes one chunk, a cut one first. Returns the "done" event, which is reported too.

    Raises ValueError where the job cannot be done as it is, NotFinite, and Stopped.
    """
    began, stop = time.monotonic(), stop or Stop()
    tokenizer, digest = load_tokenizer(job.tokenizer_path), tokenizer_digest(job.tokenizer_path)
    config = GPTConfig(**job.shape(tokenizer.get_vocab_size()))
    job.checkpoints_dir.mkdir(parents=True, exist_ok=True)

    # Where the last run ended: the newest whole checkpoint, and the chunk that was cut, if one was.
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

    # The trainer, as it was then.
    recorded = Numerics(**checkpoint.metadata["numerics"]) if checkpoint else None
    numerics = choose(job, config, recorded, chunk)
    trainer = Trainer(job, config, numerics, digest, report)
    if checkpoint:
        trainer.restore(checkpoint)
        del checkpoint  # its tensors' memory
    trainer.save(stop)  # a lineage starts with its step 0, so that what was chosen and measured holds
    if chunk is None:
        chunk = new_chunk(job, trainer.step, trainer.seconds_trained, numerics.compiled, numerics.threads)
        save_chunk(job, chunk)
    report(start_event(trainer, chunk, resumed, recorded))
    trainer.parts["start"] = time.monotonic() - began

    # The training steps.
    first, skipped_before = trainer.step, trainer.steps_skipped
    if numerics.compiled:
        trainer.compile()
    training_began = time.monotonic()
    try:
        chunk = trainer.train_chunk(chunk, stop)
    except NotFinite as error:
        raise NotFinite(roll_back(trainer, str(error))) from error
    seconds = trainer.parts["trunk"] = time.monotonic() - training_began
    steps, skipped = trainer.step - first, trainer.steps_skipped - skipped_before

    # Publication, and a sample of what is served.
    outcome = publish_chunk(trainer, chunk, token_bytes(tokenizer))
    drop_chunk(job)
    decoder = Decoder(config, {name: value.float().cpu().numpy() for name, value in outcome.model.state_dict().items()})
    how = Sampling(job.sample_tokens, seed=job.seed)
    texts = ["".join(sample(decoder, tokenizer, prompt, how)) for prompt in job.prompts]
    done = {
        "event": "done",
        "step": trainer.step,
        "steps_done": steps,
        "steps_skipped": skipped,
        "branch_steps": chunk.cooldown_steps,
        "tokens_per_second": round(steps * trainer.tokens_per_step / max(seconds, 1e-9)),
        "train_loss": trainer.curve[-1][1] if trainer.curve else None,
        **asdict(outcome.scores),
        "published": outcome.published,
        "published_path": outcome.path,
        "checkpoints": list(checkpoint_folders(job.checkpoints_dir)),
        "peak_rss_mb": peak_rss_mb(),
        "seconds": {name: round(value, 3) for name, value in trainer.parts.items()},
        "seconds_total": round(time.monotonic() - began, 3),
        "samples": [{"prompt": p, "text": text} for p, text in zip(job.prompts, texts, strict=True)],
    }
    report(done)
    return done


def start_event(trainer: Trainer, chunk: Chunk, resumed: bool, recorded: Numerics | None) -> Event:
    return {
        "event": "start",
        "step": trainer.step,
        "target_step": chunk.target_step if trainer.job.steps else None,
        "minutes": trainer.job.minutes,
        "resumed_chunk": resumed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "numerics": asdict(trainer.numerics),
        "inexact": trainer.numerics.inexact(recorded) if recorded else [],
        "train_tokens": trainer.job.train_tokens,
        "val_tokens": trainer.job.val_tokens,
        "unread_tokens": trainer.plan.unread_tokens(trainer.step),
        "vocab_size": trainer.config.vocab_size,
    }


def roll_back(trainer: Trainer, reason: str) -> str:
    """Ends a chunk that stopped being numbers, so that the next one goes on from the last checkpoint with other
    batches. Returns what to say."""
    job, rollbacks, back_to = trainer.job, trainer.rollbacks, trainer.saved_step
    before = sum(rollback.back_to == back_to for rollback in rollbacks)
    write_rollbacks(job.checkpoints_dir, [*rollbacks, Rollback(back_to, trainer.step, reason)])
    drop_chunk(job)
    trainer.report({"event": "fell_back", "step": trainer.step, "back_to": back_to, "reason": reason})
    message = (
        f"{reason}; the chunk ends here, and the next run goes on from the checkpoint of step {back_to} "
        "with the text in another order"
    )
    if before:
        message += (
            f". It is fall {before + 1} from this checkpoint: lower train.muon_learning_rate and "
            f"train.adamw_learning_rate, or move {checkpoint_folder(job.checkpoints_dir, back_to)} aside to go on "
            "from an older one"
        )
    return message


def publish_chunk(trainer: Trainer, chunk: Chunk, sizes: NDArray[np.int64]) -> Outcome:
    """Does all that comes after the last checkpoint: repeated whole if it is killed. `sizes`: (V,), bytes of an id."""
    job, config, numerics = trainer.job, trainer.config, trainer.numerics
    metadata = read_metadata(checkpoint_folder(job.checkpoints_dir, trainer.step) / "metadata.json")
    assert metadata, "it was just saved"
    record = {
        **trainer.identity(),
        "tokens_trained": trainer.tokens_trained,
        "checkpoint_digest": metadata["digests"]["model.safetensors"],
        "numerics": asdict(numerics),
    }
    candidates: Candidates = {
        f"average over {share:.3g}": partial(trainer.ema.by_share.__getitem__, share) for share in job.average_shares
    }
    if chunk.cooldown_steps:
        candidates["branch"] = partial(trainer.cooldown, chunk.cooldown_steps)
    make_evaluator = partial(Evaluator, job, config, trainer.step, sizes, numerics.torch_dtype, trainer.report)
    with trainer.timed("publication"):
        outcome = choose_and_publish(job, config, trainer.step, candidates, make_evaluator, record, trainer.report)
    trainer.parts["publication"] -= trainer.parts.get("branch", 0.0)
    return outcome


def peak_rss_mb() -> float | None:
    """Returns the most memory this process has held. From /proc: getrusage would count the parent's before exec."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError, ValueError):
        return None


def emit(event: Event) -> None:
    """Writes one JSON line on standard output, in one write: a signal handler may come in between."""
    os.write(1, json.dumps(event).encode() + b"\n")


def leave(number: int) -> NoReturn:
    """Ends at once after a signal: everything worth keeping is on disk."""
    emit({"event": "stopped", "signal": signal.Signals(number).name})
    os._exit(128 + number)


def die_with_parent() -> None:
    """Asks the kernel for a SIGKILL when the process that started us dies: an orphan would keep its lock."""
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
    except TokensDamagedError as error:
        emit({"event": "error", "kind": "tokens_damaged", "message": str(error)})
    except (ValueError, OSError) as error:
        emit({"event": "error", "kind": "refused", "message": str(error)})
    except Exception as error:
        traceback.print_exc()
        emit({"event": "error", "kind": "bug", "message": f"{type(error).__name__}: {error}"})
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
