"""The numerical settings that decide the last bit: chosen for a lineage, kept in its checkpoints."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass, replace

import torch

from model.contracts.job import MOST_STEPS, Chunk, TrainJob
from model.network.config import GPTConfig
from model.network.device import device_name, device_type
from model.network.gpt import GPT
from model.training.compiler import has_compiler
from model.training.cores import usable_cores

WORTH_COMPILING_SECONDS = 120.0
"""Compiling costs 11 to 50 s cold and saves a third of the time, with AMX up to three fifths."""
EAGER_FLOPS = {"cpu": 1.2e11, "cuda": 5e12}
"""Floating-point operations a second in eager mode, of 2 cores and (a guess) of a small GPU; only weighs whether to
compile."""


@dataclass(frozen=True)
class Numerics:
    """Two runs with equal numerics on equal states give equal bits."""

    dtype: str
    """float32, bfloat16 or float16: the arithmetic; weights are always fp32."""
    threads: int
    compiled: bool
    torch_version: str
    device: str
    """The processor's or the GPU's name."""

    def inexact(self, before: Numerics) -> list[str]:
        """Returns why a resumption with these settings is not bit for bit what it would have been with those before;
        empty: it is."""
        changed = [
            f"{name}: {old} before, {new} now"
            for (name, old), new in zip(asdict(before).items(), asdict(self).values(), strict=True)
            if old != new
        ]
        return changed + (["a GPU adds in no fixed order"] if device_type() == "cuda" else [])

    @property
    def torch_dtype(self) -> torch.dtype:
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.dtype, torch.float32)


def choose(job: TrainJob, config: GPTConfig, recorded: Numerics | None, cut: Chunk | None) -> Numerics:
    """Returns the job's settings where it names them, else the checkpoint's, else what suits this machine.

    `cut`: an unfinished chunk. What it decided is not decided again; its threads only on another machine.
    """
    here = device_name()
    threads = job.threads
    if not threads:
        kept = cut.threads if cut and recorded and recorded.device == here else 0
        threads = kept or usable_cores()
    torch.set_num_threads(threads)
    # Compiled for a CPU, the embedding's gradient is otherwise summed by threads in whatever order they come, and
    # no two runs are alike. Filling fresh memory, the flag's other half, would only cost time.
    torch.use_deterministic_algorithms(device_type() == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    dtype = job.dtype
    if dtype == "auto":
        dtype = recorded.dtype if recorded else suitable_dtype(config, job.batch_size)
    compiled = job.compile == "auto" and has_compiler()
    if compiled:
        compiled = cut.compiled if cut else worth_compiling(job, config)
    return Numerics(dtype, threads, compiled, str(torch.__version__), here)


def suitable_dtype(config: GPTConfig, batch_size: int) -> str:
    """Returns bfloat16 where a GPU computes with it, else float16 there; float32 on a processor without arithmetic in
    bf16, and on one that has it what a measurement says."""
    if device_type() == "cuda":
        # Emulation counts as support unless one asks: a T4 would take bf16 many times slower than fp16.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return measure_dtype(config, batch_size) if computes_bf16() else "float32"


def computes_bf16() -> bool:
    """Returns whether the processor has arithmetic in bf16 that torch may use; what it emulates can take minutes."""
    able = any(has for name, has in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
    held_back = platform.machine() == "x86_64" and torch.backends.cpu.get_cpu_capability() != "AVX512"
    return able and not held_back


def measure_dtype(config: GPTConfig, batch_size: int) -> str:
    """Returns bfloat16 where training one block with it is at least a tenth faster than in fp32, else float32.

    The two take turns and the best pass of each counts, so that a busy machine does not decide.
    """
    rows = min(batch_size, 4)
    with torch.random.fork_rng(devices=[]):
        model = GPT(replace(config, n_layer=1)).to(device_type())
        idx = torch.randint(config.vocab_size, (rows, config.block_size), device=device_type())

    def seconds(dtype: torch.dtype) -> float:
        began = time.perf_counter()
        with torch.autocast(device_type(), dtype, enabled=dtype != torch.float32):
            loss = model(idx, idx)
        loss.backward()
        loss.item()
        return time.perf_counter() - began

    pairs = [(seconds(torch.bfloat16), seconds(torch.float32)) for _ in range(9)][1:]  # the first warms up
    return "bfloat16" if min(p[0] for p in pairs) < 0.9 * min(p[1] for p in pairs) else "float32"


def worth_compiling(job: TrainJob, config: GPTConfig) -> bool:
    """Returns whether the chunk would take long enough without. Estimated from its size, so that no clock decides."""
    block = config.n_embd * (config.head_dim * 2 * (config.n_head + config.n_kv_head) + 3 * config.intermediate_size)
    parameters = config.n_layer * block + config.vocab_size * config.n_embd
    steps = (job.steps or MOST_STEPS) * (1 + job.decay_fraction)
    seconds = 6 * parameters * job.batch_size * config.block_size * steps / EAGER_FLOPS[device_type()]
    if job.minutes is not None:
        seconds = min(seconds, 60 * job.minutes)
    return seconds > WORTH_COMPILING_SECONDS
