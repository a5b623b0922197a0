"""Train a network from nothing on nanoGPT's data, the whole process ending within so many seconds.

    python -m benchmarks.learning_run --data DIR --seconds S --output DIR

DIR of the data holds train.bin and val.bin, and meta.pkl where they are characters. The shape and the rates follow
from the seconds, the vocabulary, the tokens there are and this processor's speed (`benchmarks.learning_recipe`). The
seconds count from the start of the process: imports, compilation, training, the evaluation on all of val.bin. What it
learned lies in the output folder: model.safetensors, run.json with the shape and the curve.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # more than the trainer's: nothing else runs

import model.training.malloc  # isort: skip  # noqa: F401  # before torch loads

import argparse
import hashlib
import json
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.learning_data import PreparedData, open_data
from benchmarks.learning_recipe import (
    EPOCHS,
    WORTH_COMPILING_COLD,
    WORTH_COMPILING_WARM,
    Recipe,
    choose_recipe,
    matmul_rates,
    speed_class,
)
from model.data.batches import Plan, evaluation_windows, read_batch, spread
from model.data.cohorts import Cohort
from model.data.document_table import DOCUMENT
from model.network import amx, attention, gpt, layers
from model.network.config import GPTConfig
from model.network.device import autocast
from model.network.gpt import GPT, compiled_loss
from model.publishing.evaluate import score_windows
from model.training import optimizer
from model.training.compiler import has_compiler
from model.training.optimizer import MuonAdamW, adamw_beta2

OVERHEAD_SECONDS = 6.0
"""About what is no training: imports, a compilation from the cache, the evaluation."""
LEAVING_SECONDS = 0.6
"""Saving, and the interpreter's end."""
EVALUATION_MARGIN = 1.3
"""The evaluation may take so many times what a slice of it foretold."""
EAGER_SHARE = 0.6
"""Speed without a compiler, as a share of the compiled."""
WORTH_BF16 = 1.5
"""How much faster than fp32 matmuls those in bf16 must be, to pay for the casts."""
CURVE_TOKENS = 8192
"""Of val.bin, for a point of the curve."""
REPORT_SECONDS = 1.0
"""Between two points of the curve."""


class Run:
    """One training run against the clock."""

    def __init__(self, data: PreparedData, seconds: float, overrides: dict[str, Any], steps: int | None) -> None:
        self.data, self.steps = data, steps
        self.began = process_start()
        self.deadline = seconds - LEAVING_SECONDS
        bf16, fp32 = matmul_rates()
        self.dtype = torch.bfloat16 if bf16 > WORTH_BF16 * fp32 else torch.float32
        self.rate = max(bf16, fp32)
        left = max(1.0, seconds - OVERHEAD_SECONDS)
        compiled_rate = speed_class(self.rate) * (1 if seconds >= WORTH_COMPILING_WARM else EAGER_SHARE)
        self.recipe = choose_recipe(left, data.vocab_size, len(data.train), compiled_rate)
        self.recipe = replace(self.recipe, **overrides)
        self.config = network_config(self.recipe, data.vocab_size)
        self.marker = compiled_marker(self.config, self.recipe, self.dtype)
        enough = WORTH_COMPILING_WARM if self.marker.exists() else WORTH_COMPILING_COLD
        self.compiled = has_compiler() and seconds >= enough
        torch.manual_seed(self.recipe.seed)
        self.model = GPT(self.config)
        beta2 = adamw_beta2(self.recipe.batch_size * self.recipe.block_size)
        r = self.recipe
        self.optimizer = MuonAdamW(
            self.model, r.muon_learning_rate, r.adamw_learning_rate, r.weight_decay, beta2, self.dtype
        )

        self.loss: Callable[[Tensor, Tensor], Tensor] = self.model  # or its compiled form

    def elapsed(self) -> float:
        """Seconds since the process began."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.began

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every token once an epoch, in windows shuffled anew."""
        rows = np.array([(0, 0, len(self.data.train), 0)], dtype=DOCUMENT)
        r = self.recipe
        cohort = Cohort(f":{len(self.data.train)}:0", 0, len(self.data.train))
        plan = Plan(rows, r.block_size, (cohort,), r.seed, r.batch_size)
        step = 0
        while True:
            yield read_batch(self.data.train, plan.token_positions(step))
            step += 1

    def gradient(self, batch: tuple[Tensor, Tensor]) -> float:
        with autocast(self.dtype):
            loss = self.loss(*batch)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return float(loss.item())

    def evaluation_seconds(self) -> float:
        """What scoring all of val.bin will take, from a slice."""
        windows = evaluation_windows(len(self.data.val), self.recipe.block_size)
        some = windows[: max(1, 4096 // self.recipe.block_size)]
        self.score(some)
        began = time.perf_counter()
        self.score(some)
        return (time.perf_counter() - began) * (len(windows) / len(some) + 1)

    def score(self, windows: list[tuple[int, int]]) -> float:
        """Nats a token."""
        self.model.eval()
        scores = score_windows(self.model, self.data.val, windows, self.data.token_bytes, self.dtype)
        self.model.train()
        return sum(scores[w][0] for w in windows) / max(1, sum(scores[w][1] for w in windows))

    def warm_up(self, batch: tuple[Tensor, Tensor]) -> None:
        """Compile, and drop what the first pass gave."""
        if self.compiled:
            self.loss = compiled_loss(self.model)
            self.optimizer.compile()
        self.gradient(batch)
        self.model.zero_grad(set_to_none=True)
        if self.compiled:
            self.marker.parent.mkdir(parents=True, exist_ok=True)
            self.marker.touch()

    def train(self) -> dict[str, Any]:
        """Until the time is up or the text read often enough, or for so many steps; then score all of val.bin."""
        batches = self.batches()
        self.warm_up(next(batches))
        evaluation = EVALUATION_MARGIN * self.evaluation_seconds()
        started, end = self.elapsed(), self.deadline - evaluation
        curve = Curve(self, evaluation)
        r, step = self.recipe, 0
        enough = EPOCHS * len(self.data.train) / (r.batch_size * r.block_size)  # steps
        while True:
            now = self.elapsed()
            done = step / self.steps if self.steps else max((now - started) / (end - started), step / enough)
            curve.add(now, step, last=done >= 1)
            if done >= 1:
                break
            curve.losses.append(self.gradient(next(batches)))
            warm = min(1.0, (step + 1) / (r.warmup_steps + 1))
            self.optimizer.step(warm * min(1.0, (1 - done) / r.decay))
            step += 1
        trained = self.elapsed()
        loss = self.score(evaluation_windows(len(self.data.val), r.block_size))
        tokens = step * r.batch_size * r.block_size
        return {
            "val_loss": round(loss, 4),
            "steps": step,
            "tokens": tokens,
            "epochs": round(tokens / len(self.data.train), 2),
            "tokens_a_second": round(tokens / (trained - started)),
            "phases": {
                "until_first_step": round(started, 2),
                "training": round(trained - started, 2),
                "evaluation": round(self.elapsed() - trained, 2),
            },
            "compiled": self.compiled,
            "dtype": str(self.dtype).removeprefix("torch."),
            "matmul_tflops": round(self.rate / 1e12, 3),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "recipe": asdict(r),
            "curve": curve.points,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


class Curve:
    """Mean training losses, and the loss on a part of val.bin as often as a fiftieth of the time allows."""

    def __init__(self, run: Run, evaluation_seconds: float) -> None:
        self.run, self.losses = run, list[float]()
        self.points: list[dict[str, float]] = []
        windows = evaluation_windows(len(run.data.val), run.recipe.block_size)
        self.windows = spread(windows, CURVE_TOKENS // run.recipe.block_size)
        self.every = max(run.deadline / 12, 50 * evaluation_seconds * len(self.windows) / len(windows))
        self.next = run.elapsed() + self.every

    def add(self, now: float, step: int, last: bool) -> None:
        """A point each second, and the last."""
        if not self.losses or (self.points and not last and now - self.points[-1]["seconds"] < REPORT_SECONDS):
            return
        recipe = self.run.recipe
        point = {"seconds": round(now, 2), "tokens": step * recipe.batch_size * recipe.block_size}
        self.points.append(point | {"train_loss": round(sum(self.losses) / len(self.losses), 4)})
        self.losses = []
        if now >= self.next and not last:
            self.points[-1]["val_loss"] = round(self.run.score(self.windows), 4)
            self.next = now + self.every


def process_start() -> float:
    """When this process began, on the clock that counts since the machine's start (Linux; to 0.01 s)."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")


def network_config(recipe: Recipe, vocab_size: int) -> GPTConfig:
    heads = max(1, recipe.n_embd // 64)
    return GPTConfig(
        vocab_size=vocab_size,
        block_size=recipe.block_size,
        n_layer=recipe.n_layer,
        n_head=heads,
        n_kv_head=heads,
        n_embd=recipe.n_embd,
        head_dim=recipe.n_embd // heads,
        intermediate_size=recipe.intermediate_size,
    )


def compiled_marker(config: GPTConfig, recipe: Recipe, dtype: torch.dtype) -> Path:
    """A file in the compiler's cache: there once this network was compiled with this cache."""
    sources = "".join(Path(str(module.__file__)).read_text() for module in (gpt, layers, attention, amx, optimizer))
    what = f"{sources}{config}{recipe.batch_size}{dtype}{torch.__version__}"
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or f"/tmp/torchinductor_{os.environ.get('USER', 'user')}"
    return Path(cache) / f"learning-{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def save(folder: Path, model: GPT, record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "run.json").write_text(json.dumps(record, indent=1) + "\n")


def read_overrides(pairs: list[str]) -> dict[str, Any]:
    """`n_embd=192` and the like, for tuning; ValueError where a recipe has no such field."""
    known = {name: type(value) for name, value in asdict(Recipe(1, 64)).items()}
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in known:
            raise ValueError(f"--set {pair}: a recipe has {', '.join(known)}")
        overrides[name] = known[name](value)
    return overrides


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_run")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--steps", type=int, help="so many steps instead, whatever the time: for tuning")
    parser.add_argument("--prime", action="store_true", help="only fill the compiler's cache for such a run")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other than the recipe, for tuning")
    arguments = parser.parse_args()
    run = Run(open_data(arguments.data), arguments.seconds, read_overrides(arguments.set), arguments.steps)
    if arguments.prime:
        run.compiled = has_compiler()
        return run.warm_up(next(run.batches()))
    record = run.train()
    if arguments.output:
        save(arguments.output, run.model, record | {"config": asdict(run.config)})
    print(json.dumps({name: value for name, value in record.items() if name != "curve"}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # the interpreter takes half a second to tear torch down


if __name__ == "__main__":
    main()
