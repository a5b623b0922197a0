"""What checkpoints and published models know of documents that were forgotten since. Needs no torch.

Each says in its metadata how many documents were committed when it was made, and so whether it can have learned
one. One that has is marked, with the document's number, and whatever is trained on from it inherits the mark;
or the lineage goes back to before it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.contracts.job import sync_directory, write_whole

RECORD = "miniature_memory.json"
LATEST = "latest"
CARD = "README.md"
TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True)
class ErasedDocument:
    """A document that is forgotten."""

    number: int
    """Its place in the ledger."""
    split: str
    """train or validation."""
    kept: bool | None
    """Whether it is in the token files; None where they are not that far."""


def may_have_seen(metadata: dict[str, Any], lost: ErasedDocument, rules: str) -> bool:
    """Whether the document was committed when this checkpoint or model was made. In doubt it was.

    Args:
        rules: the digest of what decided whether the document is kept.
    """
    committed, former = metadata.get("documents") or None, metadata.get("former_documents", 0)
    if lost.kept is False and metadata.get("rules") == rules:
        committed = former  # dropped by these rules, but perhaps not by those before
    return committed is None or lost.number < max(committed, former)


@dataclass(frozen=True)
class AffectedArtifacts:
    """Checkpoints and models, by their steps."""

    checkpoints: tuple[int, ...] = ()
    models: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.checkpoints or self.models)

    def __str__(self) -> str:
        named = [("checkpoint", self.checkpoints), ("published model", self.models)]
        return ", ".join(f"{name}s of step {', '.join(map(str, steps))}" for name, steps in named if steps) or "none"


def mark(
    checkpoints_dir: Path, models_dir: Path, lost: Iterable[ErasedDocument], rules: str, at: str, dry: bool = False
) -> AffectedArtifacts:
    """Note in each checkpoint and model which of the documents it knows. Safe to do twice; `dry` only looks.

    A checkpoint knows nothing of validation text; a published model was chosen by it, and scored on it.
    """
    lost = list(lost)
    checkpoints, models = [], []
    for folder in step_folders(checkpoints_dir):
        metadata = read_checkpoint_metadata(folder)
        learned = [
            one.number for one in lost if metadata and one.split == "train" and may_have_seen(metadata, one, rules)
        ]
        if metadata and learned:
            checkpoints.append(_step(folder))
            metadata["forgotten"] = add_marks(metadata.get("forgotten"), learned, [], at)
            metadata["metadata_digest"] = metadata_digest(metadata)
            if not dry:
                write_whole(folder / "metadata.json", json.dumps(metadata, indent=2) + "\n")
    for folder in model_folders(models_dir):
        record = read_metadata(folder / RECORD)
        known = [one for one in lost if record and may_have_seen(record, one, rules)]
        if record and known:
            models.append(_step(folder))
            learned = [one.number for one in known if one.split == "train"]
            scored = [one.number for one in known if one.split != "train"]
            record["forgotten"] = add_marks(record.get("forgotten"), learned, scored, at)
            if not dry:
                write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")
                write_whole(folder / CARD, model_card(record))
    return AffectedArtifacts(tuple(checkpoints), tuple(models))


def add_marks(
    before: dict[str, Any] | None, training: Collection[int], validation: Collection[int], at: str
) -> dict[str, Any]:
    """Marks that hold these documents, too, each once."""
    before = before or {}
    return {
        TRAINING: sorted({*before.get(TRAINING, ()), *training}),
        VALIDATION: sorted({*before.get(VALIDATION, ()), *validation}),
        "at": max(at, before.get("at", "")),
    }


def model_card(record: dict[str, Any]) -> str:
    """The model's `README.md`, where there is something that whoever uses it must know."""
    marks = record["forgotten"]
    lines = ["# A model that knows more than it should", ""]
    if marks[TRAINING]:
        lines.append(
            f"It was trained on {len(marks[TRAINING])} document(s) that its owner has forgotten since, and may repeat "
            "them. Do not pass it on; `python run.py forget --retrain` goes back to before them."
        )
    if marks[VALIDATION]:
        lines.append(
            f"It was chosen and scored with {len(marks[VALIDATION])} held-out document(s) that its owner has "
            "forgotten since; it was not trained on them."
        )
    return "\n".join([*lines, "", f"Step {record.get('step')}; last noted {marks['at']}.", ""])


def count_marks(record: dict[str, Any]) -> dict[str, int]:
    """How many forgotten documents a model was trained on, and how many it was scored with."""
    marks = record.get("forgotten") or {}
    return {split: len(marks.get(split, ())) for split in (TRAINING, VALIDATION)}


def in_words(counts: dict[str, int]) -> list[str]:
    """Empty where the model knows nothing of what was forgotten."""
    said = []
    if number := counts[TRAINING]:
        said.append(f"trained on {number:,} document(s) forgotten since: python run.py forget --retrain goes back")
    if number := counts[VALIDATION]:
        said.append(f"scored with {number:,} held-out document(s) forgotten since")
    return said


def go_back(
    checkpoints_dir: Path, models_dir: Path, numbers: Collection[int] | None
) -> tuple[AffectedArtifacts, int | None]:
    """Remove the checkpoints and models that were trained on these documents, or (None) on any forgotten one.

    The newest go first, so that a removal that is cut can be done again. Checkpoints that are damaged go with
    them: nobody can tell what they know.

    Returns:
        What was removed, and the step that is now the newest: None where none is left, and the lineage starts anew.
    """
    removed = []
    for folder in reversed(step_folders(checkpoints_dir)):
        metadata = read_checkpoint_metadata(folder)
        if metadata is not None and not _learned(metadata, numbers):
            break
        removed.append(_step(folder))
        doomed = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
    for doomed in [*checkpoints_dir.glob(".step_*.removed"), *checkpoints_dir.glob("step_*.damaged")]:
        shutil.rmtree(doomed)
    models = _remove_models(models_dir, numbers)
    left = step_folders(checkpoints_dir)
    if not left:
        (checkpoints_dir / "curve.jsonl").unlink(missing_ok=True)
    return AffectedArtifacts(tuple(reversed(removed)), models), _step(left[-1]) if left else None


def _remove_models(models_dir: Path, numbers: Collection[int] | None) -> tuple[int, ...]:
    """The link first: nobody may find a model that is half there. The newest that may stay is served."""
    records = {folder: read_metadata(folder / RECORD) for folder in model_folders(models_dir)}
    stay = [folder for folder, record in records.items() if record and not _learned(record, numbers)]
    latest = models_dir / LATEST
    if latest.is_symlink() and latest.resolve() not in [folder.resolve() for folder in stay]:
        latest.unlink()
        if stay:
            latest.symlink_to(stay[-1].name)
        sync_directory(models_dir)
    gone = [folder for folder in records if folder not in stay]
    for folder in gone:
        shutil.rmtree(folder)
    return tuple(map(_step, gone))


def _learned(metadata: dict[str, Any], numbers: Collection[int] | None) -> bool:
    marked = set((metadata.get("forgotten") or {}).get(TRAINING, ()))
    return bool(marked if numbers is None else marked.intersection(numbers))


def step_folders(checkpoints_dir: Path) -> list[Path]:
    """`step_<n>`, the oldest first."""
    return sorted((path for path in checkpoints_dir.glob("step_*") if _step(path) >= 0), key=_step)


def model_folders(models_dir: Path) -> list[Path]:
    """`<step>`, the oldest first."""
    return sorted((path for path in models_dir.glob("*") if _step(path) >= 0 and path.is_dir()), key=_step)


def _step(folder: Path) -> int:
    number = folder.name.removeprefix("step_")
    return int(number) if number.isdecimal() else -1


def read_metadata(path: Path) -> dict[str, Any] | None:
    """None where it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def read_checkpoint_metadata(folder: Path) -> dict[str, Any] | None:
    """None where it is damaged."""
    metadata = read_metadata(folder / "metadata.json")
    return metadata if metadata and metadata.get("metadata_digest") == metadata_digest(metadata) else None


def metadata_digest(metadata: dict[str, Any]) -> str:
    rest = {key: value for key, value in metadata.items() if key != "metadata_digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
