"""Checkpoints that a kill, a torn write or a flipped bit cannot make lie.

A folder `step_<n>/` holds the weights and their running average, the optimizer, torch's random state, and
`metadata.json` with the digest of each: it is written last, is digested itself, and is the commit record. The
folder is written under a temporary name, synced and renamed. Tensors are safetensors: opening one runs no
code.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from model.contracts.atomic_files import sync
from model.contracts.step_folders import checkpoint_folder, checkpoint_folders
from model.data.digests import file_digest, read_sealed, record_text

FILES = ("model.safetensors", "optimizer.safetensors", "random.safetensors")
EMA = "ema."


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to go on."""

    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    """Running average of the weights, same names and shapes."""
    optimizer: dict[str, Tensor]
    random: Tensor
    """torch's CPU generator state, (bytes,) uint8."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Configuration, digests, data position, numerical settings: see `trainer.Trainer.metadata`."""


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that cannot be trusted: where it is now, and why."""

    name: str
    reason: str
    moved_to: str | None
    """None: it was a half-written temporary folder, and is gone."""


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Writes `step_<n>/`, replacing one of the same step; the folder appears whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    target = checkpoint_folder(directory, checkpoint.step)
    temporary = directory / f".step_{checkpoint.step}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    tensors: dict[str, dict[str, Tensor]] = {
        "model.safetensors": checkpoint.weights | {EMA + name: value for name, value in checkpoint.ema.items()},
        "optimizer.safetensors": checkpoint.optimizer,
        "random.safetensors": {"torch": checkpoint.random},
    }
    for name, values in tensors.items():
        save_file({k: v.detach().cpu().contiguous() for k, v in values.items()}, temporary / name)
        sync(temporary / name)
    digests = {name: file_digest(temporary / name) for name in FILES}
    metadata = checkpoint.metadata | {"step": checkpoint.step, "digests": digests}
    (temporary / "metadata.json").write_text(record_text(metadata), encoding="utf-8")
    sync(temporary / "metadata.json")
    sync(temporary)
    if target.exists():
        shutil.rmtree(target)
    os.rename(temporary, target)
    sync(directory)
    return target


def load_checkpoint(folder: Path) -> Checkpoint:
    """Opens one checkpoint; ValueError says what is wrong with it."""
    try:
        metadata = whole_metadata(folder)
        tensors = load_file(folder / "model.safetensors")
        return Checkpoint(
            step=metadata["step"],
            weights={name: value for name, value in tensors.items() if not name.startswith(EMA)},
            ema={name.removeprefix(EMA): value for name, value in tensors.items() if name.startswith(EMA)},
            optimizer=load_file(folder / "optimizer.safetensors"),
            random=load_file(folder / "random.safetensors")["torch"],
            metadata=metadata,
        )
    except FileNotFoundError as error:
        raise ValueError(f"{Path(error.filename or '').name or 'a file'} is missing") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"metadata.json is not readable: {error}") from error


def whole_metadata(folder: Path) -> dict[str, Any]:
    """Returns a checkpoint's metadata once every byte of it is checked; ValueError, KeyError, TypeError or OSError
    otherwise."""
    metadata = read_sealed(folder / "metadata.json")
    for name in FILES:
        if file_digest(folder / name) != metadata["digests"][name]:
            raise ValueError(f"{name} does not match its digest")
    return metadata


def load_newest_whole(directory: Path) -> tuple[Checkpoint | None, list[Damaged]]:
    """Returns the newest checkpoint that verifies, and the newer ones that do not, each moved to
    `step_<n>.damaged`."""
    damaged: list[Damaged] = []
    for leftover in sorted(directory.glob(".step_*.tmp")) if directory.exists() else []:
        shutil.rmtree(leftover)
        damaged.append(Damaged(leftover.name, "it was being written when the process died", None))
    for folder in reversed(checkpoint_folders(directory).values()):
        try:
            return load_checkpoint(folder), damaged
        except ValueError as error:
            aside = directory / f"{folder.name}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(folder, aside)
            damaged.append(Damaged(folder.name, str(error), aside.name))
    return None, damaged


def checkpoints_to_keep(steps: list[int], latest: int, spaced: int) -> set[int]:
    """Returns the `latest` newest steps and, of the older ones, the newest in each of the last `spaced` powers of
    two."""
    ordered = sorted(steps)
    kept = set(ordered[-latest:])
    newest_of_power = {step.bit_length(): step for step in ordered[:-latest]}
    powers = sorted(newest_of_power)[-spaced:] if spaced else []
    return kept | {newest_of_power[power] for power in powers}


def prune_checkpoints(directory: Path, latest: int, spaced: int) -> None:
    """Removes the checkpoints past retention."""
    folders = checkpoint_folders(directory)
    for step in folders.keys() - checkpoints_to_keep(list(folders), latest, spaced):
        # Renamed first: a removal that is cut half-way must not look like a damaged checkpoint.
        os.rename(folders[step], directory / f".step_{step}.removed")
    for doomed in directory.glob(".step_*.removed"):
        shutil.rmtree(doomed)


def remove_checkpoints(directory: Path) -> None:
    """Removes a whole lineage: every checkpoint, the chunk under way, the curve and the rollbacks."""
    for path in list(directory.glob("step_*")) + list(directory.glob(".step_*")):
        shutil.rmtree(path)
    for name in ("chunk.json", "curve.jsonl", "falls.json"):
        (directory / name).unlink(missing_ok=True)
