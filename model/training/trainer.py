"""The training run that never ends: its state, how it moves by a step, is saved and comes back."""

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

from model.checkpoints.checkpoint import Checkpoint, prune_checkpoints, save_checkpoint
from model.checkpoints.divergence import Rollback, data_order, read_rollbacks
from model.checkpoints.resume import save_chunk
from model.contracts.job import Chunk, TrainJob
from model.contracts.report import Report
from model.data.batches import Plan, read_batch
from model.data.cohorts import Cohort
from model.data.document_table import TRAIN, read_documents
from model.data.tokens import open_tokens
from model.network.config import GPTConfig
from model.network.device import autocast, device_type
from model.network.gpt import GPT, Weights, compiled_loss
from model.training.loss_scale import LossScale
from model.training.loss_spikes import SpikeWatch
from model.training.numerics import Numerics
from model.training.optimizer import MuonAdamW, adamw_beta2, cooldown_lr_multiplier, lr_multiplier
from model.training.weight_averages import PowerEma

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
    """The run's state - weights, running averages, optimizer, step - and how it moves, is saved and comes back."""

    def __init__(self, job: TrainJob, config: GPTConfig, numerics: Numerics, digest: str, report: Report) -> None:
        self.job, self.config, self.numerics, self.digest, self.report = job, config, numerics, digest, report
        self.tokens_per_step = job.batch_size * config.block_size

        # The network, its optimizer and the averages of its weights.
        torch.manual_seed(job.seed)
        self.device = device_type()
        self.model = GPT(config).to(self.device)
        self.loss: Callable[[Tensor, Tensor], Tensor] = self.model  # or its compiled form
        rates, beta2 = (job.muon_learning_rate, job.adamw_learning_rate), adamw_beta2(self.tokens_per_step)
        self.optimizer = MuonAdamW(self.model, *rates, job.weight_decay, beta2, numerics.torch_dtype)
        self.ema = PowerEma(job.average_shares, self.model.state_dict())

        # The text.
        self.tokens = open_tokens(job.processed_dir / "train.bin", job.train_tokens)
        rows = read_documents(job.processed_dir, TRAIN, job.train_tokens)
        cohorts = job.cohorts or (Cohort("0", job.documents, job.train_tokens),)
        self.plan = Plan(rows, config.block_size, **job.kept_in_checkpoint("batches") | {"cohorts": cohorts})

        # How far it is, and what happened on the way.
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
        self.rollbacks: list[Rollback] = read_rollbacks(job.checkpoints_dir, [])
        self.parts: dict[str, float] = {}
        """Seconds, by what took them."""

    # -- saved and restored ----------------------------------------------------------------------------------

    def restore(self, checkpoint: Checkpoint) -> None:
        """Becomes exactly what was saved."""
        self.model.load_state_dict(checkpoint.weights)
        self.ema.load(checkpoint.ema)
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
        self.rollbacks = read_rollbacks(self.job.checkpoints_dir, metadata.get("falls", []))

    def save(self, stop: Stop, curve: Any = None) -> None:
        """Writes a checkpoint of this step, unless it is there; NotFinite rather than a bad one."""
        if self.step != self.saved_step:
            job = self.job
            with self.timed("checkpoint"):
                self.require_finite()
                if curve is not None:
                    os.fsync(curve.fileno())
                weights, ema, optimizer = self.weights(), self.ema.tensors(), self.optimizer.tensors()
                checkpoint = Checkpoint(self.step, weights, ema, optimizer, torch.get_rng_state(), self.metadata())
                path = save_checkpoint(job.checkpoints_dir, checkpoint)
                prune_checkpoints(job.checkpoints_dir, job.keep_checkpoints, job.keep_spaced_checkpoints)
            self.saved_step = self.step
            self.report({"event": "checkpoint", "step": self.step, "path": str(path)})
        stop.unsaved = False

    def metadata(self) -> dict[str, Any]:
        """Returns what a checkpoint says besides its tensors."""
        job = self.job
        return {
            "config": asdict(self.config),
            **self.identity(),
            **job.kept_in_checkpoint("batches"),
            "cohorts": [asdict(cohort) for cohort in self.plan.cohorts],
            "optimizer": {**job.kept_in_checkpoint("optimizer"), "beta2": adamw_beta2(self.tokens_per_step)},
            "average_shares": list(job.average_shares),
            "numerics": asdict(self.numerics),
            "seconds_trained": self.seconds_trained,
            "tokens_trained": self.tokens_trained,
            "curve": [list(row) for row in self.curve],
            "spikes": asdict(self.spikes),
            "steps_skipped": self.steps_skipped,
            "loss_scale": asdict(self.scale) if self.scale else None,
            "falls": [asdict(rollback) for rollback in self.rollbacks],
        }

    def identity(self) -> dict[str, Any]:
        """Returns what checkpoints and models say of the text behind them: it tells later whether this lineage has seen
        a document (`model.contracts.erasure_marks`)."""
        job = self.job
        return {
            "tokenizer_digest": self.digest,
            "provisional": job.tokenizer_provisional,
            "generation": job.generation,
            "train_tokens": job.train_tokens,
            "val_tokens": job.val_tokens,
            "documents": self.documents,
            "former_documents": self.former_documents,
            "rules": job.rules,
        } | ({"forgotten": self.forgotten} if self.forgotten else {})

    def require_finite(self) -> None:
        """Raises NotFinite unless weights, running averages and optimizer are numbers: a sum is finite where all that
        it adds up is."""
        groups = (self.weights(), self.ema.tensors(), self.optimizer.tensors())
        state = [value for group in groups for value in group.values()]
        if not bool(torch.stack([value.float().abs().sum().isfinite() for value in state]).all()):
            raise NotFinite(f"the weights or their optimizer stopped being numbers by step {self.step}")

    def weights(self) -> Weights:
        return dict(self.model.state_dict())

    # -- one step --------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Compiles the loss and its gradient; on any failure says so once and stays eager."""
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
        """Leaves the gradients of one batch. Returns its loss in nats a token and their norm."""
        positions = self.plan.token_positions(step, data_order(self.rollbacks, step))  # (B, T + 1)
        inputs, targets = read_batch(self.tokens, positions)  # (B, T), (B, T)
        with autocast(self.numerics.torch_dtype, self.device):
            loss = loss_of(inputs.to(self.device), targets.to(self.device))
        (loss * self.scale.value if self.scale else loss).backward()  # type: ignore[no-untyped-call]  # untyped in torch
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if self.scale:
            torch._foreach_mul_(gradients, 1 / self.scale.value)
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        values: list[float] = torch.stack((loss.detach().float(), norm)).tolist()  # one wait for a GPU
        return values[0], values[1]

    def train_step(self, step: int, lr_multiplier: float) -> tuple[float, bool]:
        """Makes one update on the batch of `step`. Returns its loss, and whether it was learned from.

        A spike is not, nor what overflows in fp16. Raises NotFinite before anything is touched.
        """
        loss, norm = self._backward(self.loss, step)
        if self.scale and math.isfinite(loss):
            if math.isfinite(norm):
                self.scale.fitted()
            elif self.scale.overflowed():
                self.model.zero_grad(set_to_none=True)
                return loss, False
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradients' norm became {norm}"
            raise NotFinite(f"{what} at step {step}")
        if spike := self.spikes.see(loss, norm):
            self.steps_skipped += 1
            self.report({"event": "spike", "step": step, "loss": loss, **asdict(spike)})
            self.model.zero_grad(set_to_none=True)
            return loss, False
        self.optimizer.step(lr_multiplier)
        return loss, True

    # -- many steps ------------------------------------------------------------------------------------------

    def train_chunk(self, chunk: Chunk, stop: Stop) -> Chunk:
        """Trains up to the chunk's target, or to its share of the minutes, and saves. Returns the chunk as it ended."""
        job, first, began = self.job, self.step, time.monotonic()
        saved_at, told_at = began, 0.0
        limit = None if job.minutes is None else 60 * job.minutes / (1 + job.decay_fraction)
        with open_curve(job.checkpoints_dir / "curve.jsonl", self.step) as curve:
            while self.step < chunk.target_step and stop.signal is None:
                # Out of time: the chunk ends here.
                spent = self.seconds_trained - chunk.start_seconds_trained
                if limit and spent >= limit and self.step > chunk.start_step:
                    chunk = replace(chunk, target_step=self.step)
                    save_chunk(job, chunk)
                    break

                # One update.
                step_began = time.monotonic()
                stop.unsaved = True
                loss, learned = self.train_step(self.step, lr_multiplier(self.step, job.warmup_steps, job.hold_steps))
                self.step += 1
                self.ema.update(self.model.state_dict(), self.step)
                if learned:
                    self.tokens_trained += self.tokens_per_step
                self.curve.append((self.step, loss))
                row = {"step": self.step, "loss": loss} | ({} if learned else {"skipped": True})
                curve.write(json.dumps(row).encode() + b"\n")

                # What is said of it, and saved.
                now = time.monotonic()
                self.seconds_trained += now - step_began
                if now - told_at >= 1 or self.step == chunk.target_step:
                    told_at, steps_left = now, chunk.target_step - self.step
                    speed = (self.step - first) / (now - began)
                    if limit:  # the minutes may be over before
                        spent = self.seconds_trained - chunk.start_seconds_trained
                        steps_left = min(steps_left, math.ceil(max(0.0, limit - spent) * speed))
                    last = replace(chunk, target_step=self.step + steps_left)
                    self.tell(self.step, last.target_step + last.cooldown_steps, loss, speed)
                if now - saved_at >= job.checkpoint_every_seconds and self.step < chunk.target_step:
                    self.save(stop, curve)
                    saved_at = time.monotonic()
            self.save(stop, curve)
        if stop.signal is not None:
            raise Stopped(stop.signal)
        return chunk

    def tell(self, step: int, of: int, loss: float, steps_per_second: float) -> None:
        speed = round(steps_per_second * self.tokens_per_step)
        self.report({"event": "step", "step": step, "target_step": of, "loss": loss, "tokens_per_second": speed})

    def cooldown(self, steps: int) -> Weights | None:
        """Decays the learning rates to nothing over `steps` more batches. Returns the weights; None where it diverged.

        The run itself is safe on disk, so the cooldown trains in place and is thrown away with the process.
        """
        began = told_at = time.monotonic()
        with self.timed("branch"):
            try:
                for i in range(steps):
                    loss, _ = self.train_step(self.step + i, cooldown_lr_multiplier(i, steps))
                    if (now := time.monotonic()) - told_at >= 1:
                        told_at = now
                        self.tell(self.step + i + 1, self.step + steps, loss, (i + 1) / (now - began))
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
    """Opens `curve.jsonl` to append to, without the rows past `step` that a kill left: resumed equals
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
