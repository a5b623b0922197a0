"""The end of a chunk: running averages of the weights, and a short cooldown where one was made, compete, and the gate
decides (P9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.contracts.erasure_marks import LATEST
from model.contracts.job import TrainJob
from model.contracts.published_folder import RECORD
from model.contracts.report import Report
from model.contracts.scores import Scores
from model.network.config import GPTConfig
from model.network.device import device_type
from model.network.gpt import GPT, Weights
from model.publishing.evaluate import bits, figures
from model.publishing.evaluator import Evaluator, Scored
from model.publishing.hf_export import load_published, publish, published

Candidates = dict[str, Callable[[], Weights | None]]
"""By name, what makes its weights; None from one that failed."""


@dataclass(frozen=True)
class Outcome:
    """What is served after a chunk, and the scores that decided it."""

    model: GPT
    path: str
    published: bool
    """Whether it is the chunk's own."""
    scores: Scores


def choose_and_publish(
    job: TrainJob,
    config: GPTConfig,
    step: int,
    candidates: Candidates,
    make_evaluator: Callable[[], Evaluator],
    record: dict[str, Any],
    report: Report,
) -> Outcome:
    """Chooses between the candidates, scores the best one, and publishes it unless the anchor set forbids.

    `record` holds what identifies the model; the scores are added. Raises ValueError where no candidate is left.
    """
    old = published(job.models_dir)
    if old is None and (job.models_dir / LATEST).exists():
        report({"event": "damaged", "name": str(job.models_dir / LATEST), "reason": RECORD, "moved_to": None})
    old_model = _comparable(old, record["tokenizer_digest"], config, report)
    if old and old_model and old.get("checkpoint_digest") == record["checkpoint_digest"]:
        # The run was killed after the swap: nothing is left to do but to say what is served.
        return Outcome(old_model, old["path"], True, Scores.of_published(old))

    # The best candidate challenges the champion.
    evaluator = make_evaluator()
    challenger = _best(candidates, evaluator)
    champion = evaluator.score("published", old_model) if old_model else None
    verdict = evaluator.decide(challenger, champion)

    # It is refused ...
    if old and champion and verdict and not verdict.publish:
        report(
            {
                "event": "kept",
                "step": old["step"],
                "rejected_step": step,
                "candidate": challenger.name,
                "against": verdict.against,
                "difference": verdict.difference,
                "tolerance": verdict.tolerance,
                "anchor_bits_per_byte": bits(evaluator.on_anchor(champion)),
                "rejected_anchor_bits_per_byte": bits(evaluator.on_anchor(challenger)),
            }
        )
        return Outcome(champion.model, old["path"], False, evaluator.scores(champion, challenger.name, champion))

    # ... or published.
    growing, scores = evaluator.on_growing(challenger), evaluator.scores(challenger, challenger.name, champion)
    record = record | {"candidate": challenger.name} | figures(growing) | scores.of_model()
    weights = dict(challenger.model.state_dict())
    path = str(publish(job.models_dir, step, config, weights, job.tokenizer_path, record, job.keep_models))
    note = None
    if growing is None:
        note = "too little validation text to judge by: published unjudged"
    elif old and old_model is None:
        note = f"the model of step {old['step']} before it could not be compared: published unjudged"
    told = {name: record[name] for name in ("candidate", "bits_per_byte", "anchor_bits_per_byte")}
    report({"event": "published", "step": step, "path": path, "note": note, **told})
    return Outcome(challenger.model, path, True, scores)


def _best(candidates: Candidates, evaluator: Evaluator) -> Scored:
    """Returns the cheapest candidate on the documents to choose by, scored on the others; with nothing to judge by the
    last one, the cooldown where there is one."""
    best: tuple[float, str, GPT] | None = None
    for name, make in candidates.items():
        if (weights := make()) is None:
            continue
        network = _network(evaluator.config, weights)
        cost = evaluator.cost(name, network) or 0.0
        if math.isfinite(cost) and (best is None or cost <= best[0]):
            best = cost, name, network
    if best is None:
        raise ValueError("no candidate for publication is finite; the published model stays")
    return evaluator.score(*best[1:])


def _network(config: GPTConfig, weights: Weights) -> GPT:
    model = GPT(config)
    model.load_state_dict(weights)
    return model.to(device_type()).eval()


def _comparable(old: dict[str, Any] | None, digest: str, config: GPTConfig, report: Report) -> GPT | None:
    """Returns the published network where it can be scored on the same windows of the same ids."""
    if old is None or old.get("tokenizer_digest") != digest:
        return None
    try:
        model = load_published(Path(old["path"])).to(device_type())
    except ValueError as error:
        report({"event": "damaged", "name": old["path"], "reason": str(error), "moved_to": None})
        return None
    return model if model.config.block_size >= config.block_size else None
