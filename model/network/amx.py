"""The parts of a training step that PyTorch is slow at, for processors with AMX: `amx.cpp`, built when first asked for.

Of 10M parameters on two cores, PyTorch's gradients of weights ran at a third of the rate of its other products, and
attention took a quarter of the step for a fifteenth of its arithmetic. All is in bf16 with sums in fp32, and no result
depends on the number of threads. What is compiled calls it; eager training never does.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int, c_long, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".cpp")
EXTENSIONS = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16", "amx-tile", "amx-bf16"]
FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fopenmp", *(f"-m{name}" for name in EXTENSIONS)]
NEEDED = ("amx_tile", "amx_bf16", "avx512_f", "avx512_bw", "avx512_dq", "avx512_vl", "avx512_bf16")
BLOCK = 32
"""Sizes must be multiples of it."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the built functions; None where the processor has no AMX, the kernel gives no tiles, or there is no g++.

    Raises RuntimeError where the compiler refuses them, OSError where nothing can be written.
    """
    able = torch.cpu.get_capabilities()
    if not all(able.get(name) for name in NEEDED) or not shutil.which("g++") or not _allow_tiles():
        return None
    functions = ctypes.CDLL(str(build()))
    functions.weight_gradient.argtypes = [c_void_p] * 3 + [c_long] * 3 + [c_int]
    functions.attention.argtypes = [c_void_p] * 5 + [c_long] * 5 + [c_int]
    functions.attention_gradient.argtypes = [c_void_p] * 9 + [c_long] * 5 + [c_int]
    functions.swiglu.argtypes = [c_void_p] * 3 + [c_long, c_int]
    functions.swiglu_gradient.argtypes = [c_void_p] * 5 + [c_long, c_int]
    functions.muon.argtypes = [c_void_p] * 4 + [c_long] + [c_float] * 3 + [c_long] * 3 + [c_int]
    return functions


def _allow_tiles() -> bool:
    """Asks Linux for the tiles' registers, for this process (arch_prctl; x86-64 alone has AMX)."""
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    if sys.platform != "linux":
        return False
    refused: int = ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data)
    return refused == 0


def build() -> Path:
    """Builds the shared library, in the compiler's cache: a second to build, once for each state of the source."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # slow to import; whoever compiles has it

    what = SOURCE.read_bytes() + " ".join(FLAGS).encode()
    built = Path(cache_dir()) / f"amx-{hashlib.sha256(what).hexdigest()[:16]}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            compiled, linked = f"{folder}/amx.o", f"{folder}/amx.so"
            # Linked without OpenMP's library: PyTorch has loaded one, and a second one's threads would be in its way.
            for arguments in ([*FLAGS, "-c", str(SOURCE), "-o", compiled], ["-shared", compiled, "-o", linked]):
                done = subprocess.run(["g++", *arguments], check=False, capture_output=True, text=True)
                if done.returncode:
                    said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
                    raise RuntimeError(f"g++ cannot build {SOURCE.name} (version 11 or later does): {said}")
            with open(linked, "rb") as file:
                os.fsync(file.fileno())
            os.replace(linked, built)
    return built


ready = False
"""What `prepare` found: a plain value, since what is compiled cannot ask."""


def prepare() -> bool:
    """Builds what is needed before anything is compiled. Returns whether it runs here. Raises as `library` does."""
    global ready  # noqa: PLW0603  # once a process
    ready = library() is not None
    return ready


def takes(x: Tensor, dtype: torch.dtype, *sizes: int) -> bool:
    """Returns whether what is compiled for such a tensor, computing in `dtype`, is to call what is below."""
    suits = torch.compiler.is_compiling() and x.device.type == "cpu" and dtype == torch.bfloat16
    return suits and all(size % BLOCK == 0 for size in sizes) and ready


def _functions() -> ctypes.CDLL:
    functions = library()
    assert functions is not None, "`prepare` first"
    return functions


def _pointers(*tensors: Tensor) -> list[int]:
    assert all(x.is_contiguous() for x in tensors), "rows must lie one after the other"
    return [x.data_ptr() for x in tensors]


def _op(sizes: Callable[..., Sequence[int]]) -> Callable[[Callable[..., Any]], Any]:
    """Makes an op for compiled code out of the function that allocates its results: the function of the same name in
    `amx.cpp` takes pointers to the inputs and the results, `sizes` of the inputs, and the number of threads."""

    def decorate(allocate: Callable[..., Any]) -> Any:
        name = allocate.__name__

        def call(*inputs: Tensor) -> Any:
            results = allocate(*inputs)
            outs = results if isinstance(results, tuple) else (results,)
            getattr(_functions(), name)(*_pointers(*inputs, *outs), *sizes(*inputs), torch.get_num_threads())
            return results

        schema = torch.library.infer_schema(allocate, mutates_args=())
        op = torch.library.custom_op(f"miniature_memory::{name}", call, mutates_args=(), schema=schema)
        op.register_fake(allocate)  # what compiling asks for: the results' shapes
        return op

    return decorate


def _attention_sizes(q: Tensor, k: Tensor, *others: Tensor) -> Sequence[int]:
    B, T, H, D = q.shape
    return B, T, H, k.shape[2], D


@_op(lambda inputs, gradient: (*inputs.shape, gradient.shape[1]))
def weight_gradient(inputs: Tensor, gradient: Tensor) -> Tensor:
    """Returns the gradient (O, I) of a linear layer's weights from its inputs (T, I) and its outputs' gradient (T, O),
    in bf16."""
    return inputs.new_empty(gradient.shape[1], inputs.shape[1], dtype=torch.float32)


@_op(_attention_sizes)
def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Causal attention. q: (B, T, H, D), k and v: (B, T, H_kv, D), contiguous, in bf16. Returns what q has mixed of v
    (B, T, H, D), and of each row of scores the base 2 logarithm of the sum of exponentials (B, H, T)."""
    B, T, H, _ = q.shape
    return torch.empty_like(q), q.new_empty(B, H, T, dtype=torch.float32)


@_op(_attention_sizes)
def attention_gradient(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, logs: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of q, k and v, from what `attention` took and returned and its first result's gradient."""
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@_op(lambda gate, *others: (gate.numel(),))
def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Returns SiLU(gate) up, of contiguous tensors of one shape in bf16."""
    return torch.empty_like(gate)


@_op(lambda gate, *others: (gate.numel(),))
def swiglu_gradient(gate: Tensor, up: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of gate and up, from what `swiglu` took and the gradient of what it returned."""
    return torch.empty_like(gate), torch.empty_like(up)


def muon(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    momenta: Tensor,
    coefficients: Sequence[tuple[float, float, float]],
    beta: float,
    keep: float,
    rate: float,
) -> None:
    """Muon's step, in place: N parameters (R, C) with their gradients, and their momenta (N, R, C), all in fp32 and
    contiguous. `keep`: what weight decay leaves of a parameter; `rate` comes times the orthogonal update."""
    N, R, C = momenta.shape
    pointers = [(c_void_p * N)(*_pointers(*tensors)) for tensors in (parameters, gradients)]
    numbers = (c_float * (3 * len(coefficients)))(*(number for step in coefficients for number in step))
    state = (*pointers, *_pointers(momenta), numbers, len(coefficients))
    _functions().muon(*state, beta, keep, rate, N, R, C, torch.get_num_threads())
