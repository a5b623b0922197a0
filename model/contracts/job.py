"""What one training run is asked to do, and the record of a chunk under way. Needs no torch, so that the
night can build a job and ask for a cut chunk without loading it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.data.cohorts import Cohort, Cohorts

RECIPE = (
    "steps",
    "minutes",
    "train_tokens",
    "val_tokens",
    "documents",
    "seed",
    "batch_size",
    "new_share",
    "cohorts",
    "first_step",
    "muon_learning_rate",
    "adamw_learning_rate",
    "weight_decay",
    "warmup_steps",
    "hold_steps",
    "decay_fraction",
    "average_shares",
    "compile",
)
"""The fields of a job that a chunk keeps for good: a cut chunk is finished with its own."""


@dataclass(frozen=True)
class TrainJob:
    """One chunk of training. Bad values raise ValueError naming the field."""

    processed_dir: Path
    """Holds train.bin and val.bin."""
    checkpoints_dir: Path
    models_dir: Path
    tokenizer_path: Path
    tokenizer_provisional: bool
    """Whether the tokenizer, and so the lineage, may still be replaced."""
    generation: str
    """Digest within which the positions in the bins never change."""
    train_tokens: int
    """Committed ids in train.bin."""
    val_tokens: int
    """Committed ids in val.bin."""
    documents: int = 0
    """All ledger numbers below it are committed; 0: nobody knows, and a checkpoint counts as having seen all."""
    rules: str = ""
    """Digest of what decided the texts."""
    seed: int = 1
    block_size: int = 256
    """Context, in tokens."""
    batch_size: int = 8
    """Windows a step."""
    new_share: float = 0.4
    """Share of the windows that are kept for the newest documents until all was read once (`model.data.batches`)."""
    cohorts: Cohorts = ()
    """What came when, and what was read of it before `first_step`; empty: all came together. A chunk settles it when it
    begins."""
    first_step: int = 0
    """From this step on the cohorts are these. A chunk settles it too."""
    n_layer: int = 4
    n_head: int = 4
    n_kv_head: int = 0
    """0: as many as n_head."""
    n_embd: int = 256
    head_dim: int = 0
    """0: n_embd / n_head."""
    intermediate_size: int = 0
    """0: 8/3 of n_embd, rounded up to a multiple of 64."""
    steps: int = 300
    """Trunk steps of the chunk."""
    minutes: float | None = None
    """Bound on the chunk's training time, decay branch included; None: the steps alone."""
    muon_learning_rate: float = 0.02
    adamw_learning_rate: float = 0.004
    weight_decay: float = 0.03
    """Of the matrices inside the blocks, times the learning rate."""
    warmup_steps: int = 20
    hold_steps: int = 1000
    """From this step of the lineage on the rates fall, to a tenth (`optimizer.trunk_rate`); 0: never."""
    decay_fraction: float = 0.0
    """Steps of a decay branch that may be published too, as a share of the chunk's; at most 0.3, 0 for none."""
    average_shares: tuple[float, ...] = (0.08, 0.12, 0.18)
    """Running averages of the weights, each over about this share of all steps of the lineage."""
    dtype: str = "auto"
    """float32, bfloat16, float16 (with a loss scale), or auto: settled once for a lineage, then kept."""
    compile: str = "auto"
    """off, or auto: torch.compile where a compiler is there and the chunk is long enough to win."""
    threads: int = 0
    """0: those of the checkpoint on the same machine, else all cores."""
    checkpoint_every_seconds: float = 300.0
    evaluate_tokens: int = 131072
    """Most validation tokens that one evaluation reads."""
    anchor_tokens: int = 32768
    """Most tokens of the anchor set (`model.publishing.anchor_set`), and of the first night's text."""
    keep_checkpoints: int = 3
    """The newest ones kept."""
    keep_spaced_checkpoints: int = 4
    """Older ones kept besides, each about half as old in steps as the one after it."""
    keep_models: int = 3
    prompts: tuple[str, ...] = ("",)
    """Each is continued by the published model, for the report."""
    sample_tokens: int = 80

    def __post_init__(self) -> None:
        least: dict[str, float] = {
            "train_tokens": 0,
            "val_tokens": 0,
            "documents": 0,
            "seed": 0,
            "first_step": 0,
            "block_size": 1,
            "batch_size": 1,
            "n_layer": 1,
            "n_head": 1,
            "n_kv_head": 0,
            "n_embd": 1,
            "head_dim": 0,
            "intermediate_size": 0,
            "steps": 1,
            "warmup_steps": 0,
            "hold_steps": 0,
            "threads": 0,
            "evaluate_tokens": 1,
            "anchor_tokens": 2,
            "keep_checkpoints": 1,
            "keep_spaced_checkpoints": 0,
            "keep_models": 1,
            "sample_tokens": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < bound:
                raise ValueError(f"{name} must be a whole number of at least {bound}, not {value!r}")
        for name in (
            "muon_learning_rate",
            "adamw_learning_rate",
            "checkpoint_every_seconds",
        ):
            self._require_number(name, getattr(self, name), above=0)
        for name in ("weight_decay",):
            self._require_number(name, getattr(self, name), above=-1e-12)
        if self.minutes is not None:
            self._require_number("minutes", self.minutes, above=0)
        if not 0 <= self.decay_fraction <= 0.3:
            raise ValueError(f"decay_fraction must be from 0 to 0.3, not {self.decay_fraction!r}")
        if not self.average_shares or not all(0.001 <= share <= 1 for share in self.average_shares):
            raise ValueError(f"average_shares must be one or more numbers from 0.001 to 1, not {self.average_shares!r}")
        if not 0 <= self.new_share < 1:
            raise ValueError(f"new_share must be from 0 to below 1, not {self.new_share!r}")
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, not {self.dtype!r}")
        if self.compile not in ("auto", "off"):
            raise ValueError(f"compile must be auto or off, not {self.compile!r}")
        if not self.generation:
            raise ValueError("generation must not be empty")
        if not self.head_dim and self.n_embd % self.n_head:
            raise ValueError(f"n_head ({self.n_head}) must divide n_embd ({self.n_embd}) where head_dim is 0")

    @staticmethod
    def _require_number(name: str, value: object, above: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < math.inf:
            raise ValueError(f"{name} must be a number above {max(above, 0.0):g}, not {value!r}")

    def shape(self, vocab_size: int) -> dict[str, Any]:
        """The fields of `GPTConfig`, with what was left to 0 filled in."""
        return {
            "vocab_size": vocab_size,
            "block_size": self.block_size,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_kv_head": self.n_kv_head or self.n_head,
            "n_embd": self.n_embd,
            "head_dim": self.head_dim or self.n_embd // self.n_head,
            "intermediate_size": self.intermediate_size or -(-8 * self.n_embd // 3 // 64) * 64,
        }

    def to_json(self) -> str:
        values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return json.dumps(values, indent=2)


def load_job(path: Path) -> TrainJob:
    """Read a job from its JSON file; ValueError names the file and the field."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable job: {error}") from error
    known = {field.name: field for field in fields(TrainJob)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{path}: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    for name, value in values.items():
        if known[name].type == "Path":
            values[name] = Path(value)
    try:
        return TrainJob(**_as_fields(values))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _as_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Values out of JSON as a job has them."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if "cohorts" in fields:
        fields["cohorts"] = tuple(Cohort(**cohort) for cohort in fields["cohorts"])
    return fields


@dataclass(frozen=True)
class Chunk:
    """`checkpoints/chunk.json`: a chunk that has begun and is not yet published."""

    start_step: int
    target_step: int
    generation: str
    start_seconds_trained: float
    """The lineage's training time when the chunk began: what `minutes` counts from."""
    compiled: bool
    recipe: dict[str, Any]
    """The job's `RECIPE` fields."""

    def apply(self, job: TrainJob) -> TrainJob:
        """The job with this chunk's own recipe; what another version wrote into it and nobody knows is left out."""
        recipe = {name: self.recipe[name] for name in RECIPE if name in self.recipe}
        return replace(job, **_as_fields(recipe))

    @property
    def branch_steps(self) -> int:
        return round((self.target_step - self.start_step) * float(self.recipe["decay_fraction"]))


def chunk_path(checkpoints_dir: Path) -> Path:
    return checkpoints_dir / "chunk.json"


def pending_chunk(checkpoints_dir: Path) -> dict[str, Any] | None:
    """The record of a chunk that was cut, or None. An unreadable one counts as none: it was never begun."""
    try:
        record = json.loads(chunk_path(checkpoints_dir).read_text(encoding="utf-8"))
        Chunk(**record)
    except (OSError, ValueError, TypeError):
        return None
    return dict(record)


def write_whole(path: Path, text: str) -> None:
    """Replace a small file so that a reader, or a power cut, sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames inside a directory outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
