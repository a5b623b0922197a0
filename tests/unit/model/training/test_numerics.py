"""What a chunk computes with is chosen once, and costs no more than it brings."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoints.resume import new_chunk
from model.contracts.job import TrainJob
from model.network.config import GPTConfig
from model.network.device import device_name
from model.training import numerics
from model.training.numerics import Numerics, choose, suitable_dtype

CONFIG = GPTConfig(300)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on: None)
    monkeypatch.setattr(numerics, "usable_cores", lambda: 3)
    folder = Path()
    return TrainJob(
        processed_dir=folder, checkpoints_dir=folder, models_dir=folder, tokenizer_path=folder,
        tokenizer_provisional=False, generation="g", train_tokens=1000, val_tokens=0, dtype="float32",
    )  # fmt: skip


def test_threads_are_chosen_once_a_chunk(job: TrainJob) -> None:
    """Incident: a first night on one core made all later ones train on one."""
    before = Numerics("float32", 1, False, "", device_name())
    cut = new_chunk(job, 0, 0.0, False, threads=2)
    assert choose(job, CONFIG, before, None).threads == 3
    assert choose(job, CONFIG, before, cut).threads == 2
    assert choose(job, CONFIG, replace(before, device="another"), cut).threads == 3
    assert choose(replace(job, threads=5), CONFIG, before, cut).threads == 5


@pytest.mark.parametrize(
    ("able", "used", "machine", "asked"),
    [
        ({"avx2": True, "avx512_bf16": False}, "AVX512", "x86_64", False),
        ({"avx2": True, "avx512_bf16": True}, "AVX2", "x86_64", False),  # masked
        ({"avx2": True, "avx512_bf16": True}, "AVX512", "x86_64", True),
        ({"bf16": True}, "DEFAULT", "aarch64", True),
    ],
)
def test_bf16_is_tried_only_where_it_is_real(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], used: str, machine: str, asked: bool
) -> None:
    """Incident: where torch emulates it, the measurement took minutes."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: used)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(numerics, "measure_dtype", lambda config, batch_size: "measured")
    assert suitable_dtype(CONFIG, 8) == ("measured" if asked else "float32")
