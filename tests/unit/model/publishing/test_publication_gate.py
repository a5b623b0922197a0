"""The gate of publication (P9) over simulated years: the real judge and its files, scores instead of models."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.contracts.job import TrainJob
from model.data.document_table import DOCUMENT, TABLE, VALIDATION
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.anchor_set import read_anchor
from model.publishing.evaluator import FEWEST_DOCUMENTS, Evaluator, Scored
from model.publishing.publication_gate import FEWEST_NIGHTS, MOST_STALE, Difference, compare, decide, night_noise

BLOCK, BYTES = 32, 100  # ids and bytes of text in a window
ANCHOR = 64  # windows
TEXT_NOISE = 0.03  # bits/byte, of one night on one window: 0.005 on the difference of two nights over the anchor set
NIGHT_NOISE = 0.004  # bits/byte, of one night on all windows alike
SEEDS = (0, pytest.param(1, marks=pytest.mark.long))
Profile = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]
"""Night and the place of each window (0 the oldest, 1 the newest of the first night's) to true bits per byte."""


@dataclass
class Years:
    """A lineage whose every night has a score that nobody had to train for."""

    directory: Path
    seed: int = 0
    first: int = 80  # held-out windows on the first night
    events: list[dict[str, Any]] = field(default_factory=list)
    served: Scored | None = None
    served_bits: float = math.inf  # true quality on the growing set
    published: list[bool] = field(default_factory=list)
    against: list[str] = field(default_factory=list)

    def judge(self, step: int, windows: int, generation: str = "g") -> Evaluator:
        np.ones(windows * BLOCK + 1, dtype="<u2").tofile(self.directory / "val.bin")
        job = TrainJob(
            processed_dir=self.directory, checkpoints_dir=self.directory, models_dir=self.directory / "models",
            tokenizer_path=self.directory, tokenizer_provisional=False, generation=generation, train_tokens=1000,
            val_tokens=windows * BLOCK + 1, block_size=BLOCK, evaluate_tokens=10**9, anchor_tokens=ANCHOR * BLOCK,
        )  # fmt: skip
        config = GPTConfig(300, BLOCK, 1, 1, 1, 8, 8, 8)
        return Evaluator(job, config, step, np.ones(300, dtype=np.int64), torch.float32, self.events.append)

    def night(self, night: int, profile: Profile, windows: int | None = None, generation: str = "g") -> bool:
        """One night; whether it published."""
        judge = self.judge(night, windows or self.first, generation)
        chance = np.random.default_rng([self.seed, night])
        place = np.arange(len(judge.growing)) / self.first
        true = profile(night, place)
        seen = true + chance.normal(0, NIGHT_NOISE) + chance.normal(0, TEXT_NOISE, len(place))
        nats = seen * BYTES * math.log(2)
        scores = {window: (float(cost), BLOCK, BYTES) for window, cost in zip(judge.growing, nats, strict=True)}
        new = Scored("ema", None, scores)  # type: ignore[arg-type]  # nobody asks the model
        served = self._served_tonight(judge, night)
        verdict = judge.decide(new, served)
        publishes = verdict is None or verdict.publish
        if publishes:
            self.served, self.served_bits = new, float(true.mean())
            self._serving = (profile, night, new)
        self.published.append(publishes)
        self.against.append("" if publishes or verdict is None else verdict.against)
        return publishes

    def _served_tonight(self, judge: Evaluator, night: int) -> Scored | None:
        """The served model on tonight's windows: old ones cost it what they did, new ones what they would have."""
        if self.served is None:
            return None
        profile, then, before = self._serving
        chance = np.random.default_rng([self.seed, then, 1])
        place = np.arange(len(judge.growing)) / self.first
        would = profile(then, place) + chance.normal(0, TEXT_NOISE, len(place))
        scores = {
            window: before.scores.get(window, (float(bits * BYTES * math.log(2)), BLOCK, BYTES))
            for window, bits in zip(judge.growing, would, strict=True)
        }
        return replace(self.served, scores=scores)

    def draws(self) -> list[tuple[int, str]]:
        return [(event["version"], event["reason"]) for event in self.events if event["event"] == "anchor"]


def longest_run(refused: list[bool]) -> int:
    longest = now = 0
    for one in refused:
        now = now + 1 if one else 0
        longest = max(longest, now)
    return longest


def level(bits: float = 2.0) -> Profile:
    return lambda night, place: np.full(len(place), bits)


# -- noise cannot freeze it ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_pure_noise_does_not_freeze_it(tmp_path: Path, seed: int) -> None:
    """A year in which no night is better than another: nearly all are published, and none waits for long."""
    years = Years(tmp_path, seed)
    for night in range(365):
        years.night(night, level())
    assert np.mean(years.published) > 0.9
    assert longest_run([not one for one in years.published]) <= 10
    assert len(years.draws()) <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_one_lucky_night_does_not_freeze_it(tmp_path: Path, seed: int) -> None:
    years = Years(tmp_path, seed)
    for night in range(120):
        years.night(night, level(1.98 if night == 30 else 2.0))  # five times the noise of a night
    assert np.mean(years.published[31:]) > 0.6
    assert longest_run([not one for one in years.published]) <= 12


def test_steady_progress_is_published_every_night(tmp_path: Path) -> None:
    years = Years(tmp_path)
    for night in range(200):
        years.night(night, level(2.5 - 0.5 * night / (night + 20)))
    assert np.mean(years.published) > 0.97


# -- drift cannot fool it --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_drift_is_stopped_within_a_few_noises(tmp_path: Path, seed: int) -> None:
    """Each night is worse by half the noise of a night, which no comparison with the night before can tell."""
    years = Years(tmp_path, seed)
    for night in range(200):
        years.night(night, level(2.0 + 0.002 * night))
    assert years.served_bits < 2.06 and not any(years.published[60:])  # while the candidates went to 2.4
    assert "best" in years.against
    assert len(years.draws()) == 1  # it is worse on all text too: no new anchor set lets it through


def test_the_night_before_alone_would_be_fooled() -> None:
    """What the second comparison is for."""
    small = Difference(0.002, 0.005)
    far = Difference(0.1, 0.005)
    assert decide(small, small, None, 0.004, 0).publish
    verdict = decide(small, far, None, 0.004, 0)
    assert not verdict.publish and verdict.against == "best" and verdict.difference == 0.1


def test_a_ruined_night_is_refused_as_long_as_it_lasts(tmp_path: Path) -> None:
    years = Years(tmp_path)
    for night in range(60):
        years.night(night, level(2.3 if 20 <= night < 40 else 2.0))
    assert not any(years.published[20:40]) and years.published[40] and years.draws() == [(1, "there was none")]


# -- the anchor set is drawn anew ------------------------------------------------------------------------


def test_a_trade_of_old_text_for_new_is_let_through_by_a_new_anchor_set(tmp_path: Path) -> None:
    """The corpus turns to other text: what the old anchor set holds gets worse, all held-out text gets better."""

    def turning(night: int, place: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(place <= 1, 2.0 + 0.006 * night, 2.4 - 0.012 * night)

    years = Years(tmp_path)
    for night in range(40):
        years.night(night, turning if night else level(), windows=80 + (70 if night else 0))
    reasons = [reason for _, reason in years.draws()]
    assert any("3 nights in a row" in reason for reason in reasons)
    stops = longest_run([not one for one in years.published])
    assert stops <= MOST_STALE and np.mean(years.published) > 0.7


def test_it_is_drawn_anew_when_the_held_out_text_has_doubled(tmp_path: Path) -> None:
    years = Years(tmp_path)
    for night in range(50):
        years.night(night, level(2.0 - 0.001 * night), windows=80 + 10 * night)  # 80, past 160, past 340
    assert years.draws() == [
        (1, "there was none"),
        (2, "the held-out text has doubled"),
        (3, "the held-out text has doubled"),
    ]
    anchor = read_anchor(tmp_path / "models", 99)
    assert anchor is not None and len(anchor.windows) == ANCHOR and anchor.val_tokens == 350 * BLOCK + 1
    assert anchor.oldest.tokens == 80 * BLOCK + 1  # the first night's, for ever
    assert anchor.noise_share == pytest.approx(NIGHT_NOISE / 2.0, rel=1.0)  # measured, and kept across versions


def test_in_another_generation_its_windows_mean_nothing(tmp_path: Path) -> None:
    years = Years(tmp_path)
    for night in range(10):
        years.night(night, level(), generation="g" if night < 5 else "h")
    assert years.draws() == [(1, "there was none"), (2, "the token files are of another generation")]


def test_a_drift_gains_little_by_new_anchor_sets(tmp_path: Path) -> None:
    """Each version lets a few noises through; there is one a doubling, not one a night."""
    years = Years(tmp_path)
    for night in range(150):
        years.night(night, level(2.0 + 0.002 * night), windows=80 + 2 * night)  # doubles twice
    assert len(years.draws()) <= 3 and years.served_bits < 2.0 + 3 * 0.06


# -- what it remembers -----------------------------------------------------------------------------------


def test_a_publication_made_again_decides_alike(tmp_path: Path) -> None:
    """A kill after anchor.json and before the swap: the same night must not count twice."""
    once, twice = Years(tmp_path / "once"), Years(tmp_path / "twice")
    for years in (once, twice):
        years.directory.mkdir()
        for night in range(30):
            before = (years.served, years.served_bits, getattr(years, "_serving", None))
            years.night(night, level(2.0 + 0.002 * night))
            if years is twice:
                years.served, years.served_bits, years._serving = before  # type: ignore[assignment]
                years.night(night, level(2.0 + 0.002 * night))
    assert (once.directory / "models" / "anchor.json").read_bytes() == (
        twice.directory / "models" / "anchor.json"
    ).read_bytes()
    assert twice.published[::2] == twice.published[1::2] == once.published


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-20],
        lambda content: content.replace(b'"stale": 0', b'"stale": 2'),
        lambda content: b'{"format": 1, "step": 7, "now": {"windows": 3}}',
    ],
    ids=["torn", "flipped", "wrong types"],
)
def test_a_damaged_file_starts_the_anchor_set_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    years = Years(tmp_path)
    years.night(0, level())
    path = tmp_path / "models" / "anchor.json"
    path.write_bytes(damage(path.read_bytes()))
    assert years.night(1, level()) and years.draws()[1][1].startswith("it was damaged")


# -- the pure functions ----------------------------------------------------------------------------------


def test_the_noise_of_the_nights_is_measured_around_their_trend() -> None:
    chance = np.random.default_rng(0)
    found = []
    for _ in range(200):
        trend = 2.0 - 0.01 * np.arange(14) + 0.0003 * np.arange(14) ** 2
        found.append(night_noise(list(trend + chance.normal(0, 0.004, 14))))
    measured = [one for one in found if one is not None]
    assert len(measured) == 200 and np.median(measured) == pytest.approx(0.004, rel=0.2)
    steady = list(2.0 - 0.01 * np.arange(14.0))
    assert night_noise(steady) == pytest.approx(0.0, abs=1e-12)
    assert night_noise([*steady[:-3], 9.0, *steady[-2:]]) == pytest.approx(0.0, abs=1e-12)  # one bad night
    assert night_noise(steady[: FEWEST_NIGHTS - 1]) is None


def test_the_error_counts_documents_not_windows() -> None:
    """Eight windows of one document that agree are one witness, not eight."""
    chance = np.random.default_rng(1)
    documents = np.repeat(np.arange(20), 8)
    sizes = np.full(160, 100.0)
    old = np.full(160, 100.0)
    together = old + np.repeat(chance.normal(0, 5, 20), 8)
    apart = old + chance.normal(0, 5, 160)
    by_document = compare(together, old, sizes, documents)
    assert by_document.error > 2 * compare(together, old, sizes, np.arange(160)).error
    assert compare(apart, old, sizes, documents).error == pytest.approx(
        compare(apart, old, sizes, np.arange(160)).error, rel=0.4
    )
    same = compare(old, old, sizes, documents)
    assert (same.bits, same.error) == (0.0, 0.0)
    assert compare(together[:4], old[:4], sizes[:4], documents[:4]).error == 0.0  # too few to tell
    assert compare(together[:12], old[:12], sizes[:12], documents[:12]).error > 0  # few documents: by windows


def test_what_is_no_number_is_refused() -> None:
    verdict = decide(Difference(math.nan, 0.0), Difference(math.nan, 0.0), Difference(math.nan, 0.0), 0.004, 0)
    assert not verdict.publish and verdict.stale == 0


def test_a_refusal_counts_as_stale_only_where_all_text_speaks_for_the_candidate() -> None:
    worse, better = Difference(0.1, 0.001), Difference(-0.1, 0.001)
    assert decide(worse, worse, better, 0.004, 1).stale == 2
    assert decide(worse, worse, worse, 0.004, 1).stale == 0
    assert decide(worse, worse, better, 0.004, 1, fresh=True).stale == 0
    assert decide(better, better, better, 0.004, 2).stale == 0


def test_the_judge_scores_real_models_on_all_three_sets(tmp_path: Path) -> None:
    judge = Years(tmp_path).judge(0, 80)
    torch.manual_seed(0)
    scored = judge.score("ema", GPT(judge.config))
    assert judge.decide(scored, None) is None  # nothing to compare with: it is published
    for evaluation in (judge.on_growing(scored), judge.on_anchor(scored), judge.on_first_night(scored)):
        assert evaluation is not None and evaluation.bits_per_byte == pytest.approx(math.log2(300), rel=0.05)


def test_the_documents_to_choose_by_are_others_than_those_reported_and_stay_so(tmp_path: Path) -> None:
    def judge(count: int) -> Evaluator:
        rows = np.zeros(count, DOCUMENT)
        rows["split"], rows["length"] = VALIDATION, 3 * BLOCK
        rows["offset"] = np.arange(count) * 3 * BLOCK
        rows.tofile(tmp_path / TABLE)
        np.ones(3 * BLOCK * count, dtype="<u2").tofile(tmp_path / "val.bin")
        job = TrainJob(
            processed_dir=tmp_path, checkpoints_dir=tmp_path, models_dir=tmp_path / "models", tokenizer_path=tmp_path,
            tokenizer_provisional=False, generation="g", train_tokens=1000, val_tokens=3 * BLOCK * count,
            block_size=BLOCK, evaluate_tokens=10**9, anchor_tokens=10**6,
        )  # fmt: skip
        config = GPTConfig(300, BLOCK, 1, 1, 1, 8, 8, 8)
        return Evaluator(job, config, 0, np.ones(300, dtype=np.int64), torch.float32, lambda event: None)

    few, some, more = judge(FEWEST_DOCUMENTS - 1), judge(20), judge(40)
    assert few.choosing == few.growing
    for one in (some, more):
        assert not {*one.choosing} & {*one.growing, *one.first_night, *(one.anchor.windows if one.anchor else ())}
        assert len(one.growing) == pytest.approx(3 * len(one.choosing), rel=0.1)
    begins = [({start for start, _ in one.choosing}, {start for start, _ in one.growing}) for one in (some, more)]
    assert begins[0][0] <= begins[1][0] and begins[0][1] <= begins[1][1]
