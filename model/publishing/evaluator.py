"""The night's evaluator: scores models on held-out text, and lets the gate decide between them (P9).

The champion is the model that is served, a challenger the best candidate of the night.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from model.contracts.job import TrainJob
from model.contracts.report import Report
from model.contracts.scores import Scores
from model.data.batches import Window, evaluation_windows, spread
from model.data.document_table import VALIDATION, read_documents, tokens_before
from model.data.tokens import open_tokens
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.anchor_set import Anchor, FirstNightSet, read_anchor, write_anchor
from model.publishing.evaluate import Evaluation, WindowScores, bits, figures, nats, score_windows, summarize
from model.publishing.publication_gate import MOST_STALE, Difference, Verdict, compare, decide

CHOOSING = 4
"""One held-out document in so many serves to choose between candidates, the others to say what the chosen one is worth:
this avoids selection bias (the winner's curse)."""
FEWEST_DOCUMENTS = 8
"""Below, all serve for both."""


@dataclass(frozen=True)
class Scored:
    """A model and what each held-out window costs it."""

    name: str
    model: GPT
    scores: WindowScores


class Evaluator:
    """One night's evaluator. It chooses between candidates by some of the held-out documents, and scores models on
    three choices of windows of the others: the growing set (all, capped), the anchor set, and those of the first night;
    it keeps the anchor set too, which may be drawn anew under it."""

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
        self.rows = read_documents(job.processed_dir, VALIDATION, job.val_tokens)
        self.begins = self.rows["offset"].astype(np.int64)  # of each held-out document

        # Part of the documents to choose by, the others to report.
        most = max(1, job.evaluate_tokens // config.block_size)
        choosing, reported = self._split(len(self.tokens))
        self.choosing = spread(choosing, max(1, most // CHOOSING))
        self.growing = spread(reported, max(1, most - most // CHOOSING))

        # The anchor set, and the windows of the first night.
        self.most_anchored = max(1, job.anchor_tokens // config.block_size)
        self.before, self.lost = self._read_anchor()
        self.anchor: Anchor | None = self.before
        """None where there is no held-out text, and none was before."""
        self.fresh = False
        """Whether the anchor set was drawn tonight."""
        if self.growing and (self.before is None or self.before.generation != job.generation):
            self._draw_first()
        first = min(self.anchor.oldest.tokens, len(self.tokens)) if self.anchor else 0
        self.first_night = spread(self._split(first)[1], self.most_anchored)

    def _split(self, tokens: int) -> tuple[list[Window], list[Window]]:
        """Splits the windows of the first so many tokens into those to choose by and those to report, by the documents
        that they begin in: it stays as more are added."""
        windows = evaluation_windows(tokens, self.config.block_size)
        documents = self._documents(windows)
        chosen = documents % CHOOSING == 0
        if documents.max(initial=-1) + 1 < FEWEST_DOCUMENTS or chosen.all() or not chosen.any():
            return windows, windows
        pairs = list(zip(windows, chosen.tolist(), strict=True))
        return [window for window, one in pairs if one], [window for window, one in pairs if not one]

    def _documents(self, windows: list[Window]) -> NDArray[np.int64]:
        """Returns the held-out document that each window begins in, (W,), counted from 0."""
        return np.searchsorted(self.begins, [start for start, _ in windows], side="right") - 1

    # -- the anchor set --------------------------------------------------------------------------------------

    @property
    def anchor_windows(self) -> list[Window]:
        return list(self.anchor.windows) if self.anchor else []

    def _read_anchor(self) -> tuple[Anchor | None, str]:
        """Returns it as it was before this step, and why there is none."""
        try:
            return read_anchor(self.job.models_dir, self.step), "there was none"
        except ValueError as error:
            return None, f"it was damaged ({error})"

    def _draw_first(self) -> None:
        """Draws the first anchor set of a lineage, or of a generation, whose first night is found again by its seqs."""
        job, known = self.job, self.before.oldest.documents if self.before else 0
        tokens = tokens_before(self.rows, known) if known else len(self.tokens)
        reason = self.before.due(job.generation, job.val_tokens) if self.before else None
        self._draw(reason or self.lost, FirstNightSet(known or job.documents, tokens))

    def _draw(self, reason: str, first_night: FirstNightSet) -> None:
        """Draws the anchor set anew, from windows that every model of the night is scored on; says its reason. What was
        measured of the nights' noise stays true."""
        job, windows = self.job, tuple(spread(self.growing, self.most_anchored))
        version, noise = (self.anchor.version + 1, self.anchor.noise_share) if self.anchor else (1, None)
        self.anchor = Anchor(
            version, job.generation, self.step, job.val_tokens, windows, oldest=first_night, noise_share=noise
        )
        self.fresh = True
        event = {"event": "anchor", "version": version, "reason": reason, "val_tokens": job.val_tokens}
        self.report(event | {"windows": len(windows), "tokens": self.anchor.tokens})

    # -- scores ----------------------------------------------------------------------------------------------

    def cost(self, name: str, model: GPT) -> float | None:
        """Returns a candidate's bits per byte on the documents to choose by; None where there are none."""
        scores = score_windows(model, self.tokens, self.choosing, self.token_bytes, self.dtype)
        cost = bits(summarize(scores, self.choosing, self.config.vocab_size))
        self.report({"event": "candidate", "model": name, "step": self.step, "bits_per_byte": cost})
        return cost

    def score(self, name: str, model: GPT) -> Scored:
        windows = sorted({*self.growing, *self.first_night, *self.anchor_windows})
        scored = Scored(name, model, score_windows(model, self.tokens, windows, self.token_bytes, self.dtype))
        growing = self.on_growing(scored)
        self.report(
            {
                "event": "evaluation",
                "model": name,
                "step": self.step,
                **figures(growing),
                "anchor_bits_per_byte": bits(self.on_anchor(scored)),
                "oldest_bits_per_byte": bits(self.on_first_night(scored)),
                "tokens": growing.tokens if growing else 0,
            }
        )
        return scored

    def on_growing(self, scored: Scored) -> Evaluation | None:
        """None, here and below, where there is too little text."""
        return summarize(scored.scores, self.growing, self.config.vocab_size)

    def on_anchor(self, scored: Scored) -> Evaluation | None:
        return summarize(scored.scores, self.anchor_windows, self.config.vocab_size)

    def on_first_night(self, scored: Scored) -> Evaluation | None:
        return summarize(scored.scores, self.first_night, self.config.vocab_size)

    def scores(self, served: Scored, candidate: str, champion: Scored | None) -> Scores:
        """Returns the scores of what is served from now on, beside the champion's so far."""
        growing, anchor = self.on_growing(served), self.anchor
        return Scores(
            candidate=candidate,
            bits_per_byte=bits(growing),
            bits_per_byte_before=bits(self.on_growing(champion)) if champion else None,
            anchor_bits_per_byte=bits(self.on_anchor(served)),
            anchor_bits_per_byte_before=bits(self.on_anchor(champion)) if champion else None,
            anchor_version=anchor.version if anchor else None,
            anchor_tokens=anchor.tokens if anchor else 0,
            uniform_bits_per_byte=growing.uniform_bits_per_byte if growing else None,
            oldest_bits_per_byte=bits(self.on_first_night(served)),
            oldest_bits_per_byte_best=anchor.oldest.best if anchor else None,
        )

    # -- the verdict -----------------------------------------------------------------------------------------

    def decide(self, challenger: Scored, champion: Scored | None) -> Verdict | None:
        """Returns whether the challenger may take the champion's place; None where there is nothing to compare with.
        The anchor set remembers the night, and is drawn anew where it is time."""
        verdict = self._verdict(challenger, champion)
        if verdict and verdict.stale >= MOST_STALE and self.anchor:
            reason = f"it refused a candidate better on all held-out text {MOST_STALE} nights in a row"
            self._draw(reason, self.anchor.oldest)
            verdict = self._verdict(challenger, champion)
        if self.anchor and (now := self.on_anchor(challenger)):
            serving = champion if champion and verdict and not verdict.publish else challenger
            self._remember(now.bits_per_byte, serving, verdict.stale if verdict else 0)
            if due := self.anchor.due(self.job.generation, self.job.val_tokens):
                self._draw(due, self.anchor.oldest)
                self._remember(bits(self.on_anchor(challenger)) or 0.0, serving, 0)
            write_anchor(self.job.models_dir, self.step, self.before, self.anchor)
        return verdict

    def _verdict(self, challenger: Scored, champion: Scored | None) -> Verdict | None:
        score = self.on_anchor(champion) if champion else None
        if self.anchor is None or champion is None or score is None:
            return None
        anchor, windows = self.anchor, self.anchor_windows
        to_champion = self._compare(challenger, nats(champion.scores, windows), windows)
        to_best = self._compare(challenger, list(anchor.best_nats), windows) if anchor.best_nats else to_champion
        on_all = self._compare(challenger, nats(champion.scores, self.growing), self.growing)
        return decide(to_champion, to_best, on_all, anchor.noise(score.bits_per_byte), anchor.stale, self.fresh)

    def _compare(self, challenger: Scored, other: list[float], windows: list[Window]) -> Difference:
        """`other`: another model's nats by window."""
        sizes = [challenger.scores[window][2] for window in windows]
        return compare(nats(challenger.scores, windows), other, sizes, self._documents(windows))

    def _remember(self, score: float, serving: Scored, stale: int) -> None:
        """Adds the challenger's score, and what is served where it is the best so far."""
        assert self.anchor
        anchor, now = self.anchor.with_score(self.step, score), nats(serving.scores, self.anchor_windows)
        if not anchor.best_nats or sum(now) < sum(anchor.best_nats):
            anchor = replace(anchor, best_step=self.step, best_nats=tuple(now))
        known = [one for one in (anchor.oldest.best, bits(self.on_first_night(serving))) if one is not None]
        self.anchor = replace(anchor, stale=stale, oldest=replace(anchor.oldest, best=min(known, default=None)))
