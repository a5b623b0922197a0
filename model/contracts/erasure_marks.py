"""What checkpoints and published models know of documents that were forgotten since. Needs no torch.

Each says in its metadata how many documents were committed when it was made, and so whether it can have learned
one. One that has is marked, with the document's seq, and whatever is trained on from it inherits the mark;
or the lineage goes back to before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.contracts.atomic_files import sync, write_atomically
from model.contracts.published_folder import CARD, RECORD
from model.contracts.step_folders import checkpoint_folders, model_folders
from model.data.digests import SEAL, file_digest, read_record, record_text

LATEST = "latest"
TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True)
class ErasedDocument:
    """A document that is forgotten."""

    seq: int
    """Its number in the ledger."""
    split: str
    """train or validation."""
    kept: bool | None
    """Whether it is in the token files; None where they are not that far."""


def may_have_seen(metadata: dict[str, Any], lost: ErasedDocument, rules: str) -> bool:
    """Returns whether the document was committed when this checkpoint or model was made. In doubt it was.

    Args:
        rules: the digest of what decided whether the document is kept.
    """
    committed, former = metadata.get("documents") or None, metadata.get("former_documents", 0)
    if lost.kept is False and metadata.get("rules") == rules:
        committed = former  # dropped by these rules, but perhaps not by those before
    return committed is None or lost.seq < max(committed, former)


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
    """Notes in each checkpoint and model which of the documents it knows. Safe to do twice; `dry` only looks.

    A checkpoint knows nothing of validation text; a published model was chosen by it, and scored on it.
    """
    lost = list(lost)
    of_training = [one for one in lost if one.split == "train"]
    checkpoints, models = [], []
    for step, folder in checkpoint_folders(checkpoints_dir).items():
        metadata = read_checkpoint_metadata(folder)
        if metadata and (seen := [one.seq for one in of_training if may_have_seen(metadata, one, rules)]):
            checkpoints.append(step)
            metadata["forgotten"] = add_marks(metadata.get("forgotten"), seen, [], at)
            if not dry:
                write_atomically(folder / "metadata.json", record_text(metadata))
    for step, folder in model_folders(models_dir).items():
        record = read_metadata(folder / RECORD)
        if record and (known := [one for one in lost if may_have_seen(record, one, rules)]):
            models.append(step)
            learned = {one.seq for one in known if one.split == "train"}
            scored = {one.seq for one in known} - learned
            record["forgotten"] = add_marks(record.get("forgotten"), learned, scored, at)
            if not dry:
                write_atomically(folder / CARD, model_card(record))
                write_atomically(folder / RECORD, _with_digest_of_card(folder, record))
    return AffectedArtifacts(tuple(checkpoints), tuple(models))


def _with_digest_of_card(folder: Path, record: dict[str, Any]) -> str:
    if "digests" in record:
        record["digests"][CARD] = file_digest(folder / CARD)
    return record_text(record)


def add_marks(
    before: dict[str, Any] | None, training: Collection[int], validation: Collection[int], at: str
) -> dict[str, Any]:
    """Returns marks that hold these documents, too, each once."""
    before = before or {}
    return {
        TRAINING: sorted({*before.get(TRAINING, ()), *training}),
        VALIDATION: sorted({*before.get(VALIDATION, ()), *validation}),
        "at": max(at, before.get("at", "")),
    }


def model_card(record: dict[str, Any]) -> str:
    """Returns the model's `README.md`, where there is something that whoever uses it must know."""
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
    """Returns how many forgotten documents a model was trained on, and how many it was scored with."""
    marks = record.get("forgotten") or {}
    return {split: len(marks.get(split, ())) for split in (TRAINING, VALIDATION)}


def in_words(counts: dict[str, int]) -> list[str]:
    """Returns what to say of the counts; empty where the model knows nothing of what was forgotten."""
    said = []
    if count := counts[TRAINING]:
        said.append(f"trained on {count:,} document(s) forgotten since: python run.py forget --retrain goes back")
    if count := counts[VALIDATION]:
        said.append(f"scored with {count:,} held-out document(s) forgotten since")
    return said


def go_back(
    checkpoints_dir: Path, models_dir: Path, seqs: Collection[int] | None
) -> tuple[AffectedArtifacts, int | None]:
    """Removes the checkpoints and models that were trained on these documents, or (None) on any forgotten one.

    The newest go first, so that a removal that is cut can be done again. Checkpoints that are damaged go with
    them: nobody can tell what they know.

    Returns:
        What was removed, and the step that is now the newest: None where none is left, and the lineage starts anew.
    """
    removed = []
    for step, folder in reversed(checkpoint_folders(checkpoints_dir).items()):
        metadata = read_checkpoint_metadata(folder)
        if metadata is not None and not _learned(metadata, seqs):
            break
        removed.append(step)
        doomed = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
    for doomed in [*checkpoints_dir.glob(".step_*.removed"), *checkpoints_dir.glob("step_*.damaged")]:
        shutil.rmtree(doomed)
    models = _remove_models(models_dir, seqs)
    left = list(checkpoint_folders(checkpoints_dir))
    if not left:
        (checkpoints_dir / "curve.jsonl").unlink(missing_ok=True)
    return AffectedArtifacts(tuple(reversed(removed)), models), left[-1] if left else None


def _remove_models(models_dir: Path, seqs: Collection[int] | None) -> tuple[int, ...]:
    """Removes the link first: nobody may find a model that is half there. The newest that may stay is served."""
    folders = model_folders(models_dir)
    records = {step: read_metadata(folder / RECORD) for step, folder in folders.items()}
    stay = [step for step, record in records.items() if record and not _learned(record, seqs)]
    latest = models_dir / LATEST
    if latest.is_symlink() and latest.resolve() not in [folders[step].resolve() for step in stay]:
        latest.unlink()
        if stay:
            latest.symlink_to(folders[stay[-1]].name)
        sync(models_dir)
    gone = tuple(step for step in folders if step not in stay)
    for step in gone:
        shutil.rmtree(folders[step])
    return gone


def _learned(metadata: dict[str, Any], seqs: Collection[int] | None) -> bool:
    marked = set((metadata.get("forgotten") or {}).get(TRAINING, ()))
    return bool(marked if seqs is None else marked.intersection(seqs))


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Returns None where it cannot be read, or is not what was written."""
    try:
        return read_record(path)
    except (OSError, ValueError):
        return None


def read_checkpoint_metadata(folder: Path) -> dict[str, Any] | None:
    """Returns None where it is damaged."""
    metadata = read_metadata(folder / "metadata.json")
    return metadata if metadata and SEAL in metadata else None
