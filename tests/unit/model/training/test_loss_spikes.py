"""Spikes are left out, what stops being a number falls back, and neither costs the exact resumption (P5)."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.checkpoints.divergence import Rollback, read_rollbacks
from model.contracts.job import TrainJob
from model.data.batches import Plan
from model.data.cohorts import Cohort
from model.data.document_table import TRAIN, read_documents
from model.training.loss_scale import GROW_AFTER, LossScale
from model.training.loss_spikes import FEWEST, MOST_IN_A_ROW, WINDOW, SpikeWatch
from tests.unit.model.test_train_chunk import fresh, job, of, placed, run

__all__ = ["fresh", "job"]  # fixtures


def too_hot(job: TrainJob) -> TrainJob:
    """A rate that ends in no number at the second step."""
    return replace(job, adamw_learning_rate=1e30, warmup_steps=0)


def seen(values: list[tuple[float, float]]) -> SpikeWatch:
    watch = SpikeWatch()
    for loss, norm in values:
        assert watch.see(loss, norm) is None
    return watch


def ordinary(number: int) -> list[tuple[float, float]]:
    chance = random.Random(1)
    return [(chance.gauss(3.0, 0.2), chance.lognormvariate(0.0, 0.25)) for _ in range(number)]


# -- what is a spike -------------------------------------------------------------------------------------


def test_ordinary_noise_and_a_falling_loss_are_no_spikes() -> None:
    seen(ordinary(5000))
    seen([(8.0 * 0.99**i + 1.0, 10.0 * 0.98**i + 0.5) for i in range(500)])
    seen([(2.0, 1.0)] * 200)  # nothing differs: still no ripple is a spike
    assert SpikeWatch([2.0] * 50, [1.0] * 50).see(2.05, 1.0) is None


def test_a_high_loss_or_a_high_gradient_is_one_and_says_its_limit() -> None:
    watch = seen(ordinary(200))
    spike = watch.see(6.0, 1.0)
    assert spike is not None and spike.what == "loss" and 3.0 < spike.limit < spike.value == 6.0
    spike = watch.see(3.0, 8.0)
    assert spike is not None and spike.what == "gradient" and 4.0 < spike.limit < 6.0
    assert watch.see(3.0, 1.0) is None and watch.see(0.5, 0.01) is None  # far below is no spike


def test_nothing_is_a_spike_before_there_is_something_usual() -> None:
    watch = seen([(3.0, 1.0)] * (FEWEST - 1))
    assert watch.see(50.0, 50.0) is None


def test_spikes_do_not_move_what_is_usual() -> None:
    watch = seen(ordinary(WINDOW))
    for _ in range(20):
        assert watch.see(9.0, 1.0) is not None
        for loss, norm in ordinary(4):
            assert watch.see(loss, norm) is None


def test_a_new_level_is_taken_after_a_few_steps() -> None:
    """Else a night with another kind of text would leave out every step for ever."""
    watch = seen(ordinary(WINDOW))
    verdicts = [watch.see(9.0, 1.0) is not None for _ in range(100)]
    assert verdicts == [True] * MOST_IN_A_ROW + [False] * (100 - MOST_IN_A_ROW)


def test_the_watch_comes_back_from_json() -> None:
    watch = seen(ordinary(150))
    watch.see(9.0, 1.0)
    again = SpikeWatch(**json.loads(json.dumps(asdict(watch))))
    for loss, norm in [(9.0, 1.0)] * 8 + [(3.3, 1.1)]:
        assert watch.see(loss, norm) == again.see(loss, norm)
    assert asdict(watch) == asdict(again) and len(watch.losses) <= WINDOW


# -- spikes in training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spiky(job: TrainJob, tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """Real text of few words with one stretch of noise in it: a batch that falls into it costs three times as much."""
    directory = tmp_path_factory.mktemp("spiky")
    shutil.copyfile(job.processed_dir / "val.bin", directory / "val.bin")
    ids = np.tile(np.arange(20, 37, dtype="<u2"), 400)  # 17 words: windows of 32 begin with any of them
    ids[3000:3040] = np.random.default_rng(0).integers(100, 300, 40)
    ids.tofile(directory / "train.bin")
    return replace(job, processed_dir=directory, train_tokens=len(ids), steps=150)


def steps_into_the_noise(job: TrainJob) -> set[int]:
    rows = read_documents(job.processed_dir, TRAIN, job.train_tokens)
    whole = (Cohort("0", job.documents, job.train_tokens),)
    plan = Plan(rows, job.block_size, whole, job.seed, job.batch_size)
    return {
        step
        for step in range(200)
        if ((plan.token_positions(step) >= 3000) & (plan.token_positions(step) < 3040)).any()
    }


def test_a_step_left_out_touches_neither_weights_nor_optimizer(spiky: TrainJob, tmp_path: Path) -> None:
    import torch

    from model.network.config import GPTConfig
    from model.training.numerics import Numerics
    from model.training.trainer import Trainer

    events: list[dict[str, Any]] = []
    here = placed(spiky, tmp_path)
    trainer = Trainer(here, GPTConfig(**here.shape(400)), Numerics("float32", 1, False, "", ""), "", events.append)
    assert trainer.train_step(0, 1.0)[1]
    before = {name: value.clone() for name, value in (trainer.weights() | trainer.optimizer.tensors()).items()}
    trainer.spikes = SpikeWatch([0.1] * FEWEST, [1.0] * FEWEST)
    loss, learned = trainer.train_step(1, 1.0)
    assert not learned and loss > 1 and events[0]["event"] == "spike" and events[0]["what"] == "loss"
    after = trainer.weights() | trainer.optimizer.tensors()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


# -- falls -----------------------------------------------------------------------------------------------


def test_a_fate_that_repeats_says_what_to_do(fresh: TrainJob) -> None:
    from model.training.trainer import NotFinite

    for count, said in enumerate(("other", "fall 2 from this checkpoint: lower train.muon_learning_rate"), 1):
        with pytest.raises(NotFinite, match=said):
            run(too_hot(fresh))
        assert len(read_rollbacks(fresh.checkpoints_dir, [])) == count
    assert of(run(fresh), "done")[0]["step"] == 20


def test_a_gradient_that_is_no_number_is_seen_before_it_reaches_the_weights(
    fresh: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.training.trainer import NotFinite, Trainer

    backward = Trainer._backward

    def poisoned(self: Trainer, loss_of: Callable[..., Any], step: int) -> tuple[float, float]:
        loss, norm = backward(self, loss_of, step)
        return loss, float("nan") if step == 13 else norm

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_backward", poisoned)
        with pytest.raises(NotFinite, match="gradients' norm became nan at step 13"):
            run(fresh)
    assert of(run(fresh), "done")[0]["step"] == 20


def test_a_lost_or_torn_file_of_falls_costs_nothing_that_a_checkpoint_knows(tmp_path: Path) -> None:
    known = [{"back_to": 20, "at": 33, "reason": "nan"}]
    assert read_rollbacks(tmp_path, known) == [Rollback(20, 33, "nan")]
    (tmp_path / "falls.json").write_text('[{"back_to": 2')
    assert read_rollbacks(tmp_path, known) == [Rollback(20, 33, "nan")]


# -- fp16 ------------------------------------------------------------------------------------------------


def test_the_loss_scale_halves_on_overflow_and_grows_back() -> None:
    scale = LossScale()
    assert scale.overflowed() and scale.value == 32768.0
    for _ in range(GROW_AFTER - 1):
        scale.fitted()
    assert scale.value == 32768.0 and scale.good_steps == GROW_AFTER - 1
    assert scale.overflowed() and scale.good_steps == 0  # an overflow starts the count again
    for _ in range(2 * GROW_AFTER):
        scale.fitted()
    assert scale.value == 65536.0
    assert LossScale(**json.loads(json.dumps(asdict(scale)))) == scale
    assert not LossScale(1.0).overflowed()  # nothing left to halve


def test_an_overflow_leaves_the_step_out_and_a_hopeless_one_falls(fresh: TrainJob) -> None:
    from model.network.config import GPTConfig
    from model.training.numerics import Numerics
    from model.training.trainer import NotFinite, Trainer

    trainer = Trainer(
        fresh, GPTConfig(**fresh.shape(400)), Numerics("float16", 1, False, "", ""), "", lambda event: None
    )
    assert trainer.scale is not None
    trainer.scale.value = 2.0**40  # far above what fp16 holds
    assert not trainer.train_step(0, 1.0)[1] and trainer.scale.value == 2.0**39
    while not trainer.train_step(0, 1.0)[1]:
        assert trainer.scale.value > 1.0
    assert trainer.scale.good_steps == 1
    trainer.optimizer.others["embed_tokens.weight"].data.fill_(float("nan"))
    with pytest.raises(NotFinite):
        trainer.train_step(1, 1.0)


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_that_only_emulates_bf16_takes_fp16(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: str) -> None:
    """A T4, which Colab gives, says that it supports bf16, and means that it emulates it."""
    import torch

    from model.network.config import GPTConfig
    from model.training.numerics import Numerics, suitable_dtype

    def supported(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert suitable_dtype(GPTConfig(300), 8) == dtype
    numerics = Numerics(dtype, 1, False, "", "")
    assert numerics.torch_dtype == getattr(torch, dtype)
    assert numerics.inexact(numerics) == ["a GPU adds in no fixed order"]
