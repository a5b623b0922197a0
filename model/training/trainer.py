"""The trunk: the run that never ends. Its state, how it moves by a step, is saved and comes back."""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from model.checkpoints.checkpoint import Checkpoint, prune_checkpoints, random_state, save_checkpoint
from model.checkpoints.divergence import Rollback, data_order, read_falls
from model.checkpoints.resume import save_chunk
from model.contracts.job import Chunk, TrainJob
from model.contracts.report import Report
from model.data.batches import Plan, open_tokens, read_batch
from model.data.cohorts import Cohort
from model.data.document_table import TRAIN, read_documents
from model.network.device import autocast, device_type
from model.network.gpt import GPT, GPTConfig, Weights, compiled_loss
from model.training.loss_scale import LossScale
from model.training.loss_spikes import SpikeWatch
from model.training.numerics import Numerics
from model.training.optimizer import MuonAdamW, adamw_beta2, branch_rate, trunk_rate
from model.training.weight_averages import Averages

CURVE_TAIL = 20


class NotFinite(RuntimeError):
    """The loss, the gradients or the weights stopped being numbers."""


class Stopped(Exception):
    """A signal asked for an end, and everything is saved. `args[0]` is its number."""


class Stop:
    """Takes SIGTERM and SIGINT. With steps not yet saved it only leaves a note for the loop, which saves
    them; otherwise, while compiling or scoring, there is nothing to lose, and the process ends at once."""

    def __init__(self, leave: Callable[[int], None] = lambda number: None) -> None:
        self.leave = leave  # says so and ends the process
        self.signal: int | None = None
        self.unsaved = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if not self.unsaved:
            self.leave(number)


class Trainer:
    """The trunk's state - weights, running averages, optimizer, step - and how it moves, is saved and comes
    back."""

    def __init__(self, job: TrainJob, config: GPTConfig, numerics: Numerics, digest: str, report: Report) -> None:
        self.job, self.config, self.numerics, self.digest, self.report = job, config, numerics, digest, report
        torch.manual_seed(job.seed)
        self.device = device_type()
        self.model = GPT(config).to(self.device)
        self.loss: Callable[[Tensor, Tensor], Tensor] = self.model  # or its compiled form
        self.optimizer = MuonAdamW(
            self.model,
            job.muon_learning_rate,
            job.adamw_learning_rate,
            job.weight_decay,
            adamw_beta2(job.batch_size * config.block_size),
            numerics.torch_dtype,
        )
        self.averages = Averages(job.average_shares, self.model.state_dict())
        self.step = 0
        self.saved_step = -1
        self.seconds_trained = 0.0
        self.tokens_trained = 0
        self.documents = job.documents  # committed at most while this lineage trained
        self.former_documents = 0  # and while it trained under other rules
        self.forgotten: dict[str, Any] | None = None  # documents that it knows and should not
        self.curve: deque[tuple[int, float]] = deque(maxlen=CURVE_TAIL)
        self.spikes = SpikeWatch()
        self.steps_skipped = 0
        self.scale = LossScale() if numerics.torch_dtype == torch.float16 else None
        self.falls: list[Rollback] = read_falls(job.checkpoints_dir, [])
        self.tokens = open_tokens(job.processed_dir / "train.bin", job.train_tokens)
        self.plan = Plan(
            documents=read_documents(job.processed_dir, TRAIN, job.train_tokens),
            cohorts=job.cohorts or (Cohort("0", job.documents, job.train_tokens),),
            seed=job.seed,
            batch_size=job.batch_size,
            block_size=config.block_size,
            new_share=job.new_share,
            first_step=job.first_step,
        )
        self.parts: dict[str, float] = {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become exactly what was saved."""
        self.model.load_state_dict(checkpoint.weights)
        self.averages.load(checkpoint.ema)
        self.optimizer.load(checkpoint.optimizer)
        torch.set_rng_state(checkpoint.random)
        metadata = checkpoint.metadata
        self.step = self.saved_step = checkpoint.step
        self.seconds_trained = metadata["seconds_trained"]
        self.tokens_trained = metadata["tokens_trained"]
        seen = metadata.get("documents", 0)
        self.documents = max(self.documents, seen) if seen else 0
        self.former_documents = metadata.get("former_documents", 0)
        if metadata.get("rules") != self.job.rules:
            self.former_documents = max(self.former_documents, seen)
        self.forgotten = metadata.get("forgotten")
        self.curve.extend((step, loss) for step, loss in metadata["curve"])
        self.spikes = SpikeWatch(**metadata.get("spikes", {}))
        self.steps_skipped = metadata.get("steps_skipped", 0)
        if self.scale and metadata.get("loss_scale"):
            self.scale = LossScale(**metadata["loss_scale"])
        self.falls = read_falls(self.job.checkpoints_dir, metadata.get("falls", []))

    def compile(self) -> None:
        """Compile the loss and its gradient; on any failure say so once and stay eager."""
        with self.timed("compile"):
            try:
                compiled = compiled_loss(self.model)
                self._backward(compiled, self.step)
                self.optimizer.compile()
                self.loss = compiled
            except Exception as error:  # many kinds: a missing header, a full disk, an unsupported compiler
                self.numerics = replace(self.numerics, compiled=False)
                reason = str(error).strip().splitlines()[:1]
        for parameter in self.model.parameters():
            parameter.grad = None
        event = {"event": "compile", "ok": self.numerics.compiled, "seconds": self.parts["compile"]}
        self.report(event if self.numerics.compiled else event | {"reason": f"stays eager: {reason}"})

    def _backward(self, loss_of: Callable[[Tensor, Tensor], Tensor], step: int) -> tuple[float, float]:
        """Leave the gradients of one batch; gives its loss in nats a token and their norm."""
        inputs, targets = read_batch(
            self.tokens, self.plan.places(step, data_order(self.falls, step))
        )  # (B, T), (B, T)
        with autocast(self.numerics.torch_dtype, self.device):
            loss = loss_of(inputs.to(self.device), targets.to(self.device))
        (loss * self.scale.value if self.scale else loss).backward()  # type: ignore[no-untyped-call]  # untyped in torch
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if self.scale:
            torch._foreach_mul_(gradients, 1 / self.scale.value)
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        values: list[float] = torch.stack((loss.detach().float(), norm)).tolist()  # one wait for a GPU
        return values[0], values[1]

    def train_step(self, step: int, rate: float) -> tuple[float, bool]:
        """One update on the batch of `step`; gives its loss, and whether it was learned from.

        A spike is not, nor what overflows in fp16. Raises NotFinite before anything is touched.
        """
        loss, norm = self._backward(self.loss, step)
        if self.scale and math.isfinite(loss):
            if math.isfinite(norm):
                self.scale.fitted()
            elif self.scale.overflowed():
                return loss, self._skip()
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradients' norm became {norm}"
            raise NotFinite(f"{what} at step {step}")
        if spike := self.spikes.see(loss, norm):
            self.steps_skipped += 1
            self.report({"event": "spike", "step": step, "loss": loss, **asdict(spike)})
            return loss, self._skip()
        self.optimizer.step(rate)
        return loss, True

    def _skip(self) -> bool:
        self.model.zero_grad(set_to_none=True)
        return False

    def run_trunk(self, chunk: Chunk, stop: Stop) -> Chunk:
        """Train up to the chunk's target, or to its share of the minutes, and save; gives the chunk as it
        ended."""
        job, saved_at, told_at = self.job, time.monotonic(), 0.0
        first, began = self.step, time.monotonic()
        limit = None if job.minutes is None else 60 * job.minutes / (1 + job.decay_fraction)
        with open_curve(job.checkpoints_dir / "curve.jsonl", self.step) as curve:
            while self.step < chunk.target_step:
                if stop.signal is not None:
                    break
                spent = self.seconds_trained - chunk.start_seconds_trained
                if limit and spent >= limit and self.step > chunk.start_step:
                    chunk = replace(chunk, target_step=self.step)
                    save_chunk(job, chunk)
                    break
                step_began = time.monotonic()
                stop.unsaved = True
                loss, learned = self.train_step(self.step, trunk_rate(self.step, job.warmup_steps, job.hold_steps))
                self.step += 1
                self.averages.follow(self.model.state_dict(), self.step)
                if learned:
                    self.tokens_trained += job.batch_size * self.config.block_size
                self.curve.append((self.step, loss))
                row = {"step": self.step, "loss": loss} | ({} if learned else {"skipped": True})
                curve.write(json.dumps(row).encode() + b"\n")
                now = time.monotonic()
                self.seconds_trained += now - step_began
                if now - told_at >= 1 or self.step == chunk.target_step:
                    told_at = now
                    speed = (self.step - first) * job.batch_size * self.config.block_size / (now - began)
                    self.report(
                        {
                            "event": "step",
                            "step": self.step,
                            "target_step": chunk.target_step,
                            "loss": loss,
                            "tokens_per_second": round(speed),
                        }
                    )
                if now - saved_at >= job.checkpoint_every_seconds and self.step < chunk.target_step:
                    self.save(stop, curve)
                    saved_at = time.monotonic()
            self.save(stop, curve)
        if stop.signal is not None:
            raise Stopped(stop.signal)
        return chunk

    def save(self, stop: Stop, curve: Any = None) -> None:
        """Write a checkpoint of this step, unless it is there; NotFinite rather than a bad one."""
        if self.step != self.saved_step:
            with self.timed("checkpoint"):
                self.require_finite()
                if curve is not None:
                    os.fsync(curve.fileno())
                checkpoint = Checkpoint(
                    self.step,
                    self.weights(),
                    self.averages.tensors(),
                    self.optimizer.tensors(),
                    random_state(),
                    self.metadata(),
                )
                path = save_checkpoint(self.job.checkpoints_dir, checkpoint)
                job = self.job
                prune_checkpoints(job.checkpoints_dir, job.keep_checkpoints, job.keep_spaced_checkpoints)
            self.saved_step = self.step
            self.report({"event": "checkpoint", "step": self.step, "path": str(path)})
        stop.unsaved = False

    def require_finite(self) -> None:
        """Weights, running averages and optimizer: a sum is finite where all that it adds up is."""
        state = [
            *self.model.state_dict().values(),
            *self.averages.tensors().values(),
            *self.optimizer.tensors().values(),
        ]
        if not bool(torch.stack([value.float().abs().sum().isfinite() for value in state]).all()):
            raise NotFinite(f"the weights or their optimizer stopped being numbers by step {self.step}")

    def weights(self) -> Weights:
        return dict(self.model.state_dict())

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint says besides its tensors."""
        job = self.job
        return {
            "config": asdict(self.config),
            "tokenizer_digest": self.digest,
            "provisional": job.tokenizer_provisional,
            "generation": job.generation,
            "train_tokens": job.train_tokens,
            "val_tokens": job.val_tokens,
            **self.origin(),
            "seed": job.seed,
            "batch_size": job.batch_size,
            "new_share": job.new_share,
            "cohorts": [asdict(cohort) for cohort in self.plan.cohorts],
            "first_step": job.first_step,
            "optimizer": {
                "muon_learning_rate": job.muon_learning_rate,
                "adamw_learning_rate": job.adamw_learning_rate,
                "weight_decay": job.weight_decay,
                "warmup_steps": job.warmup_steps,
                "hold_steps": job.hold_steps,
                "beta2": adamw_beta2(job.batch_size * self.config.block_size),
            },
            "average_shares": list(job.average_shares),
            "numerics": self.numerics.to_record(),
            "seconds_trained": self.seconds_trained,
            "tokens_trained": self.tokens_trained,
            "curve": [list(row) for row in self.curve],
            "spikes": self.spikes.to_record(),
            "steps_skipped": self.steps_skipped,
            "loss_scale": self.scale.to_record() if self.scale else None,
            "falls": [asdict(fall) for fall in self.falls],
        }

    def origin(self) -> dict[str, Any]:
        """Tells later whether this lineage has seen a document; see `model.contracts.erasure_marks`."""
        marks = {"forgotten": self.forgotten} if self.forgotten else {}
        documents = {"documents": self.documents, "former_documents": self.former_documents}
        return {**documents, "rules": self.job.rules, **marks}

    def branch(self, steps: int) -> Weights | None:
        """Decay the rate to nothing over `steps` more batches; None where it diverged.

        The trunk is safe on disk, so the branch trains in place and is thrown away with the process.
        """
        with self.timed("branch"):
            try:
                for i in range(steps):
                    self.train_step(self.step + i, branch_rate(i, steps))
                self.require_finite()
            except NotFinite as error:
                self.report({"event": "damaged", "name": "branch", "reason": str(error), "moved_to": None})
                return None
        return self.weights()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = self.parts.get(part, 0.0) + time.monotonic() - began


@contextmanager
def open_curve(path: Path, step: int) -> Iterator[Any]:
    """`curve.jsonl` to append to, without the rows past `step` that a kill left: resumed equals
    undisturbed."""
    with open(path, "a+b", buffering=0) as file:
        file.seek(0)
        whole = 0
        for line in iter(file.readline, b""):
            try:
                if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                    break
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        file.truncate(whole)
        yield file
