"""What a training step of 10 million parameters costs: its share of the processor's rate, the optimizer's share, tokens
a second beside nanoGPT's, and what is left of them while another process is busy.

    python -m benchmarks.step --nanogpt DIR --output benchmarks/results/step.json

6 layers, 384 wide, block 256, batch 16, 65 characters. nanoGPT (DIR is its repository, fetched outside the project) as
its README runs it on a CPU: `--compile=False`. Each measurement is a process of its own, the two take turns; inside,
the median step counts. The rate is that of a product of 2048 x 2048 in the same process, in the arithmetic that
training chose: a processor that only emulates bf16 takes minutes for one. A slow processor makes fewer
steps, and no measurement may take over ten minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.result import circumstances, write_result
from tasks.contracts.paths import PROJECT

Json = dict[str, Any]
LAYERS, HEADS, WIDTH, BLOCK, BATCH, VOCABULARY = 6, 6, 384, 256, 16, 65
TOKENS = BATCH * BLOCK
STEPS = 9
SECONDS = 60.0
"""After which no further step begins."""
SIDE = 2048


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def steps() -> Iterator[None]:
    began = time.perf_counter()
    for step in range(STEPS):
        if step and time.perf_counter() - began > SECONDS:
            return
        yield


def ours() -> Json:
    """The trainer's own network, compiled as it does, and its own optimizer."""
    import model.training.malloc  # noqa: F401  # isort: skip  # the trainer's settings, before torch loads
    import torch

    from model.contracts.job import TrainJob
    from model.network.config import GPTConfig
    from model.network.gpt import GPT, compiled_loss
    from model.training.numerics import choose
    from model.training.optimizer import MuonAdamW, adamw_beta2

    folder = Path()
    job = TrainJob(
        processed_dir=folder,
        checkpoints_dir=folder,
        models_dir=folder,
        tokenizer_path=folder,
        tokenizer_provisional=False,
        generation="benchmark",
        train_tokens=0,
        val_tokens=0,
        n_layer=LAYERS,
        n_head=HEADS,
        n_embd=WIDTH,
        block_size=BLOCK,
        batch_size=BATCH,
        compile="off",
    )
    config = GPTConfig(**job.shape(VOCABULARY))
    numerics = choose(job, config, None, None)
    network = GPT(config)
    optimizer = MuonAdamW(network, 0.02, 0.003, 0.1, adamw_beta2(TOKENS), numerics.torch_dtype)
    idx = torch.randint(VOCABULARY, (BATCH, BLOCK + 1))
    inputs, targets = idx[:, :-1].contiguous(), idx[:, 1:].contiguous()
    loss = compiled_loss(network)

    def gradients() -> None:
        with torch.autocast("cpu", numerics.torch_dtype, enabled=numerics.dtype != "float32"):
            value = loss(inputs, targets)
        value.backward()  # type: ignore[no-untyped-call]  # untyped in torch

    compile_seconds = seconds_of(gradients)
    optimizer.compile()
    optimizer.step(1.0)
    rates, backward, update = [], [], []
    factor = torch.ones(SIDE, SIDE, dtype=numerics.torch_dtype)
    for _ in steps():
        rates.append(2 * SIDE**3 / seconds_of(lambda: factor @ factor))
        backward.append(seconds_of(gradients))
        update.append(seconds_of(lambda: optimizer.step(1.0)))
    parameters = sum(p.numel() for p in network.parameters())
    flops = (6 * parameters + 12 * LAYERS * WIDTH * BLOCK) * TOKENS
    gradient, step = statistics.median(backward), statistics.median(update)
    return {
        "parameters": parameters,
        "dtype": numerics.dtype,
        "compile_seconds": round(compile_seconds, 1),
        "threads": numerics.threads,
        "matmul_tflops": round(max(rates) / 1e12, 2),
        "forward_and_backward_ms": round(1e3 * gradient, 1),
        "optimizer_ms": round(1e3 * step, 1),
        "utilization": round(flops / gradient / max(rates), 3),
        "optimizer_share": round(step / (gradient + step), 3),
        "tokens_per_second": round(TOKENS / (gradient + step)),
    }


def nanogpt(folder: str) -> Json:
    """nanoGPT's network and optimizer, eager and in fp32, as its `train.py` has them on a CPU."""
    import torch

    theirs = importlib.import_module("model")
    if Path(str(theirs.__file__)).parent != Path(folder):
        raise FileNotFoundError(f"{folder} has no model.py: give --nanogpt nanoGPT's repository")
    network = theirs.GPT(theirs.GPTConfig(BLOCK, VOCABULARY, LAYERS, HEADS, WIDTH, 0.0, False))
    optimizer = network.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    idx = torch.randint(VOCABULARY, (BATCH, BLOCK + 1))

    def step() -> None:
        _, loss = network(idx[:, :-1].contiguous(), idx[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    return {"tokens_per_second": round(TOKENS / statistics.median(seconds_of(step) for _ in steps()))}


def measured(*arguments: str) -> Json:
    """One measurement in a process of its own; nanoGPT's module is called `model` as our package is."""
    folder = arguments[1] if arguments[0] == "nanogpt" else str(PROJECT)
    command = [sys.executable, str(PROJECT / "benchmarks" / "step.py"), "--measure", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(PROJECT)])}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    figures: Json = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def busy_process() -> Iterator[None]:
    """One core's worth of other work."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step")
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(ours() if options.measure[0] == "ours" else nanogpt(options.measure[1])))
        return
    if options.nanogpt is None:
        parser.error("--nanogpt DIR is needed: nanoGPT's repository")
    about = circumstances("python -m benchmarks.step --nanogpt DIR", ("torch",))
    measured("ours")  # fills the compiler's cache
    own, peer, busy = [], [], []
    for _ in range(options.rounds):
        own.append(measured("ours"))
        peer.append(measured("nanogpt", str(options.nanogpt.resolve())))
        with busy_process():
            busy.append(measured("ours"))

    def median(runs: list[Json], name: str) -> float:
        return statistics.median(float(run[name]) for run in runs)

    speed = median(own, "tokens_per_second")
    figures = {
        "bounds": "utilization 0.40, optimizer 0.15, 3 times nanoGPT, 0.40 with another process busy",
        "utilization": median(own, "utilization"),
        "optimizer_share": median(own, "optimizer_share"),
        "of_nanogpt": round(speed / median(peer, "tokens_per_second"), 2),
        "busy_of_quiet": round(median(busy, "tokens_per_second") / speed, 2),
    }
    write_result(about | figures | {"ours": own, "nanogpt": peer, "busy": busy}, options.output)


if __name__ == "__main__":
    main()
