"""The end of a chunk: running averages of the trunk, and a short decay branch where one was made, compete, and the gate
decides (P9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.contracts.job import TrainJob
from model.contracts.report import Report
from model.network.device import device_type
from model.network.gpt import GPT, GPTConfig, Weights
from model.publishing.evaluator import Evaluator, Scored, bits
from model.publishing.hf_export import load_published, publish, published


@dataclass(frozen=True)
class Outcome:
    """What is served after a chunk, and the numbers that decided it (bits per byte; None: nothing to judge
    by)."""

    model: GPT
    path: str
    published: bool
    candidate: str
    """Which average, or the branch."""
    bits_per_byte: float | None
    """Of what is served now, growing set."""
    bits_per_byte_before: float | None
    """Of what was served before, on the same text."""
    anchor_bits_per_byte: float | None
    anchor_bits_per_byte_before: float | None
    anchor_version: int | None
    anchor_tokens: int
    uniform_bits_per_byte: float | None
    oldest_bits_per_byte: float | None
    """Of what is served now, on the held-out text of the first night."""
    oldest_bits_per_byte_best: float | None
    """The lowest that a served model had there."""


def settle(
    job: TrainJob,
    config: GPTConfig,
    step: int,
    candidates: dict[str, Callable[[], Weights | None]],
    make_judge: Callable[[], Evaluator],
    record: dict[str, Any],
    report: Report,
) -> Outcome:
    """Choose between the candidates, score the best one, and publish it unless the anchor set forbids.

    `record` holds what identifies the model; the scores are added. A candidate that failed gives None. Raises
    ValueError where none is left.
    """
    old = published(job.models_dir)
    old_model = _comparable(old, record["tokenizer_digest"], config, report)
    if old and old_model and old.get("checkpoint_digest") == record["checkpoint_digest"]:
        return _already_published(old, old_model)

    judge = make_judge()
    best = _best(candidates, judge)
    served = judge.score("published", old_model) if old_model else None
    verdict = judge.decide(best, served)
    if old and served and verdict and not verdict.publish:
        report(
            {
                "event": "kept",
                "step": old["step"],
                "rejected_step": step,
                "candidate": best.name,
                "against": verdict.against,
                "difference": verdict.difference,
                "tolerance": verdict.tolerance,
                "anchor_bits_per_byte": bits(judge.on_anchor(served)),
                "rejected_anchor_bits_per_byte": bits(judge.on_anchor(best)),
            }
        )
        return _outcome(judge, served, old["path"], False, best.name, served)

    growing = judge.on_growing(best)
    record = record | {
        "candidate": best.name,
        "bits_per_byte": bits(growing),
        "nats_per_token": growing.nats_per_token if growing else None,
        "uniform_bits_per_byte": growing.uniform_bits_per_byte if growing else None,
        "anchor_bits_per_byte": bits(judge.on_anchor(best)),
        "anchor_version": judge.anchor.version if judge.anchor else None,
        "anchor_tokens": judge.anchor.tokens if judge.anchor else 0,
        "oldest_bits_per_byte": bits(judge.on_oldest(best)),
        "oldest_bits_per_byte_best": judge.anchor.oldest.best if judge.anchor else None,
    }
    weights = dict(best.model.state_dict())
    path = publish(job.models_dir, step, config, weights, job.tokenizer_path, record, job.keep_models)
    note = None
    if growing is None:
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
            "bits_per_byte": record["bits_per_byte"],
            "anchor_bits_per_byte": record["anchor_bits_per_byte"],
        }
    )
    return _outcome(judge, best, str(path), True, best.name, served)


def _best(candidates: dict[str, Callable[[], Weights | None]], judge: Evaluator) -> Scored:
    """The cheapest candidate on the documents to choose by, scored on the others; with nothing to judge by the last
    one, the decay branch where there is one."""
    best: tuple[float, str, GPT] | None = None
    for name, make in candidates.items():
        if (weights := make()) is None:
            continue
        network = _network(judge.config, weights)
        cost = judge.cost(name, network) or 0.0
        if math.isfinite(cost) and (best is None or cost <= best[0]):
            best = cost, name, network
    if best is None:
        raise ValueError("no candidate for publication is finite; the published model stays")
    return judge.score(*best[1:])


def _outcome(judge: Evaluator, now: Scored, path: str, is_new: bool, candidate: str, before: Scored | None) -> Outcome:
    growing, anchor = judge.on_growing(now), judge.anchor
    return Outcome(
        model=now.model,
        path=path,
        published=is_new,
        candidate=candidate,
        bits_per_byte=bits(growing),
        bits_per_byte_before=bits(judge.on_growing(before)) if before else None,
        anchor_bits_per_byte=bits(judge.on_anchor(now)),
        anchor_bits_per_byte_before=bits(judge.on_anchor(before)) if before else None,
        anchor_version=anchor.version if anchor else None,
        anchor_tokens=anchor.tokens if anchor else 0,
        uniform_bits_per_byte=growing.uniform_bits_per_byte if growing else None,
        oldest_bits_per_byte=bits(judge.on_oldest(now)),
        oldest_bits_per_byte_best=anchor.oldest.best if anchor else None,
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
        model=model,
        path=old["path"],
        published=True,
        candidate=old["candidate"],
        bits_per_byte=old["bits_per_byte"],
        bits_per_byte_before=None,
        anchor_bits_per_byte=old["anchor_bits_per_byte"],
        anchor_bits_per_byte_before=None,
        anchor_version=old.get("anchor_version"),
        anchor_tokens=old.get("anchor_tokens", 0),
        uniform_bits_per_byte=old["uniform_bits_per_byte"],
        oldest_bits_per_byte=old.get("oldest_bits_per_byte"),
        oldest_bits_per_byte_best=old.get("oldest_bits_per_byte_best"),
    )
