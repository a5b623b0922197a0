"""The night's judge: scores models on held-out text, and lets the gate decide between them (P9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from model.contracts.job import TrainJob
from model.contracts.report import Report
from model.data.batches import Window, evaluation_windows, open_tokens, spread
from model.data.document_table import VALIDATION, read_documents, tokens_before
from model.network.gpt import GPT, GPTConfig
from model.publishing.anchor_set import Anchor, Oldest, draw, read_anchor, write_anchor
from model.publishing.evaluate import Evaluation, Scores, nats, score_windows, summarize
from model.publishing.publication_gate import MOST_STALE, Difference, Verdict, compare, decide, is_stale

CHOOSING = 4
"""One held-out document in so many serves to choose between candidates, the others to say what the chosen one is worth:
the luckiest of several is not as good as it looked."""
FEWEST_DOCUMENTS = 8
"""Below, all serve for both."""


@dataclass(frozen=True)
class Scored:
    """A model and what each held-out window costs it."""

    name: str
    model: GPT
    scores: Scores


class Evaluator:
    """One night's judge. It chooses between candidates by some of the held-out documents, and scores models on three
    choices of windows of the others: the growing set (all, capped), the anchor set, and those of the first night; it
    keeps the anchor set too, which may be drawn anew under it."""

    def __init__(
        self,
        job: TrainJob,
        config: GPTConfig,
        step: int,
        token_bytes: NDArray[np.int64],
        dtype: torch.dtype,
        report: Report,
    ) -> None:
        self.job, self.config, self.step, self.report = job, config, step, report
        self.token_bytes, self.dtype = token_bytes, dtype
        self.tokens = open_tokens(job.processed_dir / "val.bin", job.val_tokens)
        rows = read_documents(job.processed_dir, VALIDATION, job.val_tokens)
        self.begins = rows["offset"].astype(np.int64)  # of each held-out document
        everything = evaluation_windows(len(self.tokens), config.block_size)
        most = max(1, job.evaluate_tokens // config.block_size)
        choosing, reported = self._split(everything)
        self.choosing = spread(choosing, max(1, most // CHOOSING))
        self.growing = spread(reported, max(1, most - most // CHOOSING))
        self.most = max(1, job.anchor_tokens // config.block_size)
        self.before = read_anchor(job.models_dir, step)
        self.anchor: Anchor | None = self.before
        """None where there is no held-out text, and none was before."""
        self.fresh = False
        """Whether the anchor set was drawn tonight."""
        if self.growing and (self.before is None or self.before.generation != job.generation):
            known = self.before.oldest.documents if self.before else 0
            first = tokens_before(rows, known) if known else len(self.tokens)
            reason = self.before.due(job.generation, job.val_tokens) if self.before else None
            self.draw(reason or "there was none", Oldest(known or job.documents, first))
        first = min(self.anchor.oldest.tokens, len(self.tokens)) if self.anchor else 0
        self.oldest = spread(self._split(evaluation_windows(first, config.block_size))[1], self.most)

    def _split(self, windows: list[Window]) -> tuple[list[Window], list[Window]]:
        """Those to choose by and those to report, by the documents that they begin in: it stays as more are added."""
        documents = np.searchsorted(self.begins, [start for start, _ in windows], side="right") - 1
        chosen = documents % CHOOSING == 0
        if documents.max(initial=-1) + 1 < FEWEST_DOCUMENTS or chosen.all() or not chosen.any():
            return windows, windows
        pairs = list(zip(windows, chosen.tolist(), strict=True))
        return [window for window, one in pairs if one], [window for window, one in pairs if not one]

    def cost(self, name: str, model: GPT) -> float | None:
        """Of a candidate, in bits per byte on the documents to choose by; None where there are none."""
        scores = score_windows(model, self.tokens, self.choosing, self.token_bytes, self.dtype)
        cost = bits(summarize(scores, self.choosing, self.config.vocab_size))
        self.report({"event": "candidate", "model": name, "step": self.step, "bits_per_byte": cost})
        return cost

    def draw(self, reason: str, oldest: Oldest) -> None:
        """Draw the anchor set anew, from windows that every model of the night is scored on; said with its reason."""
        job = self.job
        more = {"val_tokens": job.val_tokens, "oldest": oldest}
        self.anchor = draw(self.anchor, job.generation, self.step, self.growing, self.most, **more)
        self.fresh = True
        event = {"event": "anchor", "version": self.anchor.version, "reason": reason, "val_tokens": job.val_tokens}
        self.report(event | {"windows": len(self.anchor.windows), "tokens": self.anchor.tokens})

    def score(self, name: str, model: GPT) -> Scored:
        windows = sorted({*self.growing, *self.oldest, *(self.anchor.windows if self.anchor else ())})
        scored = Scored(name, model, score_windows(model, self.tokens, windows, self.token_bytes, self.dtype))
        growing = self.on_growing(scored)
        self.report(
            {
                "event": "evaluation",
                "model": name,
                "step": self.step,
                "bits_per_byte": bits(growing),
                "nats_per_token": growing.nats_per_token if growing else None,
                "uniform_bits_per_byte": growing.uniform_bits_per_byte if growing else None,
                "anchor_bits_per_byte": bits(self.on_anchor(scored)),
                "oldest_bits_per_byte": bits(self.on_oldest(scored)),
                "tokens": growing.tokens if growing else 0,
            }
        )
        return scored

    def on_growing(self, scored: Scored) -> Evaluation | None:
        """None, here and below, where there is too little text."""
        return summarize(scored.scores, self.growing, self.config.vocab_size)

    def on_anchor(self, scored: Scored) -> Evaluation | None:
        return summarize(scored.scores, list(self.anchor.windows), self.config.vocab_size) if self.anchor else None

    def on_oldest(self, scored: Scored) -> Evaluation | None:
        return summarize(scored.scores, self.oldest, self.config.vocab_size)

    def decide(self, new: Scored, served: Scored | None) -> Verdict | None:
        """Whether a candidate may take the place of what is served; None where there is nothing to compare with. The
        anchor set remembers the night, and is drawn anew where it is time."""
        verdict = self._verdict(new, served) if served else None
        if verdict and is_stale(verdict) and self.anchor:
            reason = f"it refused a candidate better on all held-out text {MOST_STALE} nights in a row"
            self.draw(reason, self.anchor.oldest)
            verdict = self._verdict(new, served) if served else None
        if self.anchor and (now := self.on_anchor(new)):
            serving = served if served and verdict and not verdict.publish else new
            self._remember(now.bits_per_byte, serving, verdict.stale if verdict else 0)
            if due := self.anchor.due(self.job.generation, self.job.val_tokens):
                self.draw(due, self.anchor.oldest)
                self._remember(bits(self.on_anchor(new)) or 0.0, serving, 0)
            write_anchor(self.job.models_dir, self.step, self.before, self.anchor)
        return verdict

    def _verdict(self, new: Scored, served: Scored) -> Verdict | None:
        anchor, score = self.anchor, self.on_anchor(served)
        if anchor is None or score is None:
            return None
        windows = list(anchor.windows)
        to_served = self._compare(new, nats(served.scores, windows), windows)
        to_best = self._compare(new, list(anchor.best_nats), windows) if anchor.best_nats else to_served
        on_all = self._compare(new, nats(served.scores, self.growing), self.growing)
        return decide(to_served, to_best, on_all, anchor.noise(score.bits_per_byte), anchor.stale, self.fresh)

    def _compare(self, new: Scored, old: list[float], windows: list[Window]) -> Difference:
        """`old`: another model's nats by window."""
        documents = np.searchsorted(self.begins, [start for start, _ in windows], side="right")
        return compare(nats(new.scores, windows), old, [new.scores[window][2] for window in windows], documents)

    def _remember(self, score: float, serving: Scored, stale: int) -> None:
        assert self.anchor
        anchor, now = self.anchor.with_score(self.step, score), nats(serving.scores, list(self.anchor.windows))
        if not anchor.best_nats or sum(now) < sum(anchor.best_nats):
            anchor = replace(anchor, best_step=self.step, best_nats=tuple(now))
        known = [one for one in (anchor.oldest.best, bits(self.on_oldest(serving))) if one is not None]
        self.anchor = replace(anchor, stale=stale, oldest=replace(anchor.oldest, best=min(known, default=None)))


def bits(evaluation: Evaluation | None) -> float | None:
    return evaluation.bits_per_byte if evaluation else None
