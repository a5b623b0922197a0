"""The end of a chunk: the running average and a short decay branch compete, and the gate decides (P9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batches import Window, evaluation_windows
from model.evaluate import Evaluation, Scores, growing_windows, paired_noise, score_windows, summarize
from model.export import load_published, publish, published
from model.gpt import GPT, GPTConfig
from model.job import TrainJob
from model.lineage import Report
from model.numerics import device_type

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Judge:
    """Scores models on the anchor set, fixed for the lineage, and on the growing one, capped."""

    config: GPTConfig
    tokens: NDArray[np.uint16]
    """The committed validation ids."""
    token_bytes: NDArray[np.int64]
    growing: list[Window]
    anchor: list[Window]
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        job: TrainJob,
        config: GPTConfig,
        tokens: NDArray[np.uint16],
        token_bytes: NDArray[np.int64],
        anchor_tokens: int,
        dtype: torch.dtype,
    ) -> Judge:
        growing = growing_windows(len(tokens), config.block_size, job.evaluate_tokens)
        anchor = evaluation_windows(min(anchor_tokens, len(tokens)), config.block_size)
        return cls(config, tokens, token_bytes, growing, anchor, dtype)

    def score(self, model: GPT) -> Scores:
        windows = sorted(set(self.growing) | set(self.anchor))
        return score_windows(model, self.tokens, windows, self.token_bytes, self.dtype)

    def on_growing(self, scores: Scores) -> Evaluation | None:
        return summarize(scores, self.growing, self.config.vocab_size)

    def on_anchor(self, scores: Scores) -> Evaluation | None:
        return summarize(scores, self.anchor, self.config.vocab_size)


@dataclass(frozen=True)
class Outcome:
    """What is served after a chunk, and the numbers that decided it (bits per byte; None: nothing to judge
    by)."""

    model: GPT
    path: str
    published: bool
    candidate: str
    """ema or branch."""
    bits_per_byte: float | None
    """Of what is served now, growing set."""
    bits_per_byte_before: float | None
    """Of what was served before, on the same text."""
    anchor_bits_per_byte: float | None
    anchor_bits_per_byte_before: float | None
    uniform_bits_per_byte: float | None


@dataclass(frozen=True)
class Scored:
    """A model and what it costs; None where there is too little text."""

    name: str
    weights: Weights
    scores: Scores
    growing: Evaluation | None
    anchor: Evaluation | None


def settle(
    job: TrainJob,
    step: int,
    candidates: dict[str, Callable[[], Weights | None]],
    judge: Judge,
    record: dict[str, Any],
    report: Report,
) -> Outcome:
    """Score the candidates, keep the best on the growing set, and publish it unless the anchor set forbids.

    `record` holds what identifies the model; the scores are added. A candidate that failed gives None. Raises
    ValueError where none is left.
    """
    old = published(job.models_dir)
    old_model = _comparable(old, record["tokenizer_digest"], judge.config, report)
    if old and old_model and old.get("checkpoint_digest") == record["checkpoint_digest"]:
        return _already_published(old, old_model)

    best = _best(candidates, step, judge, report)
    served = _score("published", old_model, step, judge, report) if old_model else None
    if old and old_model and served and (noise := _too_much_worse(best, served, judge, job.gate_noise)):
        report(
            {
                "event": "kept",
                "step": old["step"],
                "rejected_step": step,
                "candidate": best.name,
                "noise": noise,
                "anchor_bits_per_byte": _bits(served.anchor),
                "rejected_anchor_bits_per_byte": _bits(best.anchor),
            }
        )
        return _outcome(old_model, old["path"], False, best.name, served, served)

    record = record | {
        "candidate": best.name,
        "bits_per_byte": _bits(best.growing),
        "nats_per_token": best.growing.nats_per_token if best.growing else None,
        "uniform_bits_per_byte": best.growing.uniform_bits_per_byte if best.growing else None,
        "anchor_bits_per_byte": _bits(best.anchor),
    }
    path = publish(job.models_dir, step, judge.config, best.weights, job.tokenizer_path, record, job.keep_models)
    note = None
    if best.growing is None:
        note = "too little validation text to judge by: published unjudged"
    elif old and old_model is None:
        note = f"the model of step {old['step']} before it could not be compared: published unjudged"
    report(
        {
            "event": "published",
            "step": step,
            "path": str(path),
            "candidate": best.name,
            "note": note,
            "bits_per_byte": _bits(best.growing),
            "anchor_bits_per_byte": _bits(best.anchor),
        }
    )
    return _outcome(_network(judge.config, best.weights), str(path), True, best.name, best, served)


def _best(candidates: dict[str, Callable[[], Weights | None]], step: int, judge: Judge, report: Report) -> Scored:
    """The cheapest candidate on the growing set; with nothing to judge by the last one, the decay branch."""
    scored = []
    for name, make in candidates.items():
        if (weights := make()) is not None:
            scored.append(_score(name, _network(judge.config, weights), step, judge, report))
    finite = [one for one in scored if one.growing is None or math.isfinite(one.growing.bits_per_byte)]
    if not finite:
        raise ValueError("no candidate for publication is finite; the published model stays")
    return min(reversed(finite), key=lambda one: one.growing.bits_per_byte if one.growing else 0.0)


def _score(name: str, model: GPT, step: int, judge: Judge, report: Report) -> Scored:
    scores = judge.score(model)
    growing, anchor = judge.on_growing(scores), judge.on_anchor(scores)
    report(
        {
            "event": "evaluation",
            "model": name,
            "step": step,
            "bits_per_byte": _bits(growing),
            "nats_per_token": growing.nats_per_token if growing else None,
            "uniform_bits_per_byte": growing.uniform_bits_per_byte if growing else None,
            "anchor_bits_per_byte": _bits(anchor),
            "tokens": growing.tokens if growing else 0,
        }
    )
    return Scored(name, dict(model.state_dict()), scores, growing, anchor)


def _too_much_worse(new: Scored, old: Scored, judge: Judge, least_noise: float) -> float | None:
    """The noise allowed, in bits per byte, where the new model is worse on the anchor set by more, else None."""
    if new.anchor is None or old.anchor is None:
        return None
    noise = max(least_noise * old.anchor.bits_per_byte, paired_noise(new.scores, old.scores, judge.anchor))
    return noise if new.anchor.bits_per_byte > old.anchor.bits_per_byte + noise else None


def _outcome(model: GPT, path: str, is_new: bool, candidate: str, now: Scored, before: Scored | None) -> Outcome:
    return Outcome(
        model=model,
        path=path,
        published=is_new,
        candidate=candidate,
        bits_per_byte=_bits(now.growing),
        bits_per_byte_before=_bits(before.growing) if before else None,
        anchor_bits_per_byte=_bits(now.anchor),
        anchor_bits_per_byte_before=_bits(before.anchor) if before else None,
        uniform_bits_per_byte=now.growing.uniform_bits_per_byte if now.growing else None,
    )


def _network(config: GPTConfig, weights: Weights) -> GPT:
    model = GPT(config)
    model.load_state_dict(weights)
    return model.to(device_type()).eval()


def _comparable(old: dict[str, Any] | None, digest: str, config: GPTConfig, report: Report) -> GPT | None:
    """The published network where it can be scored on the same windows of the same ids."""
    if old is None or old.get("tokenizer_digest") != digest:
        return None
    try:
        model = load_published(Path(old["path"])).to(device_type())
    except ValueError as error:
        report({"event": "damaged", "name": old["path"], "reason": str(error), "moved_to": None})
        return None
    return model if model.config.block_size >= config.block_size else None


def _already_published(old: dict[str, Any], model: GPT) -> Outcome:
    """The run was killed after the swap: nothing is left to do but to say what is served."""
    return Outcome(
        model,
        old["path"],
        True,
        old["candidate"],
        old["bits_per_byte"],
        None,
        old["anchor_bits_per_byte"],
        None,
        old["uniform_bits_per_byte"],
    )


def _bits(evaluation: Evaluation | None) -> float | None:
    return evaluation.bits_per_byte if evaluation else None
