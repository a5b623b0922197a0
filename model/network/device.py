"""Where the network computes: the device, its name, and the arithmetic on it."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch


def device_type() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """Returns the processor's model as Linux names it, or the GPU's."""
    if device_type() == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def autocast(dtype: torch.dtype, device: str = "cpu") -> AbstractContextManager[object]:
    """Computes in bf16 or fp16 where asked; the weights stay fp32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)
