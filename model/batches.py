"""Batches out of nanoGPT's `.bin` format, each a pure function of (generation, committed tokens, seed,
step)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Window = tuple[int, int]
"""(start, length): inputs are tokens[start : start + length], targets the same moved by one."""


def open_tokens(path: Path, committed: int) -> NDArray[np.uint16]:
    """The first `committed` ids of a `.bin` file, memory-mapped; ValueError where the file is shorter."""
    if committed == 0:
        return np.zeros(0, dtype=np.uint16)
    found = path.stat().st_size // 2 if path.exists() else 0
    if found < committed:
        raise ValueError(f"{path} holds {found} tokens, but {committed} are committed; run `run.py rebuild`")
    return np.memmap(path, dtype="<u2", mode="r", shape=(committed,))


def batch_starts(
    generation: str, committed: int, seed: int, step: int, batch_size: int, block_size: int, detour: int = 0
) -> NDArray[np.int64]:
    """Where the windows of one step begin, (B,), uniform over the committed tokens.

    The counter-based generator Philox (Salmon et al. 2011) is keyed by seed and generation and its counter is
    the step (and the detour, see `falls`), so there is no state to save. Only raw bits are used: NumPy promises
    those across versions.
    """
    digest = hashlib.sha256(f"{seed}:{generation}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    bits = np.random.Philox(key=key, counter=np.array([0, step, detour, 0], dtype=np.uint64)).random_raw(batch_size)
    starts: NDArray[np.int64] = (bits % np.uint64(committed - block_size)).astype(np.int64)
    return starts


def read_batch(tokens: NDArray[np.uint16], starts: NDArray[np.int64], block_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (B, T) int64."""
    rows = torch.from_numpy(tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64))  # (B, T + 1)
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def evaluation_windows(tokens: int, block_size: int) -> list[Window]:
    """Non-overlapping windows, in order, that predict every token but the first once; the last may be
    shorter."""
    return [(start, min(block_size, tokens - 1 - start)) for start in range(0, tokens - 1, block_size)]


def spread(windows: list[Window], most: int) -> list[Window]:
    """At most `most` of the windows, evenly spread over them, the same ones each time."""
    if len(windows) <= most:
        return windows
    return [windows[i * len(windows) // most] for i in range(most)]
