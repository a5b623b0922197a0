"""What one training run is asked to do, and the record of a chunk under way. Needs no torch, so that the
night can build a job and ask for a cut chunk without loading it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from model.data.cohorts import Cohort, Cohorts
from model.data.digests import SEAL, read_record

Metadata = dict[str, Any]

RECIPE: Metadata = {"recipe": True}
"""Marks what a chunk keeps for good: a cut chunk is finished with its own."""
BATCHES: Metadata = RECIPE | {"checkpoint": "batches"}
"""Part of the recipe that decides the batches: a checkpoint keeps it too."""
OPTIMIZER: Metadata = RECIPE | {"checkpoint": "optimizer"}
"""Part of the recipe that decides the updates: likewise."""


def _allowed(is_good: Callable[[Any], bool], words: str) -> Metadata:
    return {"allowed": (is_good, words)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Metadata:
    return _allowed(lambda value: type(value) is int and value >= least, f"a whole number of at least {least}")


POSITIVE = _allowed(lambda value: _is_number(value) and value > 0, "a number above 0")
NOT_NEGATIVE = _allowed(lambda value: _is_number(value) and value >= 0, "a number of at least 0")
MINUTES = _allowed(lambda value: value is None or (_is_number(value) and value > 0), "a number above 0")
SHARE = _allowed(lambda value: 0 <= value < 1, "from 0 to below 1")
DECAY = _allowed(lambda value: 0 <= value <= 0.3, "from 0 to 0.3")
SHARES = _allowed(
    lambda value: value and all(0.001 <= share <= 1 for share in value), "one or more numbers from 0.001 to 1"
)
DTYPE = _allowed(("auto", "float32", "bfloat16", "float16").__contains__, "auto, float32, bfloat16 or float16")
COMPILE = _allowed(("auto", "off").__contains__, "auto or off")


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One chunk of training. Bad values raise ValueError naming the field.

    This is the one list of what decides a training run: the fields' metadata say what values are allowed, and what a
    chunk (`RECIPE`) and a checkpoint keep.
    """

    processed_dir: Path
    """Holds train.bin and val.bin."""
    checkpoints_dir: Path
    models_dir: Path
    tokenizer_path: Path
    tokenizer_provisional: bool
    """Whether the tokenizer, and so the lineage, may still be replaced."""
    generation: str
    """Digest within which the positions in the bins never change."""
    rules: str = ""
    """Digest of what decided the texts."""
    steps: int = field(default=300, metadata=whole(0) | RECIPE)
    """Training steps of the chunk, without those of a cooldown; 0: as many as the minutes allow."""
    minutes: float | None = field(default=None, metadata=MINUTES | RECIPE)
    """Bound on the chunk's training time, cooldown included; None: the steps alone."""
    train_tokens: int = field(metadata=whole(0) | RECIPE)
    """Committed ids in train.bin."""
    val_tokens: int = field(metadata=whole(0) | RECIPE)
    """Committed ids in val.bin."""
    documents: int = field(default=0, metadata=whole(0) | RECIPE)
    """All seqs below it are committed; 0: nobody knows, and a checkpoint counts as having seen all."""
    seed: int = field(default=1, metadata=whole(0) | BATCHES)
    batch_size: int = field(default=8, metadata=whole(1) | BATCHES)
    """Windows a step."""
    new_share: float = field(default=0.4, metadata=SHARE | BATCHES)
    """Share of the windows that are kept for the newest documents until all was read once (`model.data.batches`)."""
    cohorts: Cohorts = field(default=(), metadata=BATCHES)
    """What came when, and what was read of it before `first_step`; empty: all came together. A chunk settles it when it
    begins."""
    first_step: int = field(default=0, metadata=whole(0) | BATCHES)
    """From this step on the cohorts are these. A chunk settles it too."""
    muon_learning_rate: float = field(default=0.02, metadata=POSITIVE | OPTIMIZER)
    adamw_learning_rate: float = field(default=0.004, metadata=POSITIVE | OPTIMIZER)
    weight_decay: float = field(default=0.03, metadata=NOT_NEGATIVE | OPTIMIZER)
    """Of the matrices inside the blocks, times the learning rate."""
    warmup_steps: int = field(default=20, metadata=whole(0) | OPTIMIZER)
    hold_steps: int = field(default=1000, metadata=whole(0) | OPTIMIZER)
    """From this step of the lineage on the learning rates fall, to a tenth (`optimizer.lr_multiplier`); 0: never."""
    decay_fraction: float = field(default=0.0, metadata=DECAY | RECIPE)
    """Steps of a cooldown that may be published too, as a share of the chunk's; at most 0.3, 0 for none."""
    average_shares: tuple[float, ...] = field(default=(0.08, 0.12, 0.18), metadata=SHARES | RECIPE)
    """Running averages of the weights, each over about this share of all steps of the lineage."""
    compile: str = field(default="auto", metadata=COMPILE | RECIPE)
    """off, or auto: torch.compile where a compiler is there and the chunk is long enough to win."""
    block_size: int = field(default=256, metadata=whole(1))
    """Context, in tokens."""
    n_layer: int = field(default=4, metadata=whole(1))
    n_head: int = field(default=4, metadata=whole(1))
    n_kv_head: int = field(default=0, metadata=whole(0))
    """0: as many as n_head."""
    n_embd: int = field(default=256, metadata=whole(1))
    dtype: str = field(default="auto", metadata=DTYPE)
    """float32, bfloat16, float16 (with a loss scale), or auto: settled once for a lineage, then kept."""
    threads: int = field(default=0, metadata=whole(0))
    """0: all cores that this process may use, chosen once a chunk."""
    checkpoint_every_seconds: float = field(default=300.0, metadata=POSITIVE)
    evaluate_tokens: int = field(default=131072, metadata=whole(1))
    """Most validation tokens that one evaluation reads."""
    anchor_tokens: int = field(default=32768, metadata=whole(2))
    """Most tokens of the anchor set (`model.publishing.anchor_set`), and of the first night's text."""
    keep_checkpoints: int = field(default=3, metadata=whole(1))
    """The newest ones kept."""
    keep_spaced_checkpoints: int = field(default=4, metadata=whole(0))
    """Older ones kept besides, each about half as old in steps as the one after it."""
    keep_models: int = field(default=3, metadata=whole(1))
    prompts: tuple[str, ...] = ("",)
    """Each is continued by the published model, for the report."""
    sample_tokens: int = field(default=80, metadata=whole(0))

    def __post_init__(self) -> None:
        for one in fields(self):
            is_good, words = one.metadata.get("allowed", (lambda value: True, ""))
            if not is_good(value := getattr(self, one.name)):
                raise ValueError(f"{one.name} must be {words}, not {value!r}")
        if not self.generation:
            raise ValueError("generation must not be empty")
        if not self.steps and self.minutes is None:
            raise ValueError("steps is 0 and there are no minutes: one of them must bound the chunk")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head ({self.n_head}) must divide n_embd ({self.n_embd})")

    def recipe(self) -> dict[str, Any]:
        """Returns what a chunk keeps."""
        return {one.name: getattr(self, one.name) for one in fields(self) if "recipe" in one.metadata}

    def kept_in_checkpoint(self, part: str) -> dict[str, Any]:
        """Returns what a checkpoint keeps of this part, "batches" or "optimizer"."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.metadata.get("checkpoint") == part}

    def shape(self, vocab_size: int) -> dict[str, Any]:
        """Returns the fields of `GPTConfig`; SwiGLU is 8/3 of n_embd wide, rounded up to a multiple of 64."""
        return {
            "vocab_size": vocab_size,
            "block_size": self.block_size,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_kv_head": self.n_kv_head or self.n_head,
            "n_embd": self.n_embd,
            "head_dim": self.n_embd // self.n_head,
            "intermediate_size": -(-8 * self.n_embd // 3 // 64) * 64,
        }

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, default=str)


def load_job(path: Path) -> TrainJob:
    """Reads a job from its JSON file; ValueError names the file and the field."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable job: {error}") from error
    known = {one.name: one for one in fields(TrainJob)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{path}: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    paths = {name: Path(value) for name, value in values.items() if known[name].type == "Path"}
    try:
        return TrainJob(**_from_json(values | paths))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _from_json(values: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as a job's tuples, the cohorts among them."""
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    if "cohorts" in tuples:
        tuples["cohorts"] = tuple(Cohort(**cohort) for cohort in tuples["cohorts"])
    return values | tuples


MOST_STEPS = 10_000_000
"""Of a chunk that its minutes alone bound."""


@dataclass(frozen=True)
class Chunk:
    """`checkpoints/chunk.json`: a chunk that has begun and is not yet published."""

    start_step: int
    target_step: int
    """The last step at most: `MOST_STEPS` further where the minutes alone bound it, until they are over."""
    generation: str
    start_seconds_trained: float
    """The lineage's training time when the chunk began: what `minutes` counts from."""
    compiled: bool
    recipe: dict[str, Any]
    """`TrainJob.recipe`."""
    threads: int = 0
    """0: written by an earlier version."""

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what no chunk can hold."""
        counts = (self.start_step, self.target_step, self.threads)
        if not all(type(count) is int and count >= 0 for count in counts) or not isinstance(self.recipe, dict):
            raise ValueError("it is no chunk")
        for one in fields(TrainJob):
            is_good, words = one.metadata.get("allowed", (lambda value: True, ""))
            if one.name in self.recipe and not is_good(self.recipe[one.name]):
                raise ValueError(f"{one.name} must be {words}")
        _from_json(self.recipe)

    def apply(self, job: TrainJob) -> TrainJob:
        """Returns the job with this chunk's own recipe; what another version wrote and nobody knows is left out."""
        return replace(job, **_from_json({name: self.recipe[name] for name in job.recipe() if name in self.recipe}))

    @property
    def cooldown_steps(self) -> int:
        return round((self.target_step - self.start_step) * float(self.recipe["decay_fraction"]))


def chunk_path(checkpoints_dir: Path) -> Path:
    return checkpoints_dir / "chunk.json"


def pending_chunk(checkpoints_dir: Path) -> Chunk | None:
    """Returns the chunk that was cut, or None. A damaged one counts as none."""
    try:
        record = read_record(chunk_path(checkpoints_dir))
        record.pop(SEAL, None)
        return Chunk(**record)
    except (OSError, ValueError, TypeError):
        return None
